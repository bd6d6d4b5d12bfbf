//! What benchmarks of sending have in common.

use anyhow::Result;
use shared::domain::budget::{BudgetPolicy, Period};
use shared::domain::message::Draft;
use shared::domain::reply::{Allowance, Terms, WhenBusy};
use shared::domain::text::{ClientId, Content, Metadata};
use uuid::Uuid;

/// As configured by default, but for the limit, which a benchmark would reach.
pub(crate) const TERMS: Terms = {
    let allowance = Allowance {
        instruction: 30,
        output: 1024,
        context: 8192,
    };
    Terms {
        when_busy: WhenBusy::Queue,
        budget: BudgetPolicy {
            period: Period::Month,
            person_limit: Some(i64::MAX / 2),
            organisation_limit: None,
        },
        assistant: allowance,
        post: allowance,
    }
};

/// A message as people write them.
pub(crate) fn usual_draft() -> Result<Draft> {
    Ok(Draft {
        client_id: ClientId::parse(&Uuid::now_v7().to_string()).map_err(anyhow::Error::msg)?,
        content: Content::parse("a message of the usual length, no more and no less", 100)
            .map_err(anyhow::Error::msg)?,
        attachments: Vec::new(),
        mentions: Vec::new(),
        reply_to: None,
        metadata: Metadata::default(),
    })
}
