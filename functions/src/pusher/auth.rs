//! `POST /api/pusher/auth`, form-encoded as pusher-js sends it: `socket_id=…&channel_name=…`

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use pusher::Delivery;
use pusher::client::{ChannelName, SocketId, user_channel};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PusherAuthorization")]
struct Authorization {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
}

#[derive(Debug, JsonSchema)]
pub struct PusherSubscription {
    #[schemars(with = "String", regex(pattern = r"^[0-9]+\.[0-9]+$"))]
    pub socket_id: SocketId,
    #[schemars(with = "String", length(min = 1, max = ChannelName::MAX), regex(pattern = r"^[A-Za-z0-9_=@,.;-]+$"))]
    pub channel_name: ChannelName,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("authorizePusher", "Lets me listen to a channel of mine")
        .describe(
            "Form-encoded, as pusher-js sends it. Mine are `private-user-{userId}`, and \
            `presence-chat-{chatId}` of my chats.",
        )
        .for_people()
        .reads_form::<PusherSubscription>()
        .answers::<Authorization>(200, "For pusher-js, as it is.")
        .refuses([Error::NotFound(""), Error::Forbidden(""), Error::Blocked])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let pusher = delivery.pusher().ok_or(Error::NotFound("Pusher application"))?;
    let (socket, channel) = form(request.raw_body()?)?;
    if channel == user_channel(&caller.id) {
        return ok(&Authorization {
            auth: pusher.authorize_private(&socket, &channel),
            channel_data: None,
        });
    }
    let refused = Error::Forbidden("This channel is not yours.");
    let chat = channel.presence_chat().ok_or(refused)?;
    match reads.store.may_enter_room(&caller.id, chat).await? {
        Some(true) => {}
        Some(false) => return Err(Error::Blocked),
        None => return Err(Error::Forbidden("This channel is not yours.")),
    }
    let member = json!({"user_id": caller.id, "user_info": {"name": caller.name, "image": caller.image}}).to_string();
    ok(&Authorization {
        auth: pusher.authorize_presence(&socket, &channel, &member),
        channel_data: Some(member),
    })
}

fn form(body: &[u8]) -> Result<(SocketId, ChannelName)> {
    let value = |name: &str| {
        let mut values = form_urlencoded::parse(body).filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value.into_owned(),
            // Given twice, it is as good as none: others who read the form may see the other one.
            _ => String::new(),
        }
    };
    let socket = SocketId::parse(&value("socket_id"));
    let channel = ChannelName::parse(&value("channel_name"));
    let mut errors = Vec::new();
    if socket.is_none() {
        errors.push(FieldError::at(
            "/socket_id",
            "socket_id must be the id of a Pusher connection",
        ));
    }
    if channel.is_none() {
        errors.push(FieldError::at(
            "/channel_name",
            "channel_name must be the name of a channel",
        ));
    }
    socket.zip(channel).ok_or(Error::Invalid(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_and_what_is_wrong_is_pointed_at() {
        let (socket, channel) = form(b"socket_id=12.34&channel_name=private-user-anna").expect("a good form");
        assert_eq!((socket.as_str(), channel.as_str()), ("12.34", "private-user-anna"));
        for odd in [
            &b""[..],
            b"{}",
            b"\xff=\xff",
            b"socket_id=12.34",
            b"socket_id=1:2&channel_name=x",
            b"channel_name=a:b",
            b"socket_id=12.34&socket_id=12.34&channel_name=private-user-anna",
            b"socket_id=12.34&channel_name=private-user-anna&channel_name=private-user-ben",
        ] {
            assert!(matches!(form(odd), Err(Error::Invalid(_))), "{odd:?}");
        }
    }
}
