//! What a model refuses does not silence a chat: it is asked once more with less, and what it refused is left out later.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::peer::{Bucket, Model};
use crate::world::{Person, World};

const OPENAI: [(&str, &str); 3] = [
    ("MODEL_PROVIDER", "openai"),
    ("MODEL_KEY", "test"),
    ("MODEL_MAX_OUTPUT_TOKENS", "100"),
];
const DAMAGED: &str = "Could not process image";
const BLIND: &str = "Image input is not supported by this model";

/// Attaches images to the newest message, behind the API's back, and holds what they would have held.
async fn attach(world: &World, person: &Person, count: usize, size: usize) {
    let images: Vec<Value> = (0..count)
        .map(|_| {
            let url = format!("s3://bucket/attachments/{}", Uuid::now_v7());
            json!({"type": "image", "url": url, "mimeType": "image/png", "size": size})
        })
        .collect();
    let newest = "update messages set attachments = $1 where chat_id = $2 and seq = (
        select max(seq) from messages where chat_id = $2 and role = 'user'
    )";
    let query = sqlx::query(newest).bind(json!(images)).bind(person.chat.uuid());
    query.execute(&world.rows).await.unwrap();
    hold_more(world, person).await;
}

async fn hold_more(world: &World, person: &Person) {
    for more in [
        "update budgets set reserved = reserved + 49000 where subject_id = $1",
        "update holds set tokens = tokens + 49000 where person_id = $1",
    ] {
        let query = sqlx::query(more).bind(person.caller.id.as_str());
        query.execute(&world.rows).await.unwrap();
    }
}

/// Asks, has it answered, and says how often the model was asked for it.
async fn calls(world: &World, person: &Person, question: &str, images: usize, size: usize) -> usize {
    let before = world.peer.asked();
    world.ask(person, question).await;
    if images > 0 {
        attach(world, person, images, size).await;
    } else {
        // What was said before may have images, too.
        hold_more(world, person).await;
    }
    world.work(&world.system).await;
    world.peer.asked() - before
}

async fn assert_answered(world: &World, metadata: Value) {
    let (reply, message) = (world.reply().await, world.message().await);
    assert_eq!(
        (&reply["state"], &reply["attempt"]),
        (&json!("completed"), &json!(1)),
        "{reply}"
    );
    assert_eq!(message["content"], "Tall lighthouses shine.");
    assert_eq!(message["metadata"], metadata);
    assert_eq!(
        (&reply["input_tokens"], &reply["output_tokens"]),
        (&json!(20), &json!(8)),
        "{reply}"
    );
}

async fn assert_failed(world: &World, failure: &str) {
    let (reply, message) = (world.reply().await, world.message().await);
    assert_eq!(
        (&reply["state"], &reply["failure"], &reply["attempt"]),
        (&json!("failed"), &json!(failure), &json!(1))
    );
    assert_eq!(
        (&message["type"], &message["metadata"]["reason"]),
        (&json!("ERROR"), &json!(failure))
    );
}

fn images_asked(world: &World) -> usize {
    world.peer.last().to_string().matches("image_url\":").count()
}

#[sqlx::test(migrations = "../migrations")]
async fn an_image_that_the_model_cannot_read_is_left_out_from_then_on(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    // In words that are known, and in some that no one has heard of.
    for words in [DAMAGED, "unsupported thing in part 3"] {
        let chat = world.another_chat(&anna).await;
        world.peer.behave(Bucket::Holds(1000), Model::RefusesImages(words));
        assert_eq!(calls(&world, &chat, "what is this?", 1, 1000).await, 2, "{words}");
        assert_answered(&world, json!({"omitted": ["images"]})).await;
        assert!(
            world
                .peer
                .last()
                .to_string()
                .contains("[an image that could not be read]")
        );
        assert_eq!(
            calls(&world, &chat, "and what is two and two?", 0, 0).await,
            1,
            "{words}"
        );
        assert_answered(&world, json!({})).await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_images_of_later_questions_are_shown_again(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Holds(1000), Model::RefusesImages(DAMAGED));
    assert_eq!(calls(&world, &anna, "what is this?", 1, 1000).await, 2);
    world.peer.behave(Bucket::Holds(1000), Model::Takes(1_000_000));
    assert_eq!(calls(&world, &anna, "and this?", 2, 1000).await, 1);
    assert_eq!(images_asked(&world), 2);
    assert_answered(&world, json!({})).await;
    // And stay, when another one cannot be read.
    world.peer.behave(Bucket::Holds(1000), Model::RefusesImages(DAMAGED));
    assert_eq!(calls(&world, &anna, "but this?", 1, 1000).await, 2);
    world.peer.behave(Bucket::Holds(1000), Model::Takes(1_000_000));
    assert_eq!(calls(&world, &anna, "well?", 0, 0).await, 1);
    assert_eq!(images_asked(&world), 2);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_model_without_eyes_is_shown_no_image_twice(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Holds(1000), Model::RefusesImages(BLIND));
    assert_eq!(calls(&world, &anna, "what is this?", 1, 1000).await, 1);
    assert_failed(&world, "model-cannot-see-images").await;
    assert_eq!(calls(&world, &anna, "and what is two and two?", 0, 0).await, 1);
    assert_answered(&world, json!({})).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_history_longer_than_the_models_window_is_halved_from_then_on(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::Window(2_000));
    let long = "lighthouse ".repeat(270);
    assert_eq!(calls(&world, &anna, &long, 0, 0).await, 1);
    assert_eq!(calls(&world, &anna, &long, 0, 0).await, 2);
    assert_answered(&world, json!({"omitted": ["history"]})).await;
    assert_eq!(calls(&world, &anna, "how tall?", 0, 0).await, 1);
    assert_answered(&world, json!({})).await;
    // It narrows further where half was still too much.
    world.peer.behave(Bucket::Hangs, Model::Window(1_000));
    for _ in 0..4 {
        assert!(calls(&world, &anna, &"tall ".repeat(180), 0, 0).await <= 2);
        assert_eq!(world.reply().await["state"], "completed");
    }
    assert_eq!(calls(&world, &anna, "how tall?", 0, 0).await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_question_that_is_too_long_by_itself_is_asked_once_and_the_next_one_answered(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::Window(1_000));
    assert_eq!(calls(&world, &anna, &"lighthouse ".repeat(270), 0, 0).await, 1);
    assert_failed(&world, "prompt-too-long").await;
    assert_eq!(calls(&world, &anna, "how tall?", 0, 0).await, 1);
    assert_answered(&world, json!({})).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn images_that_are_too_much_for_the_provider_are_left_out_from_then_on(pool: PgPool) {
    const IMAGE: usize = 1_500_000;
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Holds(IMAGE), Model::Takes(2_000_000));
    assert_eq!(calls(&world, &anna, "what are these?", 2, IMAGE).await, 2);
    assert_answered(&world, json!({"omitted": ["images"]})).await;
    assert_eq!(calls(&world, &anna, "and what is two and two?", 0, 0).await, 1);
    assert_answered(&world, json!({})).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn no_request_is_larger_than_its_provider_is_said_to_take(pool: PgPool) {
    const IMAGE: usize = 600_000;
    let mut settings = OPENAI.to_vec();
    settings.push(("MODEL_REQUEST_BYTES", "1000000"));
    let world = World::on(pool, &settings).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Holds(IMAGE), Model::Takes(1_000_000));
    assert_eq!(calls(&world, &anna, "what are these?", 2, IMAGE).await, 1);
    assert_eq!(images_asked(&world), 1);
    assert_answered(&world, json!({})).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_provider_that_asks_for_days_of_rest_is_told_of_at_once(pool: PgPool) {
    const DAYS: u64 = 16 * 86_400;
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::AsksForRest(DAYS));
    assert_eq!(calls(&world, &anna, "how tall?", 0, 0).await, 1);
    assert_failed(&world, "model-rate-limited").await;
    let message = world.message().await;
    let until: DateTime<Utc> = message["metadata"]["retryAt"].as_str().unwrap().parse().unwrap();
    let rest = (until - Utc::now()).num_hours();
    assert!((15 * 24..=16 * 24).contains(&rest), "{rest} hours");
    let said = message["content"].as_str().unwrap();
    assert!(said.ends_with("try again in 16 days."), "{said}");
    let told = world.peer.told();
    let ended = told.iter().find(|event| event["type"] == "reply.ended").unwrap();
    let told_until: DateTime<Utc> = ended["data"]["retryAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(told_until, until);
    // Whoever polls hears the same.
    let inbox = world.row("select data from inbox where data ? 'retryAt' limit 1").await;
    assert_eq!(
        inbox["retryAt"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(),
        until
    );
    world.peer.behave(Bucket::Hangs, Model::Takes(100_000));
    assert_eq!(calls(&world, &anna, "and now?", 0, 0).await, 1);
    assert_answered(&world, json!({})).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rest_of_seconds_is_waited_for_and_one_beyond_all_measure_is_no_fault(pool: PgPool) {
    let world = World::on(pool, &OPENAI).await;
    let anna = world.person("anna").await;
    world.peer.behave(Bucket::Hangs, Model::AsksForRest(40));
    assert_eq!(calls(&world, &anna, "how tall?", 0, 0).await, 1);
    let reply = world.reply().await;
    assert_eq!(
        (&reply["state"], &reply["failure"]),
        (&json!("queued"), &json!("model-rate-limited"))
    );
    let other = world.another_chat(&anna).await;
    for seconds in [u64::MAX, 1 << 40, 61] {
        world.peer.behave(Bucket::Hangs, Model::AsksForRest(seconds));
        let before = world.peer.asked();
        world.ask(&other, "how tall?").await;
        world.work(&world.system).await;
        assert_eq!(world.peer.asked() - before, 1, "{seconds}");
        assert_failed(&world, "model-rate-limited").await;
    }
}
