//! A reader who was cut off comes again, and has every byte once.

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use tests::person::text;
use tests::stream::{answer_in, deltas, ending, outline, text_of};
use tests::{Frame, Person, Random, Stack, Stream, eventually, script};

use crate::words;

const READERS: usize = 5;
const CUTS_EACH: usize = 20;
const WORDS: usize = 40;

fn path(chat: &str, reply: &str, query: &str) -> String {
    format!("/api/chat/{chat}/messages/{reply}/stream{query}")
}

/// What a reader had when its connection was cut.
#[derive(Debug, Default)]
struct Had {
    reply: Option<String>,
    attempt: Option<i64>,
    text: String,
    is_over: bool,
}

impl Had {
    /// Of so many bytes of a response, in which the last event may be half there.
    fn of(bytes: &[u8]) -> Self {
        let mut had = Self::default();
        let whole = bytes
            .windows(2)
            .rposition(|pair| pair == b"\n\n")
            .map_or(0, |end| end + 2);
        for block in std::str::from_utf8(&bytes[..whole]).unwrap().split_terminator("\n\n") {
            let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else {
                continue;
            };
            let event: Value = serde_json::from_str(data).unwrap();
            match event["type"].as_str().unwrap() {
                "reply.started" => {
                    had.reply = Some(text(&event["data"]["messageId"]));
                    had.attempt = event["data"]["attempt"].as_i64();
                }
                "reply.delta" => {
                    assert_eq!(event["data"]["offset"], had.text.len());
                    had.text.push_str(event["data"]["text"].as_str().unwrap());
                }
                "reply.ended" => had.is_over = true,
                _ => {}
            }
        }
        had
    }
}

/// Sends a question and cuts the connection after so many bytes of the answer.
async fn ask_and_be_cut(anna: &Person, chat: &str, client_id: &str, question: &str, after: usize) -> Had {
    let body = json!({ "clientId": client_id, "content": question });
    let request = anna.request(Method::POST, &format!("/api/chat/{chat}/messages"));
    let mut response = request
        .header(ACCEPT, "text/event-stream")
        .json(&body)
        .send()
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < after {
        match response.chunk().await.unwrap() {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => break,
        }
    }
    drop(response);
    bytes.truncate(after);
    Had::of(&bytes)
}

#[tokio::test]
async fn a_reader_cut_at_any_byte_joins_again_and_has_every_byte_once() {
    let stack = Stack::running();
    let joined = join_all((0..READERS).map(|number| cut_again_and_again(&stack, number))).await;
    let joined: usize = joined.into_iter().sum();
    // Most cuts fall into the text, and most of those leave something to join.
    assert!(joined >= READERS * CUTS_EACH / 2, "{joined}");
}

/// How many of the cuts had more of the text to come.
async fn cut_again_and_again(stack: &Stack, number: usize) -> usize {
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let mut random = Random(number as u64);
    let mut joined = 0;
    for cut in 0..CUTS_EACH {
        let said = words(&mut random, WORDS);
        let question = script(&json!({ "text": said, "delayMs": 15 }));
        // The question comes back, then an event a word; some cuts come after the end.
        let length = question.len() + 900 + WORDS * 200 + said.len();
        let after = random.below(length);
        let had = ask_and_be_cut(&anna, &chat, &format!("c-{cut}"), &question, after).await;
        // Who has not learnt the reply's id asks for whatever runs.
        let query = match had.attempt {
            Some(attempt) => format!("?offset={}&attempt={attempt}", had.text.len()),
            None => String::new(),
        };
        let reply = had.reply.as_ref().unwrap_or(&chat);
        let stream = anna.get_events(&path(&chat, reply, &query)).await;
        let frames = match stream.status().as_u16() {
            204 => {
                // Only where nothing runs any more.
                assert_eq!(
                    anna.history(&chat).await.len(),
                    2 * (cut + 1),
                    "cut {cut} after {after}"
                );
                Vec::new()
            }
            _ => stream.all().await,
        };

        let history = anna.history_of(&chat, 2 * (cut + 1)).await;
        let stored = &history[2 * cut + 1];
        assert_eq!(stored["content"], said);
        let mut whole = had.text.clone();
        for delta in deltas(&frames) {
            let data = &delta.data["data"];
            assert_eq!(
                data["offset"],
                whole.len(),
                "cut {cut} after {after}: a hole or a byte twice"
            );
            assert_eq!(data["messageId"], stored["id"]);
            whole.push_str(data["text"].as_str().unwrap());
        }
        if frames.is_empty() {
            assert!(had.text == said || said.starts_with(&had.text));
        } else {
            assert!(!had.is_over);
            joined += usize::from(whole.len() > had.text.len());
            assert_eq!(
                ending(&frames),
                &json!({ "messageId": stored["id"], "attempt": 1, "state": "completed" })
            );
            assert_eq!(answer_in(&frames).unwrap(), stored);
        }
        // The last piece may come with the whole message.
        assert!(said.starts_with(&whole), "cut {cut} after {after}:\n{whole}\n{said}");
    }
    stack.settled(&anna).await;
    joined
}

#[tokio::test]
async fn other_devices_join_from_the_beginning_by_either_stream_and_by_the_chat_alone() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = words(&mut Random(7), 60);
    let events = anna.get_events(&format!("/api/chat/stream?chatId={chat}")).await;
    let mut first = anna
        .ask(&chat, "c-1", &script(&json!({ "text": said, "delayMs": 40 })))
        .await;
    let mut seen = first.until_deltas(10).await;
    let reply = text(&seen[1].data["data"]["messageId"]);

    let (by_id, by_chat, again) = tokio::join!(
        async { anna.get_events(&path(&chat, &reply, "?offset=0")).await.all().await },
        async { anna.get_events(&path(&chat, &chat, "")).await.all().await },
        // Who has all of the attempt so far, and says so.
        async {
            let had = text_of(&seen);
            let query = format!("?offset={}&attempt=1", had.len());
            (had, anna.get_events(&path(&chat, &reply, &query)).await.all().await)
        },
    );
    while let Some(frame) = first.next().await {
        seen.push(frame);
    }
    assert_eq!(text_of(&seen), said);

    let stored = anna.history(&chat).await[1].clone();
    assert_eq!(stored["content"], said);
    for frames in [&by_id, &by_chat] {
        assert_eq!(
            outline(frames),
            ["reply.started", "reply.delta", "message.created", "reply.ended"]
        );
        assert!(said.starts_with(&text_of(frames)));
        assert!(
            text_of(frames).len() > said.len() / 2,
            "its last piece alone may be missing"
        );
    }
    let (had, again) = again;
    assert_eq!(outline(&again), ["reply.delta", "message.created", "reply.ended"]);
    assert_eq!(again[0].data["data"]["offset"], had.len(), "nothing of what it had");
    for frames in [&by_id, &by_chat, &again] {
        assert_eq!(answer_in(frames).unwrap(), &stored);
        assert_eq!(
            ending(frames),
            &json!({ "messageId": reply, "attempt": 1, "state": "completed" })
        );
    }

    // The stream of all events tells the same, as it happened.
    let told = until_the_end(events, &reply).await;
    assert!(deltas(&told).count() > 3);
    assert!(said.starts_with(&text_of(&told)));
    assert_eq!(answer_in(&told).unwrap(), &stored);
}

async fn until_the_end(mut events: Stream, reply: &str) -> Vec<Frame> {
    let mut told = Vec::new();
    loop {
        let frame = events.next().await.unwrap();
        let is_end = frame.event == "reply.ended" && frame.data["data"]["messageId"] == reply;
        told.push(frame);
        if is_end {
            return told;
        }
    }
}

#[tokio::test]
async fn who_saw_an_attempt_that_failed_is_told_of_the_next_from_its_beginning() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let broken = script(&json!({ "words": 9, "delayMs": 60, "fail": "truncate", "failAfterWords": 6 }));
    let mut first = anna.ask(&chat, "c-1", &broken).await;
    let seen = first.until_deltas(5).await;
    let (reply, had) = (text(&seen[1].data["data"]["messageId"]), text_of(&seen));
    drop(first);

    let query = format!("?offset={}&attempt=1", had.len());
    let frames = anna.get_events(&path(&chat, &reply, &query)).await.all().await;

    let attempts: Vec<_> = frames
        .iter()
        .filter(|frame| frame.event == "reply.started")
        .map(|frame| frame.data["data"]["attempt"].as_i64().unwrap())
        .collect();
    assert!(
        !attempts.is_empty() && attempts[0] > 1 && attempts.is_sorted(),
        "{attempts:?}"
    );
    let anew = frames.iter().position(|frame| frame.event == "reply.started").unwrap();
    assert!("word1 word2 word3 word4 word5 word6 ".starts_with(&text_of(&frames[anew..])));
    assert_eq!(ending(&frames)["state"], "failed");
    stack.settled(&anna).await;
}

#[tokio::test]
async fn where_nothing_runs_there_is_nothing_to_join_and_strangers_find_no_chat() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    assert_eq!(anna.get(&path(&chat, &chat, "")).await.status, 204);

    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "words": 100, "delayMs": 50 })))
        .await;
    let seen = stream.until_deltas(3).await;
    let (question, reply) = (
        text(&seen[0].data["data"]["id"]),
        text(&seen[1].data["data"]["messageId"]),
    );

    for (reply, query) in [
        (&reply, "?offset=-1"),
        (&reply, "?offset=1.5"),
        (&reply, "?offset=one"),
        (&reply, "?offset=99999999999999999999"),
        (&reply, "?offset=4294967296"),
        (&reply, "?attempt=-1"),
        (&reply, "?offset=0&attempt=x"),
        (&chat, "?offset=%00"),
    ] {
        let problem = anna
            .get(&path(&chat, reply, query))
            .await
            .problem(422, "invalid-request");
        let name = problem["errors"][0]["parameter"].as_str().unwrap();
        assert!(query.contains(name), "{problem}");
    }
    for reply in ["nonsense", "1", "%00"] {
        anna.get(&path(&chat, reply, "")).await.problem(422, "invalid-request");
    }
    for named in [&reply, &chat] {
        ben.get(&path(&chat, named, "")).await.problem(404, "not-found");
        ben.get(&path(&chat, named, "?offset=3&attempt=1"))
            .await
            .problem(404, "not-found");
    }
    // Not a reply, or not of this chat.
    let other = anna.assistant_chat().await;
    for (chat, named) in [(&chat, &question), (&other, &reply), (&other, &other)] {
        assert_eq!(anna.get(&path(chat, named, "")).await.status, 204);
    }

    crate::stop(&anna, &chat, None).await.with(200);
    eventually("nothing to join", async || {
        (anna.get_events(&path(&chat, &reply, "")).await.status() == 204).then_some(())
    })
    .await;
    assert_eq!(anna.get(&path(&chat, &chat, "?offset=5&attempt=1")).await.status, 204);
}

#[tokio::test]
async fn an_offset_beyond_or_within_a_character_harms_nobody() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = "🌍".repeat(40) + " " + &words(&mut Random(3), 50);
    let mut stream = anna
        .ask(&chat, "c-1", &script(&json!({ "text": said, "delayMs": 80 })))
        .await;
    let seen = stream.until_deltas(4).await;
    let reply = text(&seen[1].data["data"]["messageId"]);
    let (within, beyond) = tokio::join!(
        async {
            anna.get_events(&path(&chat, &reply, "?offset=2&attempt=1"))
                .await
                .all()
                .await
        },
        async {
            anna.get_events(&path(&chat, &reply, "?offset=1000000&attempt=1"))
                .await
                .all()
                .await
        },
    );
    let stored = anna.history_of(&chat, 2).await[1].clone();
    for frames in [&within, &beyond] {
        assert_eq!(answer_in(frames).unwrap(), &stored, "{frames:?}");
        assert_eq!(ending(frames)["state"], "completed");
    }
    assert_eq!(deltas(&beyond).count(), 0);
    // It cannot have half a character: it is told from the next one on.
    for delta in deltas(&within) {
        let offset = usize::try_from(delta.data["data"]["offset"].as_u64().unwrap()).unwrap();
        assert!(said[offset..].starts_with(delta.data["data"]["text"].as_str().unwrap()));
    }
}
