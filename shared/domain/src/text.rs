//! Text from outside, parsed once: what these types hold can be stored, counted and shown without another look.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::characters::{is_blank, is_refused};
use super::limits::Limits;

/// Why a text was refused, in words for the client.
pub type Refusal = String;

fn without_controls(text: &str) -> Result<&str, Refusal> {
    match text.chars().find(|c| is_refused(*c)) {
        Some(control) => Err(no_control(control)),
        None => Ok(text),
    }
}

fn no_control(control: char) -> Refusal {
    format!(
        "must not contain control characters but tabs and line breaks, has U+{:04X}",
        u32::from(control)
    )
}

/// What these types hold, to be read.
macro_rules! as_text {
    ($($name:ident),+ $(,)?) => {
        $(impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        })+
    };
}
as_text!(
    Content,
    ClientId,
    TaskId,
    OrganisationId,
    PostText,
    ProviderName,
    AuthProviderId,
    Trigger,
    Title,
    AttachmentUrl,
    FileName,
    MimeType,
    Emoji,
    SearchText
);

/// For the contract's patterns: what [`is_refused`].
macro_rules! controls {
    () => {
        r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
    };
}

/// Any number of characters, one of which can be seen, and none of which is among `$refused`. What is [`is_blank`] beyond
/// the first plane is left out: not all who read patterns read it.
macro_rules! visible_without {
    ($($refused:expr),+) => {
        concat!(
            "^[^", $($refused),+, r"]*[^\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e",
            r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb", $($refused),+, "][^", $($refused),+, "]*$",
        )
    };
}

/// One character at least that can be seen, and no control characters.
const NOT_BLANK: &str = visible_without!(controls!());
/// The same on one line.
const ONE_LINE: &str = visible_without!(r"\u0000-\u001f\u007f-\u009f");
/// See [`plain_word`].
const PLAIN_WORD: &str = r"^[A-Za-z0-9][A-Za-z0-9._-]*$";

/// What the contract says of these types: as much of what `parse` asks for as a schema can say.
macro_rules! described {
    ($($name:ident { $($keyword:literal: $value:expr),+ $(,)? })+) => {
        $(impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($keyword: $value),+ })
            }
        })+
    };
}
described! {
    Content {
        "type": "string", "minLength": 1, "maxLength": Limits::DEFAULT.content_bytes, "pattern": NOT_BLANK,
        "description": format!("Not blank, and at most {} bytes of UTF-8 unless configured otherwise.", Limits::DEFAULT.content_bytes),
    }
    ContentOrNone {
        "type": "string", "maxLength": Limits::DEFAULT.content_bytes, "pattern": concat!("^[^", controls!(), "]*$"),
        "description": format!(
            "At most {} bytes of UTF-8 unless configured otherwise. Blank only where the message shows something.",
            Limits::DEFAULT.content_bytes
        ),
    }
    PostText {
        "type": "string", "maxLength": Limits::DEFAULT.post_bytes, "pattern": concat!("^[^", controls!(), "]*$"),
        "description": format!("At most {} bytes of UTF-8 unless configured otherwise.", Limits::DEFAULT.post_bytes),
    }
    Metadata {
        "type": "object", "additionalProperties": true,
        "description": format!(
            "An object of your own, kept as it is. At most {} bytes of JSON unless configured otherwise, numbers written out; no control characters in it but tabs and line breaks.",
            Limits::DEFAULT.metadata_bytes
        ),
    }
    ClientId { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": NOT_BLANK }
    OrganisationId { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": NOT_BLANK }
    Title { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": NOT_BLANK }
    SearchText { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": NOT_BLANK }
    TaskId {
        "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS,
        "pattern": visible_without!(r"\u0000-\u001f\u007f-\u009f/%?#\\"),
    }
    FileName {
        "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS,
        "pattern": visible_without!(r"\u0000-\u001f\u007f-\u009f/\\"),
    }
    AuthProviderId { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": ONE_LINE }
    ProviderName { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": PLAIN_WORD }
    Trigger { "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": PLAIN_WORD }
    MimeType {
        "type": "string", "maxLength": Self::MAX_CHARS, "pattern": r"^\s*[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+\s*(;[^\u0000]*)?$",
        "examples": ["image/png"],
        "description": "Kept in lower case, without parameters, and under its registered name: `image/jpeg` for `image/jpg`.",
    }
    AttachmentUrl {
        "type": "string", "format": "uri", "maxLength": Self::MAX_CHARS, "pattern": r"^(https|s3)://[^\s\u0000-\u001f\u007f-\u009f]+$",
        "description": "An `https://` address on the web, with a name and not a number for its host, or the `s3://` address of an upload.",
    }
    Emoji {
        "type": "string", "minLength": 1, "examples": ["👍", ":party_parrot:"],
        "description": format!(
            "One emoji of Unicode, or a site's own by its name between colons: at most {} of `a-z 0-9 _ - +`.",
            Self::MAX_NAME_CHARS
        ),
    }
}

/// What a message says: not blank, within the limit, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Content(String);

impl Content {
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, Refusal> {
        Self::or_none(text, max_bytes)?.ok_or_else(|| "must not be empty".into())
    }

    /// The same of a message that shows something, and may say nothing.
    pub fn or_none(text: &str, max_bytes: usize) -> Result<Option<Self>, Refusal> {
        let text = without_controls(text)?;
        if is_blank(text) {
            return Ok(None);
        }
        if text.len() > max_bytes {
            return Err(format!("must be at most {max_bytes} bytes of UTF-8, is {}", text.len()));
        }
        Ok(Some(Self(text.to_owned())))
    }
}

/// What the contract says of a [`Content`] that may be none.
#[derive(Debug)]
pub struct ContentOrNone;

/// The client's own name for a message, which makes a retry the same message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    pub const MAX_CHARS: usize = 128;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        short(text, Self::MAX_CHARS).map(Self)
    }
}

/// What an agent calls its task: one part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    pub const MAX_CHARS: usize = 255;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = short(text, Self::MAX_CHARS)?;
        if text.contains(|c: char| c.is_control() || "/%?#\\".contains(c)) {
            Err("must not contain control characters or any of / % ? # \\".into())
        } else {
            Ok(Self(text))
        }
    }
}

/// An organisation, as the token's `org_id` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OrganisationId(String);

impl OrganisationId {
    pub const MAX_CHARS: usize = 255;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        short(text, Self::MAX_CHARS).map(Self)
    }
}

/// What a post says, within the limit and without control characters. A draft may still be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostText(String);

impl PostText {
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, Refusal> {
        let text = without_controls(text)?;
        if text.len() > max_bytes {
            return Err(format!("must be at most {max_bytes} bytes of UTF-8, is {}", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A plain word of the client's own: letters, digits, `.`, `_` and `-`, beginning with one of the first two.
fn plain_word(text: &str, max_chars: usize) -> Result<String, Refusal> {
    let text = short(text, max_chars)?;
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c));
    if is_plain && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(text)
    } else {
        Err("must be a word of letters, digits, '.', '_' and '-'".into())
    }
}

/// A network that a post goes to, as the site calls it: `linkedin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    pub const MAX_CHARS: usize = 50;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        plain_word(text, Self::MAX_CHARS).map(Self)
    }
}

/// The site's id of an account with a network, kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthProviderId(String);

impl AuthProviderId {
    pub const MAX_CHARS: usize = 255;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = short(text, Self::MAX_CHARS)?;
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".into());
        }
        Ok(Self(text))
    }
}

/// What caused a follow-up, in the client's own word: `edit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger(String);

impl Trigger {
    pub const MAX_CHARS: usize = 50;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        plain_word(text, Self::MAX_CHARS).map(Self)
    }

    /// A saved edit's.
    #[must_use]
    pub fn edit() -> Self {
        Self("edit".into())
    }
}

/// A chat's title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Title(String);

impl Title {
    pub const MAX_CHARS: usize = 200;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        short(text, Self::MAX_CHARS).map(Self)
    }
}

/// Where an attachment is: with us (`s3://`) or anywhere on the web. On the web it has a name: an address of numbers, or
/// this machine, is no place that all members of a chat can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AttachmentUrl(String);

impl AttachmentUrl {
    /// What browsers and proxies agree to carry.
    pub const MAX_CHARS: usize = 2048;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = short(text, Self::MAX_CHARS)?;
        let is_url = match text.split_once("://") {
            Some(("s3", place)) => place
                .split_once('/')
                .is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty()),
            Some(("https", place)) => !place.starts_with('/') && is_on_the_web(&text),
            _ => false,
        };
        if is_url && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Ok(Self(text))
        } else {
            Err("must be an https:// or s3:// address".into())
        }
    }

    /// The address of an object of ours.
    #[must_use]
    pub fn of_object(bucket: &str, key: &str) -> Self {
        Self(format!("s3://{bucket}/{key}"))
    }

    /// Bucket and key of an object.
    #[must_use]
    pub fn object(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix("s3://")?.split_once('/')
    }
}

fn is_on_the_web(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_named = match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name != "localhost" && !name.ends_with(".localhost")
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => false,
    };
    is_named && url.username().is_empty() && url.password().is_none()
}

/// What a file is called on its owner's device: the last part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FileName(String);

impl FileName {
    /// What file systems allow.
    pub const MAX_CHARS: usize = 255;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = short(text, Self::MAX_CHARS)?;
        if text.contains(|c: char| c.is_control() || c == '/' || c == '\\') {
            Err("must be a name without slashes and control characters".into())
        } else {
            Ok(Self(text))
        }
    }
}

/// A media type such as `image/png`: in lower case, without parameters, and under its registered name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MimeType(String);

impl MimeType {
    pub const MAX_CHARS: usize = 127;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = short(text, Self::MAX_CHARS)?;
        // Names have no case (RFC 6838, section 4.2), and parameters say nothing of an image.
        let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
        };
        match name.split_once('/') {
            Some((kind, subtype)) if is_name(kind) && is_name(subtype) => Ok(Self(registered(name))),
            _ => Err("must be a media type such as image/png".into()),
        }
    }
}

/// What is common and was never registered means what was.
fn registered(name: String) -> String {
    match name.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "image/x-png" => "image/png".to_owned(),
        _ => name,
    }
}

/// Every emoji by its characters alone: keyboards write a heart with its variation selector or without, and some put one
/// behind a skin tone, where none belongs.
static SPELLINGS: LazyLock<HashMap<String, &str>> = LazyLock::new(|| {
    emojis::iter()
        .flat_map(|emoji| std::iter::once(emoji).chain(emoji.skin_tones().into_iter().flatten()))
        .map(|emoji| (without_selectors(emoji.as_str()), emoji.as_str()))
        .collect()
});

/// An emoji is the same in colour (U+FE0F) and in black (U+FE0E).
fn without_selectors(text: &str) -> String {
    text.replace(['\u{fe0e}', '\u{fe0f}'], "")
}

/// What one reacts with: an emoji of Unicode in its one fully-qualified spelling, or a site's own by `:name:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Emoji(String);

impl Emoji {
    /// Of a site's own, without its colons.
    pub const MAX_NAME_CHARS: usize = 32;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some(known) = SPELLINGS.get(&without_selectors(text)) {
            return Ok(Self((*known).to_owned()));
        }
        let name = text.strip_prefix(':').and_then(|text| text.strip_suffix(':'));
        let is_name = |name: &str| {
            (1..=Self::MAX_NAME_CHARS).contains(&name.len())
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-+".contains(c))
        };
        match name {
            Some(name) if is_name(name) => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "must be one emoji, or a name such as :party_parrot: of at most {} characters",
                Self::MAX_NAME_CHARS
            )),
        }
    }
}

/// What is looked for in messages, as people write it: words, "a phrase", or, -not this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchText(String);

impl SearchText {
    pub const MAX_CHARS: usize = 200;

    pub fn parse(text: &str) -> Result<Self, Refusal> {
        short(text, Self::MAX_CHARS).map(Self)
    }
}

fn short(text: &str, max_chars: usize) -> Result<String, Refusal> {
    let text = without_controls(text)?;
    let length = text.chars().count();
    if is_blank(text) {
        return Err("must not be empty".into());
    }
    if length > max_chars {
        return Err(format!("must be at most {max_chars} characters, is {length}"));
    }
    Ok(text.to_owned())
}

/// A JSON object of the client's own, kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    pub fn parse(object: Map<String, Value>, max_bytes: usize) -> Result<Self, Refusal> {
        let json = Value::Object(object);
        let bytes = json.to_string().len() + written_out(&json);
        if bytes > max_bytes {
            return Err(format!("must be at most {max_bytes} bytes of JSON, is {bytes}"));
        }
        if let Some(control) = control_in(&json) {
            return Err(no_control(control));
        }
        match json {
            Value::Object(object) => Ok(Self(object)),
            _ => unreachable!("it was made of an object two lines above"),
        }
    }

    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// How many bytes more there are where numbers are written out, as Postgres does: `1e300` has 301 digits there.
fn written_out(value: &Value) -> usize {
    match value {
        Value::Number(number) => {
            let digits = number.as_f64().map_or(0, |number| number.to_string().len());
            digits.saturating_sub(number.to_string().len())
        }
        Value::Array(items) => items.iter().map(written_out).sum(),
        Value::Object(fields) => fields.values().map(written_out).sum(),
        Value::String(_) | Value::Null | Value::Bool(_) => 0,
    }
}

fn control_in(value: &Value) -> Option<char> {
    let of_text = |text: &str| text.chars().find(|c| is_refused(*c));
    match value {
        Value::String(text) => of_text(text),
        Value::Array(items) => items.iter().find_map(control_in),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| of_text(name).or_else(|| control_in(value))),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_is_bounded_in_bytes_and_never_blank() {
        assert!(Content::parse("hi", 2).is_ok());
        assert!(Content::parse("hé", 2).is_err());
        assert!(Content::parse(" \n\t", 100).is_err());
    }

    #[test]
    fn a_text_has_no_control_characters_but_tabs_and_line_breaks() {
        type IsTaken = fn(&str) -> bool;
        let parsers: [(&str, IsTaken); 9] = [
            ("Content", |text| Content::parse(text, 100).is_ok()),
            ("ClientId", |text| ClientId::parse(text).is_ok()),
            ("OrganisationId", |text| OrganisationId::parse(text).is_ok()),
            ("PostText", |text| PostText::parse(text, 100).is_ok()),
            ("Title", |text| Title::parse(text).is_ok()),
            ("SearchText", |text| SearchText::parse(text).is_ok()),
            ("a key of metadata", |text| parse_metadata(json!({ text: 1 })).is_ok()),
            ("a value of metadata", |text| {
                parse_metadata(json!({"a": [{"b": text}]})).is_ok()
            }),
            ("TaskId", |text| {
                TaskId::parse(&text.replace(['\t', '\n', '\r'], "")).is_ok()
            }),
        ];
        for (what, is_taken) in parsers {
            assert!(is_taken("a\tb\r\nc"), "{what}");
            for control in (0..=0xff).filter_map(char::from_u32).filter(|c| is_refused(*c)) {
                assert!(!is_taken(&format!("a{control}b")), "{what}: {control:?}");
            }
        }
    }

    #[test]
    fn a_text_that_nobody_can_see_is_as_good_as_none() {
        for blank in [
            "",
            " \n\t",
            "\u{200b}",
            "\u{feff}\u{2060}",
            "\u{3164}",
            "\u{2800}\u{ad}",
            "\u{e0041}",
        ] {
            assert_eq!(
                Content::parse(blank, 100),
                Err("must not be empty".to_owned()),
                "{blank:?}"
            );
            for is_err in [
                ClientId::parse(blank).is_err(),
                TaskId::parse(blank).is_err(),
                OrganisationId::parse(blank).is_err(),
                AuthProviderId::parse(blank).is_err(),
                Title::parse(blank).is_err(),
                FileName::parse(blank).is_err(),
                SearchText::parse(blank).is_err(),
            ] {
                assert!(is_err, "{blank:?}");
            }
        }
        assert!(Content::parse("\u{200b}a\u{200b}", 100).is_ok());
    }

    #[test]
    fn beside_an_image_a_blank_says_nothing_and_the_rest_is_bounded_all_the_same() {
        for blank in ["", " \n"] {
            assert_eq!(Content::or_none(blank, 100), Ok(None));
        }
        assert_eq!(Content::or_none("hi", 2), Content::parse("hi", 2).map(Some));
        assert!(Content::or_none("hé", 2).is_err());
        assert!(Content::or_none("\0", 2).is_err());
    }

    #[test]
    fn an_attachment_is_on_the_web_or_with_us() {
        for good in [
            "https://host/a.png",
            "https://example.com:8443/ü?q=1#f",
            "s3://bucket/key",
        ] {
            assert!(AttachmentUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://host/a",
            "https://",
            "https:///a",
            "s3://bucket",
            "s3://bucket/",
            "s3:///key",
            "javascript:alert(1)",
            "file:///etc",
            "https://h/a b",
            "https://localhost/a",
            "https://LOCALHOST./a",
            "https://a.localhost/a",
            "https://127.0.0.1/a",
            // 127.0.0.1 in other words.
            "https://2130706433/a",
            "https://0x7f.1/a",
            "https://[::1]/a",
            "https://anna:secret@host/a",
            "",
        ] {
            assert!(AttachmentUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(MimeType::parse("image/svg+xml").is_ok());
        for bad in [
            "image",
            "image/",
            "/png",
            "a/b/c",
            ";image/png",
            "image/p ng",
            "image/png\0",
        ] {
            assert!(MimeType::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_media_type_has_one_spelling() {
        for (text, one) in [
            ("image/png", "image/png"),
            ("IMAGE/PNG", "image/png"),
            ("image/png; charset=binary", "image/png"),
            (" Image/Jpg ;q=1", "image/jpeg"),
            ("image/pjpeg", "image/jpeg"),
            ("image/x-png", "image/png"),
            ("image/webp", "image/webp"),
        ] {
            assert_eq!(MimeType::parse(text).map(|kind| kind.0), Ok(one.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_reaction_is_one_emoji_in_one_spelling_or_a_name() {
        for (text, emoji) in [
            ("👍", "👍"),
            ("👍🏽", "👍🏽"),
            ("❤", "❤\u{fe0f}"),
            ("❤\u{fe0f}", "❤\u{fe0f}"),
            ("👩\u{200d}🚀", "👩\u{200d}🚀"),
            ("🇩🇪", "🇩🇪"),
            ("1\u{fe0f}\u{20e3}", "1\u{fe0f}\u{20e3}"),
            // As keyboards write them, too.
            ("👍🏽\u{fe0f}", "👍🏽"),
            ("👍\u{fe0f}🏽", "👍🏽"),
            ("👍\u{fe0f}", "👍"),
            ("❤\u{fe0e}", "❤\u{fe0f}"),
            ("☝\u{fe0f}🏽", "☝🏽"),
            ("1\u{20e3}", "1\u{fe0f}\u{20e3}"),
            ("🇩🇪\u{fe0f}", "🇩🇪"),
            ("🏳\u{200d}🌈", "🏳\u{fe0f}\u{200d}🌈"),
            ("🏳\u{fe0f}\u{200d}🌈\u{fe0f}", "🏳\u{fe0f}\u{200d}🌈"),
            ("🏋🏽\u{fe0f}\u{200d}♀", "🏋🏽\u{200d}♀\u{fe0f}"),
            ("👩🏽\u{200d}❤\u{200d}👨🏿\u{fe0f}", "👩🏽\u{200d}❤\u{fe0f}\u{200d}👨🏿"),
            (":party_parrot:", ":party_parrot:"),
        ] {
            assert_eq!(Emoji::parse(text).map(|emoji| emoji.0), Ok(emoji.to_owned()), "{text}");
        }
        let long = format!(":{}:", "a".repeat(33));
        for bad in [
            "",
            "a",
            "1",
            "1\u{fe0f}",
            "👍👍",
            "👍🏽🏽",
            "🏳🌈",
            "a\u{fe0f}",
            "👍 ",
            "👍a",
            "\u{200d}",
            "\u{fe0f}",
            "🏽🏽",
            "::",
            ":",
            ":A:",
            ":a b:",
            ":é:",
            ":a\0:",
            "a:b",
            &long,
        ] {
            assert!(Emoji::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_object_is_named_by_bucket_and_key() {
        let url = AttachmentUrl::of_object("bucket", "a/b");
        assert_eq!(url.object(), Some(("bucket", "a/b")));
        assert_eq!(AttachmentUrl::parse(url.as_str()), Ok(url));
        assert_eq!(AttachmentUrl::parse("https://h/a").unwrap().object(), None);
    }

    #[test]
    fn a_file_name_is_no_path() {
        assert!(FileName::parse("Grüße 1.png").is_ok());
        for bad in ["", "a/b", r"a\b", "a\nb", "a\0b", &"x".repeat(256)] {
            assert!(FileName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_emoji_has_one_spelling() {
        for emoji in
            emojis::iter().flat_map(|emoji| std::iter::once(emoji).chain(emoji.skin_tones().into_iter().flatten()))
        {
            let text = emoji.as_str();
            for spelling in [text.to_owned(), without_selectors(text), format!("{text}\u{fe0f}")] {
                assert_eq!(
                    Emoji::parse(&spelling).map(|emoji| emoji.0),
                    Ok(text.to_owned()),
                    "{spelling:?}"
                );
            }
        }
    }

    fn parse_metadata(value: Value) -> Result<Metadata, Refusal> {
        match value {
            Value::Object(object) => Metadata::parse(object, 40),
            _ => unreachable!(),
        }
    }

    #[test]
    fn metadata_is_bounded_as_it_is_stored() {
        let parse = parse_metadata;
        assert!(parse(json!({"a": [1, {"b": null}]})).is_ok());
        assert!(parse(json!({"a": "x".repeat(40)})).is_err());
        assert!(parse(json!({"a": [1.5, -0.25, 1e20]})).is_ok());
        // A few bytes here, and hundreds in the database.
        assert!(parse(json!({"a": 1e300})).is_err());
        assert!(parse(json!({"a": [[-1e-300]]})).is_err());
    }
}
