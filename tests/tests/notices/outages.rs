//! Parts that are away: what is stored says so, and what is not stored comes again.

use serde_json::json;
use tests::function::Gateway;
use tests::person::text;
use tests::proxy::{Proxy, Way};
use tests::{Queue, Stack, eventually};

use crate::{agent, known, notice, send, unread};

#[tokio::test]
async fn without_pusher_a_notice_is_stored_and_says_so() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    let closed = Proxy::to("127.0.0.1:9", Way::Closed).await;
    let port = closed.address().rsplit_once(':').unwrap().1;
    let none = [
        ("PUSHER_APP_ID", ""),
        ("PUSHER_KEY", ""),
        ("PUSHER_SECRET", ""),
        ("PUSHER_HOST", ""),
    ];
    for (stored, settings) in [&none[..], &[("PUSHER_PORT", port)]].into_iter().enumerate() {
        let gateway = Gateway::start(&stack).await;
        let _function = gateway.function("send-notice", settings);
        let sent = send(&agent.by(&gateway.stack), &notice(&anna, "t", "INFO", "hi"))
            .await
            .with(201);
        assert_eq!(
            (&sent["pusherSent"], &sent["databaseStored"]),
            (&json!(false), &json!(true)),
            "{settings:?}"
        );
        assert_eq!(unread(&anna).await["total"], stored + 1);
    }
}

/// The stack's database by a way that can be closed, and the setting of a function that goes this way.
async fn to_the_database(way: Way) -> (Proxy, String) {
    let url = std::env::var("DATABASE_URL").unwrap();
    let place = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::to(&place, way).await;
    let detour = url.replacen(&place, proxy.address(), 1);
    (proxy, detour)
}

#[tokio::test]
async fn without_postgres_http_says_so_and_the_queue_tries_again() {
    let stack = Stack::running();
    let (agent, anna) = (agent(&stack, None), known(&stack, None).await);
    let (proxy, url) = to_the_database(Way::Closed).await;
    let gateway = Gateway::start(&stack).await;
    let settings = [("DATABASE_URL", url.as_str()), ("RATE_LIMIT_NOTICE", "none")];
    let _function = gateway.function("send-notice", &settings);
    let mut body = notice(&anna, "t", "INFO", "by http");
    body["key"] = json!("k-1");
    let agent = agent.by(&gateway.stack);
    let refused = send(&agent, &body).await.problem(503, "unavailable");
    assert_eq!(refused["retryable"], true);

    // The queue's own mapping brings it again as often as it takes.
    let worker = gateway.function("worker", &settings);
    let queue = Queue::feeding(&gateway, 1).await;
    let queued = json!({ "v": 1, "notice": notice(&anna, "t", "INFO", "by the queue") }).to_string();
    let record =
        json!({ "messageId": "m-1", "receiptHandle": "r", "body": queued, "attributes": {}, "eventSource": "aws:sqs" });
    let answer = worker.invoke(&json!({ "Records": [record] })).await;
    assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "m-1");
    queue.send(&queued).await;
    eventually("it was tried in vain", async || {
        (queue.hidden().await > 0).then_some(())
    })
    .await;
    assert_eq!(unread(&anna).await["total"], 0);

    proxy.turn(Way::Open);
    let sent = eventually("HTTP is back", async || {
        let answer = send(&agent, &body).await;
        answer.status.is_success().then_some(answer.body)
    })
    .await;
    let mut found = eventually("both are there", async || {
        let list = unread(&anna).await;
        (list["total"] == 2).then(|| list["messages"].as_array().unwrap().clone())
    })
    .await;
    found.retain(|message| message["id"] != sent["messageId"]);
    assert_eq!(text(&found[0]["content"]), "by the queue");
}
