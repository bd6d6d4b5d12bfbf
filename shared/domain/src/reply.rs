//! The AI's answering of one message: `queued → streaming → completed | failed | stopped`.
//!
//! The transitions stand twice, here as names and in the `where` clauses of `store::replies`; there is no third place.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::budget::BudgetPolicy;
use super::chat::Kind;
use super::ids::{ChatId, Fence, JobId, MessageId, Seq, UserId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyState {
    Queued,
    Streaming,
    Completed,
    Failed,
    Stopped,
}
wire_enum!(ReplyState {
    Queued = "queued",
    Streaming = "streaming",
    Completed = "completed",
    Failed = "failed",
    Stopped = "stopped",
});

impl ReplyState {
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }
}

/// What a sender learns of the reply to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ReplyHandle {
    pub id: MessageId,
    pub state: ReplyState,
}

/// What becomes of a message whose chat has a reply that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBusy {
    /// It is answered after it.
    Queue,
    /// It is refused.
    Reject,
    /// It is answered instead: the other reply is stopped.
    Replace,
}
wire_enum!(WhenBusy { Queue = "queue", Reject = "reject", Replace = "replace" });

impl WhenBusy {
    /// For an answer that is asked for again: it waits for the reply that runs, which is another message's.
    #[must_use]
    pub fn without_replacing(self) -> Self {
        match self {
            Self::Replace => Self::Queue,
            other => other,
        }
    }
}

/// What one reply may take, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The system prompt's, at most.
    pub instruction: u32,
    /// The longest answer.
    pub output: u32,
    /// Prompt and answer together, in tokens of prose.
    pub context: u32,
}

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It answers a message.
    Answer,
    /// It greets the owner of a new post. It always ends in a message, if need be without a model, and cannot be stopped.
    Welcome,
    /// It speaks of an edit. Where it fails, nothing is said.
    FollowUp,
}
wire_enum!(Purpose { Answer = "answer", Welcome = "welcome", FollowUp = "follow_up" });

/// On what terms messages are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub when_busy: WhenBusy,
    pub budget: BudgetPolicy,
    pub assistant: Allowance,
    pub post: Allowance,
}

/// The right to write one attempt of a reply, until the lease runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub reply_id: MessageId,
    pub chat_id: ChatId,
    pub kind: Kind,
    pub purpose: Purpose,
    /// Of a follow-up: what caused it.
    pub trigger: Option<String>,
    pub asked_by: UserId,
    /// Of whoever asked.
    pub organisation: Option<String>,
    pub prompt_seq: Seq,
    /// 1 for the first; goes on counting when the answer is written again.
    pub attempt: i32,
    /// Of the present version, 1 for the first: so many are allowed.
    pub attempt_of_version: i32,
    pub fence: Fence,
}

/// A reply's text so far, for whoever joins late.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningReply {
    pub message_id: MessageId,
    pub state: ReplyState,
    pub attempt: i32,
    pub text: String,
    /// Whether the model thinks, and has not said anything yet.
    pub is_thinking: bool,
    /// What it has thought so far, where that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

/// What of the model's thoughts people hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// Nothing.
    Off,
    /// That it thinks.
    #[default]
    Status,
    /// What it thinks; kept with the answer.
    Text,
}
wire_enum!(Reasoning { Off = "off", Status = "status", Text = "text" });

/// What an answer was written without, because the model refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    Images,
    /// The older part of what was said before.
    History,
}
wire_enum!(Omitted { Images = "images", History = "history" });

/// Why a reply could not be written. The word is stored, shown to clients in `reply.ended` and counted in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    RateLimited,
    QuotaExhausted,
    Overloaded,
    Unauthorized,
    Rejected,
    Blocked,
    Truncated,
    Silent,
    Unreachable,
    Malformed,
    /// The question has images and its model no eyes.
    NoVision,
    /// The model could not read an image of the question or of what was said before it.
    ImageRefused,
    /// The question, with what was said before it, has more tokens than the model reads, or more bytes than its provider takes.
    TooLong,
    /// The answer's limit of tokens was spent before its first word, as a rule on thoughts.
    LimitSpent,
    /// The model said nothing at all; an empty answer is never stored.
    Empty,
    /// Every attempt lost its lease.
    Abandoned,
    /// Earlier attempts have spent what the budget had left.
    BudgetExhausted,
    /// The model was not done when the time of its function was over. With words it is no failure: the reply is stopped, and
    /// they stay.
    Deadline,
}
wire_enum!(Failure {
    RateLimited = "model-rate-limited",
    QuotaExhausted = "model-quota-exhausted",
    Overloaded = "model-overloaded",
    Unauthorized = "model-refused-our-key",
    Rejected = "model-rejected-the-request",
    Blocked = "blocked-by-the-model",
    Truncated = "model-cut-the-answer",
    Silent = "model-silent",
    Unreachable = "model-unreachable",
    Malformed = "model-malformed-answer",
    NoVision = "model-cannot-see-images",
    ImageRefused = "image-refused",
    TooLong = "prompt-too-long",
    LimitSpent = "output-limit-spent-on-thinking",
    Empty = "model-empty-answer",
    Abandoned = "attempts-exhausted",
    BudgetExhausted = "budget-exhausted",
    Deadline = "deadline",
});

impl Failure {
    /// The `system` message of type `ERROR` that ends the reply.
    #[must_use]
    pub fn told_to_user(self) -> &'static str {
        match self {
            Self::Blocked => "The assistant can't answer this message.",
            Self::BudgetExhausted => "Your budget for answers is used up. Please try again when it begins anew.",
            Self::NoVision => "This assistant can't see images. Please ask without one.",
            Self::ImageRefused => {
                "The assistant could not read an image. Please send it in another format, or ask without it."
            }
            Self::TooLong => "This is more than the assistant can read at once. Please ask with less.",
            Self::LimitSpent => {
                "The assistant reached its limit before the first word of an answer. Please ask for less at once."
            }
            Self::RateLimited | Self::Overloaded | Self::QuotaExhausted => {
                "The assistant is very busy and could not answer. Please try again later."
            }
            Self::Unauthorized | Self::Rejected => {
                "The assistant could not answer because of a fault in its set-up. Its operators have been told."
            }
            Self::Truncated
            | Self::Silent
            | Self::Unreachable
            | Self::Malformed
            | Self::Empty
            | Self::Abandoned
            | Self::Deadline => "The assistant could not answer. Please try again.",
        }
    }

    /// The same, of one whose provider asks to be left alone for so long.
    #[must_use]
    pub fn told_to_user_to_wait(self, rest: Duration) -> String {
        const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
        let seconds = rest.as_secs();
        let (count, unit) = UNITS
            .into_iter()
            .find(|(unit, _)| seconds >= 2 * unit)
            .map_or((seconds.div_ceil(60).max(1), "minute"), |(unit, name)| {
                (seconds.div_ceil(unit), name)
            });
        let plural = if count == 1 { "" } else { "s" };
        format!("The assistant is very busy and could not answer. Please try again in {count} {unit}{plural}.")
    }

    /// Whether another attempt may succeed where this one did not.
    #[must_use]
    pub fn may_pass(self) -> bool {
        !matches!(
            self,
            Self::Blocked
                | Self::NoVision
                | Self::ImageRefused
                | Self::TooLong
                | Self::LimitSpent
                | Self::Unauthorized
                | Self::Rejected
                | Self::QuotaExhausted
                | Self::BudgetExhausted
                | Self::Deadline
        )
    }
}

/// A wake-up for a worker: which job, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    pub job_id: JobId,
    pub chat_id: Option<ChatId>,
    pub after_seconds: i32,
}

impl Wake {
    /// SQS delays in whole seconds; a wake-up a moment late finds over what it waited for.
    #[must_use]
    pub fn whole_seconds(duration: Duration) -> i32 {
        i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_asked_otherwise_is_never_tried_again() {
        let failure = Failure::parse("model-cannot-see-images").expect("a word of ours");
        assert_eq!(failure, Failure::NoVision);
        assert!(!failure.may_pass());
        assert_eq!(
            failure.told_to_user(),
            "This assistant can't see images. Please ask without one."
        );
        for failure in [
            Failure::Blocked,
            Failure::ImageRefused,
            Failure::TooLong,
            Failure::LimitSpent,
            Failure::Unauthorized,
            Failure::Rejected,
            Failure::QuotaExhausted,
        ] {
            assert!(!failure.may_pass(), "{failure:?}");
        }
        for failure in [
            Failure::RateLimited,
            Failure::Overloaded,
            Failure::Truncated,
            Failure::Silent,
            Failure::Unreachable,
            Failure::Malformed,
            Failure::Empty,
        ] {
            assert!(failure.may_pass(), "{failure:?}");
        }
    }
}
