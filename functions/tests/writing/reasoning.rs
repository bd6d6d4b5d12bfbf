//! What a model thinks before it answers: that is told as far as it is wanted, and it is paid for.

use functions::events;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::world::{Person, World, events as read, eventually, joined, script};

const THOUGHT: &str = "step 1 step 2 step 3 step 4 ";

/// Slow enough to be seen while it thinks.
fn thinking() -> String {
    script(&json!({"thoughts": 4, "text": "Tall lighthouses shine.", "delayMs": 300}))
}

async fn until_it_thinks(world: &World) {
    eventually("a reply that is thought about", async || {
        let parts = world.row("select to_jsonb(count(*)) from reply_thoughts").await;
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

/// What the asker's response, Pusher, the event stream, and somebody who joins while it thinks hear of one answer.
async fn heard_everywhere(world: &World, anna: &Person) -> [Vec<(String, Value)>; 4] {
    let asking = async {
        let body = json!({ "content": thinking() });
        read(world.post(&world.people, anna, body, "text/event-stream").await).await
    };
    let listening = async {
        let stream = events::stream::handle(world.people.reads.clone(), world.listening(anna));
        read(stream.await.unwrap()).await
    };
    let joining = async {
        eventually("a reply that is written", async || {
            let written = world
                .row("select to_jsonb(count(*)) from replies where state = 'streaming'")
                .await;
            (written != json!(0)).then_some(())
        })
        .await;
        read(world.join(&world.people, anna, "").await).await
    };
    let (asked, listened, joined) = tokio::join!(asking, listening, joining);
    let pushed = world.peer.told().into_iter();
    let pushed = pushed
        .map(|event| (event["type"].as_str().unwrap().to_owned(), event))
        .collect();
    [asked, pushed, listened, joined]
}

#[sqlx::test(migrations = "../migrations")]
async fn that_a_model_thinks_is_told_once_everywhere_and_not_kept(pool: PgPool) {
    let world = World::on(pool, &[("STREAM_SECONDS", "6")]).await;
    let anna = world.person("anna").await;
    for heard in heard_everywhere(&world, &anna).await {
        let told: Vec<_> = of_type(&heard, "reply.reasoning").collect();
        assert_eq!(told.len(), 1, "{heard:?}");
        let data = &told[0]["data"];
        assert_eq!(
            (&data["attempt"], data.get("text"), data.get("offset")),
            (&json!(1), None, None)
        );
        let place = |name: &str| heard.iter().position(|(event, _)| event == name).unwrap();
        assert!(place("reply.started") < place("reply.reasoning"), "{heard:?}");
        assert!(place("reply.reasoning") < place("reply.delta"), "{heard:?}");
    }
    let message = world.message().await;
    assert_eq!(
        (&message["content"], &message["reasoning"]),
        (&json!("Tall lighthouses shine."), &Value::Null)
    );
    assert_eq!(
        world.row("select to_jsonb(count(*)) from reply_thoughts").await,
        json!(0)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_model_thinks_is_told_everywhere_and_kept_where_that_is_wanted(pool: PgPool) {
    let world = World::on(pool, &[("STREAM_SECONDS", "6"), ("MODEL_REASONING", "text")]).await;
    let anna = world.person("anna").await;
    for heard in heard_everywhere(&world, &anna).await {
        assert_eq!(joined(of_type(&heard, "reply.reasoning")), THOUGHT, "{heard:?}");
        let answer = of_type(&heard, "message.created").find(|event| event["data"]["role"] == "assistant");
        assert_eq!(answer.unwrap()["data"]["reasoning"], THOUGHT);
    }
    assert_eq!(world.message().await["reasoning"], THOUGHT);
    assert_eq!(
        world.row("select to_jsonb(count(*)) from reply_thoughts").await,
        json!(0)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_hears_of_thoughts_that_are_off(pool: PgPool) {
    let world = World::on(pool, &[("STREAM_SECONDS", "6"), ("MODEL_REASONING", "off")]).await;
    let anna = world.person("anna").await;
    for heard in heard_everywhere(&world, &anna).await {
        assert_eq!(of_type(&heard, "reply.reasoning").count(), 0, "{heard:?}");
    }
    assert_eq!(world.message().await["reasoning"], Value::Null);
    // They are paid for all the same: two tokens each, and a token a word.
    assert_eq!(world.reply().await["output_tokens"], 11);
}

#[sqlx::test(migrations = "../migrations")]
async fn who_loads_the_chat_sees_that_its_model_thinks(pool: PgPool) {
    for (mode, has_text) in [("status", false), ("text", true)] {
        let world = World::on(pool.clone(), &[("MODEL_REASONING", mode)]).await;
        let anna = world.person(&format!("anna-{mode}")).await;
        world.ask(&anna, &thinking()).await;
        let looking = async {
            until_it_thinks(&world).await;
            let size = domain::limits::PageSize::DEFAULT;
            let newest = world
                .people
                .store
                .newest(&anna.caller.id, anna.chat, size)
                .await
                .unwrap();
            json!(newest.1.unwrap())
        };
        let ((), running) = tokio::join!(world.work(&world.system), looking);
        assert_eq!(
            (&running["isThinking"], &running["text"]),
            (&json!(true), &json!("")),
            "{running}"
        );
        let reasoning = running["reasoning"].as_str();
        assert_eq!(
            reasoning.is_some_and(|text| THOUGHT.starts_with(text)),
            has_text,
            "{running}"
        );
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn in_the_sdks_dialect_thoughts_are_reasoning_parts_also_for_who_joins(pool: PgPool) {
    let world = World::on(pool, &[("MODEL_REASONING", "text")]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &thinking()).await;
    let joining = async {
        until_it_thinks(&world).await;
        read(world.join(&world.people, &anna, "ui-message-stream").await).await
    };
    let ((), heard) = tokio::join!(world.work(&world.system), joining);
    let of = |kind: &str| -> String {
        let chunks = heard.iter().filter(|(_, chunk)| chunk["type"] == kind);
        chunks.map(|(_, chunk)| chunk["delta"].as_str().unwrap()).collect()
    };
    assert_eq!(
        (of("reasoning-delta").as_str(), of("text-delta").as_str()),
        (THOUGHT, "Tall lighthouses shine.")
    );
    let mut kinds: Vec<_> = heard.iter().map(|(_, chunk)| chunk["type"].as_str().unwrap()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "start",
            "reasoning-start",
            "reasoning-delta",
            "reasoning-end",
            "text-start",
            "text-delta",
            "text-end",
            "finish"
        ]
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn who_stops_a_model_that_thinks_is_heard_and_pays_for_its_thoughts(pool: PgPool) {
    for mode in ["off", "status", "text"] {
        let world = World::on(pool.clone(), &[("MODEL_REASONING", mode)]).await;
        let anna = world.person(&format!("anna-{mode}")).await;
        world
            .ask(
                &anna,
                &script(&json!({"thoughts": 500, "thoughtBytes": 9, "delayMs": 30})),
            )
            .await;
        let stopping = async {
            let streams = "select to_jsonb(count(*)) from replies
                where state = 'streaming' and started_at < now() - interval '400 ms'";
            eventually("a model that thinks", async || {
                (world.row(streams).await != json!(0)).then_some(())
            })
            .await;
            let stopped = world.people.store.stop_replies(&anna.caller.id, anna.chat, None).await;
            stopped.unwrap().unwrap();
        };
        tokio::join!(world.work(&world.system), stopping);
        let reply = world.reply().await;
        assert_eq!(reply["state"], "stopped");
        assert!(reply["output_tokens"].as_u64() > Some(4), "{mode}: {reply}");
        assert!(reply["input_tokens"].as_u64() > Some(0), "{mode}: {reply}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_model_that_thinks_longer_than_any_patience_keeps_its_lease(pool: PgPool) {
    let settings = [
        ("REPLY_LEASE_SECONDS", "0.5"),
        ("MODEL_SILENCE_SECONDS", "1"),
        ("MODEL_FIRST_BYTE_SECONDS", "1"),
    ];
    let world = World::on(pool, &settings).await;
    let anna = world.person("anna").await;
    world
        .ask(&anna, &script(&json!({"thoughts": 10, "text": "Yes.", "delayMs": 300})))
        .await;
    world.work(&world.system).await;
    let reply = world.reply().await;
    assert_eq!((&reply["state"], &reply["attempt"]), (&json!("completed"), &json!(1)));
    assert_eq!(
        (&world.message().await["content"], &reply["output_tokens"]),
        (&json!("Yes."), &json!(21))
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_limit_that_is_spent_on_thoughts_is_no_fault_to_try_again(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world
        .ask(&anna, &script(&json!({"thoughts": 3, "fail": "spent"})))
        .await;
    world.work(&world.system).await;
    let (reply, message) = (world.reply().await, world.message().await);
    assert_eq!(
        (
            &reply["state"],
            &reply["failure"],
            &reply["attempt"],
            &reply["output_tokens"]
        ),
        (
            &json!("failed"),
            &json!("output-limit-spent-on-thinking"),
            &json!(1),
            &json!(6)
        )
    );
    assert!(message["content"].as_str().unwrap().contains("limit"), "{message}");
    assert_eq!(world.row("select to_jsonb(count(*)) from jobs").await, json!(0));
}

#[sqlx::test(migrations = "../migrations")]
async fn thoughts_of_a_worker_that_died_are_paid_for(pool: PgPool) {
    let world = World::on(pool, &[("REPLY_LEASE_SECONDS", "1")]).await;
    let anna = world.person("anna").await;
    world
        .ask(
            &anna,
            &script(&json!({"thoughts": 3, "thoughtBytes": 300, "text": "Yes.", "delayMs": 300})),
        )
        .await;
    let dying = async {
        tokio::select! {
            () = world.work(&world.system) => {}
            () = until_it_thinks(&world) => {}
        }
    };
    dying.await;
    eventually("a lease that ran out", async || {
        let over = "select to_jsonb(count(*)) from replies where lease_until < now()";
        (world.row(over).await != json!(0)).then_some(())
    })
    .await;
    world.work(&world.system).await;
    let reply = world.reply().await;
    assert_eq!((&reply["state"], &reply["attempt"]), (&json!("completed"), &json!(2)));
    // Seven that the model counted, and what was thought in vain.
    assert!(reply["output_tokens"].as_u64() > Some(7 + 90), "{reply}");
}
