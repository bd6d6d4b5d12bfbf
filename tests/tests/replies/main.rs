//! The life of replies from outside: joined, stopped, written again, paid for, and what becomes of them when processes
//! die and wake-ups go astray.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budgets;
mod busy;
mod crashes;
mod duplicates;
mod join;
mod regenerate;
mod stop;

use serde_json::json;
use tests::{Answer, Person, Random, Stack};

/// A text of so many words in several scripts, from one byte a character to four; no two seeds give the same.
fn words(random: &mut Random, count: usize) -> String {
    const WORDS: [&str; 12] = [
        "eins",
        "Grüße",
        "naïve",
        "żółw",
        "приве́т",
        "שלום",
        "नमस्ते",
        "語彙",
        "한국어",
        "👋🏽",
        "👩‍🚀🌍",
        "—",
    ];
    let word = |_| format!("{}{} ", WORDS[random.below(WORDS.len())], random.below(1000));
    (0..count).map(word).collect()
}

/// Asks for a stop, of one reply or of all.
async fn stop(person: &Person, chat: &str, reply: Option<&str>) -> Answer {
    let body = reply.map_or_else(|| json!({}), |reply| json!({ "messageId": reply }));
    person.post(&format!("/api/chat/{chat}/stop"), &body).await
}

/// Whether a reply of these chats is not over.
async fn is_anything_open(stack: &Stack, chats: &[String]) -> bool {
    for chat in chats {
        let open = "select count(*) from replies where chat_id = $1 and state in ('queued', 'streaming')";
        if stack.number(open, chat).await > 0 {
            return true;
        }
    }
    false
}
