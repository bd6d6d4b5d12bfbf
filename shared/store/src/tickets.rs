//! Tickets for event streams: a minute's stand-in for a bearer token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::rows::user_id;
use super::{Doing, Result, Store};
use domain::ids::UserId;
use domain::ticket::Ticket;

/// Whose a ticket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub id: UserId,
    /// When the token ends that the ticket was issued for.
    pub token_expires_at: DateTime<Utc>,
}

impl Store {
    /// Makes a ticket good, for no longer than its token. Only its hash is kept.
    pub async fn issue_ticket(
        &self,
        me: &UserId,
        ticket: &Ticket,
        good_for: Duration,
        token_expires_at: DateTime<Utc>,
    ) -> Result<()> {
        sqlx::query!(
            r#"
            insert into stream_tickets (hash, user_id, expires_at, token_expires_at)
            select $2, $1, least(now() + make_interval(secs => $3), $4), $4
            where (select acting_as($1))
            "#,
            me.as_str(),
            hash(ticket),
            good_for.as_secs_f64(),
            token_expires_at,
        )
        .execute(&self.pool)
        .await
        .doing("issuing a ticket")?;
        Ok(())
    }

    /// Whose ticket it is, while it is good: one look-up in stream_tickets_pkey.
    pub async fn ticket_holder(&self, ticket: &Ticket) -> Result<Option<Holder>> {
        let row = sqlx::query!(
            r#"select holder as "holder!", token_expires_at as "token_expires_at!" from ticket_holding($1)"#,
            hash(ticket),
        )
        .fetch_optional(&self.pool)
        .await
        .doing("reading a ticket")?;
        row.map(|row| {
            Ok(Holder {
                id: user_id(&row.holder)?,
                token_expires_at: row.token_expires_at,
            })
        })
        .transpose()
    }

    /// Forgets tickets that have run out, at most so many a call.
    pub async fn forget_tickets(&self, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            delete from stream_tickets
            where hash in (select hash from stream_tickets where expires_at < now() order by expires_at limit $1)
            "#,
            most,
        )
        .execute(&self.pool)
        .await
        .doing("forgetting tickets")?;
        Ok(done.rows_affected())
    }
}

fn hash(ticket: &Ticket) -> Vec<u8> {
    Sha256::digest(ticket.expose()).to_vec()
}
