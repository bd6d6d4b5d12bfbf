//! Notices that agents put on the queue themselves.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Gateway, Queue, Stack, eventually};

use crate::node::Client;
use crate::{agent, known, notice, send, unread};

fn queued(notice: &Value) -> String {
    json!({ "v": 1, "notice": notice }).to_string()
}

fn record(id: &str, body: &str) -> Value {
    json!({ "messageId": id, "receiptHandle": "r", "body": body, "attributes": {}, "eventSource": "aws:sqs" })
}

#[tokio::test]
async fn a_notice_by_the_queue_reaches_pusher_js_and_the_unread_list() {
    let stack = Stack::running();
    let anna = known(&stack, None).await;
    let mut device = Client::pusher(&anna).await;
    device.subscribe(&format!("private-user-{}", anna.id)).await;
    let mut body = notice(&anna, "task_123", "SCHEDULING_UPDATE", "Checking availability…");
    body["key"] = json!("k-1");
    let queue = Queue::of_the_stack(&stack);
    queue.send(&queued(&body)).await;
    let heard = device.hears_event("chat-message").await;
    assert_eq!(heard["data"]["content"], "Checking availability…");
    let list = unread(&anna).await;
    assert_eq!(
        (&list["total"], &list["messages"][0]["id"]),
        (&json!(1), &heard["data"]["id"])
    );
    // Whoever is not sure, and sends it by HTTP too, sends the same.
    let again = send(&agent(&stack, None), &body).await.with(200);
    assert_eq!(again["messageId"], heard["data"]["id"]);
}

#[tokio::test]
async fn of_a_mixed_batch_what_is_malformed_is_buried_with_its_reason() {
    let stack = Stack::running();
    let (anna, nobody) = (known(&stack, None).await, stack.person("nobody"));
    let (gateway, dead) = (Gateway::start(&stack).await, Queue::start(&stack).await);
    let worker = gateway.function("worker", &[("SQS_DEAD_LETTER_QUEUE_URL", dead.url())]);
    let good = queued(&notice(&anna, "t", "INFO", "good"));
    let mut keyed = notice(&anna, "keyed", "INFO", "first");
    keyed["key"] = json!("k-1");
    send(&agent(&stack, None), &keyed).await.with(201);
    keyed["content"] = json!("second");
    send(&agent(&stack, None), &keyed)
        .await
        .problem(422, "idempotency-key-reused");
    let mut bad = notice(&anna, "t", "NONSENSE", " ");
    bad["data"] = json!("text");
    let mut to_another = notice(&known(&stack, Some("acme")).await, "t", "INFO", "hi");
    to_another["orgId"] = json!("other");
    let refused = [
        ("nonsense", "nonsense".to_owned(), "not JSON"),
        ("newer", good.replace("\"v\":1", "\"v\":2"), "version is 2"),
        (
            "neither",
            json!({ "v": 1 }).to_string(),
            "neither a wake-up nor a notice",
        ),
        ("bad", queued(&bad), "type must be one of"),
        (
            "stranger",
            queued(&notice(&nobody, "t", "INFO", "hi")),
            "no such person",
        ),
        ("key", queued(&keyed), "its key was used before"),
        ("beyond", queued(&to_another), "of another organisation"),
    ];
    let records: Vec<_> = refused
        .iter()
        .map(|(id, body, _)| record(id, body))
        .chain([record("good", &good), record("good", &good)])
        .collect();
    let batch = json!({ "Records": records });
    assert_eq!(worker.invoke(&batch).await, json!({ "batchItemFailures": [] }));
    assert_eq!(
        unread(&anna).await["total"],
        2,
        "the same message twice is one notice, beside that by HTTP"
    );
    let buried = dead.take_whole().await;
    assert_eq!(buried.len(), refused.len());
    for (id, body, reason) in &refused {
        let letter = buried
            .iter()
            .find(|letter| letter["MessageAttributes"]["messageId"]["StringValue"] == *id)
            .unwrap();
        assert_eq!(text(&letter["Body"]), *body);
        let said = text(&letter["MessageAttributes"]["reason"]["StringValue"]);
        assert!(said.contains(reason), "{id}: {said}");
    }

    // Where there are no dead letters to put it among, it is left to the queue.
    drop(worker);
    let worker = gateway.function("worker", &[("SQS_DEAD_LETTER_QUEUE_URL", "")]);
    let answer = eventually("the new worker answers", async || {
        Some(
            worker
                .invoke(&json!({ "Records": [record("nonsense", "nonsense"), record("good", &good)] }))
                .await,
        )
    })
    .await;
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "nonsense" }] })
    );
}
