//! What stands before `cargo lambda watch`, which answers a body that is not UTF-8 with a 500 of its own where it is
//! announced as text or JSON. API Gateway hands such a body to the function, and so do we: announced as bytes, it goes
//! through. All else goes to and fro untouched.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Of what is larger nothing is looked at.
const MOST_HEAD: usize = 64 * 1024;
const MOST_BODY: usize = 8 * 1024 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Listens on one port of this machine for what listens on another.
pub(crate) async fn listen(port: u16, behind: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("port {port} cannot be listened on"))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(pass(client, behind))),
                // Too many open files: some are closed soon.
                Err(_) => sleep(Duration::from_millis(25)).await,
            }
        }
    });
    Ok(())
}

/// Until either side is done. Nobody has to be told of a connection that broke: both ends see it.
async fn pass(client: TcpStream, behind: u16) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", behind)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        asked = requests(BufReader::new(from_client), to_server) => asked,
        answered = copy(&mut from_server, &mut to_client) => answered.map(drop).map_err(Into::into),
    }
}

async fn requests(mut client: BufReader<OwnedReadHalf>, mut server: OwnedWriteHalf) -> Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(END_OF_HEAD) && head.len() < MOST_HEAD {
            match client.read_u8().await {
                Ok(byte) => head.push(byte),
                // Between two requests this is how a connection ends.
                Err(_) => return Ok(()),
            }
        }
        let Some(length) = length_of_body(&head) else {
            // Told in chunks, or odd: the rest of this connection is passed on as it comes.
            server.write_all(&head).await?;
            copy(&mut client, &mut server).await?;
            return Ok(());
        };
        let mut body = vec![0; length];
        client.read_exact(&mut body).await?;
        if std::str::from_utf8(&body).is_err() {
            head = announced_as_bytes(&head);
        }
        server.write_all(&head).await?;
        server.write_all(&body).await?;
    }
}

/// `None` where it is not told, or more than is looked at.
fn length_of_body(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head.strip_suffix(END_OF_HEAD)?).ok()?;
    let mut length = 0;
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    Some(length).filter(|length| *length <= MOST_BODY)
}

fn announced_as_bytes(head: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let is_type = |line: &str| {
        line.split_once(':')
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    };
    let mut lines: Vec<_> = head.trim_end().lines().filter(|line| !is_type(line)).collect();
    lines.extend(["content-type: application/octet-stream", "", ""]);
    lines.join("\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        for (head, length) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Some(0)),
            ("POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n", Some(12)),
            ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", None),
            ("POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("no end", None),
        ] {
            assert_eq!(length_of_body(head.as_bytes()), length, "{head}");
        }
    }

    #[test]
    fn what_is_no_text_is_announced_as_bytes() {
        let told =
            announced_as_bytes(b"POST / HTTP/1.1\r\nContent-Type: application/json\r\ncontent-length: 1\r\n\r\n");
        let expected = "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-type: application/octet-stream\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&told), expected);
    }
}
