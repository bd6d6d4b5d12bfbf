//! Exactly one welcome and one follow-up: of wake-ups that come twice and in any order, and of workers that die.

use std::collections::BTreeSet;
use std::fs;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::model::Manner;
use tests::{Gateway, PATIENCE, Person, Queue, Random, Stack, eventually};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Place, Studio, create, edit, said, settled};

const POSTS: usize = 4;
/// More batches at once than there are workers would be lost by `cargo lambda watch` now and then.
const WORKERS: usize = 4;

fn batch(bodies: &[String]) -> Value {
    let record = |(number, body): (usize, &String)| json!({ "messageId": format!("m-{number}"), "body": body });
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn shuffle(random: &mut Random, bodies: &mut [String]) {
    for last in (1..bodies.len()).rev() {
        bodies.swap(last, random.below(last + 1));
    }
}

async fn hand_over(gateway: &Gateway, bodies: &[String]) {
    let batches: Vec<_> = bodies.chunks(2).map(batch).collect();
    for at_once in batches.chunks(WORKERS) {
        let answers = join_all(at_once.iter().map(|batch| gateway.stack.invoke("worker", batch))).await;
        for answer in answers {
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
    }
}

/// Hands over what the queue has, each at least twice and old ones now and then, until nothing is to be done for a person.
async fn drain(anna: &Person, gateway: &Gateway, queue: &Queue, random: &mut Random, all: &mut BTreeSet<String>) {
    let open = "select count(*) from jobs j join chats c on c.id = j.chat_id where c.owner_id = $1";
    let deadline = Instant::now() + 2 * PATIENCE;
    let rows = &anna.stack.rows;
    while sqlx::query_scalar::<_, i64>(open)
        .bind(&anna.id)
        .fetch_one(rows)
        .await
        .unwrap()
        > 0
    {
        assert!(Instant::now() < deadline, "in vain");
        let new = queue.take().await;
        let old: Vec<_> = all.iter().filter(|_| random.below(4) == 0).cloned().collect();
        all.extend(new.iter().cloned());
        let mut twice = [new.clone(), new, old].concat();
        shuffle(random, &mut twice);
        hand_over(gateway, &twice).await;
    }
}

#[tokio::test]
async fn wake_ups_twice_and_in_any_order_leave_one_welcome_and_one_follow_up() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    let queue = Queue::start(&stack).await;
    let settings = [queue.setting()];
    let _functions = [
        ("create-post", 1),
        ("update-post", 1),
        ("follow-up", 1),
        ("worker", WORKERS),
    ]
    .map(|(name, count)| gateway.restarted(name, count, &settings));
    let anna = stack.person("anna");
    let writer = anna.by(&gateway.stack);
    let mut places: Vec<Place> = Vec::new();
    for number in 0..POSTS {
        let place = create(&writer, &format!("post number {number}")).await;
        // Before the welcome is there, and again and again.
        for draft in 0..5 {
            edit(&writer, &place.post, &format!("post number {number}, draft {draft}")).await;
        }
        let draft = json!({ "postContent": format!("post number {number}, the last draft"), "trigger": "typing" });
        for _ in 0..2 {
            writer
                .post(&format!("/api/posts/{}/follow-up", place.post), &draft)
                .await
                .with(202);
        }
        places.push(place);
    }
    let random = &mut Random(7);
    let mut all = BTreeSet::new();
    drain(&anna, &gateway, &queue, random, &mut all).await;
    // A request that comes late once more is no news.
    for (number, place) in places.iter().enumerate() {
        let draft = json!({ "postContent": format!("post number {number}, the last draft"), "trigger": "late" });
        let path = format!("/api/posts/{}/follow-up", place.post);
        writer.post(&path, &draft).await.with(202);
    }
    drain(&anna, &gateway, &queue, random, &mut all).await;
    // After the end: all of them once more.
    let mut stale: Vec<_> = all.iter().flat_map(|body| vec![body.clone(); 3]).collect();
    shuffle(random, &mut stale);
    hand_over(&gateway, &stale).await;

    for place in &places {
        let history = anna.history(&place.chat).await;
        let kinds: Vec<_> = history
            .iter()
            .map(|message| message["metadata"]["type"].clone())
            .collect();
        assert_eq!(kinds, ["welcome", "follow_up"]);
        assert_eq!(history[1]["metadata"]["trigger"], "typing");
        let attempts = "select sum(attempt)::bigint from replies where chat_id = $1";
        assert_eq!(
            stack.number(attempts, &place.chat).await,
            2,
            "a model is asked once for each"
        );
        let told = "select count(*) from inbox where chat_id = $1 and event = 'message.created'";
        assert_eq!(stack.number(told, &place.chat).await, 2);
    }
    let unread = anna.get("/api/chat-messages").await.with(200);
    assert_eq!(unread["total"], 2 * POSTS);
    stack.settled(&anna).await;
}

#[tokio::test]
async fn wherever_a_worker_dies_there_is_one_welcome_and_one_follow_up() {
    let faults = std::env::temp_dir().join(format!("faults-{}", Uuid::now_v7().simple()));
    fs::create_dir(&faults).unwrap();
    let settings = [
        ("FAULTS_DIRECTORY", faults.to_str().unwrap()),
        ("REPLY_LEASE_SECONDS", "4"),
    ];
    let studio = Studio::start(&settings).await;
    let (stack, model) = (&studio.stack, &studio.model);
    model.behave(Manner::Says("some words and some more words and then the end".into()));
    let places = ["claimed", "prompted", "speaking", "stored", "said", "ended"];
    join_all(places.map(|at| {
        let (studio, faults) = (&studio, &faults);
        async move {
            let anna = stack.person("Anna Berg");
            let writer = studio.writer(&anna);
            let place = create(&writer, "Lighthouses").await;
            // The welcome may be ahead of its doom: then the follow-up meets it.
            let wish = faults.join(format!("{at}.{}", place.chat));
            fs::write(&wish, "").unwrap();
            stack.unswept(&place.chat, settled(stack, &place.chat)).await;
            assert_eq!(said(&anna, &place.chat, "welcome").await.len(), 1, "{at}");
            fs::write(&wish, "").unwrap();
            edit(&writer, &place.post, "Lighthouses are tall and kind.").await;
            eventually("a death", async || (!wish.exists()).then_some(())).await;
            stack.unswept(&place.chat, settled(stack, &place.chat)).await;
            let history = anna.history(&place.chat).await;
            let kinds: Vec<_> = history
                .iter()
                .map(|message| message["metadata"]["type"].clone())
                .collect();
            assert_eq!(kinds, ["welcome", "follow_up"], "{at}: {history:?}");
            let told = "select count(*) from inbox where chat_id = $1 and event = 'message.created'";
            assert_eq!(stack.number(told, &place.chat).await, 2, "{at}");
            stack.settled(&anna).await;
        }
    }))
    .await;
    fs::remove_dir_all(&faults).unwrap();
}
