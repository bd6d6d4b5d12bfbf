//! Images for the model: fetched without losing the reply, and held within the function's memory.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::peer::{Bucket, Model};
use crate::world::{Person, World};

/// Stored with a message of somebody's, behind the API's back: their uploads, each announced with this size.
async fn attach(world: &World, person: &Person, count: usize, size: Option<usize>) {
    let images: Vec<Value> = (0..count)
        .map(|_| {
            let url = format!("s3://bucket/attachments/{}", Uuid::now_v7());
            json!({"type": "image", "url": url, "mimeType": "image/png", "size": size})
        })
        .collect();
    sqlx::query("update messages set attachments = $1 where chat_id = $2 and role = 'user'")
        .bind(json!(images))
        .bind(person.chat.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    // As much as they would have reserved.
    for more in [
        "update budgets set reserved = reserved + 49000 where subject_id = $1",
        "update holds set tokens = tokens + 49000 where person_id = $1",
    ] {
        let query = sqlx::query(more).bind(person.caller.id.as_str());
        query.execute(&world.rows).await.unwrap();
    }
}

/// The highest that this process' memory has been, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

#[sqlx::test(migrations = "../migrations")]
async fn a_bucket_that_does_not_answer_costs_its_images_and_no_attempt(pool: PgPool) {
    // A lease that runs out twenty times while they are waited for.
    let world = World::on(pool, &[("REPLY_LEASE_SECONDS", "0.5")]).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::CountsBytes);
    world.ask(&anna, "what is this?").await;
    attach(&world, &anna, 3, Some(1000)).await;
    let is_lost = async {
        let mut looks = 0;
        loop {
            let lost = "select to_jsonb(count(*)) from replies where state = 'streaming' and lease_until < now()";
            assert_eq!(world.row(lost).await, json!(0), "after {looks} looks");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let began = Instant::now();
    tokio::select! {
        () = world.work(&world.system) => {}
        () = is_lost => unreachable!("it has no end"),
    }
    println!("answered after {:?}", began.elapsed());
    let reply = world.reply().await;
    assert_eq!((&reply["state"], &reply["attempt"]), (&json!("completed"), &json!(1)));
    let missing = "\n\n[an image that could not be read]".repeat(3);
    assert_eq!(
        world.message().await["content"],
        format!("You said: what is this?{missing}")
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn who_stops_while_images_are_waited_for_is_heard(pool: PgPool) {
    let world = World::on(pool, &[]).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::CountsBytes);
    world.ask(&anna, "what is this?").await;
    attach(&world, &anna, 1, Some(1000)).await;
    let stopping = async {
        crate::world::eventually("a reply that is written", async || {
            (world.reply().await["state"] == "streaming").then_some(())
        })
        .await;
        let stopped = world.people.store.stop_replies(&anna.caller.id, anna.chat, None).await;
        stopped.unwrap().unwrap();
    };
    let began = Instant::now();
    tokio::join!(world.work(&world.system), stopping);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let reply = world.reply().await;
    assert_eq!(
        (&reply["state"], &reply["input_tokens"]),
        (&json!("stopped"), &json!(0))
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_batch_of_questions_with_images_stays_within_a_functions_memory(pool: PgPool) {
    const LIMIT: u64 = 512;
    const IMAGE: usize = 5 * 1024 * 1024;
    let settings = [("MODEL_PROVIDER", "openai"), ("MODEL_KEY", "test")];
    let world = World::on(pool, &settings).await;
    world
        .peer
        .behave(Bucket::Holds(IMAGE), Model::Waits(Duration::from_millis(500)));
    for number in 0..10 {
        let person = world.person(&format!("p{number}")).await;
        world.ask(&person, "what are these?").await;
        // Who does not say a size is not trusted to be small.
        attach(&world, &person, 10, (number % 2 == 0).then_some(IMAGE)).await;
    }
    let before = peak();
    world.work(&world.system).await;
    // With the bucket's and the model's side of it, which are in this process, too.
    println!("peak: {before} MiB before the batch, {} MiB after it", peak());
    assert!(peak() < LIMIT, "{} MiB", peak());
    let completed = "select to_jsonb(count(*)) from replies where state = 'completed' and attempt = 1";
    assert_eq!(world.row(completed).await, json!(10));
    assert_eq!(world.peer.asked(), 10);
}
