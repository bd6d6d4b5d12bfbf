//! Ids are types, so that mixing them does not compile.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, made of the time and randomness (UUIDv7).
            #[must_use]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }

            /// Reads the hyphenated form alone: braces, URNs and bare hex are not how ids leave us.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten().map(Self)
            }

            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    };
}

uuid_id!(
    /// A conversation.
    ChatId
);
uuid_id!(
    /// A message; also the reply that writes it, for a reply writes one message.
    MessageId
);
uuid_id!(
    /// A piece of work to be done after a commit.
    JobId
);
uuid_id!(
    /// A post.
    PostId
);
uuid_id!(
    /// An upload.
    AttachmentId
);
uuid_id!(
    /// Whoever holds a reply's newest fence is the one who may write it.
    Fence
);

/// A person: the token's `sub`, verbatim text of 1 to [`UserId::MAX_CHARS`] characters without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// The longest `sub` that an OpenID provider may issue (OpenID Connect Core, section 2).
    pub const MAX_CHARS: usize = 255;

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let length = text.chars().count();
        let fits = (1..=Self::MAX_CHARS).contains(&length) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for UserId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UserId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": Self::MAX_CHARS, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
        })
    }
}

/// A place in a chat's sequence: 0 is before everything, the first message has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Seq(i64);

impl Seq {
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        (value >= 0).then_some(Self(value))
    }

    #[must_use]
    pub fn value(self) -> i64 {
        self.0
    }
}

impl JsonSchema for Seq {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seq".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = ChatId::fresh();
        assert_eq!(ChatId::parse(&id.to_string()), Some(id));
        for odd in [
            "",
            "x",
            "{0192aaaa-0000-7000-8000-000000000000}",
            "0192aaaa000070008000000000000000",
            "0192aaaa-0000-7000-8000-00000000000g",
        ] {
            assert_eq!(ChatId::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_user_id_is_verbatim_text_within_bounds() {
        assert_eq!(
            UserId::parse("auth0|A b").map(|id| id.to_string()),
            Some("auth0|A b".to_owned())
        );
        assert_eq!(UserId::parse(""), None);
        assert_eq!(UserId::parse("a\0b"), None);
        assert_eq!(UserId::parse(&"é".repeat(256)), None);
        assert!(UserId::parse(&"é".repeat(255)).is_some());
    }
}
