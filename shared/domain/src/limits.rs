//! How much of everything. Each may be configured; `Default` is what the documentation promises.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Bounds on what a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message's content.
    pub content_bytes: usize,
    /// Bytes of a post's content.
    pub post_bytes: usize,
    /// Networks, and accounts with them, of a post.
    pub providers: usize,
    /// Bytes of metadata or data, as JSON.
    pub metadata_bytes: usize,
    /// Attachments of a message.
    pub attachments: usize,
    /// Members of a channel.
    pub members: usize,
    /// People named in a message.
    pub mentions: usize,
    /// Different emojis of a message.
    pub emojis: i32,
    /// Ids in one call.
    pub ids: usize,
    /// Bytes of a request's body; more than any valid request needs.
    pub body_bytes: usize,
    /// Active assistant chats of one person.
    pub assistant_chats: i32,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        content_bytes: 32 * 1024,
        post_bytes: 32 * 1024,
        providers: 20,
        metadata_bytes: 16 * 1024,
        attachments: 10,
        members: 256,
        mentions: 50,
        emojis: 20,
        ids: 100,
        body_bytes: 256 * 1024,
        assistant_chats: 5,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How many rows a page holds: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u8);

impl JsonSchema for PageSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PageSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX, "default": Self::DEFAULT.rows() })
    }
}

impl PageSize {
    pub const DEFAULT: Self = Self(50);
    pub const MAX: i64 = 100;
    pub const LARGEST: Self = Self(100);

    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        u8::try_from(value)
            .ok()
            .filter(|size| (1..=Self::MAX).contains(&i64::from(*size)))
            .map(Self)
    }

    #[must_use]
    pub fn rows(self) -> i64 {
        i64::from(self.0)
    }

    /// One more than the page, so that a query can tell whether there is another.
    #[must_use]
    pub fn rows_and_one(self) -> i64 {
        self.rows() + 1
    }
}
