//! Writes one attempt of a reply: asks the model, tells readers each piece as it comes, stores the text on the way, and
//! ends the reply or puts it back into the queue.
//!
//! Storing never holds the tokens up: one statement at a time runs beside the stream, and no connection is held while
//! the model thinks. Every write names the fence, so an attempt that lost its lease changes nothing and stops. From its
//! claim to its end an attempt renews its lease, whatever it waits for, and it ends before its function is ended.

use std::mem;
use std::time::Duration;

use backtalk_http::EventSink;
use domain::characters::is_blank;
use domain::event::{Event, ReplyEnded};
use domain::message::Usage;
use domain::reply::{Claim, Failure, Omitted, Purpose, Reasoning, ReplyState, Wake};
use foundation::faults;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use models::{Chunk, Chunks, Finish, Model, ModelError, TokenUsage};
use store::replies::{Ended, Ending, Hold, Remarks, Seized};
use telemetry::Part;
use telemetry::log_request;
use telemetry::metrics::{self, Metric};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tracing::{field, warn};

use super::audience::{Audience, delta_event};
use super::engine::{Endings, Engine};
use super::post;
use super::question::{Lighter, Prepared, Question, prepared};
use super::refused::{Lesson, Remedy, remember};
use super::thoughts::{self, Thoughts};
use super::usage::{Asked, Count, Heard, nothing, spent, usage};

/// Partial text is stored this often, or as soon as there is [`STORE_BYTES`] of it.
const STORE_EVERY: Duration = Duration::from_millis(100);
const STORE_BYTES: usize = 1024;
/// The lease is renewed four times before it would run out.
const RENEWALS_A_LEASE: u32 = 4;
/// How long somebody who asked to stop waits at most to be heard while no text comes; where it comes, storing it tells.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What ends a reply is tried again while Postgres is away; after that the lease runs out and another attempt begins.
const END_TRIES: u32 = 5;
const END_REST: Duration = Duration::from_millis(300);
/// How long a model may think about a welcome, and how long it may take in all; then the plain one is said.
const WELCOME_WITHIN: Duration = Duration::from_secs(8);
const WELCOME_ENDS_WITHIN: Duration = Duration::from_secs(20);
/// Of a text whose writer is gone: what other devices may not have been told of it. They are told every 150 ms.
const UNTOLD_BYTES: usize = 4096;
/// However long a failed attempt is left alone: what SQS can delay.
const LONGEST_REST: Duration = Duration::from_secs(900);
/// Whoever waits longer than this for a provider that asks to be left alone is told at once, and the chat goes on.
const LONGEST_UNTOLD_REST: Duration = Duration::from_secs(60);

/// How an attempt went.
#[derive(Debug)]
pub enum Attempt {
    /// The reply is over. `wake` is the chat's next one.
    Over {
        state: ReplyState,
        failure: Option<Failure>,
        wake: Option<Wake>,
    },
    /// It failed in a way that may pass: the reply rests in the queue until `wake`.
    Requeued { failure: Failure, wake: Wake },
    /// Too little time was left to begin: the reply is as it was before, for the next invocation.
    PutBack { wake: Wake },
    /// Somebody else has the reply now, or it is gone with its chat.
    Lost,
    /// The store failed us; the lease will run out and another attempt will follow.
    Broken(store::Error),
}

/// Writes the attempt that `claim` allows. `reader` is who listens to this response, if anybody does.
pub async fn write(engine: &Engine, claim: &Claim, reader: Option<&EventSink>) -> Attempt {
    let began = Instant::now();
    let mut writer = Writer::new(engine, claim);
    let (attempt, request_log) = telemetry::with_request_log(telemetry::trace(), async {
        telemetry::caller(&claim.asked_by);
        let mut audience = Audience::new(&engine.delivery, claim, reader);
        audience.broadcast(Event::reply_started(claim.chat_id, claim.reply_id, claim.attempt));
        faults::point("claimed", claim.chat_id);
        // On the heap, for what an attempt holds is large, and a thread's stack is not.
        let attempt = Box::pin(writer.run(&mut audience)).await;
        audience.flush().await;
        attempt
    })
    .await;
    let (outcome, failure, error) = match &attempt {
        Attempt::Over { state, failure, .. } => (state.word(), *failure, None),
        Attempt::Requeued { failure, .. } => ("requeued", Some(*failure), None),
        Attempt::PutBack { .. } => ("put back", None, None),
        Attempt::Lost => ("lost", None, None),
        Attempt::Broken(error) => ("broken", None, Some(error)),
    };
    log_request!(
        request_log,
        began,
        reply = %claim.reply_id,
        chat = %claim.chat_id,
        attempt = claim.attempt,
        outcome,
        failure = failure.map(Failure::word),
        error = error.map(field::display),
        first_word_milliseconds = writer.first_word.map(milliseconds),
        "attempt of a reply"
    );
    attempt
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Ends a reply whose last writer is gone: as failed, for its attempts are used up.
pub async fn abandon(endings: &Endings, seized: Seized) -> Attempt {
    let usage = cost_of(endings, &seized);
    let failure = Failure::Abandoned;
    end_seized(endings, &seized.claim, &Ending::Failed { failure, usage }).await
}

/// Ends a reply that was to stop, with what is stored of it: its writer is gone, or too slow.
pub async fn stop_seized(endings: &Endings, seized: Seized) -> Attempt {
    let usage = cost_of(endings, &seized);
    let text = seized.text;
    end_seized(endings, &seized.claim, &Ending::Stopped { text, usage }).await
}

/// Nobody counted what a vanished writer has spent, so it is estimated.
fn cost_of(endings: &Endings, seized: &Seized) -> Usage {
    Usage {
        input_tokens: seized.input_tokens,
        output_tokens: seized.output_tokens,
        ..nothing(model_name(endings, &seized.claim))
    }
}

async fn end_seized(endings: &Endings, claim: &Claim, ending: &Ending) -> Attempt {
    let mut audience = Audience::new(&endings.delivery, claim, None);
    audience.pushed = ending.said().map_or(0, |text| {
        post::beginning(text, text.len().saturating_sub(UNTOLD_BYTES)).len()
    });
    let attempt = end(endings, claim, ending, Remarks::default(), &mut audience).await;
    audience.flush().await;
    attempt
}

/// Why the model's text ended here.
enum End {
    Said { finish: Finish, usage: Option<TokenUsage> },
    Failed(ModelError),
    StopAsked,
    OutOfTime,
    Lost,
}

/// What came of asking a model.
struct Came<'a> {
    asked: Asked<'a>,
    end: End,
    /// What it was not shown.
    omitted: Vec<Omitted>,
}

enum Asking<'a> {
    Over(Came<'a>),
    /// It refused before a word, whatever of.
    Refused {
        error: ModelError,
        remedy: Remedy,
    },
}

struct Writer<'a> {
    engine: &'a Engine,
    claim: &'a Claim,
    text: String,
    /// How much of `text` the store has.
    stored: usize,
    /// The one statement that runs beside the stream, and what will be stored once it has succeeded.
    saving: Option<Saving>,
    began_at: Instant,
    /// When this attempt has to end.
    until: Instant,
    renewed_at: Instant,
    looked_at: Instant,
    /// What the provider has counted so far.
    counted: Option<TokenUsage>,
    thoughts: Thoughts,
    /// How long after the claim the model said its first word.
    first_word: Option<Duration>,
}

struct Saving {
    done: BoxFuture<'static, store::Result<Hold>>,
    then: Stored,
}

/// What the store has of an attempt.
#[derive(Clone, Copy)]
struct Stored {
    text: usize,
    thoughts: thoughts::Stored,
}

impl<'a> Writer<'a> {
    fn new(engine: &'a Engine, claim: &'a Claim) -> Self {
        let until = engine.deadline().at();
        Self {
            engine,
            claim,
            until: match claim.purpose {
                Purpose::Welcome => until.min(Instant::now() + WELCOME_ENDS_WITHIN),
                Purpose::Answer | Purpose::FollowUp => until,
            },
            text: String::new(),
            stored: 0,
            saving: None,
            began_at: Instant::now(),
            renewed_at: Instant::now(),
            looked_at: Instant::now(),
            counted: None,
            thoughts: Thoughts::new(Reasoning::Off),
            first_word: None,
        }
    }

    async fn run(&mut self, audience: &mut Audience<'_>) -> Attempt {
        let came = match self.answer(audience).await {
            Ok(came) => came,
            Err(attempt) => return attempt,
        };
        self.done_saving().await;
        self.conclude(came, audience).await
    }

    /// Asks the model; and where it refuses what it is shown, once more with less. An error is an attempt that is over without
    /// an answer, good or bad.
    ///
    /// Boxed, for what waits for a model is large, and would lie twice in one future.
    async fn answer(&mut self, audience: &mut Audience<'_>) -> Result<Came<'a>, Attempt> {
        let question = Box::pin(self.prepare(&Lighter::default(), audience)).await?;
        let (asked, outline) = (Asked::of(&question), question.outline());
        let (error, remedy) = match Box::pin(self.ask(question, None, audience)).await {
            Asking::Over(came) => return Ok(came),
            Asking::Refused { error, remedy } => (error, remedy),
        };
        let failed = |error| Came {
            asked,
            end: End::Failed(error),
            omitted: Vec::new(),
        };
        let Some(lighter) = remedy.again else {
            return Ok(failed(error));
        };
        let question = Box::pin(self.prepare(&lighter, audience)).await?;
        // Nothing could be left out.
        if question.outline() == outline {
            return Ok(failed(error));
        }
        warn!(
            reply = %self.claim.reply_id, attempt = self.claim.attempt, %error, detail = error.detail(),
            without_images = lighter.without_images, window = lighter.window, "the model is asked once more, with less"
        );
        let asked = Asked::of(&question);
        Ok(
            match Box::pin(self.ask(question, Some(&remedy.lesson), audience)).await {
                Asking::Over(came) => came,
                Asking::Refused { error, .. } => Came {
                    asked,
                    end: End::Failed(error),
                    omitted: Vec::new(),
                },
            },
        )
    }

    /// What is to be asked. An error is an attempt that is over, or another's.
    async fn prepare(&mut self, lighter: &Lighter, audience: &mut Audience<'_>) -> Result<Question<'a>, Attempt> {
        let (engine, claim) = (self.engine, self.claim);
        let prepared = self.beside(prepared(engine, claim, lighter)).await;
        self.done_saving().await;
        let question = match prepared {
            Ok(Ok(Prepared::Question(question))) => question,
            Ok(Ok(Prepared::Unanswered)) => return Err(leave_unanswered(engine, claim, audience).await),
            Ok(Ok(Prepared::Gone)) | Err(End::Lost) => return Err(Attempt::Lost),
            Ok(Ok(Prepared::Unaffordable(model))) => {
                let usage = nothing(model.name());
                let failure = Failure::BudgetExhausted;
                return Err(end(
                    engine,
                    claim,
                    &Ending::Failed { failure, usage },
                    Remarks::default(),
                    audience,
                )
                .await);
            }
            Ok(Err(error)) => return Err(Attempt::Broken(error)),
            Err(End::StopAsked) => return Err(stop_unasked(engine, claim, audience).await),
            Err(End::OutOfTime) if claim.purpose == Purpose::Welcome => {
                let (usage, failure) = (nothing(model_name(engine, claim)), Failure::Deadline);
                return Err(end(
                    engine,
                    claim,
                    &Ending::Failed { failure, usage },
                    Remarks::default(),
                    audience,
                )
                .await);
            }
            Err(End::OutOfTime | End::Said { .. } | End::Failed(_)) => {
                return Err(put_back(engine, claim, audience).await);
            }
        };
        // Images of others may have been waited for.
        if !engine.deadline().leaves_time() {
            return Err(put_back(engine, claim, audience).await);
        }
        faults::point("prompted", claim.chat_id);
        Ok(*question)
    }

    /// Asks once. `learnt`: what was refused before, if this is the second time.
    async fn ask(
        &mut self,
        question: Question<'a>,
        learnt: Option<&Lesson>,
        audience: &mut Audience<'_>,
    ) -> Asking<'a> {
        let (engine, claim) = (self.engine, self.claim);
        let asked = Asked::of(&question);
        self.thoughts = Thoughts::new(question.reasoning);
        telemetry::timing(Part::Model, async {
            let answer = self.beside(question.model.stream(&question.prompt)).await;
            let refused = match answer {
                Ok(Err(error)) => error,
                Ok(Ok(chunks)) => {
                    let omitted = question.omitted.clone();
                    // Once it speaks it is not asked again: the images, and their room, are free.
                    drop(question);
                    if let Some(lesson) = learnt
                        && let Err(end) = self.beside(remember(engine, claim, asked.model, lesson)).await
                    {
                        return Asking::Over(Came { asked, end, omitted });
                    }
                    let end = self.consume_stream(asked, chunks, audience).await;
                    return Asking::Over(Came { asked, end, omitted });
                }
                Err(end) => {
                    return Asking::Over(Came {
                        asked,
                        end,
                        omitted: Vec::new(),
                    });
                }
            };
            let remedy = Remedy::of(&refused, &question, learnt.is_none());
            drop(question);
            // At once, so that whoever goes on if this process dies knows it.
            if !remedy.is_a_guess
                && let Err(end) = self.beside(remember(engine, claim, asked.model, &remedy.lesson)).await
            {
                return Asking::Over(Came {
                    asked,
                    end,
                    omitted: Vec::new(),
                });
            }
            Asking::Refused { error: refused, remedy }
        })
        .await
    }

    /// Ends the reply as its model's answer ended, or puts it back.
    async fn conclude(&mut self, came: Came<'_>, audience: &mut Audience<'_>) -> Attempt {
        let (engine, claim) = (self.engine, self.claim);
        let Came {
            asked,
            end: came,
            omitted,
        } = came;
        let text = mem::take(&mut self.text);
        let thoughts = mem::replace(&mut self.thoughts, Thoughts::new(Reasoning::Off));
        let heard = Heard {
            text: &text,
            thoughts: thoughts.bytes(),
            so_far: self.counted,
        };
        let cost = |count| usage(asked, heard, count);
        let ending = match came {
            End::Lost => return Attempt::Lost,
            End::StopAsked => Ending::Stopped {
                usage: cost(Count::SoFar),
                text,
            },
            // It has had all the time that there is: to ask once more would cost as much, and end here again.
            End::OutOfTime if text.trim().is_empty() || claim.purpose == Purpose::Welcome => Ending::Failed {
                failure: Failure::Deadline,
                usage: cost(Count::SoFar),
            },
            End::OutOfTime => Ending::CutOff {
                usage: cost(Count::SoFar),
                text,
            },
            End::Said {
                finish: Finish::Blocked,
                usage: counted,
            } => Ending::Failed {
                failure: Failure::Blocked,
                usage: cost(Count::of(counted)),
            },
            End::Said { finish, usage: counted } if is_blank(&text) => {
                let usage = cost(Count::of(counted));
                let failure = match finish {
                    Finish::Length => Failure::LimitSpent,
                    Finish::Stop | Finish::Blocked => Failure::Empty,
                };
                say_spent(claim, asked, failure, &usage);
                let failed = Failed {
                    failure,
                    usage,
                    text,
                    asks_for: None,
                };
                return retry_or_fail(engine, claim, failed, audience).await;
            }
            End::Said { usage: counted, .. } => Ending::Completed {
                usage: cost(Count::of(counted)),
                text,
            },
            End::Failed(error) => {
                let (failure, usage) = (failure(&error), spent(asked, heard, &error));
                warn!(
                    reply = %claim.reply_id, attempt = claim.attempt, %error, detail = error.detail(),
                    "the model failed"
                );
                say_spent(claim, asked, failure, &usage);
                let asks_for = error.retry_after();
                let failed = Failed {
                    failure,
                    usage,
                    text,
                    asks_for,
                };
                return retry_or_fail(engine, claim, failed, audience).await;
            }
        };
        faults::point("said", claim.chat_id);
        let remarks = Remarks {
            reasoning: thoughts.into_kept(),
            omitted,
            rest: None,
        };
        end(engine, claim, &ending, remarks, audience).await
    }

    /// One statement at a time: what is under way has the connection that the next needs.
    async fn done_saving(&mut self) {
        if self.saving.is_some() {
            let (outcome, stored) = saved(&mut self.saving).await;
            self.settle(outcome, stored);
        }
    }

    /// Waits for `work`, and beside it renews the lease and hears who asks to stop.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        let mut tick = every(STORE_EVERY);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                (outcome, stored) = saved(&mut self.saving) => self.still_held(outcome, stored)?,
                _ = tick.tick() => {
                    self.within_time()?;
                    self.save();
                }
            }
        }
    }

    /// Listens to the model until it ends, storing and renewing beside it.
    async fn consume_stream(&mut self, asked: Asked<'_>, mut chunks: Chunks, audience: &mut Audience<'_>) -> End {
        let mut tick = every(STORE_EVERY);
        loop {
            let held = tokio::select! {
                chunk = chunks.next() => match chunk {
                    Some(Ok(Chunk::Text(text))) => {
                        self.hear(asked.model, &text, audience);
                        Ok(())
                    }
                    Some(Ok(Chunk::Thought(thought))) => {
                        self.hear_thought(&thought, audience);
                        self.within_budget(asked)
                    }
                    Some(Ok(Chunk::Counted(usage))) => {
                        self.counted = Some(usage);
                        self.within_budget(asked)
                    }
                    Some(Ok(Chunk::Done { finish, usage })) => Err(End::Said { finish, usage }),
                    Some(Err(error)) => Err(End::Failed(error)),
                    None => Err(End::Failed(ModelError::Truncated)),
                },
                (outcome, stored) = saved(&mut self.saving) => self.still_held(outcome, stored),
                _ = tick.tick() => {
                    self.save();
                    audience.push_news(self.thoughts.text(), &self.text);
                    self.within_time()
                }
            };
            if let Err(end) = held {
                return end;
            }
        }
    }

    fn hear(&mut self, model: &dyn Model, text: &str, audience: &Audience<'_>) {
        audience.stream(&delta_event(self.claim, self.text.len(), text));
        if self.first_word.is_none() {
            let waited = self.began_at.elapsed();
            self.first_word = Some(waited);
            metrics::say(&[(Metric::TimeToFirstToken, milliseconds(waited))], Some(model.name()));
        }
        self.text.push_str(text);
        faults::point("speaking", self.claim.chat_id);
        if self.text.len() - self.stored >= STORE_BYTES {
            self.save();
        }
    }

    fn hear_thought(&mut self, thought: &str, audience: &mut Audience<'_>) {
        if let Some((event, is_first)) = self.thoughts.hear(self.claim, thought) {
            audience.tell_thought(event, is_first);
        }
        faults::point("thinking", self.claim.chat_id);
    }

    /// What is thought is no more than what is held for the reply: an answer whose thoughts are, ends as one that has reached
    /// its limit.
    fn within_budget(&self, asked: Asked<'_>) -> Result<(), End> {
        let heard = Heard {
            text: &self.text,
            thoughts: self.thoughts.bytes(),
            so_far: self.counted,
        };
        if heard.is_over(asked) {
            return Err(End::Said {
                finish: Finish::Length,
                usage: None,
            });
        }
        Ok(())
    }

    /// A welcome that does not come is none.
    fn within_time(&self) -> Result<(), End> {
        let is_late =
            self.claim.purpose == Purpose::Welcome && self.text.is_empty() && self.began_at.elapsed() >= WELCOME_WITHIN;
        if is_late || Instant::now() >= self.until {
            return Err(End::OutOfTime);
        }
        Ok(())
    }

    /// What a statement said of the claim.
    fn still_held(&mut self, outcome: store::Result<Hold>, stored: Stored) -> Result<(), End> {
        match self.settle(outcome, stored) {
            Hold::Held => Ok(()),
            Hold::StopAsked => Err(End::StopAsked),
            Hold::Lost => Err(End::Lost),
        }
    }

    /// Starts storing what is new, renewing the lease or looking for a wish to stop, whichever is due, unless a statement is
    /// under way.
    fn save(&mut self) {
        if self.saving.is_some() {
            return;
        }
        let (store, claim) = (self.engine.store.clone(), self.claim.clone());
        let now = Stored {
            text: self.stored,
            thoughts: self.thoughts.stored(),
        };
        let lease = self.engine.settings.replies.lease;
        if self.renewed_at.elapsed() >= lease / RENEWALS_A_LEASE {
            self.renewed_at = Instant::now();
            self.looked_at = self.renewed_at;
            let done = Box::pin(async move { store.renew_reply(&claim, lease).await });
            self.saving = Some(Saving { done, then: now });
        } else if let Some((thought, thoughts)) = self.thoughts.unstored() {
            let done = Box::pin(async move { store.think_aloud(&claim, &thought).await });
            self.looked_at = Instant::now();
            self.saving = Some(Saving {
                done,
                then: Stored { thoughts, ..now },
            });
        } else if self.text.len() > self.stored {
            let (offset, part) = (self.stored, self.text[self.stored..].to_owned());
            let done = Box::pin(async move { store.append_to_reply(&claim, offset, &part).await });
            self.looked_at = Instant::now();
            let text = self.text.len();
            self.saving = Some(Saving {
                done,
                then: Stored { text, ..now },
            });
        } else if self.looked_at.elapsed() >= LOOK_EVERY {
            self.looked_at = Instant::now();
            let done = Box::pin(async move { store.hold_on_reply(&claim).await });
            self.saving = Some(Saving { done, then: now });
        }
    }

    /// What a statement said. One that failed is no reason to stop: its text is stored with the next one, and if Postgres
    /// stays away the lease decides.
    fn settle(&mut self, outcome: store::Result<Hold>, stored: Stored) -> Hold {
        match outcome {
            Ok(hold) => {
                if stored.text > self.stored {
                    faults::point("stored", self.claim.chat_id);
                }
                self.stored = stored.text;
                self.thoughts.settle(stored.thoughts);
                hold
            }
            Err(error) => {
                warn!(reply = %self.claim.reply_id, %error, "partial text not stored");
                Hold::Held
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Leaves a reply that no model was asked for to the next invocation, which has more time.
async fn put_back(engine: &Engine, claim: &Claim, audience: &mut Audience<'_>) -> Attempt {
    match engine.store.put_back_reply(claim).await {
        Ok(Some(wake)) => Attempt::PutBack { wake },
        Ok(None) => match engine.store.hold_on_reply(claim).await {
            Ok(Hold::StopAsked) => stop_unasked(engine, claim, audience).await,
            Ok(Hold::Held | Hold::Lost) => Attempt::Lost,
            Err(error) => Attempt::Broken(error),
        },
        Err(error) => Attempt::Broken(error),
    }
}

/// Ends a reply that was to stop before a model was asked.
async fn stop_unasked(engine: &Engine, claim: &Claim, audience: &mut Audience<'_>) -> Attempt {
    let usage = nothing(model_name(engine, claim));
    let text = String::new();
    end(
        engine,
        claim,
        &Ending::Stopped { text, usage },
        Remarks::default(),
        audience,
    )
    .await
}

/// There is nothing to answer: the reply was lost to another writer, or its question is deleted and was the only one.
async fn leave_unanswered(engine: &Engine, claim: &Claim, audience: &mut Audience<'_>) -> Attempt {
    match engine.store.renew_reply(claim, engine.settings.replies.lease).await {
        Ok(Hold::Lost) => Attempt::Lost,
        Ok(Hold::Held | Hold::StopAsked) => stop_unasked(engine, claim, audience).await,
        Err(error) => Attempt::Broken(error),
    }
}

/// As whoever asked there is answered now.
fn model_name<'a>(endings: &'a Endings, claim: &Claim) -> &'a str {
    endings.policy.bounds(claim.kind, claim.organisation.as_deref()).model
}

/// An attempt that failed.
struct Failed {
    failure: Failure,
    usage: Usage,
    text: String,
    /// How long the provider wants to be left alone.
    asks_for: Option<Duration>,
}

/// Puts the reply back if another attempt may succeed, else ends it: with the text so far, if somebody asked to stop. A long
/// rest ends it, too: whoever asked is told until when, and the chat's next question does not wait behind it.
async fn retry_or_fail(engine: &Engine, claim: &Claim, failed: Failed, audience: &mut Audience<'_>) -> Attempt {
    let config = &engine.settings.replies;
    let Failed {
        failure,
        usage,
        text,
        asks_for,
    } = failed;
    let long_rest = asks_for.filter(|rest| *rest > LONGEST_UNTOLD_REST);
    // What nobody has asked for is not tried again: a question may be waiting behind it.
    if !failure.may_pass()
        || claim.attempt_of_version >= config.attempts
        || claim.purpose != Purpose::Answer
        || long_rest.is_some()
    {
        let remarks = Remarks {
            rest: long_rest,
            ..Remarks::default()
        };
        return end(engine, claim, &Ending::Failed { failure, usage }, remarks, audience).await;
    }
    let rest = config
        .retry_after_attempt(claim.attempt_of_version)
        .max(asks_for.unwrap_or_default())
        .min(LONGEST_REST);
    match engine.store.requeue_reply(claim, failure, &usage, rest).await {
        Ok(Some(wake)) => {
            faults::point("requeued", claim.chat_id);
            count(&usage, None);
            Attempt::Requeued { failure, wake }
        }
        Ok(None) => match engine.store.hold_on_reply(claim).await {
            Ok(Hold::StopAsked) => {
                let stopped = Ending::Stopped { text, usage };
                end(engine, claim, &stopped, Remarks::default(), audience).await
            }
            Ok(Hold::Held | Hold::Lost) => Attempt::Lost,
            Err(error) => Attempt::Broken(error),
        },
        Err(error) => Attempt::Broken(error),
    }
}

/// The figures of a limit that was reached before the first word, for whoever sets it.
fn say_spent(claim: &Claim, asked: Asked<'_>, failure: Failure, usage: &Usage) {
    if failure == Failure::LimitSpent {
        warn!(
            reply = %claim.reply_id,
            model = usage.model,
            output_tokens = usage.output_tokens,
            max_output_tokens = asked.max_output_tokens,
            reserved = asked.reserved,
            "all of an answer's tokens went into thoughts: MODEL_MAX_OUTPUT_TOKENS is too low for this model"
        );
    }
}

/// The outcome of the statement under way; never, while there is none.
async fn saved(saving: &mut Option<Saving>) -> (store::Result<Hold>, Stored) {
    match saving {
        Some(statement) => {
            let outcome = (&mut statement.done).await;
            let stored = statement.then;
            *saving = None;
            (outcome, stored)
        }
        None => std::future::pending().await,
    }
}

/// Ends the reply and tells everyone. A welcome that failed is said plainly.
async fn end(
    endings: &Endings,
    claim: &Claim,
    ending: &Ending,
    remarks: Remarks,
    audience: &mut Audience<'_>,
) -> Attempt {
    let welcome;
    let ending = match ending {
        Ending::Failed { usage, .. } if claim.purpose == Purpose::Welcome => {
            match endings.store.post_in_view(claim).await {
                Ok(Some(about)) => {
                    welcome = Ending::Templated {
                        text: post::plain_welcome(&about),
                        usage: usage.clone(),
                    };
                    &welcome
                }
                Ok(None) => return Attempt::Lost,
                Err(error) => return Attempt::Broken(error),
            }
        }
        ending => ending,
    };
    let mut tries = 1;
    let ended = loop {
        match endings.store.end_reply_with(claim, ending, &remarks).await {
            Ok(Some(ended)) => break ended,
            Ok(None) => return Attempt::Lost,
            Err(error) if error.is_unavailable() && tries < END_TRIES => {
                warn!(reply = %claim.reply_id, %error, tries, "the end of a reply is tried again");
                tries += 1;
                sleep(END_REST).await;
            }
            Err(error) => return Attempt::Broken(error),
        }
    };
    faults::point("ended", claim.chat_id);
    let (state, failure) = ending.state();
    let metric = match state {
        ReplyState::Completed => Some(Metric::RepliesCompleted),
        ReplyState::Stopped => Some(Metric::RepliesStopped),
        ReplyState::Failed => Some(Metric::RepliesFailed),
        ReplyState::Queued | ReplyState::Streaming => None,
    };
    count(ending.usage(), metric);
    let Ended {
        message,
        audience: people,
        wake,
        webhooks,
        retry_at,
    } = ended;
    endings.queue.wake(&webhooks).await;
    let mut events: Vec<_> = message.iter().map(Event::of_answer).collect();
    let ended = ReplyEnded {
        message_id: claim.reply_id,
        attempt: claim.attempt,
        state,
        reason: failure,
        retry_at,
    };
    events.push(Event::reply_ended(claim.chat_id, &ended));
    audience.tell_end(ending.said(), events, &people);
    Attempt::Over { state, failure, wake }
}

/// What an attempt spent and, if it was the last, how the reply ended.
fn count(usage: &Usage, end: Option<Metric>) {
    let spent = [
        (Metric::InputTokens, usage.input_tokens),
        (Metric::OutputTokens, usage.output_tokens),
        (Metric::CachedTokens, usage.cached_tokens),
    ];
    let figures: Vec<_> = spent
        .map(|(metric, tokens)| (metric, f64::from(tokens)))
        .into_iter()
        .chain(end.map(|metric| (metric, 1.0)))
        .collect();
    metrics::say(&figures, Some(&usage.model));
}

/// The word under which a model's error is stored and told.
fn failure(error: &ModelError) -> Failure {
    match error {
        ModelError::RateLimited { .. } => Failure::RateLimited,
        ModelError::QuotaExhausted => Failure::QuotaExhausted,
        ModelError::Overloaded { .. } => Failure::Overloaded,
        ModelError::Unauthorized => Failure::Unauthorized,
        ModelError::Rejected { .. } => Failure::Rejected,
        ModelError::Blocked { .. } => Failure::Blocked,
        ModelError::Truncated => Failure::Truncated,
        ModelError::Silent => Failure::Silent,
        ModelError::Unreachable { .. } => Failure::Unreachable,
        ModelError::Malformed { .. } => Failure::Malformed,
        ModelError::NoVision => Failure::NoVision,
        ModelError::ImageRefused { .. } => Failure::ImageRefused,
        ModelError::TooLong { .. } => Failure::TooLong,
        ModelError::NothingSaid { .. } => Failure::LimitSpent,
    }
}
