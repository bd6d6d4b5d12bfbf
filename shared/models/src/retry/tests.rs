use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::{Finish, TokenUsage, Turn};

type Answer = Result<Vec<Result<Chunk, ModelError>>, ModelError>;

/// Answers as told, call by call.
#[derive(Debug, Default)]
struct Told {
    answers: Mutex<VecDeque<Answer>>,
    calls: Mutex<Vec<Instant>>,
    takes: Duration,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        })
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

#[async_trait]
impl Model for Told {
    fn name(&self) -> &str {
        "told"
    }

    async fn stream(&self, _: &Prompt) -> Result<Chunks, ModelError> {
        self.calls.lock().unwrap().push(Instant::now());
        tokio::time::sleep(self.takes).await;
        let answer = self.answers.lock().unwrap().pop_front().expect("one answer a call");
        answer.map(|chunks| stream::iter(chunks).boxed())
    }
}

fn prompt() -> Prompt {
    Prompt {
        system: None,
        turns: vec![Turn::person("hi")],
        max_output_tokens: 10,
        temperature: None,
    }
}

fn quick() -> RetryPolicy {
    RetryPolicy {
        first_wait: Duration::from_millis(1),
        ..RetryPolicy::default()
    }
}

fn text(text: &str) -> Result<Chunk, ModelError> {
    Ok(Chunk::Text(text.into()))
}

fn done() -> Result<Chunk, ModelError> {
    Ok(Chunk::Done {
        finish: Finish::Stop,
        usage: None,
    })
}

fn busy() -> ModelError {
    ModelError::Overloaded { retry_after: None }
}

async fn ask(model: &Arc<Told>, policy: &RetryPolicy) -> Result<Vec<Result<Chunk, ModelError>>, ModelError> {
    let retrying = Retrying::new(model.clone(), policy.clone());
    Ok(retrying.stream(&prompt()).await?.collect().await)
}

#[tokio::test(start_paused = true)]
async fn errors_before_the_first_chunk_are_retried_wherever_they_come() {
    let model = Told::new([
        Err(busy()),
        Ok(vec![Err(ModelError::Truncated)]),
        Ok(vec![text("a"), done()]),
    ]);
    assert_eq!(ask(&model, &quick()).await.unwrap(), [text("a"), done()]);
    assert_eq!(model.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_the_first_chunk_is_handed_on() {
    let model = Told::new([Ok(vec![text("a"), Err(busy())]), Ok(vec![text("b"), done()])]);
    assert_eq!(ask(&model, &quick()).await.unwrap(), [text("a"), Err(busy())]);
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_retried() {
    let blocked = ModelError::Blocked {
        reason: "SAFETY".into(),
        usage: None,
    };
    let rejected = ModelError::Rejected {
        status: 404,
        detail: String::new(),
    };
    let detail = String::new;
    for error in [
        ModelError::QuotaExhausted,
        ModelError::Unauthorized,
        ModelError::NoVision,
        ModelError::TooLong { detail: detail() },
        ModelError::ImageRefused { detail: detail() },
        ModelError::NothingSaid { usage: None },
        rejected,
        blocked,
    ] {
        let model = Told::new([Err(error.clone()), Ok(vec![done()])]);
        assert_eq!(ask(&model, &quick()).await, Err(error));
        assert_eq!(model.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_in_all_and_the_last_error_is_told() {
    let model = Told::new([Err(busy()), Err(busy()), Err(ModelError::Truncated), Ok(vec![done()])]);
    assert_eq!(ask(&model, &quick()).await, Err(ModelError::Truncated));
    assert_eq!(model.calls(), 3);
    for attempts in [0, 1] {
        let model = Told::new([Err(busy())]);
        assert_eq!(ask(&model, &RetryPolicy { attempts, ..quick() }).await, Err(busy()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_blank_answer_is_an_answer() {
    let model = Told::new([Ok(vec![done()])]);
    assert_eq!(ask(&model, &quick()).await.unwrap(), [done()]);
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_nothing_is_truncated() {
    let model = Told::new([Ok(vec![]), Ok(vec![]), Ok(vec![])]);
    assert_eq!(ask(&model, &quick()).await, Err(ModelError::Truncated));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let asked = Duration::from_millis(120);
    let limited = ModelError::RateLimited {
        retry_after: Some(asked),
    };
    let model = Told::new([Err(limited), Ok(vec![done()])]);
    ask(&model, &quick()).await.unwrap();
    let calls = model.calls.lock().unwrap().clone();
    assert!(calls[1] - calls[0] >= asked, "waited {:?}", calls[1] - calls[0]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_longest_wait_is_told_at_once() {
    let limited = ModelError::RateLimited {
        retry_after: Some(Duration::from_secs(11)),
    };
    let model = Told::new([Err(limited.clone()), Ok(vec![done()])]);
    assert_eq!(ask(&model, &quick()).await, Err(limited));
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_that_patience_would_not_outlast() {
    let limited = ModelError::RateLimited {
        retry_after: Some(Duration::from_secs(9)),
    };
    let model = Told::new([Err(limited.clone()), Ok(vec![done()])]);
    let policy = RetryPolicy {
        patience: Duration::from_secs(5),
        ..quick()
    };
    let begun = Instant::now();
    assert_eq!(ask(&model, &policy).await, Err(limited));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_takes_as_long_as_its_model_says_and_none_is_begun_behind_it() {
    let model = Arc::new(Told {
        takes: Duration::from_secs(7),
        ..Told::default()
    });
    model
        .answers
        .lock()
        .unwrap()
        .extend([Err(ModelError::Silent), Ok(vec![done()])]);
    let policy = RetryPolicy {
        patience: Duration::from_secs(5),
        ..quick()
    };
    assert_eq!(ask(&model, &policy).await, Err(ModelError::Silent));
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thought_is_a_first_chunk() {
    let thought = || Ok(Chunk::Thought(String::new()));
    let model = Told::new([Ok(vec![thought(), Err(busy())]), Ok(vec![done()])]);
    assert_eq!(ask(&model, &quick()).await.unwrap(), [thought(), Err(busy())]);
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_differ_from_process_to_process() {
    let second = Duration::from_secs(1);
    let policy = RetryPolicy {
        first_wait: second,
        ..RetryPolicy::default()
    };
    let mut waits = Vec::new();
    for _ in 0..3 {
        let model = Told::new([Err(busy()), Err(busy()), Ok(vec![done()])]);
        ask(&model, &policy).await.unwrap();
        let calls = model.calls.lock().unwrap().clone();
        let (a, b) = (calls[1] - calls[0], calls[2] - calls[1]);
        assert!(
            (second..=second * 2).contains(&a) && (second * 2..=second * 4).contains(&b),
            "{a:?} {b:?}"
        );
        waits.push(a);
    }
    waits.dedup();
    assert!(waits.len() > 1, "no jitter in {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_count_is_nothing_said_and_the_last_one_is_kept() {
    let counted = |input_tokens| {
        Ok(Chunk::Counted(TokenUsage {
            input_tokens,
            ..TokenUsage::default()
        }))
    };
    let model = Told::new([
        Ok(vec![counted(1), Err(busy())]),
        Ok(vec![counted(2), counted(3), text("a"), counted(4), done()]),
    ]);
    let retrying = Retrying::new(model.clone(), quick());
    let chunks: Vec<_> = retrying.stream(&prompt()).await.unwrap().collect().await;
    assert_eq!(chunks, [counted(3), text("a"), counted(4), done()]);
    assert_eq!(model.calls(), 2);
}
