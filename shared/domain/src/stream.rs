//! Streams that somebody reads: a response that stays open.

/// What a stream tells. A person may have so many open of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// All that happens.
    Events,
    /// One reply, as it is written by another process.
    Reply,
}
wire_enum!(StreamKind {
    Events = "events",
    Reply = "reply",
});
