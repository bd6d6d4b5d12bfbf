//! The queue, the worker and the sweeper: wake-ups that are lost, late or nonsense.

use serde_json::{Value, json};
use tests::person::{Person, text};
use tests::proxy::{Way, to_the_queue};
use tests::{Function, Gateway, Stack, eventually};

/// A function that sends messages and cannot wake anybody.
async fn cut_off(stack: &Stack) -> (Gateway, Function) {
    let (_proxy, settings) = to_the_queue(Way::Closed).await;
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::start(stack).await;
    let function = gateway.function("send-message", &settings);
    (gateway, function)
}

/// A message whose job the queue has never heard of: its chat, its reply and its job.
async fn lost_job(stack: &Stack, anna: &Person) -> (String, String, String) {
    let (_gateway, function) = cut_off(stack).await;
    let chat = anna.assistant_chat().await;
    let sent = function.send(anna, &chat, "c-1", "hello").await.with(201);
    let reply = text(&sent["reply"]["id"]);
    let job = job_of(stack, &reply).await;
    (chat, reply, job)
}

async fn job_of(stack: &Stack, reply: &str) -> String {
    let job: uuid::Uuid = sqlx::query_scalar("select id from jobs where reply_id = $1")
        .bind(reply.parse::<uuid::Uuid>().unwrap())
        .fetch_one(&stack.rows)
        .await
        .unwrap();
    job.to_string()
}

fn record(id: &str, body: &str) -> Value {
    json!({ "messageId": id, "receiptHandle": "r", "body": body, "attributes": {}, "eventSource": "aws:sqs" })
}

fn wake_up(job: &str) -> String {
    json!({ "v": 1, "jobId": job }).to_string()
}

#[tokio::test]
async fn while_the_queue_is_down_messages_are_taken_and_answered_once_it_is_back() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (proxy, settings) = to_the_queue(Way::Closed).await;
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::start(&stack).await;
    let (sender, sweeper) = (
        gateway.function("send-message", &settings),
        gateway.function("sweeper", &settings),
    );

    let mut waiting = Vec::new();
    for way in [Way::Closed, Way::Silent] {
        proxy.turn(way);
        let chat = anna.assistant_chat().await;
        let sent = sender.send(&anna, &chat, "c-1", "hello").await.with(201);
        assert_eq!(sent["reply"]["state"], "queued", "{way:?}");
        // As if it had been due a while ago, so that the sweeper takes it for lost.
        let reply = text(&sent["reply"]["id"]);
        stack
            .change(
                "update jobs set run_at = now() - interval '1 minute' where reply_id = $1",
                &reply,
            )
            .await;
        let swept = sweeper.invoke(&json!({})).await;
        assert_eq!(swept["jobsWoken"], 0, "{way:?}: the queue takes nothing");
        waiting.push((chat, reply));
    }

    proxy.turn(Way::Open);
    sweeper.invoke(&json!({})).await;
    for (chat, reply) in waiting {
        let history = anna.history_of(&chat, 2).await;
        assert_eq!(text(&history[1]["id"]), reply);
        assert_eq!(history[1]["content"], "You said: hello");
    }
    // Through the same function, now that its way is open.
    let chat = anna.assistant_chat().await;
    let sent = sender.send(&anna, &chat, "c-1", "hello").await.with(201);
    assert_eq!(anna.history_of(&chat, 2).await[1]["id"], sent["reply"]["id"]);
}

#[tokio::test]
async fn a_stream_needs_no_queue() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (_proxy, settings) = to_the_queue(Way::Silent).await;
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::start(&stack).await;
    let sender = gateway.function("send-message", &settings);
    let chat = anna.assistant_chat().await;
    let frames = sender.ask(&anna, &chat, "c-1", "hello").await.all().await;
    assert_eq!(tests::stream::ending(&frames)["state"], "completed");
    assert_eq!(tests::stream::text_of(&frames), "You said: hello");
}

#[tokio::test]
async fn of_a_batch_only_what_cannot_be_done_comes_again() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (chat, reply, job) = lost_job(&stack, &anna).await;

    let batch = json!({ "Records": [
        record("nonsense", "nonsense"),
        record("good", &wake_up(&job)),
        record("empty", ""),
        record("other", r#"{"v":2,"jobId":"x"}"#),
        record("gone", &wake_up(&uuid::Uuid::now_v7().to_string())),
        record("twice", &wake_up(&job)),
        { "messageId": "bodiless" },
    ] });
    let answer = stack.invoke("worker", &batch).await;

    let failed: Vec<_> = answer["batchItemFailures"].as_array().unwrap().iter().collect();
    let failed: Vec<_> = failed.iter().map(|failure| text(&failure["itemIdentifier"])).collect();
    // What nobody can read is among the dead letters already; without a body there is nothing to put there.
    assert_eq!(failed, ["empty", "bodiless"]);
    // The good one was done before the worker answered.
    let history = anna.history(&chat).await;
    assert_eq!(history.len(), 2);
    assert_eq!(text(&history[1]["id"]), reply);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &reply)
            .await,
        1
    );

    // A wake-up that comes once more, as SQS may, does nothing.
    let rows = stack.rows_of_chat(&chat).await;
    let answer = stack
        .invoke("worker", &json!({ "Records": [record("again", &wake_up(&job))] }))
        .await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    assert_eq!(
        stack.invoke("worker", &json!({ "Records": [] })).await,
        json!({ "batchItemFailures": [] })
    );
}

#[tokio::test]
async fn the_end_of_an_answer_wakes_the_next() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (_gateway, function) = cut_off(&stack).await;
    let chat = anna.assistant_chat().await;
    let first = function.send(&anna, &chat, "c-1", "first").await.with(201);
    let second = function.send(&anna, &chat, "c-2", "second").await.with(201);
    let (first, second) = (text(&first["reply"]["id"]), text(&second["reply"]["id"]));

    let job = job_of(&stack, &first).await;
    stack
        .invoke("worker", &json!({ "Records": [record("first", &wake_up(&job))] }))
        .await;

    let history = stack.unswept(&chat, anna.history_of(&chat, 4)).await;
    assert_eq!((text(&history[2]["id"]), text(&history[3]["id"])), (first, second));
}

#[tokio::test]
async fn the_sweeper_wakes_what_was_lost() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (chat, reply, _) = lost_job(&stack, &anna).await;
    stack
        .change(
            "update jobs set run_at = now() - interval '1 minute' where reply_id = $1",
            &reply,
        )
        .await;
    stack.invoke("sweeper", &json!({})).await;
    assert_eq!(text(&anna.history_of(&chat, 2).await[1]["id"]), reply);
}

#[tokio::test]
async fn the_sweeper_ends_a_reply_whose_attempts_are_used_up() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let (chat, reply, _) = lost_job(&stack, &anna).await;
    let next = anna.send(&chat, "c-2", "and now?").await.with(201);
    assert_eq!(next["reply"]["state"], "queued");
    // Three writers have begun it, and none is left.
    let abandoned = "update replies set state = 'streaming', attempt = 3, fence = gen_random_uuid(),
                         lease_until = now() - interval '1 second'
                     where id = $1";
    stack.change(abandoned, &reply).await;

    stack.invoke("sweeper", &json!({})).await;

    let history = eventually("the end of the reply", async || {
        Some(anna.history(&chat).await).filter(|history| history.iter().any(|message| message["type"] == "ERROR"))
    })
    .await;
    let told = history.iter().find(|message| message["id"] == reply.as_str()).unwrap();
    assert_eq!(
        (told["role"].as_str(), told["type"].as_str()),
        (Some("system"), Some("ERROR"))
    );
    assert_eq!(told["metadata"], json!({ "reason": "attempts-exhausted" }));
    assert!(text(&told["content"]).ends_with('.'), "a sentence for people");
    let failed = "select count(*) from replies where id = $1 and state = 'failed'";
    assert_eq!(stack.number(failed, &reply).await, 1);
    // The next question is woken by that end.
    let history = anna.history_of(&chat, 4).await;
    assert_eq!(
        (&history[3]["id"], history[3]["content"].as_str()),
        (&next["reply"]["id"], Some("You said: and now?"))
    );
}
