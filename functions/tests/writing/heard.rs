//! What is heard of a reply: the deltas are the whole text, its message follows, and `reply.ended` is always the last.

use functions::events;
use serde_json::{Value, json};
use sqlx::PgPool;
use store::replies::Which;
use tokio::sync::Notify;

use crate::world::{Person, World, events as read, events_noting, eventually, joined, script};

/// The last word and the end come at once: nothing of it is stored before it is over.
fn slow() -> String {
    script(&json!({"text": "one two three four", "delayMs": 400}))
}

async fn until_it_is_written(world: &World) {
    eventually("a reply that is written", async || {
        let parts = world.row("select to_jsonb(count(*)) from reply_parts").await;
        (parts != json!(0)).then_some(())
    })
    .await;
}

fn of_type<'a>(events: &'a [(String, Value)], name: &'a str) -> impl Iterator<Item = &'a Value> {
    events
        .iter()
        .filter(move |(event, _)| event == name)
        .map(|(_, data)| data)
}

#[sqlx::test(migrations = "../migrations")]
async fn who_joins_hears_the_whole_text_as_deltas_and_then_the_message(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &slow()).await;
    let joining = async {
        until_it_is_written(&world).await;
        read(world.join(&world.people, &anna, "").await).await
    };
    let ((), heard) = tokio::join!(world.work(&world.system), joining);
    assert_eq!(joined(of_type(&heard, "reply.delta")), "one two three four");
    let names: Vec<_> = heard.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["message.created", "reply.ended"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn who_joins_an_answer_that_is_written_again_hears_the_new_text_alone(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &slow()).await;
    world.work(&world.system).await;
    let terms = functions::replies::terms::terms(&world.people.settings, &world.people.models.policy, None);
    let store = &world.people.store;
    let again = async || {
        let opened = store.regenerate_reply(&anna.caller, anna.chat, Which::Newest, None, None, &terms);
        opened.await.unwrap();
    };
    again().await;
    let joining = async {
        until_it_is_written(&world).await;
        read(world.join(&world.people, &anna, "").await).await
    };
    let ((), heard) = tokio::join!(world.work(&world.system), joining);
    assert_eq!(joined(of_type(&heard, "reply.delta")), "one two three four");
    assert!(of_type(&heard, "message.updated").count() == 1, "{heard:?}");

    // Stopped before a word: what was said before is no text of this attempt.
    again().await;
    let joining = async { read(world.join(&world.people, &anna, "").await).await };
    let stopping = async {
        tokio::task::yield_now().await;
        store.stop_replies(&anna.caller.id, anna.chat, None).await.unwrap();
    };
    let (heard, ()) = tokio::join!(joining, stopping);
    assert_eq!(of_type(&heard, "reply.delta").count(), 0, "{heard:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn pushers_deltas_are_the_whole_text_and_the_message_follows(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &slow()).await;
    world.work(&world.system).await;
    let told = world.peer.told();
    let deltas = || told.iter().filter(|event| event["type"] == "reply.delta");
    assert_eq!(joined(deltas()), "one two three four");
    assert!(deltas().count() > 1);
    let last = told.iter().rposition(|event| event["type"] == "reply.delta").unwrap();
    let mut rest: Vec<_> = told[last + 1..].iter().map(|event| event["type"].as_str()).collect();
    rest.sort_unstable();
    assert_eq!(rest, [Some("message.created"), Some("reply.ended")]);
}

#[sqlx::test(migrations = "../migrations")]
async fn pushers_deltas_are_the_whole_text_of_a_reply_that_is_stopped(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &script(&json!({"words": 100, "delayMs": 30}))).await;
    let stopping = async {
        until_it_is_written(&world).await;
        let stopped = world.people.store.stop_replies(&anna.caller.id, anna.chat, None).await;
        stopped.unwrap().unwrap();
    };
    tokio::join!(world.work(&world.system), stopping);
    let told = world.peer.told();
    let text = joined(told.iter().filter(|event| event["type"] == "reply.delta"));
    assert_eq!(json!(text), world.message().await["content"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_event_streams_deltas_are_the_whole_text(pool: PgPool) {
    let world = World::on(pool, &[("STREAM_SECONDS", "3")]).await;
    let anna = world.person("anna").await;
    let listening = async {
        read(
            events::stream::handle(world.people.reads.clone(), world.listening(&anna))
                .await
                .unwrap(),
        )
        .await
    };
    let asking = async {
        world.ask(&anna, &slow()).await;
        world.work(&world.system).await;
    };
    let (heard, ()) = tokio::join!(listening, asking);
    assert_eq!(joined(of_type(&heard, "reply.delta")), "one two three four");
    let place = |wanted: &dyn Fn(&(String, Value)) -> bool| heard.iter().rposition(wanted).unwrap();
    let last_delta = place(&|(name, _)| name == "reply.delta");
    let message = place(&|(name, event)| name == "message.created" && event["data"]["role"] == "assistant");
    assert!(last_delta < message, "{heard:?}");
}

/// A reply is being written and somebody streams it; then the chat is deleted.
async fn deleted_under(
    world: &World,
    anna: &Person,
    streaming: impl Future<Output = Vec<(String, Value)>>,
    is_heard: impl Future<Output = ()>,
) -> Vec<(String, Value)> {
    let deleting = async {
        is_heard.await;
        world
            .people
            .store
            .delete_chat(&anna.caller.id, anna.chat)
            .await
            .unwrap();
    };
    tokio::join!(streaming, deleting).0
}

fn long() -> String {
    script(&json!({"words": 500, "delayMs": 30}))
}

#[sqlx::test(migrations = "../migrations")]
async fn the_stream_of_a_deleted_chat_ends_in_reply_ended(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    // Who asked, and whose function writes.
    let anna = world.person("anna").await;
    let streaming = async {
        let body = json!({ "content": long() });
        read(world.post(&world.people, &anna, body, "text/event-stream").await).await
    };
    let asked = deleted_under(&world, &anna, streaming, until_it_is_written(&world)).await;

    // Who joined.
    let ben = world.person("ben").await;
    world.ask(&ben, &long()).await;
    let has_joined = Notify::new();
    let joining = async {
        until_it_is_written(&world).await;
        let response = world.join(&world.people, &ben, "").await;
        has_joined.notify_one();
        read(response).await
    };
    let working = world.work(&world.system);
    let (joined, ()) = tokio::join!(deleted_under(&world, &ben, joining, has_joined.notified()), working);
    for heard in [asked, joined] {
        assert_eq!(of_type(&heard, "error").count(), 0, "{heard:?}");
        let (name, ended) = heard.last().unwrap();
        assert_eq!(name, "reply.ended");
        // None, where the chat was gone before anything could be told.
        let begun = of_type(&heard, "reply.started").count();
        assert_eq!(
            (&ended["data"]["state"], &ended["data"]["attempt"]),
            (&json!("stopped"), &json!(begun))
        );
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_event_stream_ends_the_replies_of_a_deleted_chat_before_it_says_so(pool: PgPool) {
    let world = World::on(pool, &[("STREAM_SECONDS", "5")]).await;
    let anna = world.person("anna").await;
    let has_begun = Notify::new();
    let listening = async {
        let response = events::stream::handle(world.people.reads.clone(), world.listening(&anna));
        events_noting(response.await.unwrap(), "reply.started", &has_begun).await
    };
    let working = async {
        world.ask(&anna, &long()).await;
        world.work(&world.system).await;
    };
    let (heard, ()) = tokio::join!(deleted_under(&world, &anna, listening, has_begun.notified()), working);
    let names: Vec<_> = heard.iter().map(|(name, _)| name.as_str()).collect();
    let deleted = names.iter().position(|name| *name == "chat.deleted").unwrap();
    assert_eq!(names[deleted - 1], "reply.ended", "{names:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn in_the_sdks_dialect_the_stream_of_a_deleted_chat_is_aborted(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &long()).await;
    let has_joined = Notify::new();
    let joining = async {
        until_it_is_written(&world).await;
        let response = world.join(&world.people, &anna, "ui-message-stream").await;
        has_joined.notify_one();
        read(response).await
    };
    let deleting = deleted_under(&world, &anna, joining, has_joined.notified());
    let (heard, ()) = tokio::join!(deleting, world.work(&world.system));
    let kinds: Vec<_> = heard.iter().map(|(_, chunk)| chunk["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.last(), Some(&"abort"), "{kinds:?}");
    assert!(!kinds.contains(&"error"), "{kinds:?}");
}
