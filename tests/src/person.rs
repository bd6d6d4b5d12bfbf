//! A person with a token, and what the API answers them.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::{Stack, Stream, contract, eventually};

#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub token: String,
    pub stack: Stack,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null where there is no body.
    pub body: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let path = response.url().path().to_owned();
        let text = response.text().await.unwrap();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{status}, {error}: {text}")),
        };
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        contract::hold_answer(&path, status, content_type, &body);
        Self { status, headers, body }
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn with(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The body of a refusal, which must be as RFC 9457 wants it.
    #[track_caller]
    pub fn problem(self, status: u16, problem_type: &str) -> Value {
        assert_eq!(
            self.headers.get(CONTENT_TYPE).unwrap(),
            "application/problem+json",
            "{}",
            self.body
        );
        let body = self.with(status);
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["type"], problem_type, "{body}");
        for field in ["title", "detail", "requestId"] {
            assert!(
                body[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {body}"
            );
        }
        assert!(body["retryable"].is_boolean(), "{body}");
        body
    }
}

impl Person {
    /// The same, calling a stack by another way.
    #[must_use]
    pub fn by(&self, stack: &Stack) -> Self {
        Self {
            stack: stack.clone(),
            ..self.clone()
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.stack.api);
        self.stack
            .http
            .request(method, url)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    /// Asks again where our local gateway has failed and not the API: of answers larger than a few network packets
    /// `cargo lambda watch` loses about one in a thousand, and says so with a 500 of its own.
    pub async fn get(&self, path: &str) -> Answer {
        eventually("an answer that the gateway does not lose", async || {
            let answer = Answer::of(self.request(Method::GET, path).send().await.unwrap()).await;
            (answer.body["type"] != "https://httpstatuses.com/500").then_some(answer)
        })
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    /// Posts bytes that need not be JSON.
    pub async fn post_raw(&self, path: &str, body: Vec<u8>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json");
        Answer::of(request.body(body).send().await.unwrap()).await
    }

    /// A new chat with the AI: its id.
    pub async fn assistant_chat(&self) -> String {
        let body = self.post("/api/chat", &json!({ "kind": "assistant" })).await.with(201);
        text(&body["chat"]["id"])
    }

    /// Sends a message whose answer comes later.
    pub async fn send(&self, chat: &str, client_id: &str, content: &str) -> Answer {
        let body = json!({ "clientId": client_id, "content": content });
        self.post(&format!("/api/chat/{chat}/messages"), &body).await
    }

    /// Sends a message whose answer is streamed in the response.
    pub async fn ask(&self, chat: &str, client_id: &str, content: &str) -> Stream {
        let body = json!({ "clientId": client_id, "content": content });
        self.post_for_events(&format!("/api/chat/{chat}/messages"), &body).await
    }

    /// Posts what is answered by a stream of events, or refused.
    pub async fn post_for_events(&self, path: &str, body: &Value) -> Stream {
        let request = self.request(Method::POST, path).header(ACCEPT, "text/event-stream");
        Stream::of(request.json(body).send().await.unwrap())
    }

    /// Gets a stream of events, or a refusal.
    pub async fn get_events(&self, path: &str) -> Stream {
        Stream::of(self.request(Method::GET, path).send().await.unwrap())
    }

    /// The newest page of a chat's messages.
    pub async fn history(&self, chat: &str) -> Vec<Value> {
        let body = self
            .get(&format!("/api/chat/{chat}/messages?limit=100"))
            .await
            .with(200);
        body["messages"].as_array().unwrap().clone()
    }

    /// The history once it has that many messages.
    pub async fn history_of(&self, chat: &str, messages: usize) -> Vec<Value> {
        eventually(&format!("{messages} messages in {chat}"), async || {
            Some(self.history(chat).await).filter(|history| history.len() >= messages)
        })
        .await
    }

    pub async fn unread_total(&self) -> i64 {
        self.get("/api/me").await.with(200)["unreadTotal"].as_i64().unwrap()
    }
}

/// A string of an answer.
#[must_use]
#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

/// The `seq` of each message.
#[must_use]
pub fn seqs(messages: &[Value]) -> Vec<i64> {
    messages
        .iter()
        .map(|message| message["seq"].as_i64().unwrap())
        .collect()
}
