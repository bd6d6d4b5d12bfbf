//! For tests: a whole answer, heard to its end.

use futures_util::StreamExt;

use super::{Chunk, Finish, Model, ModelError, Prompt, TokenUsage};

pub(crate) type End = Result<(Finish, Option<TokenUsage>), ModelError>;

/// The texts of an answer, and how it ends.
pub(crate) async fn hear(model: &dyn Model, prompt: &Prompt) -> (Vec<String>, End) {
    let mut chunks = match model.stream(prompt).await {
        Ok(chunks) => chunks,
        Err(error) => return (vec![], Err(error)),
    };
    let mut texts = Vec::new();
    let end = loop {
        match chunks.next().await.expect("a stream has an end") {
            Ok(Chunk::Text(text)) => texts.push(text),
            Ok(Chunk::Thought(_) | Chunk::Counted(_)) => {}
            Ok(Chunk::Done { finish, usage }) => break Ok((finish, usage)),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(chunks.next().await, None, "nothing follows the end");
    assert!(
        texts.iter().all(|text| !text.is_empty() && !text.contains('\0')),
        "{texts:?}"
    );
    (texts, end)
}
