//! How fast people go.

use super::{Doing, Result, Store};
use domain::ids::UserId;
use domain::rate::{RateClass, RateLimit, Spent};

impl Store {
    /// Spends one request of a person's allowance, if there is one left: one statement.
    pub async fn spend_rate(&self, me: &UserId, class: RateClass, limit: RateLimit) -> Result<Spent> {
        let row = sqlx::query!(
            r#"
            select
                is_allowed as "is_allowed!", remaining as "remaining!", reset_after_seconds as "reset_after_seconds!",
                retry_after_seconds as "retry_after_seconds!"
            from spend_rate($1, $2, $3, make_interval(secs => $4))
            "#,
            me.as_str(),
            class.word(),
            limit.quota,
            limit.period().as_secs_f64(),
        )
        .fetch_one(&self.pool)
        .await
        .doing("counting a request")?;
        Ok(Spent {
            class,
            limit,
            is_allowed: row.is_allowed,
            remaining: row.remaining,
            reset_after_seconds: row.reset_after_seconds,
            retry_after_seconds: row.retry_after_seconds,
        })
    }

    /// Forgets whom nothing was counted of since the day before yesterday, at most so many a call. Served by
    /// rate_limits_touched_on.
    pub async fn forget_rates(&self, most: i64) -> Result<u64> {
        let done = sqlx::query!(
            r#"
            delete from rate_limits
            where (user_id, class) in (
                select user_id, class from rate_limits
                where touched_on < (now() at time zone 'utc')::date - 1 and tat < now()
                order by touched_on
                limit $1
            )
            "#,
            most,
        )
        .execute(&self.pool)
        .await
        .doing("forgetting rates")?;
        Ok(done.rows_affected())
    }
}
