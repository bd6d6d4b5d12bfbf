//! The books: what people's replies have cost, against what their budgets say.

use sqlx::{AssertSqlSafe, Row};

use crate::{Person, Stack};

/// A person's account over all periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    pub used: i64,
    pub reserved: i64,
    /// How many replies still have something reserved.
    pub holds: i64,
    /// What is held for them.
    pub held: i64,
    /// Prompts and answers together, as the replies themselves say.
    pub spent: i64,
}

impl Stack {
    pub async fn ledger(&self, person: &Person) -> Ledger {
        let sql = "
            select
                coalesce((select sum(used) from budgets where subject = 'person' and subject_id = $1), 0)::bigint,
                coalesce((select sum(reserved) from budgets where subject = 'person' and subject_id = $1), 0)::bigint,
                (select count(*) from holds where person_id = $1),
                coalesce((select sum(tokens) from holds where person_id = $1), 0)::bigint,
                coalesce((
                    select sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) from replies where asked_by = $1
                ), 0)::bigint";
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(&person.id)
            .fetch_one(&self.rows)
            .await
            .unwrap();
        Ledger {
            used: row.get(0),
            reserved: row.get(1),
            holds: row.get(2),
            held: row.get(3),
            spent: row.get(4),
        }
    }

    /// What somebody has used, of whom nothing is reserved: no more and no less than their replies have cost.
    pub async fn settled(&self, person: &Person) -> i64 {
        let ledger = self.ledger(person).await;
        let whole = Ledger {
            used: ledger.spent,
            reserved: 0,
            holds: 0,
            held: 0,
            spent: ledger.spent,
        };
        assert_eq!(ledger, whole, "{}", person.id);
        ledger.used
    }

    /// Gives somebody, or an organisation, a limit of their own.
    pub async fn limit(&self, subject: &str, id: &str, tokens: i64) {
        let sql = "insert into budget_limits (subject, subject_id, tokens) values ($1, $2, $3)
                   on conflict (subject, subject_id) do update set tokens = excluded.tokens";
        let query = sqlx::query(AssertSqlSafe(sql)).bind(subject).bind(id).bind(tokens);
        query.execute(&self.rows).await.unwrap();
    }
}
