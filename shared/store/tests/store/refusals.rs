//! What a model refused of a chat is known to whoever asks it next, and to no other model; what it thinks, to who watches.

use domain::ids::{ChatId, JobId, Seq};
use domain::person::Caller;
use domain::reply::{Claim, Omitted};
use serde_json::json;
use sqlx::PgPool;
use store::replies::{Had, Remarks, Thoughts};
use store::thoughts::Thought;

use crate::world::{World, completed, page};

/// Asks with an image, behind the API's back.
async fn asked_with_an_image(world: &World, anna: &Caller, chat: ChatId) -> Claim {
    let sent = world.send(anna, chat, "what is this?").await;
    sqlx::query("update messages set attachments = $2 where id = $1")
        .bind(sent.message.id.uuid())
        .bind(json!([{"url": "s3://b/k"}]))
        .execute(&world.rows)
        .await
        .unwrap();
    world.claim(sent.wake.unwrap().job_id).await
}

/// Whose images the model is known to have refused.
async fn refused(world: &World, claim: &Claim, model: &str) -> Vec<Seq> {
    let context = world.system.reply_context(claim, model).await.unwrap().unwrap();
    let messages = context
        .messages
        .into_iter()
        .filter(|message| message.are_images_refused);
    messages.filter_map(|message| message.seq).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn images_that_were_read_before_are_not_suspected_while_there_are_others(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = asked_with_an_image(&world, &anna, chat).await;
    // `usage` says that the model is called "test".
    world.complete(&first, "a harbour").await;
    let second = asked_with_an_image(&world, &anna, chat).await;
    let shown = [second.prompt_seq, first.prompt_seq];
    for store in [&world.people, &world.system] {
        store.refuse_images(&second, "test", &shown).await.unwrap();
        assert_eq!(refused(&world, &second, "test").await, [second.prompt_seq]);
    }
    assert_eq!(refused(&world, &second, "other").await, []);
    // Nothing else is left that it could be.
    world
        .people
        .refuse_images(&second, "test", &[first.prompt_seq])
        .await
        .unwrap();
    assert_eq!(
        refused(&world, &second, "test").await,
        [first.prompt_seq, second.prompt_seq]
    );

    // An answer that was written without them has read none.
    let remarks = Remarks {
        omitted: vec![Omitted::Images],
        ..Remarks::default()
    };
    let third_chat = world.assistant_chat(&anna).await;
    let blind = asked_with_an_image(&world, &anna, third_chat).await;
    let ended = world.system.end_reply_with(&blind, &completed("well"), &remarks).await;
    assert_eq!(
        ended.unwrap().unwrap().message.unwrap().metadata,
        json!({"omitted": ["images"]})
    );
    let next = asked_with_an_image(&world, &anna, third_chat).await;
    let shown = [next.prompt_seq, blind.prompt_seq];
    world.people.refuse_images(&next, "test", &shown).await.unwrap();
    assert_eq!(
        refused(&world, &next, "test").await,
        [blind.prompt_seq, next.prompt_seq]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_window_only_narrows(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi").await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    for (told, is) in [(300, 300), (200, 200), (250, 200), (u32::MAX, 200), (0, 0)] {
        world.people.narrow_window(&claim, "test", told).await.unwrap();
        let context = world.people.reply_context(&claim, "test").await.unwrap().unwrap();
        assert_eq!(context.window, Some(is));
    }
    let other = world.people.reply_context(&claim, "other").await.unwrap().unwrap();
    assert_eq!(other.window, None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn thoughts_are_read_from_anywhere_on_and_are_gone_with_their_attempt(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let sent = world.send(&anna, chat, "hi").await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    let had = async |attempt, thoughts| {
        let had = Had {
            attempt,
            offset: 0,
            thoughts,
        };
        let reply = claim.reply_id;
        let progress = world.people.reply_progress_beyond(&anna.id, chat, reply, had).await;
        progress.unwrap().unwrap().thoughts
    };
    let think = async |offset, text: &str| {
        let thought = Thought {
            offset,
            text: text.into(),
            bytes: text.len(),
        };
        world.people.think_aloud(&claim, &thought).await.unwrap();
    };
    let heard = |offset, text: &str| {
        Some(Thoughts {
            offset,
            text: text.into(),
        })
    };
    assert_eq!(had(0, 0).await, None);
    think(0, "").await;
    assert_eq!(had(0, 0).await, heard(0, ""));
    think(0, "Hm, ").await;
    think(4, "grün").await;
    assert_eq!(had(0, 9).await, heard(0, "Hm, grün"));
    assert_eq!(had(1, 3).await, heard(3, " grün"));
    // Within a character, and at its end.
    assert_eq!(had(1, 7).await, heard(8, "n"));
    assert_eq!(had(1, 9).await, heard(9, ""));
    let running = world.people.newest(&anna.id, chat, page(10)).await.unwrap().1.unwrap();
    assert_eq!(
        (running.is_thinking, running.reasoning.as_deref()),
        (true, Some("Hm, grün"))
    );
    world.people.append_to_reply(&claim, 0, "Well").await.unwrap();
    let running = world.people.newest(&anna.id, chat, page(10)).await.unwrap().1.unwrap();
    assert!(!running.is_thinking);

    world.let_the_lease_run_out(claim.reply_id).await;
    let next = world.claim(sent_job(&world).await).await;
    assert_eq!(had(1, 0).await, None);
    let remarks = Remarks {
        reasoning: Some("Hm.".into()),
        ..Remarks::default()
    };
    let ended = world.system.end_reply_with(&next, &completed("Well."), &remarks).await;
    assert_eq!(
        ended.unwrap().unwrap().message.unwrap().reasoning.as_deref(),
        Some("Hm.")
    );
    assert_eq!(world.number("select count(*) from reply_thoughts").await, 0);
}

async fn sent_job(world: &World) -> JobId {
    let job: uuid::Uuid = sqlx::query_scalar("select id from jobs")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    job.into()
}
