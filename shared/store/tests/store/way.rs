//! A way to Postgres on which a test counts connections and lets them die without a word, and a server that takes nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy on this machine.
pub(crate) struct Way {
    address: String,
    opened: Arc<AtomicUsize>,
    /// Connections up to this one carry nothing any more, and stay open.
    dead: watch::Sender<usize>,
}

impl Way {
    /// To `host:port`.
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            address: listener.local_addr().unwrap().to_string(),
            opened: Arc::default(),
            dead: watch::Sender::new(0),
        };
        let (opened, dead) = (Arc::clone(&way.opened), way.dead.subscribe());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let number = opened.fetch_add(1, Ordering::SeqCst) + 1;
                let (target, mut dead) = (target.clone(), dead.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    let dying = async { drop(dead.wait_for(|dead| number <= *dead).await) };
                    tokio::select! {
                        biased;
                        () = dying => std::future::pending::<()>().await,
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        way
    }

    /// `host:port`
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// The peers of all connections so far are gone without a word; further connections are good.
    pub(crate) fn kill_silently(&self) {
        self.dead.send_replace(self.opened());
    }

    /// So are those of all that will be.
    pub(crate) fn kill_for_good(&self) {
        self.dead.send_replace(usize::MAX);
    }
}

/// A server that answers each connection by one error, as Postgres does before it lets somebody in. Its `host:port`, and
/// how often it was asked.
pub(crate) async fn refusing(code: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut startup = [0; 1024];
                let _bytes = client.read(&mut startup).await.unwrap();
                let fields = format!("SFATAL\0VFATAL\0C{code}\0Mrefused\0\0");
                let mut answer = vec![b'E'];
                answer.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
                answer.extend(fields.as_bytes());
                client.write_all(&answer).await.unwrap();
            });
        }
    });
    (address, asked)
}
