//! A post from its first word to its deletion, as a page of AutomaPost's goes through it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tests::model::Manner;
use tests::person::{Person, text};
use tests::stream::{deltas, text_of};
use tests::{Frame, Stack, Stream, eventually, script};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{Studio, create, edit, patch, said, settled};

async fn until(stream: &mut Stream, is_it: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = stream.next().await.expect("the stream goes on");
        if is_it(&frame) {
            return frame;
        }
    }
}

fn is_message(kind: &'static str) -> impl Fn(&Frame) -> bool {
    move |frame| frame.event == "message.created" && frame.data["data"]["metadata"]["type"] == kind
}

/// Puts messages into a chat behind the API's back: pairs of a question and its answer.
async fn furnish(stack: &Stack, person: &Person, chat: &str, pairs: i64) {
    let chat: Uuid = chat.parse().unwrap();
    let mut transaction = stack.rows.begin().await.unwrap();
    let sql = "
        insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
        select
            c.id, c.last_seq + n, gen_random_uuid(), c.last_number + n, c.last_seq + n,
            case when n % 2 = 1 then 'user' else 'assistant' end, case when n % 2 = 1 then $2 end, 'said as number ' || n || '.'
        from chats c, generate_series(1, $3) n
        where c.id = $1";
    sqlx::query(sql)
        .bind(chat)
        .bind(&person.id)
        .bind(2 * pairs)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let sql =
        "update chats set last_seq = last_seq + $2, last_number = last_number + $2, last_message_seq = last_seq + $2
               where id = $1";
    sqlx::query(sql)
        .bind(chat)
        .bind(2 * pairs)
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn from_the_first_word_to_the_deletion() {
    let studio = Studio::start(&[("FOLLOW_UP_QUIET_SECONDS", "4")]).await;
    let (stack, model) = (&studio.stack, &studio.model);
    let anna = stack.person("Anna Berg");
    let writer = studio.writer(&anna);
    let mut stream = anna.get_events("/api/chat/stream").await;
    assert_eq!(stream.next().await.unwrap().event, "ready");

    // The welcome comes by the event stream and by polling, is one message, and is unread.
    model.behave(Manner::Says("Hello Anna, what shall it be?".into()));
    let place = create(&writer, "Lighthouses are").await;
    let opened = until(&mut stream, |frame| frame.event == "chat.updated").await;
    assert_eq!(opened.data["chatId"], *place.chat);
    let welcome = until(&mut stream, is_message("welcome")).await.data["data"].clone();
    assert_eq!(
        welcome["metadata"]["actions"],
        json!(["suggest_content", "improve_post", "schedule_post"])
    );
    assert_eq!(
        (&welcome["role"], &welcome["seq"], &welcome["type"]),
        (&json!("assistant"), &json!(1), &json!("TEXT"))
    );
    assert!(text(&welcome["content"]).ends_with("Hello Anna, what shall it be?"));
    let unread = anna.get("/api/chat-messages").await.with(200);
    assert_eq!(
        (&unread["total"], &unread["messages"][0]["id"]),
        (&json!(1), &welcome["id"])
    );
    let asked = model.asked();
    assert_eq!(asked.len(), 1);
    let about = &asked[0].turns[0].1;
    assert!(
        about.contains("My first name is Anna.") && about.contains("Lighthouses are"),
        "{about}"
    );

    // Fifty edits, over a longer time than they must rest, are one call of the model, on the last text.
    for round in 0..10 {
        let edits = (0..5).map(|number| {
            edit_to(
                &writer,
                &place.post,
                format!("Lighthouses are tall, draft {round}-{number}"),
            )
        });
        join_all(edits).await;
        sleep(Duration::from_millis(500)).await;
    }
    edit(&writer, &place.post, "Lighthouses are tall and kind.").await;
    model.behave(Manner::Says("Add a question.".into()));
    let follow_up = until(&mut stream, is_message("follow_up")).await.data["data"].clone();
    assert_eq!(follow_up["metadata"], json!({ "type": "follow_up", "trigger": "edit" }));
    settled(stack, &place.chat).await;
    assert_eq!(said(&anna, &place.chat, "follow_up").await, [follow_up]);
    let asked = model.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1]
            .system
            .contains("<post>\nLighthouses are tall and kind.\n</post>"),
        "{}",
        asked[1].system
    );
    assert!(
        asked[1]
            .system
            .contains("x (at most 280 characters), linkedin (at most 3000 characters)")
    );

    // An unsaved draft, by the route for it, and with its own trigger.
    let draft = json!({ "postContent": "Lighthouses were never saved.", "trigger": "typing" });
    let accepted = writer
        .post(&format!("/api/posts/{}/follow-up", place.post), &draft)
        .await
        .with(202);
    assert_eq!(accepted, json!({ "scheduled": true }));
    let of_draft = until(&mut stream, is_message("follow_up")).await;
    assert_eq!(of_draft.data["data"]["metadata"]["trigger"], "typing");
    assert!(model.asked()[2].system.contains("Lighthouses were never saved."));
    let short = json!({ "postContent": "short", "trigger": "typing" });
    let accepted = writer
        .post(&format!("/api/posts/{}/follow-up", place.post), &short)
        .await
        .with(202);
    assert_eq!(accepted, json!({ "scheduled": false }));

    // In a chat of two hundred messages, an answer knows the post as it is and the newest messages.
    furnish(stack, &anna, &place.chat, 100).await;
    model.behave(Manner::Says("It is good.".into()));
    let answer = writer
        .ask(&place.chat, "c-1", "What do you think of it?")
        .await
        .all()
        .await;
    assert!(text_of(&answer).ends_with("It is good."));
    let asked = model.asked().pop().unwrap();
    assert!(
        asked.system.contains("<post>\nLighthouses are tall and kind.\n</post>"),
        "{}",
        asked.system
    );
    let turns: Vec<_> = asked.turns.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        turns[turns.len() - 3..],
        ["said as number 199.", "said as number 200.", "What do you think of it?"]
    );
    assert!(turns.len() > 150, "{}", turns.len());

    stack.settled(&anna).await;
    // The post, and with it the chat, is gone on every device.
    anna.delete(&format!("/api/posts/{}", place.post)).await.with(204);
    let gone = until(&mut stream, |frame| frame.event == "chat.deleted").await;
    assert_eq!(gone.data["chatId"], *place.chat);
}

async fn edit_to(person: &Person, post: &str, content: String) {
    edit(person, post, &content).await;
}

#[tokio::test]
async fn who_has_published_is_welcomed_as_such_by_the_stack_itself() {
    let stack = Stack::running();
    let anna = stack.person("Anna Berg");
    for number in 1..=4 {
        let place = create(&anna, &format!("published as number {number}")).await;
        patch(&anna, &place.post, &json!({ "status": "SENT" })).await.with(200);
    }
    let place = create(&anna, "the next one").await;
    let welcome = anna.history_of(&place.chat, 1).await.remove(0);
    // The scripted model says what it was told.
    let told = text(&welcome["content"]);
    for number in 1..=4 {
        assert_eq!(
            told.contains(&format!("published as number {number}")),
            number > 1,
            "{told}"
        );
    }
    assert!(told.contains("My first name is Anna."), "{told}");
}

#[tokio::test]
async fn deleting_a_post_ends_the_answer_that_streams_about_it() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let place = create(&anna, "Lighthouses are").await;
    settled(&stack, &place.chat).await;
    let question = script(&json!({ "words": 200, "delayMs": 50 }));
    let mut stream = anna.ask(&place.chat, "c-1", &question).await;
    stream.until_deltas(2).await;
    anna.delete(&format!("/api/posts/{}", place.post)).await.with(204);
    let frames = stream.all().await;
    let last = frames.last().unwrap();
    assert_eq!(
        (last.event.as_str(), &last.data["data"]["state"]),
        ("reply.ended", &json!("stopped"))
    );
    assert!(deltas(&frames).count() < 190, "the model was left to talk to nobody");
}

#[tokio::test]
async fn a_model_that_fails_or_hangs_and_a_spent_budget_leave_the_plain_welcome_and_no_follow_up() {
    let studio = Studio::start(&[]).await;
    let (stack, model) = (&studio.stack, &studio.model);
    for manner in [
        Some(Manner::Refuses(500)),
        Some(Manner::Refuses(401)),
        Some(Manner::IsSilent),
        None,
    ] {
        let anna = stack.person("Anna Berg");
        match &manner {
            Some(manner) => model.behave(manner.clone()),
            None => {
                model.behave(Manner::Says("too dear".into()));
                stack.limit("person", &anna.id, 1).await;
            }
        }
        let writer = studio.writer(&anna);
        let place = create(&writer, "Lighthouses").await;
        let welcome = anna.history_of(&place.chat, 1).await.remove(0);
        let content = text(&welcome["content"]);
        assert!(content.starts_with("Welcome, Anna! 🎉"), "{manner:?}: {content}");
        assert_eq!((&welcome["status"], &welcome["usage"]), (&json!("sent"), &json!(null)));
        assert_eq!(welcome["metadata"]["type"], "welcome");
        settled(stack, &place.chat).await;
        assert_eq!(anna.history(&place.chat).await.len(), 1, "{manner:?}");
        if manner.is_none() {
            let asked = model.asked().len();
            edit(&writer, &place.post, "Lighthouses are tall and kind.").await;
            settled(stack, &place.chat).await;
            assert_eq!(anna.history(&place.chat).await.len(), 1);
            assert_eq!(model.asked().len(), asked);
        }
        stack.settled(&anna).await;
    }
}

#[tokio::test]
async fn a_question_before_the_welcome_is_answered_after_it() {
    let studio = Studio::start(&[]).await;
    let anna = studio.stack.person("Anna Berg");
    let writer = studio.writer(&anna);
    studio.model.behave(Manner::Says(
        "A long and thoughtful welcome, word by word, that takes its time.".into(),
    ));
    let place = create(&writer, "Lighthouses").await;
    let answer = writer.ask(&place.chat, "c-1", "Is anybody there?").await.all().await;
    assert!(text_of(&answer).starts_with("Answer"), "{answer:?}");
    let history = anna.history_of(&place.chat, 3).await;
    let of: Vec<_> = history
        .iter()
        .map(|message| (text(&message["role"]), message["metadata"]["type"] == "welcome"))
        .collect();
    let welcomes = of.iter().position(|(_, is_welcome)| *is_welcome).unwrap();
    let answers = of
        .iter()
        .position(|(role, is_welcome)| role == "assistant" && !is_welcome)
        .unwrap();
    assert!(welcomes < answers, "{history:?}");
    assert_eq!(history.len(), 3);
    eventually("a chat with nothing open", async || {
        let shown = anna.get(&format!("/api/chat/{}", place.chat)).await.with(200);
        shown["chat"].get("reply").is_none().then_some(())
    })
    .await;
    studio.stack.settled(&anna).await;
}
