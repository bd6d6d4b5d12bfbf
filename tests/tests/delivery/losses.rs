//! Pusher as a bad network: events lost, doubled and overtaken. A client that keeps to the rules knows in the end what
//! the server knows.

use std::env;
use std::sync::Arc;

use serde_json::{Value, json};
use tests::function::Gateway;
use tests::person::text;
use tests::{Function, Person, Random, Stack, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::node::Client;
use crate::{Pair, delete, edit, mark_read, say, whole_history};

/// Of a hundred calls to Pusher, so many have an accident.
const ACCIDENTS: usize = 30;
const STEPS: usize = 200;

/// A way to Pusher on which calls get lost, doubled and overtaken; each is answered as if it had arrived.
struct Lossy {
    port: u16,
    road: Arc<Mutex<Road>>,
}

struct Road {
    random: Random,
    http: reqwest::Client,
    /// Calls that others overtake, and how many still may.
    held: Vec<(usize, Call)>,
    lost: usize,
    doubled: usize,
    overtaken: usize,
}

struct Call {
    path: String,
    body: Vec<u8>,
}

impl Lossy {
    async fn start(stack: &Stack, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let road = Arc::new(Mutex::new(Road {
            random: Random(seed),
            http: stack.http.clone(),
            held: Vec::new(),
            lost: 0,
            doubled: 0,
            overtaken: 0,
        }));
        let way = road.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, way.clone()));
            }
        });
        Self { port, road }
    }
}

/// Requests of one connection, until it ends.
async fn pass_on(connection: TcpStream, road: Arc<Mutex<Road>>) {
    let mut connection = BufReader::new(connection);
    loop {
        let mut path = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().to_owned();
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        road.lock().await.take(Call { path, body }).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        if connection.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Road {
    async fn take(&mut self, call: Call) {
        let accident = self.random.below(100);
        if accident >= ACCIDENTS {
            self.arrive(&call).await;
        } else {
            match accident % 3 {
                0 => self.lost += 1,
                1 => {
                    self.doubled += 1;
                    self.arrive(&call).await;
                    self.arrive(&call).await;
                }
                _ => {
                    self.overtaken += 1;
                    let by = 1 + self.random.below(4);
                    self.held.push((by, call));
                    return;
                }
            }
        }
        let mut late = Vec::new();
        for (by, call) in std::mem::take(&mut self.held) {
            if by > 1 {
                self.held.push((by - 1, call));
            } else {
                late.push(call);
            }
        }
        for call in late {
            self.arrive(&call).await;
        }
    }

    async fn arrive(&self, call: &Call) {
        let host = format!(
            "{}:{}",
            env::var("PUSHER_HOST").unwrap(),
            env::var("PUSHER_PORT").unwrap()
        );
        let request = self
            .http
            .post(format!("http://{host}{}", call.path))
            .header("content-type", "application/json");
        let answer = request.body(call.body.clone()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    async fn clear(&mut self) {
        for (_, call) in std::mem::take(&mut self.held) {
            self.arrive(&call).await;
        }
    }
}

/// Functions that reach Pusher by the bad way alone.
struct Talking {
    gateway: Gateway,
    _functions: Vec<Function>,
}

impl Talking {
    async fn by(stack: &Stack, lossy: &Lossy) -> Self {
        let port = lossy.port.to_string();
        let gateway = Gateway::start(stack).await;
        // Two of each, for two people.
        let names = ["send-message", "edit-message", "delete-message", "mark-messages-read"].repeat(2);
        let settings = [("PUSHER_HOST", "127.0.0.1"), ("PUSHER_PORT", port.as_str())];
        let functions = names.iter().map(|name| gateway.function(name, &settings)).collect();
        Self {
            gateway,
            _functions: functions,
        }
    }

    /// Says, changes, deletes and reads as the dice will have it.
    async fn talk(&self, person: &Person, chat: &str, mut random: Random) {
        let here = Person {
            stack: self.gateway.stack.clone(),
            ..person.clone()
        };
        let mut own: Vec<Value> = Vec::new();
        for step in 0..STEPS {
            match random.below(100) {
                60..75 if !own.is_empty() => {
                    let message = &own[random.below(own.len())];
                    edit(&here, message, &format!("changed {step}")).await.with(200);
                }
                75..82 if !own.is_empty() => {
                    let message = own.swap_remove(random.below(own.len()));
                    delete(&here, &message).await.with(200);
                }
                82.. => {
                    let unread = person.get("/api/chat-messages?limit=10").await.with(200);
                    let unread = unread["messages"].as_array().unwrap();
                    if !unread.is_empty() {
                        mark_read(&here, &[&unread[random.below(unread.len())]]).await;
                    }
                }
                dice if dice < 3 => own.push(say(&here, chat, &"a long message ".repeat(1500)).await),
                _ => own.push(say(&here, chat, &format!("message {step}")).await),
            }
        }
    }
}

async fn follower(person: &Person, chat: &str) -> Client {
    let channel = format!("private-user-{}", person.id);
    let settings = [
        ("API_URL", person.stack.api.as_str()),
        ("TOKEN", &person.token),
        ("CHAT", chat),
        ("CHANNEL", &channel),
    ];
    let mut follower = Client::start("follower.mjs", &settings);
    follower
        .hears("a subscription", |line| line["on"] == "subscribed")
        .await;
    follower
}

async fn state(follower: &mut Client, command: &str) -> Value {
    follower.tell(&json!({ command: true })).await;
    let state = follower
        .hears("its state", |line| line["on"] == "state" || line["on"] == "error")
        .await;
    assert_eq!(state["on"], "state", "{state}");
    state
}

#[tokio::test]
async fn a_client_that_keeps_to_the_rules_ends_with_the_servers_state() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let lossy = Lossy::start(&stack, 20_261_121).await;
    let talking = Talking::by(&stack, &lossy).await;
    let mut followers = [follower(&anna, &chat).await, follower(&ben, &chat).await];

    tokio::join!(
        talking.talk(&anna, &chat, Random(1)),
        talking.talk(&ben, &chat, Random(2))
    );
    lossy.road.lock().await.clear().await;

    let server = anna.get(&format!("/api/chat/{chat}")).await.with(200)["chat"].clone();
    let history = whole_history(&anna, &chat).await;
    for follower in &mut followers {
        let state = state(follower, "poll").await;
        assert_eq!(state["seq"], server["lastSeq"]);
        assert_eq!(state["messages"].as_array().unwrap(), &history);
        for member in server["members"].as_array().unwrap() {
            assert_eq!(state["reads"][text(&member["userId"])], member["readSeq"], "{member}");
        }
        // It was not the list alone that told it.
        for what in ["applied", "older", "gaps", "pointers"] {
            assert!(state["counts"][what].as_i64().unwrap() > 0, "{}", state["counts"]);
        }
    }
    let road = lossy.road.lock().await;
    for accidents in [road.lost, road.doubled, road.overtaken] {
        assert!(
            accidents > 10,
            "{} lost, {} doubled, {} overtaken",
            road.lost,
            road.doubled,
            road.overtaken
        );
    }
}

#[tokio::test]
async fn a_message_of_32_kib_goes_out_as_a_pointer_and_is_fetched() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let mut follower = follower(&ben, &chat).await;
    let mut plain = Client::pusher(&ben).await;
    plain.subscribe(&format!("private-user-{}", ben.id)).await;

    let large = "ö".repeat(16 * 1024);
    let answer = anna.send(&chat, "c-1", &large).await.with(201);
    assert_eq!(answer["pusherSent"], true);
    let pointer = plain.hears_event("chat-message").await;
    let fetch = format!("/api/chat/{chat}/messages?changedAfter=0");
    assert_eq!(pointer["data"], json!({ "fetch": fetch }));
    assert_eq!((&pointer["seq"], &pointer["chatId"]), (&json!(1), &json!(chat)));
    assert_eq!(ben.get(&fetch).await.with(200)["messages"][0], answer["message"]);

    let mut until = async |seq: i64| {
        eventually("an event's arrival", async || {
            let state = state(&mut follower, "tell").await;
            (state["seq"] == seq).then_some(state)
        })
        .await
    };
    assert_eq!(until(1).await["messages"][0]["content"], large);
    let small = say(&anna, &chat, "small").await;
    let state = until(2).await;
    assert_eq!(state["messages"], json!([answer["message"], small]));
    assert_eq!(
        (&state["counts"]["pointers"], &state["counts"]["applied"]),
        (&json!(1), &json!(1)),
        "{}",
        state["counts"]
    );
}
