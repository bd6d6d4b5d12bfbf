//! What replies are written with.

use std::ops::Deref;
use std::sync::Arc;

use capabilities::settings::Settings;
use capabilities::{Jobs, Models, Reads};
use foundation::deadline::Deadline;
use models::assistants::ReplyPolicy;
use pusher::Delivery;
use queue::Queue;
use store::Store;
use uploads::Attachments;

/// What a reply is ended with, by whoever has the right to end it. It asks no model.
#[derive(Clone, Debug)]
pub struct Endings {
    pub store: Store,
    pub settings: Arc<Settings>,
    pub delivery: Delivery,
    pub queue: Queue,
    pub policy: ReplyPolicy,
}

impl Endings {
    /// For somebody who calls.
    #[must_use]
    pub fn for_caller(reads: &Reads, delivery: Delivery, queue: Queue, policy: ReplyPolicy) -> Self {
        Self {
            store: reads.store.clone(),
            settings: Arc::clone(&reads.settings),
            delivery,
            queue,
            policy,
        }
    }

    /// For the queue or the schedule.
    #[must_use]
    pub fn for_jobs(jobs: &Jobs, delivery: Delivery, queue: Queue, policy: ReplyPolicy) -> Self {
        Self {
            store: jobs.store.clone(),
            settings: Arc::clone(&jobs.settings),
            delivery,
            queue,
            policy,
        }
    }
}

/// The same, with what a model is asked with.
#[derive(Clone, Debug)]
pub struct Engine {
    endings: Endings,
    pub models: Models,
    pub uploads: Attachments,
    deadline: Deadline,
}

impl Engine {
    /// `deadline`: when what the invocation does has to end.
    #[must_use]
    pub fn new(endings: Endings, models: Models, uploads: Attachments, deadline: Deadline) -> Self {
        Self {
            endings,
            models,
            uploads,
            deadline,
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

impl Deref for Engine {
    type Target = Endings;

    fn deref(&self) -> &Endings {
        &self.endings
    }
}
