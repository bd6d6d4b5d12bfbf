//! History from both ends, and catching up.

use serde_json::Value;
use tests::Stack;
use tests::person::seqs;

#[tokio::test]
async fn history_is_read_in_pages_and_caught_up_with() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    for question in ["one", "two", "three"] {
        anna.ask(&chat, question, question).await.all().await;
    }
    let whole = anna.history(&chat).await;
    assert_eq!(seqs(&whole), [1, 2, 3, 4, 5, 6]);

    for (query, expected, has_more) in [
        ("", vec![1, 2, 3, 4, 5, 6], false),
        ("?limit=4", vec![3, 4, 5, 6], true),
        ("?limit=6", vec![1, 2, 3, 4, 5, 6], false),
        ("?after=2&limit=2", vec![3, 4], true),
        ("?after=4&limit=2", vec![5, 6], false),
        ("?after=0", vec![1, 2, 3, 4, 5, 6], false),
        ("?after=6", vec![], false),
        ("?after=9223372036854775807", vec![], false),
        ("?before=3", vec![1, 2], false),
        ("?before=5&limit=2", vec![3, 4], true),
        ("?before=1", vec![], false),
        ("?before=0", vec![], false),
        ("?changedAfter=0", vec![1, 2, 3, 4, 5, 6], false),
        ("?changedAfter=4", vec![5, 6], false),
        ("?changedAfter=6", vec![], false),
    ] {
        let page = anna.get(&format!("/api/chat/{chat}/messages{query}")).await.with(200);
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(seqs(messages), expected, "{query}");
        assert_eq!(page["hasMore"], has_more, "{query}");
        assert_eq!(page["seq"], 6, "{query}");
        let same: Vec<&Value> = whole
            .iter()
            .filter(|one| expected.contains(&one["seq"].as_i64().unwrap()))
            .collect();
        assert_eq!(messages.iter().collect::<Vec<_>>(), same, "{query}");
        // The chat comes along only where it tells of a change.
        assert_eq!(
            page.get("chat").is_some(),
            query == "?changedAfter=0" || query == "?changedAfter=4",
            "{query}"
        );
    }

    // A page of changes says how far it goes, so that nothing between is lost.
    let mut at = 0;
    let mut seen = Vec::new();
    loop {
        let page = anna
            .get(&format!("/api/chat/{chat}/messages?changedAfter={at}&limit=4"))
            .await
            .with(200);
        seen.extend(seqs(page["messages"].as_array().unwrap()));
        at = page["seq"].as_i64().unwrap();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!((seen, at), (vec![1, 2, 3, 4, 5, 6], 6));
}
