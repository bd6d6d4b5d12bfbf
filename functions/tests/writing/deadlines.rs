//! A reply ends before its function is ended, with what is there.

use std::time::Duration;

use domain::post::PostDraft;
use foundation::deadline::Deadline;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::peer::{Bucket, Model};
use crate::world::{World, events, eventually, script};

/// Of it a quarter is kept for the end.
const FUNCTION: Duration = Duration::from_secs(4);

/// Nothing is held, and what is used is what replies have cost.
async fn assert_settled(world: &World) {
    let books = world
        .row(
            "select to_jsonb(x) from (select
                (select count(*) from holds) as holds,
                (select sum(reserved) from budgets) as reserved,
                (select sum(used) from budgets) = (select sum(input_tokens + output_tokens) from replies) as is_paid
             ) x",
        )
        .await;
    assert_eq!(books, json!({"holds": 0, "reserved": 0, "is_paid": true}));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_reply_longer_than_the_functions_time_ends_once_with_what_was_said(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &script(&json!({"words": 1000, "delayMs": 50}))).await;
    world.ask(&anna, "and then?").await;
    let (began, worker) = (Instant::now(), world.worker_for(FUNCTION));
    world.work(&worker).await;
    println!("ended after {:?} of {FUNCTION:?}", began.elapsed());
    assert!(began.elapsed() < FUNCTION);

    let cut = world
        .row("select to_jsonb(r) from replies r order by prompt_seq limit 1")
        .await;
    assert_eq!(
        (&cut["state"], &cut["failure"], &cut["attempt"]),
        (&json!("stopped"), &json!("deadline"), &json!(1))
    );
    let message = world.message().await;
    let text = message["content"].as_str().unwrap();
    assert!(text.starts_with("word1 word2 word3 "), "{text}");
    assert_eq!(message["metadata"], json!({"reason": "deadline"}));
    assert_eq!(message["usage"]["outputTokens"], cut["output_tokens"]);
    assert!(cut["output_tokens"].as_u64() > Some(10));

    // The chat goes on.
    world.work(&world.system).await;
    assert_eq!(world.message().await["content"], "You said: and then?");
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_streamed_reply_that_is_cut_off_says_so_before_the_function_is_ended(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    let app = world.people.until(Deadline::of(FUNCTION));
    let content = script(&json!({"words": 1000, "delayMs": 50}));
    let response = world
        .post(&app, &anna, json!({ "content": content }), "text/event-stream")
        .await;
    let heard = events(response).await;
    let [.., (_, message), (name, ended)] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!(name, "reply.ended");
    assert_eq!(
        (&ended["data"]["state"], &ended["data"]["reason"]),
        (&json!("stopped"), &json!("deadline"))
    );
    assert_eq!(message["data"]["metadata"], json!({"reason": "deadline"}));
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_reply_without_a_word_by_the_deadline_fails_and_is_not_asked_again(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, &script(&json!({"words": 1, "delayMs": 60_000}))).await;
    world.work(&world.worker_for(FUNCTION)).await;
    let reply = world.reply().await;
    assert_eq!(
        (&reply["state"], &reply["failure"], &reply["attempt"]),
        (&json!("failed"), &json!("deadline"), &json!(1))
    );
    assert_eq!(world.message().await["metadata"], json!({"reason": "deadline"}));
    assert!(reply["input_tokens"].as_u64() > Some(0), "{reply}");
    assert_eq!(world.row("select to_jsonb(count(*)) from jobs").await, json!(0));
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_begun_in_time_is_left_to_the_next_invocation_and_costs_no_attempt(pool: PgPool) {
    let world = World::on(pool, &[("REPLY_ATTEMPTS", "1")]).await;
    let anna = world.person("anna").await;
    world.ask(&anna, "hello").await;
    let late = world.worker_for(Duration::from_secs(1));
    eventually("little time", async || {
        (!late.jobs.deadline().leaves_time()).then_some(())
    })
    .await;
    world.work(&late).await;
    let reply = world.reply().await;
    assert_eq!((&reply["state"], &reply["failure"]), (&json!("queued"), &json!(null)));
    world.work(&world.system).await;
    assert_eq!(world.message().await["content"], "You said: hello");
    assert_eq!(world.reply().await["attempt"], 2);
    assert_settled(&world).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_welcome_that_goes_on_and_on_ends_in_the_plain_one(pool: PgPool) {
    let world = World::on(pool, &[("MODEL_PROVIDER", "openai"), ("MODEL_KEY", "test")]).await;
    world
        .peer
        .behave(Bucket::Hangs, Model::GoesOn(Duration::from_millis(500)));
    let anna = world.person("anna").await;
    let terms = functions::replies::terms::of_welcome(&world.people.models.policy, None);
    let (store, budget) = (&world.people.store, &world.people.settings.budget);
    store
        .create_post(&anna.caller, &PostDraft::default(), None, terms, budget)
        .await
        .unwrap();
    let began = Instant::now();
    world.work(&world.system).await;
    println!("welcomed after {:?}", began.elapsed());
    let message = world.message().await;
    assert_eq!(message["metadata"]["type"], "welcome");
    let text = message["content"].as_str().unwrap();
    assert!(text.starts_with("Welcome, "), "{text}");
    assert_eq!(world.peer.asked(), 1);
    assert_settled(&world).await;
}
