//! Functions of a test's own: further processes of the same binaries, behind a gateway of their own, on the stack's
//! database and queue. They may be starved, misled and killed without harm to other tests.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Answer, LOOK_EVERY, Person, Stack, Stream, eventually};

/// Stands for API Gateway and Lambda, as in the stack: `cargo lambda watch` for functions that others start.
#[derive(Debug)]
pub struct Gateway {
    /// The stack as it is reached this way. Only the functions that were started here answer.
    pub stack: Stack,
    /// Where the functions are that are started here.
    binaries: PathBuf,
    process: Child,
}

/// Processes of a function that are never gone for long.
#[derive(Debug)]
pub struct Restarted {
    keeper: JoinHandle<()>,
}

/// What a function logs, a line of JSON at a time, as on AWS.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<Value>>>,
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
        // Tests are built beside what they test: target/debug/deps/TEST and target/debug/FUNCTION.
        let test = env::current_exe().unwrap();
        Self::before(stack, test.parent().unwrap().parent().unwrap()).await
    }

    /// Before functions that were built elsewhere.
    pub async fn before(stack: &Stack, binaries: &Path) -> Self {
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
            binaries: binaries.to_owned(),
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
        Function::start(&self.stack, &self.binaries, name, settings, Stdio::inherit())
    }

    /// Starts one whose log is read.
    #[must_use]
    pub fn logged(&self, name: &str, settings: &[(&str, &str)]) -> (Function, Log) {
        let settings: Vec<_> = [("LOG_FORMAT", "json")].iter().chain(settings).copied().collect();
        let mut function = Function::start(&self.stack, &self.binaries, name, &settings, Stdio::piped());
        let log = Log { lines: Arc::default() };
        let (output, lines) = (function.process.stdout.take().unwrap(), Arc::clone(&log.lines));
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| line.into());
                lines.lock().unwrap().push(line);
            }
        });
        (function, log)
    }

    /// Starts processes of a function and starts anew those that die, as Lambda does, until this is dropped.
    #[must_use]
    pub fn restarted(&self, name: &'static str, processes: usize, settings: &[(&str, &str)]) -> Restarted {
        let (stack, binaries, settings) = (self.stack.clone(), self.binaries.clone(), owned(settings));
        let start = move || Function::start(&stack, &binaries, name, &borrowed(&settings), Stdio::inherit());
        let mut running: Vec<_> = (0..processes).map(|_| start()).collect();
        let keeper = tokio::spawn(async move {
            loop {
                for function in &mut running {
                    if function.has_ended() {
                        *function = start();
                    }
                }
                sleep(LOOK_EVERY).await;
            }
        });
        Restarted { keeper }
    }
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    settings.iter().map(owned).collect()
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

impl Log {
    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line of such a message, once it is there.
    pub async fn line(&self, message: &str) -> Value {
        let is_it = |line: &Value| line["message"] == message;
        eventually(&format!("a line: {message}"), async || {
            self.lines().into_iter().find(is_it)
        })
        .await
    }
}

impl Function {
    fn start(stack: &Stack, binaries: &Path, name: &str, settings: &[(&str, &str)], output: Stdio) -> Self {
        let built = binaries.join(name);
        let process = Command::new(&built)
            .env("JWT_ALGORITHM", "HS256")
            .env("MODEL_PROVIDER", "scripted")
            .env("LOG_FORMAT", "text")
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{name}", stack.api))
            .envs(settings.iter().copied())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", name)
            .stdout(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", built.display()));
        Self {
            name: name.to_owned(),
            stack: stack.clone(),
            process,
        }
    }

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

    /// Stops it where it is, as Lambda does between requests and a busy machine at any time, until it is thawed.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn caller(&self, person: &Person) -> Person {
        person.by(&self.stack)
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        self.keeper.abort();
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
