//! What the client does on the wire: against a server that misbehaves on purpose, the `pusher` crate as oracle, and sockudo.

mod oracle;
mod sockudo;
mod wire;

use std::net::SocketAddr;

use super::*;

fn settings(at: SocketAddr) -> PusherSettings {
    PusherSettings {
        app_id: "3".to_owned(),
        key: "278d425bdf160c739803".to_owned(),
        secret: "7ad3773142a6692b25b8".to_owned(),
        host: at.ip().to_string(),
        port: at.port(),
        tls: false,
    }
}

fn pusher(at: SocketAddr) -> Pusher {
    Pusher::new(settings(at), http())
}

/// Follows redirects, as a client may that others share.
fn http() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn socket(id: &str) -> SocketId {
    SocketId::parse(id).unwrap()
}

fn event(name: &str, channels: &[&str], data: &str) -> Trigger {
    Trigger {
        channels: channels.iter().map(|name| channel(name)).collect(),
        event: name.to_owned(),
        data: data.to_owned(),
        socket_id: None,
    }
}

#[test]
fn nothing_shows_the_secret_or_a_message() {
    let settings = PusherSettings::hosted("3", "key", "hush", "eu");
    let trigger = event("chat-message", &["private-user-anna"], "hush");
    let shown = format!(
        "{settings:?} {:?} {:?} {trigger:?}",
        Pusher::new(settings.clone(), http()),
        Signer::new("key", "hush")
    );
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_cluster_names_the_host() {
    let settings = PusherSettings::hosted("3", "key", "secret", "eu");
    assert_eq!(
        (settings.host.as_str(), settings.port, settings.tls),
        ("api-eu.pusher.com", 443, true)
    );
}
