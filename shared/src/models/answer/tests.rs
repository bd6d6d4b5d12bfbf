use std::collections::VecDeque;

use super::*;

/// Says what it is told to, then ends.
struct Told(VecDeque<Result<Heard, ModelError>>);

impl Source for Told {
    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        self.0.pop_front().transpose()
    }
}

async fn chunks(said: impl IntoIterator<Item = Result<Heard, ModelError>>) -> Vec<Result<Chunk, ModelError>> {
    Answer::of(Told(said.into_iter().collect())).collect().await
}

fn usage(output_tokens: u32) -> TokenUsage {
    TokenUsage {
        input_tokens: 9,
        output_tokens,
        cached_tokens: 0,
    }
}

fn says(text: &str, counted: Option<u32>) -> Result<Heard, ModelError> {
    Ok(Heard {
        text: text.into(),
        usage: counted.map(usage),
        ..Heard::default()
    })
}

fn ends(text: &str, counted: Option<u32>, end: Result<Ending, ModelError>) -> Result<Heard, ModelError> {
    Ok(Heard {
        text: text.into(),
        usage: counted.map(usage),
        end: Some(end),
        ..Heard::default()
    })
}

fn text(text: &str) -> Result<Chunk, ModelError> {
    Ok(Chunk::Text(text.into()))
}

fn counted(tokens: u32) -> Result<Chunk, ModelError> {
    Ok(Chunk::Counted(usage(tokens)))
}

fn done(finish: Finish, tokens: u32) -> Result<Chunk, ModelError> {
    Ok(Chunk::Done {
        finish,
        usage: Some(usage(tokens)),
    })
}

#[tokio::test]
async fn a_count_is_told_when_it_changes_and_not_beside_the_end() {
    let said = [
        says("a", Some(1)),
        says("b", Some(1)),
        says("", None),
        says("c", Some(2)),
        ends("d", Some(3), Ok(Ending::Stop)),
    ];
    let expected = [
        text("a"),
        counted(1),
        text("b"),
        text("c"),
        counted(2),
        text("d"),
        done(Finish::Stop, 3),
    ];
    assert_eq!(chunks(said).await, expected);
}

#[tokio::test]
async fn an_answer_that_is_given_up_keeps_its_last_words_and_its_count() {
    let gone = || ModelError::Overloaded { retry_after: None };
    let said = [says("a", None), ends("b", Some(2), Err(gone())), says("c", Some(3))];
    assert_eq!(chunks(said).await, [text("a"), text("b"), counted(2), Err(gone())]);
}

#[tokio::test]
async fn what_comes_behind_the_end_is_counted_and_not_said() {
    let late = [
        ends("a", Some(1), Ok(Ending::Length)),
        says("b", Some(2)),
        ends("c", None, Ok(Ending::Stop)),
    ];
    assert_eq!(chunks(late).await, [text("a"), done(Finish::Length, 2)]);
    for broken in [Err(ModelError::Silent), ends("", Some(7), Err(ModelError::Truncated))] {
        let last = broken.as_ref().map_or(1, |_| 7);
        let said = [ends("a", Some(1), Ok(Ending::Stop)), broken, says("", Some(8))];
        assert_eq!(chunks(said).await, [text("a"), done(Finish::Stop, last)]);
    }
}

#[tokio::test]
async fn a_block_is_an_error_only_before_the_first_word() {
    let blocked = || Ok(Ending::Blocked("why".into()));
    let error = ModelError::Blocked {
        reason: "why".into(),
        usage: Some(usage(2)),
    };
    let silent = [says("\0", Some(1)), ends("", None, blocked()), says("", Some(2))];
    assert_eq!(chunks(silent).await, [counted(1), Err(error)]);
    let with_its_word = [ends("a", Some(2), blocked())];
    assert_eq!(chunks(with_its_word).await, [text("a"), done(Finish::Blocked, 2)]);
}

#[tokio::test]
async fn nothing_is_waited_for_behind_the_last_event() {
    let last = Heard {
        end: Some(Ok(Ending::Stop)),
        is_last: true,
        usage: Some(usage(1)),
        ..Heard::default()
    };
    assert_eq!(chunks([Ok(last), says("", Some(9))]).await, [done(Finish::Stop, 1)]);
}

#[tokio::test]
async fn a_model_says_no_control_characters_but_tabs_and_line_breaks() {
    let said = chunks([
        says("a\u{1b}[31m\u{1}\tb\r\n", None),
        says("\u{7}\u{9b}", None),
        ends("c", None, Ok(Ending::Stop)),
    ])
    .await;
    let texts: Vec<_> = said
        .iter()
        .filter_map(|chunk| match chunk {
            Ok(Chunk::Text(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["a[31m\tb\r\n", "c"]);
}
