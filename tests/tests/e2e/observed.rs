//! What operators see: a line a request, a line an attempt of a reply, figures for CloudWatch, and one trace through the queue.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::function::Log;
use tests::person::text;
use tests::proxy::{Tap, heard_by_the_queue};
use tests::stream::{answer_in, ending};
use tests::{Gateway, Stack, eventually, script};
use uuid::Uuid;

const NAMESPACE: (&str, &str) = ("METRICS_NAMESPACE", "Test");

/// A CloudWatch line that has such a figure.
async fn figure(log: &Log, name: &str) -> Value {
    let has_it = |line: &Value| !line[name].is_null();
    let line = eventually(name, async || log.lines().into_iter().find(has_it)).await;
    let told = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(told["Namespace"], "Test");
    let metrics = told["Metrics"].as_array().unwrap();
    assert!(metrics.iter().any(|metric| metric["Name"] == name), "{line}");
    line
}

#[tokio::test]
async fn a_streamed_answer_leaves_a_line_for_its_request_one_for_its_reply_and_figures_and_names_nobody() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let gateway = Gateway::start(&stack).await;
    let (sender, log) = gateway.logged("send-message", &[NAMESPACE]);
    let chat = anna.assistant_chat().await;
    let frames = sender.ask(&anna, &chat, "c-1", "my xylophone").await.all().await;
    let reply = text(&ending(&frames)["messageId"]);
    let usage = &answer_in(&frames).unwrap()["usage"];

    let request = log.line("answered").await;
    assert_eq!(request["method"], "POST");
    assert_eq!(request["route"], "/api/chat/{chatId}/messages");
    assert_eq!(request["status"], 200);
    assert_eq!(request["chat"], chat.as_str());
    assert_eq!(
        request["person"],
        hex::encode(&Sha256::digest(anna.id.as_bytes())[..6]).as_str()
    );
    assert!(request["statements"].as_u64().unwrap() >= 1);
    assert!(request["database_milliseconds"].as_f64().unwrap() > 0.0);

    let attempt = log.line("attempt of a reply").await;
    assert_eq!(attempt["reply"], reply.as_str());
    assert_eq!(attempt["chat"], chat.as_str());
    assert_eq!(attempt["person"], request["person"]);
    assert_eq!(attempt["outcome"], "completed");
    assert_eq!(attempt["attempt"], 1);
    assert_eq!(attempt["seq"], 2, "{attempt}");
    assert!(attempt["statements"].as_u64().unwrap() >= 2, "{attempt}");
    assert!(attempt["model_milliseconds"].as_f64().unwrap() > 0.0);
    assert!(attempt["first_word_milliseconds"].as_f64().unwrap() > 0.0);

    let first = figure(&log, "TimeToFirstToken").await;
    let spent = figure(&log, "RepliesCompleted").await;
    for line in [&first, &spent] {
        assert_eq!(line["Model"], usage["model"]);
    }
    assert_eq!(spent["RepliesCompleted"], 1.0);
    for (name, tokens) in [("InputTokens", "inputTokens"), ("OutputTokens", "outputTokens")] {
        assert_eq!(spent[name].as_f64(), usage[tokens].as_f64(), "{spent} {usage}");
    }
    for line in log.lines() {
        let line = line.to_string();
        assert!(!line.contains(&anna.id) && !line.contains("xylophone"), "{line}");
    }
}

#[tokio::test]
async fn what_failed_and_what_was_stopped_is_counted_as_such() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let gateway = Gateway::start(&stack).await;
    let (sender, log) = gateway.logged("send-message", &[NAMESPACE]);

    let failing = anna.assistant_chat().await;
    let blocked = script(&json!({ "text": "no", "fail": "blocked" }));
    sender.ask(&anna, &failing, "c-1", &blocked).await.all().await;
    assert_eq!(figure(&log, "RepliesFailed").await["RepliesFailed"], 1.0);
    let attempt = log.line("attempt of a reply").await;
    assert_eq!(attempt["outcome"], "failed");
    assert_eq!(attempt["failure"], "blocked-by-the-model");

    let stopped = anna.assistant_chat().await;
    let slow = script(&json!({ "text": "one two three four five six seven eight", "delayMs": 300 }));
    let mut stream = sender.ask(&anna, &stopped, "c-1", &slow).await;
    stream.until_deltas(1).await;
    anna.post(&format!("/api/chat/{stopped}/stop"), &json!({}))
        .await
        .with(200);
    stream.all().await;
    assert_eq!(figure(&log, "RepliesStopped").await["RepliesStopped"], 1.0);
}

#[tokio::test]
async fn a_trace_goes_from_the_request_through_the_queue_into_the_worker() {
    const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const HANDED_OVER: &str =
        "lambda-runtime-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let stack = Stack::running();
    let anna = stack.person("anna");
    let gateway = Gateway::start(&stack).await;
    // Lambda says of each request which trace it belongs to; `cargo lambda watch` says none.
    let lambda = Tap::to(gateway.stack.api.strip_prefix("http://").unwrap(), Some(HANDED_OVER)).await;
    let api = format!("http://{}/.rt/send-message", lambda.address());
    // ministack loses the trace of what comes in a batch, so it is heard on the way there.
    let (queue, [endpoint, url]) = heard_by_the_queue().await;
    let settings = [
        (endpoint.0, &*endpoint.1),
        (url.0, &*url.1),
        ("AWS_LAMBDA_RUNTIME_API", &*api),
    ];
    let _sender = gateway.function("send-message", &settings);
    let anna_here = anna.by(&gateway.stack);
    for streamed in [false, true] {
        let chat = anna.assistant_chat().await;
        if streamed {
            anna_here.ask(&chat, "c-1", "hello").await.all().await;
        } else {
            anna_here.send(&chat, "c-1", "hello").await.with(201);
        }
        let wake_up = eventually("a wake-up", async || {
            let asked = queue.asked();
            let mut requests = asked.split("POST / HTTP/1.1");
            requests.find(|request| request.contains(&chat)).map(str::to_owned)
        })
        .await;
        assert!(wake_up.contains(TRACE), "streamed: {streamed}: {wake_up}");
    }

    let (worker, log) = gateway.logged("worker", &[]);
    let record = json!({
        "messageId": "m-1",
        "receiptHandle": "r",
        "body": json!({ "v": 1, "jobId": Uuid::now_v7() }).to_string(),
        "attributes": { "AWSTraceHeader": TRACE },
        "eventSource": "aws:sqs",
    });
    worker.invoke(&json!({ "Records": [record] })).await;
    let line = log.line("worked off").await;
    assert_eq!(line["span"]["trace"], TRACE, "{line}");
}
