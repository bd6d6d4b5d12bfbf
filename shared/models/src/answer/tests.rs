use std::collections::VecDeque;

use super::*;

/// Says what it is told to, then ends.
struct Told(VecDeque<Result<Heard, ModelError>>);

impl Source for Told {
    const HAS_END_MARK: bool = true;

    async fn next(&mut self) -> Result<Option<Heard>, ModelError> {
        self.0.pop_front().transpose()
    }
}

async fn chunks(said: impl IntoIterator<Item = Result<Heard, ModelError>>) -> Vec<Result<Chunk, ModelError>> {
    Answer::of(Told(said.into_iter().collect()), TaggedThoughts::default())
        .collect()
        .await
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

/// What is said when all is.
fn mark() -> Result<Heard, ModelError> {
    Ok(Heard {
        is_last: true,
        ..Heard::default()
    })
}

#[tokio::test]
async fn a_reason_is_an_end_only_if_nothing_follows_but_counts() {
    let counts = [ends("a", Some(1), Ok(Ending::Length)), says("", Some(2))];
    assert_eq!(chunks(counts).await, [text("a"), done(Finish::Length, 2)]);
    let followed = || [ends("a", None, Ok(Ending::Length)), says("b", None)];
    assert_eq!(
        chunks(followed()).await,
        [text("a"), text("b"), Err(ModelError::Truncated)]
    );
    let by_a_mark = followed().into_iter().chain([says("", Some(2)), mark()]);
    assert_eq!(
        chunks(by_a_mark).await,
        [text("a"), text("b"), counted(2), done(Finish::Length, 2)]
    );
    let by_another = followed().into_iter().chain([ends("", Some(2), Ok(Ending::Stop))]);
    assert_eq!(chunks(by_another).await, [text("a"), text("b"), done(Finish::Stop, 2)]);
}

#[tokio::test]
async fn of_reasons_behind_the_same_text_the_one_that_says_more_counts() {
    let blocked = || Ok(Ending::Blocked("why".into()));
    for (first, second, finish) in [
        (Ok(Ending::Stop), Ok(Ending::Length), Finish::Length),
        (Ok(Ending::Length), Ok(Ending::Stop), Finish::Length),
        (Ok(Ending::Stop), blocked(), Finish::Blocked),
        (blocked(), Ok(Ending::Stop), Finish::Blocked),
    ] {
        let said = [ends("a", None, first), ends("", Some(1), second)];
        assert_eq!(chunks(said).await, [text("a"), done(finish, 1)]);
    }
}

#[tokio::test]
async fn a_break_behind_a_reason_unmakes_the_answer_unless_the_reason_is_certain() {
    for broken in [Err(ModelError::Silent), ends("", None, Err(ModelError::Truncated))] {
        let said = [
            says("a", None),
            ends("", Some(1), Ok(Ending::Stop)),
            broken,
            says("b", Some(8)),
        ];
        assert_eq!(chunks(said).await, [text("a"), done(Finish::Stop, 1)]);
    }
    let with_its_text = [ends("a", Some(1), Ok(Ending::Stop)), Err(ModelError::Silent)];
    assert_eq!(
        chunks(with_its_text).await,
        [text("a"), counted(1), Err(ModelError::Silent)]
    );
    let disproved = [
        ends("", None, Ok(Ending::Stop)),
        says("a", None),
        ends("", Some(1), Ok(Ending::Stop)),
        Err(ModelError::Truncated),
    ];
    assert_eq!(
        chunks(disproved).await,
        [text("a"), counted(1), Err(ModelError::Truncated)]
    );
}

#[tokio::test]
async fn a_limit_before_the_first_word_is_an_error_and_a_full_window_another() {
    let usage = Some(usage(2));
    let thinks = || {
        Ok(Heard {
            thought: Some("hm".into()),
            ..Heard::default()
        })
    };
    let thought = || Ok(Chunk::Thought("hm".into()));
    let spent = [thinks(), ends("", Some(2), Ok(Ending::Length))];
    assert_eq!(chunks(spent).await, [thought(), Err(ModelError::NothingSaid { usage })]);
    let full = [thinks(), ends(" ", Some(2), Ok(Ending::WindowFull))];
    let heard = chunks(full).await;
    assert_eq!(heard[..3], [thought(), text(" "), counted(2)]);
    assert!(matches!(heard[3], Err(ModelError::TooLong { .. })), "{heard:?}");
    let with_words = [ends("a", Some(2), Ok(Ending::WindowFull))];
    assert_eq!(chunks(with_words).await, [text("a"), done(Finish::Length, 2)]);
}

#[tokio::test]
async fn what_is_held_back_is_said_at_the_end() {
    let said = [says("  <thi", None), ends("", Some(1), Ok(Ending::Stop))];
    assert_eq!(chunks(said).await, [text("  <thi"), done(Finish::Stop, 1)]);
    let tagged = [
        says("<think>hm</th", None),
        says("ink>\n\n", None),
        says("a", None),
        ends("", Some(1), Ok(Ending::Stop)),
    ];
    let thought = Ok(Chunk::Thought("hm".into()));
    assert_eq!(chunks(tagged).await, [thought, text("a"), done(Finish::Stop, 1)]);
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
