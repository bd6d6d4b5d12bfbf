//! What models refused to read of a chat. It is left out of what they are asked later, so that nothing silences a chat for
//! ever. Each model has its own: another may read what this one does not.

use super::{Doing, Result, Store};
use domain::ids::Seq;
use domain::reply::Claim;

impl Store {
    /// Remembers whose images the model could not read. It does not say which one it means: those that it was shown by its
    /// last good answer in this chat it can read. Where there are no others, it is none of them.
    pub async fn refuse_images(&self, claim: &Claim, model: &str, shown: &[Seq]) -> Result<()> {
        let shown: Vec<i64> = shown.iter().map(|seq| seq.value()).collect();
        sqlx::query!(
            r#"
            with held as (
                select id, chat_id, prompt_seq from replies
                where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
            ),
            good as (
                -- Served by replies_prompt.
                select coalesce(max(answer.prompt_seq), 0) as seq
                from held
                join replies answer on answer.chat_id = held.chat_id and answer.prompt_seq < held.prompt_seq
                join messages said on said.id = answer.id and said.chat_id = answer.chat_id
                where answer.state = 'completed' and answer.model = $4 and not said.metadata ? 'omitted'
                    and (select acting_as($1))
            ),
            shown as (
                select seq, seq > (select seq from good) as is_new from unnest($5::bigint[]) as shown (seq)
            )
            insert into refused_images (chat_id, seq, model)
            select held.chat_id, shown.seq, $4
            from held
            cross join shown
            where (shown.is_new or not exists (select 1 from shown where is_new))
                -- One that was deleted meanwhile is shown to nobody.
                and exists (select 1 from messages m where m.chat_id = held.chat_id and m.seq = shown.seq)
            on conflict do nothing
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            model,
            &shown,
        )
        .execute(&self.pool)
        .await
        .doing("remembering refused images")?;
        Ok(())
    }

    /// Remembers that a prompt of the chat may take so many tokens, as we estimate; never more than was remembered before.
    pub async fn narrow_window(&self, claim: &Claim, model: &str, tokens: u32) -> Result<()> {
        sqlx::query!(
            r#"
            insert into prompt_windows (chat_id, model, tokens)
            select chat_id, $4, $5 from replies
            where id = $2 and fence = $3 and state = 'streaming' and (select acting_as($1))
            on conflict (chat_id, model) do update set tokens = least(prompt_windows.tokens, excluded.tokens)
            "#,
            claim.asked_by.as_str(),
            claim.reply_id.uuid(),
            claim.fence.uuid(),
            model,
            i32::try_from(tokens).unwrap_or(i32::MAX),
        )
        .execute(&self.pool)
        .await
        .doing("remembering how much a model reads")?;
        Ok(())
    }
}
