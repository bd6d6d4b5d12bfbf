//! Where a person's inbox stands.

/// Where a person's inbox stands; the default is that of somebody we never met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxHead {
    pub version: i64,
    /// The same version of another inbox has another one: when the inbox began, for somebody who was erased and comes back,
    /// and the transaction that wrote the version, for a database that was restored and reaches it a second time. Opaque.
    pub epoch: String,
}
