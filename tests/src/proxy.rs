//! Ways to a part of the stack: one that a test can close, so that the part is down for whoever goes this way, and one on
//! which it listens.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::stack::setting;

/// How a part behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections are cut at once.
    Closed,
    /// Connections are taken, and nothing ever comes back.
    Silent,
}

/// A TCP proxy on this machine.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// To `host:port`.
    pub async fn to(target: &str, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, way) = watch::channel(way);
        let target: Arc<str> = target.into();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut way) = (target.clone(), way.clone());
                connections.spawn(async move {
                    let now = *way.borrow_and_update();
                    match now {
                        Way::Closed => {}
                        Way::Silent => drop(way.wait_for(|way| *way == Way::Closed).await),
                        Way::Open => {
                            let mut server = TcpStream::connect(&*target).await.unwrap();
                            tokio::select! {
                                _ = copy_bidirectional(&mut client, &mut server) => {},
                                _ = way.wait_for(|way| *way != Way::Open) => {},
                            }
                        }
                    }
                });
            }
        });
        Self { address, way: sender }
    }

    pub fn turn(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A TCP proxy on this machine for HTTP, which keeps what it was asked.
#[derive(Debug)]
pub struct Tap {
    address: String,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// To `host:port`. `header`: what is added to each answer of 200.
    pub async fn to(target: &str, header: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tap = Self {
            address: listener.local_addr().unwrap().to_string(),
            asked: Arc::default(),
        };
        let (target, asked): (Arc<str>, _) = (target.into(), Arc::clone(&tap.asked));
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, asked) = (target.clone(), Arc::clone(&asked));
                connections.spawn(async move {
                    let server = TcpStream::connect(&*target).await.unwrap();
                    let ((asks, answers), (answered, forth)) = (client.into_split(), server.into_split());
                    // Each ends with its side.
                    let _ended = tokio::join!(keep(asks, forth, &asked), add(answered, answers, header));
                });
            }
        });
        tap
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All that it was asked so far, headers and bodies.
    #[must_use]
    pub fn asked(&self) -> String {
        String::from_utf8_lossy(&self.asked.lock().unwrap()).into_owned()
    }
}

async fn keep(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        asked.lock().unwrap().extend_from_slice(&bytes[..count]);
        to.write_all(&bytes[..count]).await?;
    }
}

async fn add(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, header: Option<&str>) -> io::Result<()> {
    const BEGIN: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        // Who asks nothing before it has the last answer reads each from its beginning.
        match (bytes[..count].strip_prefix(BEGIN), header) {
            (Some(rest), Some(header)) => {
                to.write_all(BEGIN).await?;
                to.write_all(header.as_bytes()).await?;
                to.write_all(b"\r\n").await?;
                to.write_all(rest).await?;
            }
            _ => to.write_all(&bytes[..count]).await?,
        }
    }
}

/// The stack's queue, by a way that can be closed: the proxy, and the settings of a function that goes this way.
pub async fn to_the_queue(way: Way) -> (Proxy, [(&'static str, String); 2]) {
    let proxy = Proxy::to(&queue_host(), way).await;
    let settings = queue_by(proxy.address());
    (proxy, settings)
}

/// The stack's queue, by a way on which the test listens.
pub async fn heard_by_the_queue() -> (Tap, [(&'static str, String); 2]) {
    let tap = Tap::to(&queue_host(), None).await;
    let settings = queue_by(tap.address());
    (tap, settings)
}

fn queue_host() -> String {
    let endpoint = setting("AWS_ENDPOINT_URL");
    endpoint.split("://").nth(1).unwrap().trim_end_matches('/').to_owned()
}

fn queue_by(address: &str) -> [(&'static str, String); 2] {
    ["AWS_ENDPOINT_URL", "SQS_QUEUE_URL"].map(|name| (name, setting(name).replacen(&queue_host(), address, 1)))
}
