//! A way to a part of the stack that a test can close, so that the part is down for whoever goes this way.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
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

/// The stack's queue, by a way that can be closed: the proxy, and the settings of a function that goes this way.
pub async fn to_the_queue(way: Way) -> (Proxy, [(&'static str, String); 2]) {
    let (endpoint, queue) = (setting("AWS_ENDPOINT_URL"), setting("SQS_QUEUE_URL"));
    let host = endpoint.split("://").nth(1).unwrap().trim_end_matches('/');
    let proxy = Proxy::to(host, way).await;
    let detour = |url: &str| url.replacen(host, proxy.address(), 1);
    let settings = [
        ("AWS_ENDPOINT_URL", detour(&endpoint)),
        ("SQS_QUEUE_URL", detour(&queue)),
    ];
    (proxy, settings)
}
