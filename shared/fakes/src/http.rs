//! An HTTP server that does as it is told, on threads of its own: it needs nothing of what it helps to test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server does with a request.
#[derive(Debug)]
pub enum Answer {
    /// Sends these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// Sends these bytes and then no more, without closing.
    Hang(Vec<u8>),
    Close,
    /// Sends the first bytes, then the second again and again, for as long as anyone listens.
    Flood(Vec<u8>, Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub head: String,
    pub body: String,
}

#[derive(Debug)]
pub struct Fake {
    pub at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A response with this status line, headers and body.
pub fn response(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

pub fn ok() -> Answer {
    response("200 OK", "content-type: application/json\r\n", "{}")
}

impl Fake {
    /// `answer` is told how many requests came before this one.
    pub fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, record) = (Arc::new(answer), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                thread::spawn(move || serve(stream, &record, &*answer));
            }
        });
        Self { at, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn serve(mut stream: TcpStream, record: &Mutex<Vec<Seen>>, answer: &dyn Fn(usize) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(seen) = read(&mut reader) {
        let before = {
            let mut record = record.lock().unwrap();
            record.push(seen);
            record.len() - 1
        };
        let written = match answer(before) {
            Answer::Bytes(bytes) => stream.write_all(&bytes),
            Answer::Close => return,
            Answer::Hang(bytes) => stream
                .write_all(&bytes)
                .and_then(|()| reader.read_to_end(&mut Vec::new()))
                .map(drop),
            Answer::Flood(head, rest) => stream.write_all(&head).and_then(|()| {
                loop {
                    stream.write_all(&rest)?;
                }
            }),
        };
        if written.is_err() {
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
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = head.split(' ').nth(1)?.split_once('?')?;
    Some(Seen {
        path: path.to_owned(),
        query: query.to_owned(),
        body: String::from_utf8(body).ok()?,
        head: head.to_lowercase(),
    })
}
