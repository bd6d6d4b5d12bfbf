//! For tests: servers that do as they are told, on threads of their own. They need nothing of what they help to test. This one
//! closes each connection after its answer; [`http`] has one that keeps them.

pub mod http;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

/// For what must come: none waits as long as this, however slow the machine.
pub const LONG: Duration = Duration::from_secs(20);

/// What the server does with a request, step by step; then it closes the connection.
pub type Answer = Vec<Act>;

#[derive(Clone, Debug)]
pub enum Act {
    Send(Vec<u8>),
    Rest(Duration),
    /// Until the client leaves.
    Hang,
}

#[derive(Clone, Debug)]
pub struct Seen {
    /// The request's line and headers, in small letters.
    pub head: String,
    pub body: Value,
}

#[derive(Debug)]
pub struct Fake {
    at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    left: Arc<Notify>,
}

impl Fake {
    /// `answer` is told how many requests came before this one.
    pub fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::serving(move |before, _| answer(before))
    }

    /// `answer` is told the request's body.
    pub fn judging(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        Self::serving(move |_, body| answer(body))
    }

    fn serving(answer: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            at: listener.local_addr().unwrap(),
            seen: Arc::default(),
            left: Arc::default(),
        };
        let (answer, seen, left) = (Arc::new(answer), Arc::clone(&fake.seen), Arc::clone(&fake.left));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen, left) = (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&left));
                thread::spawn(move || serve(stream, &seen, &left, &*answer));
            }
        });
        fake
    }

    pub fn always(answer: Answer) -> Self {
        Self::start(move |_| answer.clone())
    }

    /// The base of its API.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.at)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a client has left while the server hung.
    pub async fn left(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.left.notified())
            .await
            .expect("the client leaves");
    }
}

/// Where nobody listens.
pub fn nobody() -> String {
    format!(
        "http://{}/v1",
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    )
}

/// A whole response with this status line, header lines and body.
pub fn response(status: &str, headers: &[&str], body: &str) -> Answer {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    vec![Act::Send(text.into_bytes())]
}

/// The head of a stream.
pub fn head() -> Act {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    Act::Send(head.into())
}

/// A piece of a stream, which comes as a piece whatever TCP makes of it.
pub fn piece(bytes: impl AsRef<[u8]>) -> Act {
    let bytes = bytes.as_ref();
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    Act::Send(chunk)
}

/// The end of a stream, without which it has been cut.
pub fn end() -> Act {
    Act::Send(b"0\r\n\r\n".to_vec())
}

pub fn stream_of(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Answer {
    let pieces = pieces.into_iter().filter(|bytes| !bytes.as_ref().is_empty()).map(piece);
    [head()].into_iter().chain(pieces).chain([end()]).collect()
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, left: &Notify, answer: &dyn Fn(usize, &Value) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read(&mut reader) else { return };
    let body = request.body.clone();
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    };
    for act in answer(before, &body) {
        let is_done = match act {
            Act::Send(bytes) => stream.write_all(&bytes).is_ok(),
            Act::Rest(time) => {
                thread::sleep(time);
                true
            }
            Act::Hang => {
                // Whether it ends well or by a reset, they are gone.
                let _ = reader.read_to_end(&mut Vec::new());
                left.notify_one();
                false
            }
        };
        if !is_done {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        head,
        body: serde_json::from_slice(&body).ok()?,
    })
}
