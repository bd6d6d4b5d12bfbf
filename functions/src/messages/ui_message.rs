//! What Vercel's AI SDK posts: `{id, messages, trigger, messageId}`, every message of the chat with each. Its newest
//! message is turned into the fields of ours; the earlier ones are known here, and not believed.
//!
//! What else the SDK sends now or in later versions is left alone.

use backtalk_http::error::{Error, FieldError, MOST_ERRORS};
use backtalk_http::{Fields, Request, Result};
use domain::message::Role;
use domain::text::{ClientId, Metadata};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// The body of Vercel's AI SDK: `?format=ui-message-stream`. What else it has is left alone.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct UiMessages {
    /// Of the last one becomes the message: it is the user's, and has texts and images alone. Earlier ones are known here.
    #[schemars(length(min = 1))]
    pub messages: Vec<UiMessage>,
    pub trigger: Option<UiTrigger>,
    /// Which answer is written again: its id, or that of the message which it answers. A message that was sent cannot be sent
    /// anew with another text.
    pub message_id: Option<String>,
    /// Of `regenerate-message`: your own name for this wish, as `regenerateReply` takes it.
    pub client_id: Option<ClientId>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum UiTrigger {
    SubmitMessage,
    /// The newest answer is written again, or that of `messageId`.
    RegenerateMessage,
}

#[derive(Debug, JsonSchema)]
pub struct UiMessage {
    /// Becomes the `clientId`.
    pub id: String,
    pub role: Role,
    pub parts: Vec<UiPart>,
    pub metadata: Option<Metadata>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct UiPart {
    /// `text` or `file`.
    #[schemars(rename = "type")]
    pub part_type: String,
    /// Of a `text`.
    pub text: Option<String>,
    /// Of a `file`: that of an image.
    pub media_type: Option<String>,
    /// Of a `file`: an `https://` address, or the `s3://` address of an upload.
    pub url: Option<String>,
    #[schemars(rename = "filename")]
    pub file_name: Option<String>,
}

/// What somebody asks for.
pub(super) enum Asked {
    /// To send a message: its fields, as if the client had spoken our dialect.
    ToSend { fields: Fields, places: Places },
    /// To write an answer again.
    ToRegenerate {
        /// The client's name for it or for its question; the newest one without.
        named: Option<String>,
        client_id: Option<ClientId>,
    },
}

/// Where the client wrote what became a field of ours, by JSON pointers, so that a refusal points at it.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(String, String)>);

impl Places {
    /// The error as it looks from the client.
    pub(super) fn restored(&self, error: Error) -> Error {
        let restored = |mut error: FieldError| {
            if let Some(pointer) = &mut error.pointer
                && let Some((_, theirs)) = self.0.iter().find(|(ours, _)| ours == pointer)
            {
                pointer.clone_from(theirs);
            }
            error
        };
        match error {
            Error::Invalid(errors) => Error::Invalid(errors.into_iter().map(restored).collect()),
            Error::NotUploaded(errors) => Error::NotUploaded(errors.into_iter().map(restored).collect()),
            Error::KeyReused(error) => Error::KeyReused(restored(error)),
            other => other,
        }
    }

    fn note(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.0.push((ours.into(), theirs.into()));
    }
}

/// A body of the SDK's, or one of ours.
pub(super) fn read(request: &Request) -> Result<Asked> {
    asked(request.long_fields()?.into_object())
}

fn asked(mut body: Map<String, Value>) -> Result<Asked> {
    let Some(messages) = body.remove("messages") else {
        return Ok(Asked::ToSend {
            fields: Fields::of_object(body),
            places: Places::default(),
        });
    };
    let body = Value::Object(body);
    match &body["trigger"] {
        Value::Null => {}
        Value::String(trigger) if trigger == "submit-message" => {}
        Value::String(trigger) if trigger == "regenerate-message" => return to_regenerate(&body),
        _ => return refused("/trigger", "trigger must be submit-message or regenerate-message"),
    }
    if !body["messageId"].is_null() {
        // With its id it would be taken for a retry of itself.
        return refused(
            "/messageId",
            "a message that was sent cannot be sent anew with another text",
        );
    }
    let Value::Array(messages) = messages else {
        return refused("/messages", "messages must be an array");
    };
    let Some((place, newest)) = messages.into_iter().enumerate().next_back() else {
        return refused("/messages", "messages must not be empty");
    };
    let at = format!("/messages/{place}");
    if newest["role"] != "user" {
        return refused(&format!("{at}/role"), "the last message must be the user's");
    }
    to_send(newest, &at)
}

fn to_regenerate(body: &Value) -> Result<Asked> {
    let text = |name: &str| match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => refused(&format!("/{name}"), &format!("{name} must be a string")),
    };
    let invalid = |refusal: String| Error::Invalid(vec![FieldError::at("/clientId", format!("clientId {refusal}"))]);
    let client_id = text("clientId")?.map(|id| ClientId::parse(&id)).transpose();
    Ok(Asked::ToRegenerate {
        // One that is nothing we could have stored names nothing of ours.
        named: text("messageId")?.map(|name| name.replace('\0', "\u{fffd}")),
        client_id: client_id.map_err(invalid)?,
    })
}

fn to_send(mut message: Value, at: &str) -> Result<Asked> {
    let mut places = Places::default();
    let mut errors = Vec::new();
    let mut texts = Vec::new();
    let mut attachments = Vec::new();
    let parts = message["parts"].take();
    let Value::Array(parts) = parts else {
        return refused(&format!("{at}/parts"), "parts must be an array");
    };
    for (index, part) in parts.into_iter().enumerate() {
        let here = format!("{at}/parts/{index}");
        match part["type"].as_str() {
            Some("text") => match part["text"].as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => errors.push(FieldError::at(format!("{here}/text"), "text must be a string")),
            },
            Some("file") => {
                let ours = format!("/attachments/{}", attachments.len());
                for (name, theirs) in [("url", "url"), ("mimeType", "mediaType"), ("fileName", "filename")] {
                    places.note(format!("{ours}/{name}"), format!("{here}/{theirs}"));
                }
                errors.extend(unfit(&part, &here));
                attachments.push(attachment(part));
            }
            _ => errors.push(FieldError::at(
                format!("{here}/type"),
                "type must be text or file: nothing else can be sent",
            )),
        }
        if errors.len() >= MOST_ERRORS {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    places.note("/clientId", format!("{at}/id"));
    places.note("/content", format!("{at}/parts"));
    places.note("/attachments", format!("{at}/parts"));
    places.note("/metadata", format!("{at}/metadata"));
    let fields = json!({
        "clientId": message["id"].take(),
        // None at all is missing, not blank.
        "content": (!texts.is_empty()).then(|| texts.join("\n")),
        "attachments": attachments,
        "metadata": message["metadata"].take(),
    });
    let Value::Object(fields) = fields else {
        unreachable!("it was written as an object three lines above")
    };
    Ok(Asked::ToSend {
        fields: Fields::of_object(fields),
        places,
    })
}

/// What is wrong with a file in the SDK's words, which our own refusals would not explain.
fn unfit(part: &Value, here: &str) -> Option<FieldError> {
    // Neither schemes nor media types have a case.
    let starts_with = |name: &str, start: &str| {
        let text = part[name].as_str().unwrap_or_default().trim_start();
        text.get(..start.len())
            .is_some_and(|begun| begun.eq_ignore_ascii_case(start))
    };
    if starts_with("url", "data:") {
        let how = "url must be an address, not the file itself: upload it by POST /api/attachments, and send its s3:// address";
        return Some(FieldError::at(format!("{here}/url"), how));
    }
    (!starts_with("mediaType", "image/"))
        .then(|| FieldError::at(format!("{here}/mediaType"), "mediaType must be that of an image"))
}

fn attachment(mut part: Value) -> Value {
    let mut attachment = json!({"type": "image", "url": part["url"].take(), "mimeType": part["mediaType"].take()});
    if !part["filename"].is_null() {
        attachment["fileName"] = part["filename"].take();
    }
    attachment
}

fn refused<T>(pointer: &str, detail: &str) -> Result<T> {
    Err(Error::Invalid(vec![FieldError::at(pointer, detail)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: Value) -> Value {
        let earlier = json!({"id": "a-1", "role": "assistant", "parts": [{"type": "text", "text": "Ask me."}]});
        json!({"id": "chat", "trigger": "submit-message", "messages": [earlier, message], "later": 1})
    }

    fn read(body: Value) -> Result<(Value, Places)> {
        let Value::Object(body) = body else { unreachable!() };
        match asked(body)? {
            Asked::ToSend { fields, places } => Ok((Value::Object(fields.into_object()), places)),
            Asked::ToRegenerate { .. } => panic!("to regenerate"),
        }
    }

    fn pointers(error: Error) -> Vec<String> {
        match error {
            Error::Invalid(errors) => errors.into_iter().filter_map(|error| error.pointer).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_has_an_end_however_many_parts_are_odd() {
        let message = json!({"id": "u-1", "role": "user", "parts": vec![json!({}); 5000]});
        let pointers = pointers(read(body(message)).expect_err("none is one"));
        assert_eq!(pointers.len(), MOST_ERRORS);
    }

    #[test]
    fn the_newest_message_becomes_ours() {
        let message = json!({"id": "u-1", "role": "user", "metadata": {"a": 1}, "later": 1, "parts": [
            {"type": "file", "mediaType": "image/png", "url": "s3://b/k", "filename": "a.png", "later": 1},
            {"type": "text", "text": "look"},
            {"type": "text", "text": "there"},
        ]});
        let (fields, _) = read(body(message)).unwrap();
        assert_eq!(
            fields,
            json!({
                "clientId": "u-1", "content": "look\nthere", "metadata": {"a": 1},
                "attachments": [{"type": "image", "url": "s3://b/k", "mimeType": "image/png", "fileName": "a.png"}],
            })
        );
    }

    #[test]
    fn messages_alone_are_enough() {
        let message = json!({"id": "u-1", "role": "user", "parts": [{"type": "text", "text": "hi"}]});
        let (fields, _) = read(json!({"messages": [message]})).unwrap();
        assert_eq!(fields["clientId"], "u-1");
    }

    #[test]
    fn our_own_fields_are_taken_in_this_dialect_too() {
        let own = json!({"clientId": "c-1", "content": "hi"});
        assert_eq!(read(own.clone()).unwrap().0, own);
    }

    #[test]
    fn what_cannot_be_sent_is_pointed_at_where_the_client_wrote_it() {
        let message = |parts: Value| json!({"id": "u-1", "role": "user", "parts": parts});
        let with = |name: &str, value: Value| {
            let mut body = body(message(json!([{"type": "text", "text": "hi"}])));
            body[name] = value;
            body
        };
        for (body, pointer) in [
            (with("messages", json!([])), "/messages"),
            (with("messages", json!({})), "/messages"),
            (with("messages", json!([{"role": "assistant"}])), "/messages/0/role"),
            (with("messages", json!([7])), "/messages/0/role"),
            (with("messages", json!([{"role": "user"}])), "/messages/0/parts"),
            (with("trigger", json!("other")), "/trigger"),
            (with("trigger", json!(7)), "/trigger"),
            (with("messageId", json!("u-0")), "/messageId"),
            (body(message(json!([{"type": "text"}]))), "/messages/1/parts/0/text"),
            (body(message(json!([{"type": "tool-x"}]))), "/messages/1/parts/0/type"),
            (body(message(json!([7]))), "/messages/1/parts/0/type"),
            (
                body(message(
                    json!([{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,"}]),
                )),
                "/messages/1/parts/0/url",
            ),
            (
                body(message(
                    json!([{"type": "file", "mediaType": "text/plain", "url": "https://h/a"}]),
                )),
                "/messages/1/parts/0/mediaType",
            ),
        ] {
            assert_eq!(pointers(read(body.clone()).unwrap_err()), [pointer], "{body}");
        }
    }

    #[test]
    fn a_refusal_of_our_fields_points_at_the_clients() {
        let message = json!({"id": "u-1", "role": "user", "parts": [
            {"type": "text", "text": "look"},
            {"type": "file", "mediaType": "image/png", "url": "s3://b/k"},
        ]});
        let (_, places) = read(body(message)).unwrap();
        let ours = ["/clientId", "/content", "/attachments/0/url", "/metadata", "/other"];
        let ours = ours.map(|pointer| FieldError::at(pointer, "")).into();
        assert_eq!(
            pointers(places.restored(Error::Invalid(ours))),
            [
                "/messages/1/id",
                "/messages/1/parts",
                "/messages/1/parts/1/url",
                "/messages/1/metadata",
                "/other"
            ]
        );
    }

    #[test]
    fn asking_anew_is_told_apart_and_names_what_is_asked_for() {
        let regenerate = |fields: Value| {
            let mut body = body(json!({"id": "u-1", "role": "user", "parts": []}));
            body["trigger"] = json!("regenerate-message");
            let Value::Object(mut body) = body else { unreachable!() };
            let Value::Object(fields) = fields else { unreachable!() };
            body.extend(fields);
            match asked(body) {
                Ok(Asked::ToRegenerate { named, client_id }) => Ok((named, client_id)),
                Ok(Asked::ToSend { .. }) => panic!("to send"),
                Err(error) => Err(pointers(error)),
            }
        };
        let key = ClientId::parse("k").ok();
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(regenerate(json!({})), Ok((None, None)));
        assert_eq!(regenerate(json!({"messageId": null})), Ok((None, None)));
        assert_eq!(
            regenerate(json!({"messageId": "a-1", "clientId": "k"})),
            Ok((named("a-1"), key))
        );
        assert_eq!(regenerate(json!({"messageId": "a\0"})), Ok((named("a\u{fffd}"), None)));
        assert_eq!(regenerate(json!({"messageId": 7})), Err(vec!["/messageId".to_owned()]));
        assert_eq!(regenerate(json!({"clientId": ""})), Err(vec!["/clientId".to_owned()]));
    }
}
