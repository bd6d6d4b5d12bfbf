//! Budgets: what replies may cost, and have cost. Tokens are reserved and settled inside the statements that open and end
//! replies, by the functions of migration 0013; here is what is left to read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::rows::word;
use super::{Doing, Result, Store};
use domain::budget::{Balance, BudgetPolicy, Exhausted, Subject};
use domain::person::Caller;

/// Why `admit_reply` did not admit one.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    refused: String,
    limit: Option<i64>,
    used: Option<i64>,
    reserved: Option<i64>,
    resets_at: Option<DateTime<Utc>>,
}

pub(super) enum Refusal {
    /// The same request was admitted while this one waited: a fresh look finds it.
    Known,
    Busy,
    Exhausted(Exhausted),
}

impl Refused {
    pub(super) fn read(self, policy: &BudgetPolicy) -> Result<Refusal> {
        Ok(match self {
            Self {
                refused,
                limit: Some(limit),
                used: Some(used),
                reserved: Some(reserved),
                resets_at: Some(resets_at),
            } => Refusal::Exhausted(Exhausted {
                subject: word("budget's subject", &refused, Subject::parse)?,
                period: policy.period,
                limit,
                used,
                reserved,
                resets_at,
            }),
            Self { refused, .. } => word("refusal", &refused, |word| match word {
                "known" => Some(Refusal::Known),
                "busy" => Some(Refusal::Busy),
                _ => None,
            })?,
        })
    }
}

/// A caller's budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balances {
    pub person: Balance,
    /// Of a caller whose token names one.
    pub organisation: Option<Balance>,
}

impl Store {
    /// How the caller's budgets stand in the present period.
    pub async fn balances(&self, caller: &Caller, policy: &BudgetPolicy) -> Result<Balances> {
        let rows = sqlx::query!(
            r#"
            select
                subject as "subject!", used as "used!", reserved as "reserved!", bound as "limit?",
                resets_at as "resets_at!"
            from usage_of_caller($2, $3, $4, $5)
            where (select acting_as($1))
            "#,
            caller.id.as_str(),
            caller.org_id.as_deref(),
            policy.person_limit,
            policy.organisation_limit,
            policy.period.word(),
        )
        .fetch_all(&self.pool)
        .await
        .doing("reading budgets")?;
        // They come in whatever order the plan gives them.
        let (mut person, mut organisation) = (None, None);
        for row in rows {
            let balance = Balance {
                used: row.used,
                reserved: row.reserved,
                limit: row.limit,
                resets_at: row.resets_at,
            };
            match word("budget's subject", &row.subject, Subject::parse)? {
                Subject::Person => person = Some(balance),
                Subject::Organisation => organisation = Some(balance),
            }
        }
        Ok(Balances {
            person: person.ok_or_else(|| super::unreadable("budget", caller.id.as_str()))?,
            organisation,
        })
    }

    /// Gives back what was reserved for replies that are not open any more, at most so many a call. Ends settle their own
    /// holds; this is for what no end has reached. Served by holds_created_at.
    pub async fn release_dead_holds(&self, after: Duration, most: i64) -> Result<u64> {
        let released = sqlx::query_scalar!(
            r#"
            with dead as materialized (
                select h.reply_id
                from holds h
                left join replies r on r.id = h.reply_id
                where h.created_at < now() - make_interval(secs => $1)
                    and (r.id is null or r.state not in ('queued', 'streaming'))
                order by h.created_at
                limit $2
            )
            select count(*) filter (where settle_reply(dead.reply_id, 0)) as "released!" from dead
            "#,
            after.as_secs_f64(),
            most,
        )
        .fetch_one(&self.pool)
        .await
        .doing("releasing dead holds")?;
        Ok(u64::try_from(released).unwrap_or(0))
    }
}
