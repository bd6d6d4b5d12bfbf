//! A function of a test's own: another process of one of the binaries, behind the stack's gateway under a name that
//! nobody else calls, with settings of its own. It may be starved, misled and killed without harm to other tests.

use std::env;
use std::process::{Child, Command};

use reqwest::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Answer, Person, Stack, Stream, eventually};

#[derive(Debug)]
pub struct Function {
    name: String,
    process: Child,
    stack: Stack,
}

impl Function {
    /// Starts `binary` with settings that differ from the stack's.
    pub async fn start(stack: &Stack, binary: &str, settings: &[(&str, &str)]) -> Self {
        // Tests are built beside what they test: target/debug/deps/TEST and target/debug/FUNCTION.
        let built = env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(binary);
        let name = format!("{binary}-{}", Uuid::now_v7().simple());
        let process = Command::new(&built)
            .env("JWT_ALGORITHM", "HS256")
            .env("MODEL_PROVIDER", "scripted")
            .env("LOG_FORMAT", "text")
            .envs(settings.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{name}", stack.api))
            .env("AWS_LAMBDA_FUNCTION_NAME", &name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", &name)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", built.display()));
        Self { name, process, stack: stack.clone() }
    }

    /// Sends a message through this function alone, its answer streamed.
    pub async fn ask(&self, person: &Person, chat: &str, client_id: &str, content: &str) -> Stream {
        Stream::of(self.call(person, chat, client_id, content, "text/event-stream").await)
    }

    /// Sends a message through this function alone.
    pub async fn send(&self, person: &Person, chat: &str, client_id: &str, content: &str) -> Answer {
        Answer::of(self.call(person, chat, client_id, content, "application/json").await).await
    }

    /// A request as API Gateway hands it over.
    async fn call(&self, person: &Person, chat: &str, client_id: &str, content: &str, accept: &str) -> Response {
        let path = format!("/api/chat/{chat}/messages");
        let event = json!({
            "version": "2.0",
            "routeKey": "POST /api/chat/{chatId}/messages",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {
                "authorization": format!("Bearer {}", person.token),
                "accept": accept,
                "content-type": "application/json",
            },
            "pathParameters": { "chatId": chat },
            "requestContext": {
                "requestId": Uuid::now_v7(),
                "stage": "$default",
                "timeEpoch": 0,
                "http": {
                    "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test",
                },
            },
            "body": json!({ "clientId": client_id, "content": content }).to_string(),
            "isBase64Encoded": false,
        });
        let url = self.stack.invocations_of(&self.name);
        self.stack.http.post(url).json(&event).send().await.unwrap()
    }

    /// Calls it with an event, for functions that people do not call.
    pub async fn invoke(&self, event: &Value) -> Value {
        self.stack.invoke(&self.name, event).await
    }

    /// Ends it as a crash does: at once, in the middle of whatever it does.
    pub async fn kill(&mut self) {
        self.process.kill().unwrap();
        eventually("the end of a killed process", async || self.process.try_wait().unwrap()).await;
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It may have been killed by its test.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}
