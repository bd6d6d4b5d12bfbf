//! Parameters that several routes have in common.

use std::borrow::Cow;

use domain::ids::{ChatId, MessageId, PostId};
use domain::limits::PageSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Operation;

impl Operation {
    pub(crate) fn in_chat(self) -> Self {
        self.path::<ChatId>("chatId", "The chat. One that is not yours is not found.")
    }

    pub(crate) fn of_message(self) -> Self {
        self.path::<MessageId>("messageId", "The message.")
    }

    pub(crate) fn of_post(self) -> Self {
        self.path::<PostId>("postId", "The post. One that is not yours is not found.")
    }

    pub(crate) fn paged(self) -> Self {
        self.query::<PageSize>("limit", "How many a page holds.")
    }

    pub(crate) fn after_cursor(self) -> Self {
        self.query::<Cursor>("cursor", "The `nextCursor` of the page before.")
    }

    pub(crate) fn in_dialect(self) -> Self {
        self.query::<Format>(
            "format",
            "For Vercel's AI SDK: its body, and the answer streams as it reads it.",
        )
        .header::<String>(
            "x-vercel-ai-ui-message-stream",
            "`v1` is the same as `format=ui-message-stream`.",
        )
    }
}

macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident $(<const $bound:ident: $of:ty>)? { $($json:tt)+ }) => {
        $(#[$doc])*
        pub(crate) struct $name $(<const $bound: $of>)?;

        impl $(<const $bound: $of>)? JsonSchema for $name $(<$bound>)? {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($json)+ })
            }
        }
    };
}

parameter!(
    /// A whole number from `MIN` on.
    Number<const MIN: i64> { "type": "integer", "format": "int32", "minimum": MIN, "maximum": i32::MAX }
);
parameter!(
    /// Opaque to clients.
    Cursor { "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }
);
parameter!(Format { "type": "string", "enum": ["ui-message-stream"] });
parameter!(
    /// The same as a header, which may as well be empty.
    LastStreamPlace { "type": "string", "pattern": r"^([0-9]{1,18}(\.[0-9]{1,9})?)?$" }
);
parameter!(
    /// As `events::stream` writes it: a version, and how many events of the next one.
    StreamPlace { "type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?$" }
);
