//! A stream that is cut a hundred times, anywhere, loses nothing and tells nothing twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::person::text;
use tests::{PATIENCE, Person, Random, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::node::Client;
use crate::{Pair, say, whole_history};

const CUTS: usize = 100;
/// A connection gets so many bytes at most: a few events, or less than the head of the answer.
const MOST_BYTES: usize = 2500;

/// A way to the API on which the first hundred connections are cut after a random number of bytes.
struct Cutter {
    url: String,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    async fn to(stack: &Stack, seed: u64) -> Self {
        let target: Arc<str> = stack.api.strip_prefix("http://").unwrap().into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(AtomicUsize::new(0));
        let (counted, mut random) = (cuts.clone(), Random(seed));
        tokio::spawn(async move {
            let mut begun = 0;
            while let Ok((client, _)) = listener.accept().await {
                begun += 1;
                let allowed = if begun > CUTS {
                    usize::MAX
                } else {
                    1 + random.below(MOST_BYTES)
                };
                let server = TcpStream::connect(&*target).await.unwrap();
                let counted = counted.clone();
                tokio::spawn(async move {
                    cut_after(allowed, client, server).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, cuts }
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn cut_after(mut allowed: usize, client: TcpStream, server: TcpStream) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
        let passed = length.min(allowed);
        // A browser waits for a second as it was told; a hundred of them are too long for a test.
        let hurried = hurry(&buffer[..passed]);
        if to_client.write_all(&hurried).await.is_err() {
            break;
        }
        allowed -= passed;
        if allowed == 0 {
            break;
        }
    }
    asking.abort();
}

fn hurry(bytes: &[u8]) -> Vec<u8> {
    let (slow, fast) = (b"retry: 1000\n", b"retry: 0010\n");
    let mut bytes = bytes.to_vec();
    if let Some(place) = bytes.windows(slow.len()).position(|window| window == slow) {
        bytes[place..place + slow.len()].copy_from_slice(fast);
    }
    bytes
}

/// What a reader heard.
#[derive(Clone, Debug)]
struct Heard {
    name: String,
    envelope: Value,
}

/// Two people talk and one of them asks the model, until the reader's way was cut often enough. The message that ends it.
async fn talk(pair: &Pair, assistant: &str, cutter: &Cutter) -> Value {
    let Pair { anna, ben, chat } = pair;
    let is_over = || cutter.cuts() >= CUTS;
    let chatting = async {
        let mut number = 0;
        while !is_over() {
            number += 1;
            say(
                if number % 3 == 0 { anna } else { ben },
                chat,
                &format!("message {number}"),
            )
            .await;
        }
    };
    let asking = async {
        let mut number = 0;
        while !is_over() {
            number += 1;
            let script = r#"/script {"words": 40, "delayMs": 5}"#;
            let frames = anna.ask(assistant, &format!("c-{number}"), script).await.all().await;
            assert_eq!(tests::stream::ending(&frames)["state"], "completed");
        }
    };
    tokio::join!(chatting, asking);
    say(ben, chat, "the end").await
}

/// Everything exactly once and in order, though no reader dropped anything.
async fn assert_whole(person: &Person, chats: &[&str], heard: &[Heard]) {
    let created = |chat: &str| -> Vec<Value> {
        let of_chat = heard
            .iter()
            .filter(|one| one.name == "message.created" && one.envelope["chatId"] == chat);
        of_chat.map(|one| one.envelope["data"].clone()).collect()
    };
    let mut answers = BTreeMap::new();
    for chat in chats {
        let (heard, history) = (created(chat), whole_history(person, chat).await);
        let seqs = |messages: &[Value]| tests::person::seqs(messages);
        assert_eq!(seqs(&heard), seqs(&history), "a hole, or one twice");
        assert_eq!(heard, history);
        let told = history.into_iter().filter(|message| message["role"] == "assistant");
        answers.extend(told.map(|message| (text(&message["id"]), text(&message["content"]))));
    }
    let ended: Vec<_> = heard.iter().filter(|one| one.name == "reply.ended").collect();
    let ids: Vec<_> = ended
        .iter()
        .map(|one| text(&one.envelope["data"]["messageId"]))
        .collect();
    let in_history: Vec<_> = heard
        .iter()
        .filter(|one| one.name == "message.created" && one.envelope["data"]["role"] == "assistant")
        .map(|one| text(&one.envelope["data"]["id"]))
        .collect();
    assert_eq!(ids, in_history, "each reply ends once, after its message");

    // Pieces may come again after a cut: each says where it belongs.
    let mut texts: HashMap<String, String> = HashMap::new();
    for one in heard.iter().filter(|one| one.name == "reply.delta") {
        let data = &one.envelope["data"];
        let offset = usize::try_from(data["offset"].as_u64().unwrap()).unwrap();
        let so_far = texts.entry(text(&data["messageId"])).or_default();
        assert!(offset <= so_far.len(), "a hole before {one:?}");
        so_far.truncate(offset);
        so_far.push_str(data["text"].as_str().unwrap());
    }
    assert!(!texts.is_empty());
    for (id, so_far) in texts {
        assert!(answers[&id].starts_with(&so_far), "{so_far:?} of {:?}", answers[&id]);
    }
}

#[tokio::test]
async fn eventsource_cut_a_hundred_times_hears_everything_once() {
    let stack = Stack::running();
    let pair = Pair::meet(&stack).await;
    let cutter = Cutter::to(&stack, 3).await;
    let url = format!("{}/api/chat/stream?after=0", cutter.url);
    let source = Client::start("stream.mjs", &[("STREAM_URL", &url), ("TOKEN", &pair.anna.token)]);
    hears_everything_once(source, &pair, &cutter).await;
}

#[tokio::test]
async fn a_browsers_own_eventsource_cut_a_hundred_times_hears_everything_once() {
    let stack = Stack::running();
    let pair = Pair::meet(&stack).await;
    let cutter = Cutter::to(&stack, 5).await;
    let issued = pair.anna.post("/api/chat/stream-ticket", &json!({})).await.with(201);
    // A hundred cuts take longer than a ticket is good for on a busy machine.
    sqlx::query("update stream_tickets set expires_at = now() + interval '1 hour' where user_id = $1")
        .bind(&pair.anna.id)
        .execute(&stack.rows)
        .await
        .unwrap();
    let url = format!(
        "{}/api/chat/stream?after=0&ticket={}",
        cutter.url,
        text(&issued["ticket"])
    );
    let source = Client::start("browser.mjs", &[("STREAM_URL", &url)]);
    hears_everything_once(source, &pair, &cutter).await;
}

async fn hears_everything_once(mut source: Client, pair: &Pair, cutter: &Cutter) {
    let assistant = pair.anna.assistant_chat().await;
    let end = talk(pair, &assistant, cutter).await;
    let mut heard = Vec::new();
    loop {
        let line = source.hears("an event", |_| true).await;
        assert_ne!(line["closed"], true, "{line}");
        if line["on"] == "event" {
            let envelope = line["data"].clone();
            let is_end = envelope["data"] == end;
            heard.push(Heard {
                name: text(&line["name"]),
                envelope,
            });
            if is_end {
                break;
            }
        }
    }
    assert!(cutter.cuts() >= CUTS);
    assert_whole(&pair.anna, &[&pair.chat, &assistant], &heard).await;
}

#[tokio::test]
async fn a_plain_reader_cut_a_hundred_times_hears_everything_once() {
    let stack = Stack::running();
    let pair = Pair::meet(&stack).await;
    let assistant = pair.anna.assistant_chat().await;
    let cutter = Cutter::to(&stack, 4).await;
    let (end, heard) = tokio::join!(talk(&pair, &assistant, &cutter), listen_on(&pair.anna, &cutter));
    assert_eq!(heard.last().unwrap().envelope["data"], end);
    assert_whole(&pair.anna, &[&pair.chat, &assistant], &heard).await;
}

/// Connects again and again, with the last whole event's place in the URL, until the end is heard.
async fn listen_on(person: &Person, cutter: &Cutter) -> Vec<Heard> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let mut heard: Vec<Heard> = Vec::new();
    let mut place = String::from("0");
    loop {
        let url = format!("{}/api/chat/stream?after={place}", cutter.url);
        let Ok(mut answer) = http.get(url).bearer_auth(&person.token).send().await else {
            continue;
        };
        assert_eq!(answer.status(), 200);
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = timeout(PATIENCE, answer.chunk()).await.expect("more of the stream") {
            bytes.extend_from_slice(&chunk);
            while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = bytes.drain(..end + 2).collect();
                let block = std::str::from_utf8(&block).unwrap();
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                if let Some(id) = field("id: ") {
                    place = id;
                }
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    let envelope: Value = serde_json::from_str(&data).unwrap();
                    let is_end = name == "message.created" && envelope["data"]["content"] == json!("the end");
                    heard.push(Heard { name, envelope });
                    if is_end {
                        return heard;
                    }
                }
            }
        }
    }
}
