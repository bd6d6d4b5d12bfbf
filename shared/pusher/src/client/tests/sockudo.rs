//! Against a real server of Pusher's protocol: `SOCKUDO_BIN`, else where the local stack keeps it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::json;
use uuid::Uuid;

use super::*;
use fakes::http::nobody;

struct Sockudo {
    at: SocketAddr,
    process: Child,
    config: PathBuf,
}

impl Sockudo {
    fn start() -> Self {
        let program = env::var("SOCKUDO_BIN").unwrap_or("/var/cache/backtalk/sockudo-5.2.0/bin/sockudo".to_owned());
        assert!(
            PathBuf::from(&program).exists(),
            "there is no {program}: `cargo xtask test` installs it, or set SOCKUDO_BIN to a sockudo 5.2"
        );
        let at = nobody();
        let PusherSettings {
            app_id, key, secret, ..
        } = settings(at);
        let config = env::temp_dir().join(format!("sockudo-{}.toml", Uuid::new_v4()));
        let port = at.port();
        let text = format!(
            r#"
            host = "127.0.0.1"
            port = {port}
            shutdown_grace_period = 1
            metrics.enabled = false
            queue.driver = "memory"
            rate_limiter.enabled = false
            app_manager.driver = "memory"
            [[app_manager.array.apps]]
            id = "{app_id}"
            key = "{key}"
            secret = "{secret}"
            enabled = true
            [app_manager.array.apps.policy.limits]
            max_channel_name_length = 164
            max_event_channels_at_once = 100
            max_event_batch_size = 10
            max_event_payload_in_kb = 10
            "#
        );
        fs::write(&config, text).unwrap();
        let mut process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .env("RUST_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = log
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("http server listening"));
        assert!(listening, "sockudo ended before it listened");
        thread::spawn(move || log.for_each(drop));
        Self { at, process, config }
    }
}

impl Drop for Sockudo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.config);
    }
}

/// As much of a WebSocket client as it takes to subscribe and listen.
struct Listener {
    stream: BufReader<TcpStream>,
    socket: SocketId,
}

impl Listener {
    fn connect(at: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let PusherSettings { key, .. } = settings(at);
        let ask = format!(
            "GET /app/{key}?protocol=7&client=test&version=1 HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");

        let mut listener = Self {
            stream,
            socket: socket("0.0"),
        };
        let greeting = listener.hear();
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        listener.socket = socket(data["socket_id"].as_str().unwrap());
        listener
    }

    /// A client's frames are masked; a mask of zeros leaves the text readable.
    fn say(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let frame = [&[0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0], text.as_bytes()].concat();
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    fn hear(&mut self) -> Value {
        let [kind, short] = self.bytes();
        assert_eq!(kind, 0x81, "a whole text frame");
        let length = match short {
            126 => u64::from(u16::from_be_bytes(self.bytes())),
            127 => u64::from_be_bytes(self.bytes()),
            short => u64::from(short),
        };
        let mut text = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// What the server answers to a subscription.
    fn subscribe(&mut self, data: &Value) -> String {
        self.say(&json!({"event": "pusher:subscribe", "data": data}));
        self.hear()["event"].as_str().unwrap().to_owned()
    }

    fn subscribe_private(&mut self, pusher: &Pusher, channel: &ChannelName) {
        let auth = pusher.authorize_private(&self.socket, channel);
        let answer = self.subscribe(&json!({"channel": channel, "auth": auth}));
        assert_eq!(answer, "pusher_internal:subscription_succeeded");
    }
}

fn user(id: &str) -> ChannelName {
    user_channel(&domain::ids::UserId::parse(id).unwrap())
}

#[tokio::test]
async fn a_subscriber_hears_single_and_batched_events() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let mut anna = Listener::connect(server.at);
    for id in ["anna", "auth0|1 é", &"long".repeat(60)] {
        anna.subscribe_private(&pusher, &user(id));
    }

    let data = r#"{"type":"message.created","data":{"content":"\"hi\" é"}}"#;
    let one = [event("chat-message", &[user("anna").as_str()], data)];
    let batch: Vec<Trigger> = (0..25)
        .map(|n| {
            event(
                &format!("typing-{n}"),
                &[user(["anna", "auth0|1 é"][n % 2]).as_str()],
                "{}",
            )
        })
        .collect();
    assert_eq!(pusher.trigger(&one).await, Pushed::Sent);
    let heard = anna.hear();
    assert_eq!(
        (&heard["event"], &heard["channel"], &heard["data"]),
        (&json!("chat-message"), &json!("private-user-anna"), &json!(data))
    );

    assert_eq!(pusher.trigger(&batch).await, Pushed::Sent);
    let mut names: Vec<String> = (0..25)
        .map(|_| anna.hear()["event"].as_str().unwrap().to_owned())
        .collect();
    let mut expected: Vec<String> = batch.into_iter().map(|trigger| trigger.event).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_hundred_channels_hear_one_event_but_not_where_it_came_from() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let (mut anna, mut ben) = (Listener::connect(server.at), Listener::connect(server.at));
    anna.subscribe_private(&pusher, &user("7"));
    ben.subscribe_private(&pusher, &user("99"));

    let channels: Vec<ChannelName> = (0..100).map(|n| user(&n.to_string())).collect();
    let typing = Trigger {
        channels,
        socket_id: Some(anna.socket.clone()),
        ..event("typing", &[], "{}")
    };
    assert_eq!(pusher.trigger(&[typing]).await, Pushed::Sent);
    assert_eq!(ben.hear()["event"], "typing");

    assert_eq!(
        pusher.trigger(&[event("read", &[user("7").as_str()], "{}")]).await,
        Pushed::Sent
    );
    assert_eq!(anna.hear()["event"], "read", "the first that anna hears");
}

#[tokio::test]
async fn ten_times_10240_bytes_pass() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let mut anna = Listener::connect(server.at);
    anna.subscribe_private(&pusher, &user("anna"));

    // Quotes, for the limit counts data and not how it is escaped on the way.
    let most = format!("\"{}\"", r#"\""#.repeat(5_119));
    assert_eq!(most.len(), MAX_DATA);
    let ten: Vec<Trigger> = (0..10).map(|_| event("big", &[user("anna").as_str()], &most)).collect();
    assert_eq!(pusher.trigger(&ten).await, Pushed::Sent);
    for _ in 0..10 {
        assert_eq!(anna.hear()["data"], most);
    }
}

#[tokio::test]
async fn a_byte_more_is_413_there_as_it_is_too_large_here() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let larger = event("big", &[user("anna").as_str()], &"x".repeat(MAX_DATA + 1));
    for call in calls::fewest(&[&larger])
        .into_iter()
        .chain(calls::fewest(&[&larger, &larger]))
    {
        assert_eq!(
            pusher.send(&call).await,
            Err(PushFailure::TooLarge),
            "{}",
            call.endpoint
        );
    }
}

#[tokio::test]
async fn a_presence_channel_shows_who_is_here() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let channel = chat_presence_channel(domain::ids::ChatId::fresh());
    let join = |id: &str| {
        let mut listener = Listener::connect(server.at);
        let data = json!({"user_id": id, "user_info": {"name": "É \"x\""}}).to_string();
        let auth = pusher.authorize_presence(&listener.socket, &channel, &data);
        let answer = listener.subscribe(&json!({"channel": channel, "auth": auth, "channel_data": data}));
        assert_eq!(answer, "pusher_internal:subscription_succeeded");
        listener
    };
    let mut anna = join("anna");
    let _ben = join("auth0|ben é");
    let heard = anna.hear();
    assert_eq!(heard["event"], "pusher_internal:member_added");
    assert!(heard["data"].to_string().contains("auth0|ben é"), "{heard}");
}

#[tokio::test]
async fn a_token_for_another_connection_or_channel_opens_nothing() {
    let server = Sockudo::start();
    let pusher = pusher(server.at);
    let (anna, bens) = (user("anna"), user("ben"));
    let mut stranger = Listener::connect(server.at);
    let own = pusher.authorize_private(&stranger.socket, &bens);
    let anothers = pusher.authorize_private(&socket("1.1"), &anna);
    for auth in [own, anothers] {
        let answer = stranger.subscribe(&json!({"channel": anna, "auth": auth}));
        assert_ne!(answer, "pusher_internal:subscription_succeeded");
        stranger = Listener::connect(server.at);
    }
}

#[tokio::test]
async fn wrong_credentials_or_a_wrong_clock_are_refused() {
    let server = Sockudo::start();
    let right = settings(server.at);
    let wrong = [
        PusherSettings {
            app_id: "4".to_owned(),
            ..right.clone()
        },
        PusherSettings {
            key: "other".to_owned(),
            ..right.clone()
        },
        PusherSettings {
            secret: "other".to_owned(),
            ..right.clone()
        },
    ];
    let late = Pusher::new(right, http()).with_clock(|| UNIX_EPOCH + Duration::from_secs(1_353_088_179));
    for pusher in wrong
        .into_iter()
        .map(|settings| Pusher::new(settings, http()))
        .chain([late])
    {
        let outcome = pusher.trigger(&[event("read", &["private-user-anna"], "{}")]).await;
        assert!(
            matches!(outcome, Pushed::Failed(PushFailure::Refused(400..=404))),
            "{outcome:?}"
        );
    }
}
