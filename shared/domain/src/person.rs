//! People, as others see them and as they call.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::ids::UserId;

/// A person as others see them.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Person {
    pub id: UserId,
    pub name: String,
    pub image: Option<String>,
}

/// Somebody whom a person has blocked.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedPerson {
    pub user: Person,
    pub blocked_at: DateTime<Utc>,
}

/// Who calls, as the verified token says. Nothing in a body or query can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub id: UserId,
    pub name: String,
    pub image: Option<String>,
    pub org_id: Option<String>,
    pub role: CallerRole,
    pub token_expires_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerRole {
    Person,
    /// May send notices.
    Agent,
}

/// What naming somebody does who never signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownPeople {
    Refuse,
    Create,
}

/// Who reaches nobody that is known to be of another organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Organisations {
    Open,
    Agents,
    Everyone,
}
