//! Models of other protocols, keys that are kept elsewhere, and other models for other chats.

use serde_json::json;
use tests::Stack;
use tests::llmock::Llmock;
use tests::person::text;
use tests::stream::{ending, text_of};
use tests::{Frame, Gateway};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn completed(frames: &[Frame], model: &str) -> String {
    assert_eq!(ending(frames)["state"], "completed", "{frames:?}");
    let message = &frames[frames.len() - 2].data["data"];
    assert_eq!(message["usage"]["model"], model);
    for tokens in ["inputTokens", "outputTokens"] {
        assert!(message["usage"][tokens].as_u64().unwrap() > 0, "{message}");
    }
    let content = text(&message["content"]);
    assert_eq!(text_of(frames), content);
    content
}

#[tokio::test]
async fn every_provider_answers_and_is_counted() {
    let stack = Stack::running();
    let llmock = Llmock::start(&stack).await;
    let gateway = Gateway::start(&stack).await;
    let anna = stack.person("anna");
    for provider in ["gemini", "anthropic", "openai"] {
        let chat = anna.assistant_chat().await;
        let function = gateway.function(
            "send-message",
            &[
                ("MODEL_PROVIDER", provider),
                ("MODEL_URL", &llmock.url_of(provider)),
                ("MODEL_KEY", "mock-key"),
                ("MODEL_NAME", "a-model"),
            ],
        );
        let frames = function.ask(&anna, &chat, "q", "Grüße, 世界! 👋🏽").await.all().await;
        let said = completed(&frames, "a-model");
        assert!(said.contains("Grüße, 世界! 👋🏽"), "{provider} echoes: {said}");
        function.kill();
    }
}

/// Puts a secret where AWS keeps it, in the local stand-in.
async fn keep(stack: &Stack, name: &str, value: &str) {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("the stack tells where its AWS is");
    let answer = stack
        .http
        .post(endpoint)
        .header("x-amz-target", "AmazonSSM.PutParameter")
        .header("content-type", "application/x-amz-json-1.1")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ssm/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true}).to_string())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// A server that gives a golden answer of Anthropic's, and tells the key that it was asked with.
async fn claude() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut reader = BufReader::new(&mut stream);
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            assert!(
                reader.read_line(&mut line).await.unwrap() > 0,
                "the request ends: {head}"
            );
            head.push_str(&line);
        }
        let answer = include_str!("../../../shared/models/src/golden/anthropic/plain.sse");
        let head_of_answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream
            .write_all(format!("{head_of_answer}{answer}").as_bytes())
            .await
            .unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("x-api-key: "));
        key.unwrap_or_default().to_owned()
    });
    (address, served)
}

#[tokio::test]
async fn a_kind_of_chat_may_have_a_model_of_its_own_with_a_key_kept_in_ssm() {
    let stack = Stack::running();
    let gateway = Gateway::start(&stack).await;
    let anna = stack.person("anna");
    keep(&stack, "/backtalk/test/model-key", "key-of-ssm").await;
    let (address, served) = claude().await;
    let overrides = json!([
        {"kind": "assistant", "provider": "anthropic", "url": address, "name": "of-assistants",
         "key": "ssm:/backtalk/test/model-key"},
        {"kind": "post", "name": "of-posts"},
    ]);
    let function = gateway.function("send-message", &[("MODEL_OVERRIDES", &overrides.to_string())]);
    let chat = anna.assistant_chat().await;
    let frames = function.ask(&anna, &chat, "q", "Are you there?").await.all().await;
    assert_eq!(completed(&frames, "of-assistants"), "Grüße, 世界 👋🏽!");
    assert_eq!(served.await.unwrap(), "key-of-ssm");
}
