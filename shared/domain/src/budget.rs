//! Tokens that a person, and an organisation, may use a period.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// After which budgets begin anew, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Day,
    /// From Monday.
    Week,
    Month,
}
wire_enum!(Period { Day = "day", Week = "week", Month = "month" });

impl Period {
    /// Its length as a rate limit's window; a month's is 30 days.
    #[must_use]
    pub fn seconds(self) -> u32 {
        let days = match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
        };
        days * 24 * 60 * 60
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Person,
    Organisation,
}
wire_enum!(Subject as "BudgetSubject" => { Person = "person", Organisation = "organisation" });

/// The limits of whoever has none of their own in `budget_limits`; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPolicy {
    pub period: Period,
    pub person_limit: Option<i64>,
    pub organisation_limit: Option<i64>,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Settled, as providers counted.
    pub used: i64,
    /// Held for replies that are not over.
    pub reserved: i64,
    /// `null`: none.
    pub limit: Option<i64>,
    pub resets_at: DateTime<Utc>,
}

/// A budget that has no room for another reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub subject: Subject,
    pub period: Period,
    pub limit: i64,
    pub used: i64,
    pub reserved: i64,
    pub resets_at: DateTime<Utc>,
}
