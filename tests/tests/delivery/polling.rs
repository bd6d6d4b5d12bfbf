//! Polling: one look-up and 304 while nothing happens, and never while something has.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use tests::{Answer, Person, Stack};

use crate::node::Client;
use crate::{Pair, delete, edit, mark_read, say};

async fn get_if(person: &Person, path: &str, tags: &str) -> Answer {
    let request = person.request(Method::GET, path).header(IF_NONE_MATCH, tags);
    Answer::of(request.send().await.unwrap()).await
}

fn tag(answer: &Answer) -> String {
    answer.headers[ETAG].to_str().unwrap().to_owned()
}

/// By what an answer varies. The local gateway adds something of its own.
fn varies(answer: &Answer) -> BTreeSet<String> {
    let values = answer.headers.get_all(VARY).iter();
    values
        .flat_map(|value| value.to_str().unwrap().split(','))
        .map(|name| name.trim().to_lowercase())
        .collect()
}

const LISTS: [&str; 2] = ["/api/chat-messages", "/api/chat"];

/// A list with the tag that it had a moment ago: nothing new. Its present tag.
async fn assert_unchanged(person: &Person, path: &str) -> String {
    let tag = tag(&person.get(path).await);
    let again = get_if(person, path, &tag).await;
    assert_eq!((again.status.as_u16(), &again.body), (304, &Value::Null), "{path}");
    tag
}

#[tokio::test]
async fn a_list_is_not_sent_again_until_something_happens() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    for path in LISTS {
        let mut known = assert_unchanged(&anna, path).await;
        let mut assert_new = async |what: &str| {
            let answer = get_if(&anna, path, &known).await;
            assert_eq!(answer.status, 200, "{path} after {what}");
            assert_ne!(tag(&answer), known, "{path} after {what}");
            assert_eq!(
                get_if(&anna, path, &tag(&answer)).await.status,
                304,
                "{path} after {what}"
            );
            known = tag(&answer);
            answer.body
        };
        let hi = say(&ben, &chat, "hi").await;
        let list = assert_new("a message").await;
        if path == LISTS[0] {
            assert_eq!((&list["total"], &list["messages"][0]["id"]), (&json!(1), &hi["id"]));
            assert_eq!(list["pollAfterMs"], 2000);
        } else {
            assert_eq!(
                (&list["chats"][0]["unreadCount"], &list["chats"][0]["lastMessage"]),
                (&json!(1), &hi)
            );
        }
        edit(&ben, &hi, "hello").await.with(200);
        assert_new("an edit").await;
        mark_read(&anna, &[&hi]).await;
        let list = assert_new("a read").await;
        assert_eq!(
            if path == LISTS[0] {
                &list["total"]
            } else {
                &list["chats"][0]["unreadCount"]
            },
            &json!(0)
        );
        say(&anna, &chat, "an own message").await;
        assert_new("an own message").await;
        let doomed = say(&ben, &chat, "doomed").await;
        assert_new("another message").await;
        delete(&ben, &doomed).await.with(200);
        assert_new("a deletion").await;
        mark_read(&ben, &[&say(&anna, &chat, "read").await]).await;
        assert_new("the other one's read").await;
        anna.assistant_chat().await;
        assert_new("a new chat").await;
    }
}

#[tokio::test]
async fn nobody_has_the_answer_of_another_by_its_tag() {
    let stack = Stack::running();
    let Pair { anna, ben, .. } = Pair::meet(&stack).await;
    let stranger = stack.person("nobody has met them");
    for path in LISTS {
        let annas = tag(&anna.get(path).await);
        for other in [&ben, &stranger] {
            let answer = get_if(other, path, &annas).await;
            assert_eq!(answer.status, 200, "{path}: both inboxes have come as far");
            assert_ne!(tag(&answer), annas, "{path}");
        }
        assert_eq!(get_if(&anna, path, &annas).await.status, 304);
    }
}

#[tokio::test]
async fn what_is_kept_of_an_answer_is_kept_for_one_person_and_one_page() {
    let stack = Stack::running();
    let Pair { anna, chat, .. } = Pair::meet(&stack).await;
    let message = say(&anna, &chat, "hi").await;
    let both = BTreeSet::from(["authorization", "origin"].map(str::to_owned));
    let (messages, versions) = (
        format!("/api/chat/{chat}/messages"),
        crate::path_of(&message) + "/versions",
    );
    for (path, status, control) in [
        ("/api/chat", 200, "private, no-cache"),
        ("/api/chat-messages", 200, "private, no-cache"),
        (&*format!("/api/chat/{chat}"), 200, "private, no-store"),
        (&*messages, 200, "private, no-store"),
        (&*versions, 200, "private, no-store"),
        ("/api/chat/search?q=hi", 200, "private, no-store"),
        ("/api/chat-messages/a-task", 200, "private, no-store"),
        ("/api/me", 200, "private, no-store"),
        ("/api/people/blocked", 200, "private, no-store"),
        ("/api/posts", 200, "private, no-store"),
        ("/api/usage", 200, "private, no-store"),
        (
            &*format!("/api/chat/{}", uuid::Uuid::now_v7()),
            404,
            "private, no-store",
        ),
        ("/api/chat?limit=0", 422, "private, no-store"),
    ] {
        let answer = anna.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.headers[CACHE_CONTROL], control, "{path}");
        assert!(varies(&answer).is_superset(&both), "{path}");
    }
    let known = get_if(&anna, "/api/chat", &tag(&anna.get("/api/chat").await)).await;
    assert_eq!(known.status, 304);
    assert!(varies(&known).is_superset(&both));
    let contract = anna.get("/api/openapi.json").await;
    assert_eq!(contract.headers[CACHE_CONTROL], "public, max-age=300");
    let varies = varies(&contract);
    assert!(
        varies.contains("origin") && !varies.contains("authorization"),
        "{varies:?}"
    );
}

#[tokio::test]
async fn a_browsers_cache_answers_nobody_with_anothers_list() {
    let stack = Stack::running();
    let Pair { anna, ben, .. } = Pair::meet(&stack).await;
    let tokens = json!([anna.token, ben.token, anna.token]).to_string();
    let mut page = Client::start("cache.mjs", &[("API_URL", &stack.api), ("TOKENS", &tokens)]);
    let (annas, bens) = (json!(ben.id), json!(anna.id));
    page.tell(&json!("/api/chat")).await;
    let heard = page.hears("the lists", |line| line["on"] == "answered").await;
    let others: Vec<_> = (0..3)
        .map(|place| &heard["answers"][place]["body"]["chats"][0]["user"]["id"])
        .collect();
    assert_eq!(others, [&annas, &bens, &annas]);
}

#[tokio::test]
async fn a_tag_is_understood_as_http_has_it() {
    let stack = Stack::running();
    let Pair { anna, .. } = Pair::meet(&stack).await;
    for path in LISTS {
        let first = anna.get(path).await;
        assert_eq!(first.headers[CACHE_CONTROL], "private, no-cache");
        let tag = tag(&first);
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        let same = [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            format!("W/\"x\",W/{tag} , \"y\""),
        ];
        for tags in same {
            let answer = get_if(&anna, path, &tags).await;
            assert_eq!(
                (answer.status.as_u16(), answer.headers[ETAG].to_str().unwrap()),
                (304, tag.as_str()),
                "{tags}"
            );
        }
        let inner = tag.trim_matches('"');
        for tags in [
            "",
            "\"x\"",
            inner,
            &format!("\"{inner}x\""),
            &format!("W/W/\"{inner}0\""),
        ] {
            assert_eq!(get_if(&anna, path, tags).await.status, 200, "{tags}");
        }
        // Another page is another answer.
        for other in [format!("{path}?limit=10"), format!("{path}?limit=49")] {
            assert_eq!(get_if(&anna, &other, &tag).await.status, 200, "{other}");
        }
        // Another person's is, too, though both have seen as much.
        assert_eq!(get_if(&anna, &format!("{path}?limit=50"), &tag).await.status, 304);
    }
    let tag = tag(&anna.get("/api/chat").await);
    for other in ["/api/chat?kind=direct", "/api/chat?kind=assistant"] {
        assert_eq!(get_if(&anna, other, &tag).await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn a_hole_is_fetched_with_the_chat_and_its_read_positions() {
    let stack = Stack::running();
    let Pair { anna, ben, chat } = Pair::meet(&stack).await;
    let (one, two) = (say(&anna, &chat, "1").await, say(&anna, &chat, "2").await);
    mark_read(&ben, &[&two]).await;
    edit(&anna, &one, "one").await.with(200);
    delete(&anna, &two).await.with(200);
    let three = say(&ben, &chat, "3").await;
    let hole = async |after: i64, limit: u32| {
        let path = format!("/api/chat/{chat}/messages?changedAfter={after}&limit={limit}");
        anna.get(&path).await.with(200)
    };
    let ids = |page: &Value| {
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].clone())
            .collect::<Vec<_>>()
    };

    let all = hole(0, 50).await;
    assert_eq!(
        ids(&all),
        [one["id"].clone(), two["id"].clone(), three["id"].clone()],
        "in the order of change"
    );
    assert_eq!((&all["seq"], &all["hasMore"]), (&json!(5), &json!(false)));
    assert_eq!(all["messages"][0]["content"], "one");
    assert_eq!(
        (&all["messages"][1]["content"], &all["messages"][1]["changedSeq"]),
        (&json!(""), &json!(4))
    );
    let bens = all["chat"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .find(|member| member["userId"] == *ben.id)
        .unwrap();
    assert_eq!(bens["readSeq"], three["seq"]);

    // Page by page, each true for its own seq.
    let first = hole(0, 2).await;
    assert_eq!((&first["seq"], &first["hasMore"]), (&json!(4), &json!(true)));
    assert_eq!(ids(&hole(4, 2).await), [three["id"].clone()]);
    assert_eq!(ids(&hole(2, 50).await).len(), 3);
    let nothing = hole(5, 50).await;
    assert_eq!(
        (ids(&nothing).len(), &nothing["seq"], nothing.get("chat")),
        (0, &json!(5), None)
    );
}
