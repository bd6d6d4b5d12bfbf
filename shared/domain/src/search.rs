//! What a search over one's messages finds.

use schemars::JsonSchema;
use serde::Serialize;

use super::chat::Kind;
use super::ids::ChatId;
use super::message::Message;
use super::person::Person;

#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct SearchResult {
    pub message: Message,
    pub chat: ChatOfResult,
    /// A part of the content around the first match, in pieces: text to be shown, not HTML.
    pub snippet: Vec<SnippetPiece>,
}

/// As much of a chat as a result shows.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct ChatOfResult {
    pub id: ChatId,
    pub kind: Kind,
    pub title: Option<String>,
    /// Direct chats: the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Person>,
}

#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnippetPiece {
    pub text: String,
    pub is_match: bool,
}

/// What surrounds a match in a marked text. Private use, so that no text means anything by them.
pub const MATCH_BEGINS: char = '\u{e000}';
pub const MATCH_ENDS: char = '\u{e001}';

/// A word may be as long as a message.
const MOST_SNIPPET_CHARS: usize = 400;

impl SnippetPiece {
    /// Takes a marked text apart.
    #[must_use]
    pub fn pieces(marked: &str) -> Vec<Self> {
        let mut pieces: Vec<Self> = Vec::new();
        let mut is_match = false;
        for c in marked.chars().take(MOST_SNIPPET_CHARS) {
            match (c, pieces.last_mut()) {
                (MATCH_BEGINS, _) => is_match = true,
                (MATCH_ENDS, _) => is_match = false,
                (_, Some(piece)) if piece.is_match == is_match => piece.text.push(c),
                _ => pieces.push(Self {
                    text: c.to_string(),
                    is_match,
                }),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(marked: &str) -> Vec<(String, bool)> {
        let pieces = SnippetPiece::pieces(marked).into_iter();
        pieces.map(|piece| (piece.text, piece.is_match)).collect()
    }

    #[test]
    fn a_marked_text_is_taken_apart() {
        let piece = |text: &str, is_match| (text.to_owned(), is_match);
        assert_eq!(
            shown("so \u{e000}hé\u{e001} it \u{e000}is\u{e001}"),
            [
                piece("so ", false),
                piece("hé", true),
                piece(" it ", false),
                piece("is", true)
            ]
        );
        assert_eq!(shown(""), []);
        assert_eq!(shown("\u{e001}a\u{e000}"), [piece("a", false)]);
        let long = format!("\u{e000}{}\u{e001}", "ü".repeat(1000));
        assert_eq!(shown(&long), [piece(&"ü".repeat(399), true)]);
    }
}
