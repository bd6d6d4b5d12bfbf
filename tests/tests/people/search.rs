//! Search over what one can see: as it is now, and nobody else's.

use serde_json::{Value, json};
use tests::person::text;
use tests::{Answer, Person, Stack};

use crate::{add, channel, direct, patch, people, remove, say};

async fn search(person: &Person, query: &[(&str, &str)]) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    person.get(&format!("/api/chat/search?{query}")).await
}

/// What is found, newest first.
async fn found(person: &Person, words: &str) -> Vec<String> {
    contents(&search(person, &[("q", words)]).await.with(200))
}

fn contents(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap().iter();
    results.map(|result| text(&result["message"]["content"])).collect()
}

#[tokio::test]
async fn everyone_finds_what_they_can_see_as_it_is_now() {
    let stack = Stack::running();
    let [anna, ben, cleo, dora] = people(&stack, ["anna", "ben", "cleo", "dora"]).await;
    let (pair, shared) = (direct(&anna, &ben).await, channel(&anna, &[&ben, &cleo]).await);
    say(&anna, &pair, "the Lighthouse is ours").await;
    let message = text(&say(&ben, &shared, "a lighthouse keeper").await["id"]);
    say(&anna, &shared, "nothing of the kind").await;
    assert_eq!(
        found(&anna, "lighthouse").await,
        ["a lighthouse keeper", "the Lighthouse is ours"]
    );
    assert_eq!(found(&cleo, "lighthouse").await, ["a lighthouse keeper"]);
    assert_eq!(found(&dora, "lighthouse").await, [""; 0]);
    let of_one = search(&anna, &[("q", "lighthouse"), ("chatId", &pair)]).await.with(200);
    assert_eq!(contents(&of_one), ["the Lighthouse is ours"]);
    let snippet = of_one["results"][0]["snippet"].as_array().unwrap();
    let matched: Vec<_> = snippet.iter().filter(|part| part["isMatch"] == true).collect();
    assert_eq!(matched.len(), 1, "{of_one}");
    assert_eq!(matched[0]["text"], "Lighthouse");
    let whole: String = snippet.iter().map(|part| text(&part["text"])).collect();
    assert!("the Lighthouse is ours".contains(&whole), "{whole}");

    let path = format!("/api/chat/{shared}/messages/{message}");
    patch(&ben, &path, &json!({ "content": "a harbour keeper" }))
        .await
        .with(200);
    assert_eq!(found(&cleo, "lighthouse").await, [""; 0]);
    assert_eq!(found(&cleo, "harbour -lighthouse").await, ["a harbour keeper"]);
    ben.delete(&path).await.with(200);
    assert_eq!(found(&cleo, "harbour").await, [""; 0]);

    // Who is removed finds nothing there, and after they came back what they can see.
    remove(&anna, &shared, &cleo).await.with(204);
    assert_eq!(found(&cleo, "kind").await, [""; 0]);
    let _none = search(&cleo, &[("q", "kind"), ("chatId", &shared)])
        .await
        .problem(404, "not-found");
    add(&anna, &shared, &cleo).await.with(200);
    assert_eq!(found(&cleo, "kind").await, ["nothing of the kind"]);
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_more_is_said() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let (pair, shared) = (direct(&anna, &ben).await, channel(&anna, &[&ben]).await);
    let mut expected = Vec::new();
    for number in 0..12 {
        let content = format!("whale number {number}");
        say(&anna, [&pair, &shared][number % 2], &content).await;
        expected.insert(0, content);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut query = vec![("q", "whale"), ("limit", "5")];
        if !cursor.is_empty() {
            query.push(("cursor", &cursor));
        }
        let page = search(&ben, &query).await.with(200);
        seen.extend(contents(&page));
        say(&anna, &shared, "another whale").await;
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_refused_by_name() {
    let stack = Stack::running();
    let [anna, ben] = people(&stack, ["anna", "ben"]).await;
    let own = ben.assistant_chat().await;
    let long = "w".repeat(201);
    for (query, parameter) in [
        (vec![], "q"),
        (vec![("q", "")], "q"),
        (vec![("q", "  ")], "q"),
        (vec![("q", long.as_str())], "q"),
        (vec![("q", "x"), ("chatId", "7")], "chatId"),
        (vec![("q", "x"), ("cursor", "7")], "cursor"),
        (vec![("q", "x"), ("limit", "0")], "limit"),
        (vec![("q", "x"), ("limit", "101")], "limit"),
    ] {
        let problem = search(&anna, &query).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query:?}: {problem}");
    }
    let _none = search(&anna, &[("q", "x"), ("chatId", &own)])
        .await
        .problem(404, "not-found");
    // Odd, and words all the same.
    for odd in [
        "'",
        "\\",
        "a & | ! ( :*",
        "\"unclosed",
        "-",
        "or",
        "%_",
        "🐳",
        "' or 1=1 --",
    ] {
        assert_eq!(found(&anna, odd).await, [""; 0], "{odd}");
    }
}
