//! An answer is written again.

use serde_json::{Value, json};
use tests::person::{seqs, text};
use tests::stream::{answer_in, deltas, ending, outline, text_of};
use tests::{Answer, Frame, Person, Stack, Stream, eventually, script};
use uuid::Uuid;

use crate::stop;

fn path(chat: &str) -> String {
    format!("/api/chat/{chat}/regenerate")
}

async fn regenerate(person: &Person, chat: &str, what: &Value) -> Answer {
    person.post(&path(chat), what).await
}

/// Asks, and changes the question once it is answered: the scripted model says the same to the same question.
async fn answered_and_changed(person: &Person, chat: &str, client_id: &str, from: &str, to: &str) -> String {
    let frames = person.ask(chat, client_id, from).await.all().await;
    change(person, chat, &text(&frames[0].data["data"]["id"]), to).await;
    text(&ending(&frames)["messageId"])
}

async fn change(person: &Person, chat: &str, question: &str, to: &str) {
    let path = format!("/api/chat/{chat}/messages/{question}");
    let request = person
        .request(reqwest::Method::PATCH, &path)
        .json(&json!({ "content": to }));
    Answer::of(request.send().await.unwrap()).await.with(200);
}

/// What an answer said before, and why it does not any more.
async fn earlier(stack: &Stack, message: &str) -> Vec<(i32, String, String)> {
    sqlx::query_as("select version, content, reason from message_versions where message_id = $1 order by version")
        .bind(message.parse::<Uuid>().unwrap())
        .fetch_all(&stack.rows)
        .await
        .unwrap()
}

async fn until_the_end_of(events: &mut Stream, reply: &str) -> Vec<Frame> {
    let mut told: Vec<Frame> = Vec::new();
    loop {
        told.push(events.next().await.unwrap());
        let last = &told[told.len() - 1];
        if last.event == "reply.ended" && last.data["data"]["messageId"] == reply {
            return told;
        }
    }
}

async fn message(person: &Person, chat: &str, id: &str) -> Option<Value> {
    let history = person.history(chat).await;
    history.into_iter().find(|message| message["id"] == id)
}

async fn in_version(person: &Person, chat: &str, id: &str, version: i64) -> Value {
    eventually(&format!("version {version} of {id}"), async || {
        message(person, chat, id)
            .await
            .filter(|message| message["version"] == version)
    })
    .await
}

#[tokio::test]
async fn a_new_answer_replaces_the_old_one_which_is_kept_and_other_devices_learn_it() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let answer = answered_and_changed(&anna, &chat, "c-1", "one", "two").await;
    let old = message(&anna, &chat, &answer).await.unwrap();
    let mut events = anna.get_events(&format!("/api/chat/stream?chatId={chat}")).await;

    let request = json!({ "messageId": answer, "clientId": "r-1" });
    let opened = regenerate(&anna, &chat, &request).await.with(201);

    assert_eq!(opened, json!({ "reply": { "id": answer, "state": "queued" } }));
    let new = in_version(&anna, &chat, &answer, 2).await;
    assert_eq!(
        (&old["content"], &new["content"]),
        (&json!("You said: one"), &json!("You said: two"))
    );
    for kept in ["id", "seq", "role", "createdAt"] {
        assert_eq!(new[kept], old[kept], "{kept}");
    }
    assert_eq!(
        new["changedSeq"],
        old["changedSeq"].as_i64().unwrap() + 2,
        "after the edit"
    );
    assert_eq!(
        earlier(&stack, &answer).await,
        [(1, "You said: one".into(), "regenerated".into())]
    );
    let told = until_the_end_of(&mut events, &answer).await;
    let updated = told.iter().find(|frame| frame.event == "message.updated").unwrap();
    assert_eq!(
        (&updated.data["data"], &updated.data["seq"]),
        (&new, &new["changedSeq"])
    );
    assert_eq!(
        ending(&told),
        &json!({ "messageId": answer, "attempt": 2, "state": "completed" })
    );
    assert!(told.iter().all(|frame| frame.event != "message.created"), "{told:?}");

    // The same request again opens nothing.
    let rows = stack.rows_of_chat(&chat).await;
    let again = regenerate(&anna, &chat, &request).await.with(200);
    assert_eq!(again, json!({ "reply": { "id": answer, "state": "completed" } }));
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    // Another one does, without naming the answer too: the newest is meant.
    let third = regenerate(&anna, &chat, &json!({})).await.with(201);
    assert_eq!(third["reply"]["id"], answer.as_str());
    in_version(&anna, &chat, &answer, 3).await;
    assert_eq!(earlier(&stack, &answer).await.len(), 2);
    assert_eq!(anna.history(&chat).await.len(), 2);
    assert!(stack.settled(&anna).await >= 3 * 4);

    // The conversation goes on with what is said now.
    let next = anna.ask(&chat, "c-2", "and now?").await.all().await;
    assert_eq!(text_of(&next), "You said: and now?");
}

#[tokio::test]
async fn a_new_answer_streams_and_is_joined_and_the_same_request_at_once_writes_it_once() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let said = "zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 👋🏽 und weiter und weiter und weiter";
    let slow = script(&json!({ "text": said, "delayMs": 80 }));
    let answer = answered_and_changed(&anna, &chat, "c-1", "one", &slow).await;

    let request = json!({ "messageId": answer, "clientId": "r-1" });
    let mut streams = Vec::new();
    for stream in tests::at_once(3, |_| {
        let (anna, path, request) = (anna.clone(), path(&chat), request.clone());
        async move { anna.post_for_events(&path, &request).await }
    })
    .await
    {
        assert_eq!(stream.status(), 200);
        streams.push(stream.all());
    }
    let joined = async {
        let stream = eventually("a reply to join", async || {
            let stream = anna
                .get_events(&format!("/api/chat/{chat}/messages/{answer}/stream"))
                .await;
            (stream.status() == 200).then_some(stream)
        });
        stream.await.all().await
    };
    let (frames, joined) = tokio::join!(futures_util::future::join_all(streams), joined);

    let new = message(&anna, &chat, &answer).await.unwrap();
    assert_eq!(
        (new["content"].as_str(), new["version"].as_i64()),
        (Some(said), Some(2))
    );
    for frames in frames.iter().chain([&joined]) {
        assert_eq!(
            outline(frames),
            ["reply.started", "reply.delta", "message.updated", "reply.ended"]
        );
        assert_eq!(frames[0].data["data"], json!({ "messageId": answer, "attempt": 2 }));
        assert!(said.starts_with(&text_of(frames)));
        assert_eq!(answer_in(frames), Some(&new));
        assert_eq!(
            ending(frames),
            &json!({ "messageId": answer, "attempt": 2, "state": "completed" })
        );
    }
    assert!(
        frames
            .iter()
            .any(|frames| text_of(frames) == said && deltas(frames).count() > 10),
        "one of them wrote it"
    );
    assert_eq!(earlier(&stack, &answer).await.len(), 1);
    assert_eq!(
        stack
            .number("select attempt::bigint from replies where id = $1", &answer)
            .await,
        2
    );
    stack.settled(&anna).await;
}

#[tokio::test]
async fn what_failed_or_was_stopped_is_written_again_and_what_fails_again_leaves_what_was_said() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let blocked = script(&json!({ "fail": "blocked" }));

    // An error makes way for an answer.
    let failed = answered_and_changed(&anna, &chat, "c-1", &blocked, "one").await;
    assert_eq!(message(&anna, &chat, &failed).await.unwrap()["type"], "ERROR");
    let frames = anna
        .post_for_events(&path(&chat), &json!({ "messageId": failed }))
        .await
        .all()
        .await;
    assert_eq!(ending(&frames)["state"], "completed");
    let new = message(&anna, &chat, &failed).await.unwrap();
    assert_eq!((&new["type"], &new["role"]), (&json!("TEXT"), &json!("assistant")));
    assert_eq!(
        (&new["content"], &new["metadata"]),
        (&json!("You said: one"), &json!({}))
    );
    assert_eq!(anna.history(&chat).await.len(), 2);

    // An answer does not make way for an error.
    let question = text(&anna.history(&chat).await[0]["id"]);
    change(&anna, &chat, &question, &blocked).await;
    let frames = anna
        .post_for_events(&path(&chat), &json!({ "messageId": failed }))
        .await
        .all()
        .await;
    let end = json!({ "messageId": failed, "attempt": 3, "state": "failed", "reason": "blocked-by-the-model" });
    assert_eq!(ending(&frames), &end);
    assert_eq!(message(&anna, &chat, &failed).await.unwrap(), new);

    // Stopped with a part of it, and before a word was said.
    for (client_id, words, delay) in [("c-2", 100, 50), ("c-3", 2, 3000)] {
        let slow = script(&json!({ "words": words, "delayMs": delay }));
        let before = anna.history(&chat).await.len();
        let mut stream = anna.ask(&chat, client_id, &slow).await;
        let mut seen = Vec::new();
        while deltas(&seen).count() < usize::from(words > 2) || seen.len() < 2 {
            seen.push(stream.next().await.unwrap());
        }
        stop(&anna, &chat, None).await.with(200);
        while let Some(frame) = stream.next().await {
            seen.push(frame);
        }
        assert_eq!(ending(&seen)["state"], "stopped");
        let stopped = text(&ending(&seen)["messageId"]);
        change(&anna, &chat, &text(&seen[0].data["data"]["id"]), "again").await;
        let frames = anna
            .post_for_events(&path(&chat), &json!({ "clientId": client_id }))
            .await
            .all()
            .await;
        assert_eq!(
            ending(&frames),
            &json!({ "messageId": stopped, "attempt": 2, "state": "completed" })
        );
        let new = message(&anna, &chat, &stopped).await.unwrap();
        assert_eq!(new["content"], "You said: again");
        assert_eq!(
            new["version"],
            if words > 2 { 2 } else { 1 },
            "an empty one was no version"
        );
        assert_eq!(anna.history(&chat).await.len(), before + 2);
    }
    let history = anna.history(&chat).await;
    assert!(seqs(&history).is_sorted());
    stack.settled(&anna).await;
}

#[tokio::test]
async fn while_another_answer_is_written_it_waits() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let first = answered_and_changed(&anna, &chat, "c-1", "one", "two").await;
    let slow = script(&json!({ "words": 40, "delayMs": 40 }));
    let mut running = anna.ask(&chat, "c-2", &slow).await;
    let mut seen = running.until_deltas(2).await;

    let opened = regenerate(&anna, &chat, &json!({ "messageId": first })).await.with(201);
    assert_eq!(opened, json!({ "reply": { "id": first, "state": "queued" } }));
    let streamed = anna
        .post_for_events(&path(&chat), &json!({ "messageId": first }))
        .await
        .all();
    let reading = async {
        while let Some(frame) = running.next().await {
            seen.push(frame);
        }
    };
    let both = async { tokio::join!(reading, streamed) };
    let ((), streamed) = stack.unswept(&chat, both).await;

    assert_eq!(ending(&seen)["state"], "completed");
    assert_eq!(text_of(&seen).split_whitespace().count(), 40);
    assert_eq!(
        ending(&streamed),
        &json!({ "messageId": first, "attempt": 2, "state": "completed" })
    );
    // While it waited, nothing was told of the attempt that it had ended with.
    for begun in streamed.iter().filter(|frame| frame.event == "reply.started") {
        assert_eq!(begun.data["data"]["attempt"], 2);
    }
    let (new, other) = (message(&anna, &chat, &first).await.unwrap(), answer_in(&seen).unwrap());
    assert_eq!((&new["content"], &new["version"]), (&json!("You said: two"), &json!(2)));
    assert!(
        new["changedSeq"].as_i64() > other["seq"].as_i64(),
        "one after the other"
    );
    stack.settled(&anna).await;
}

#[tokio::test]
async fn what_is_no_answer_of_the_chat_cannot_be_written_again_and_budgets_hold() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    regenerate(&anna, &chat, &json!({})).await.problem(404, "not-found");
    let frames = anna.ask(&chat, "c-1", "hello").await.all().await;
    let (question, answer) = (text(&frames[0].data["data"]["id"]), text(&ending(&frames)["messageId"]));
    let rows = stack.rows_of_chat(&chat).await;

    let other = anna.assistant_chat().await;
    for (chat, named) in [
        (&chat, &question),
        (&other, &answer),
        (&chat, &Uuid::now_v7().to_string()),
    ] {
        regenerate(&anna, chat, &json!({ "messageId": named }))
            .await
            .problem(404, "not-found");
    }
    for what in [json!({}), json!({ "messageId": answer })] {
        regenerate(&ben, &chat, &what).await.problem(404, "not-found");
    }
    for what in [
        json!({ "messageId": "x" }),
        json!({ "clientId": "" }),
        json!({ "clientId": 7 }),
        json!({ "id": answer }),
    ] {
        regenerate(&anna, &chat, &what).await.problem(422, "invalid-request");
    }
    let used = stack.settled(&anna).await;
    stack.limit("person", &anna.id, used + 100).await;
    let refused = regenerate(&anna, &chat, &json!({}))
        .await
        .problem(429, "quota-exceeded");
    assert_eq!(
        (&refused["limit"], &refused["used"]),
        (&json!(used + 100), &json!(used))
    );
    let streamed = anna.post_for_events(&path(&chat), &json!({})).await;
    streamed.answer().await.problem(429, "quota-exceeded");
    assert_eq!(stack.rows_of_chat(&chat).await, rows);
    assert_eq!(stack.settled(&anna).await, used);

    // A question that is deleted has no answer to write.
    stack.limit("person", &anna.id, 100_000).await;
    anna.delete(&format!("/api/chat/{chat}/messages/{question}")).await;
    regenerate(&anna, &chat, &json!({ "messageId": answer }))
        .await
        .problem(404, "not-found");
}
