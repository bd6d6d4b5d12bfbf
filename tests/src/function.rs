//! Functions of a test's own: further processes of the same binaries, behind a gateway of their own, on the stack's
//! database and queue. They may be starved, misled and killed without harm to other tests.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio::net::TcpStream;

use crate::{Answer, Person, Stack, Stream, eventually};

/// Stands for API Gateway and Lambda, as in the stack: `cargo lambda watch` for functions that others start.
#[derive(Debug)]
pub struct Gateway {
    /// The stack as it is reached this way. Only the functions that were started here answer.
    pub stack: Stack,
    process: Child,
}

/// One process of a function.
#[derive(Debug)]
pub struct Function {
    name: String,
    stack: Stack,
    process: Child,
}

impl Gateway {
    pub async fn start(stack: &Stack) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = tool("cargo-lambda");
        let process = Command::new(&program)
            .args([
                "lambda",
                "watch",
                "--only-lambda-apis",
                "-A",
                "127.0.0.1",
                "-P",
                &port.to_string(),
            ])
            // Its routes are in the root manifest.
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let gateway = Self {
            stack: stack.behind(&format!("http://127.0.0.1:{port}")),
            process,
        };
        eventually("a gateway that listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        gateway
    }

    /// Starts a function with settings that differ from the stack's.
    #[must_use]
    pub fn function(&self, name: &str, settings: &[(&str, &str)]) -> Function {
        // Tests are built beside what they test: target/debug/deps/TEST and target/debug/FUNCTION.
        let built = env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join(name);
        let process = Command::new(&built)
            .env("JWT_ALGORITHM", "HS256")
            .env("MODEL_PROVIDER", "scripted")
            .env("LOG_FORMAT", "text")
            .envs(settings.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{name}", self.stack.api))
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", name)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", built.display()));
        Function {
            name: name.to_owned(),
            stack: self.stack.clone(),
            process,
        }
    }
}

impl Function {
    /// Sends a message through this process alone, its answer streamed.
    pub async fn ask(&self, person: &Person, chat: &str, client_id: &str, content: &str) -> Stream {
        self.caller(person).ask(chat, client_id, content).await
    }

    /// Sends a message through this process alone.
    pub async fn send(&self, person: &Person, chat: &str, client_id: &str, content: &str) -> Answer {
        self.caller(person).send(chat, client_id, content).await
    }

    /// Calls it with an event, for functions that people do not call.
    pub async fn invoke(&self, event: &Value) -> Value {
        self.stack.invoke(&self.name, event).await
    }

    /// Ends it as a crash does: at once, in the middle of whatever it does.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
    }

    fn caller(&self, person: &Person) -> Person {
        Person {
            stack: self.stack.clone(),
            ..person.clone()
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// At once, also when a test fails: what a test starts ends with it.
pub(crate) fn end(process: &mut Child) {
    // It may have been killed by its test.
    let _gone = process.kill();
    let _status = process.wait();
}

/// Where xtask has installed a program.
pub(crate) fn tool(name: &str) -> PathBuf {
    let caches = [
        env::var_os("BACKTALK_CACHE").map(PathBuf::from),
        Some("/var/cache/backtalk".into()),
        env::var_os("XDG_CACHE_HOME").map(|caches| Path::new(&caches).join("backtalk")),
        env::var_os("HOME").map(|home| Path::new(&home).join(".cache/backtalk")),
    ];
    let mut programs = caches
        .into_iter()
        .flatten()
        .map(|cache| cache.join("python/bin").join(name));
    programs.find(|program| program.exists()).unwrap_or_else(|| name.into())
}
