//! Who hears of a reply while it is written: the reader of the response, and the devices of whoever asked.

use std::time::Duration;

use backtalk_http::EventSink;
use domain::event::{Event, Outgoing, ReplyDelta};
use domain::ids::UserId;
use domain::reply::Claim;
use pusher::Delivery;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::thoughts::reasoning;

/// Text goes to the other devices this often at most: Pusher bills by the message.
const PUSH_EVERY: Duration = Duration::from_millis(150);

/// Who hears of a reply while it is written.
pub(super) struct Audience<'a> {
    delivery: &'a Delivery,
    claim: &'a Claim,
    reader: Option<&'a EventSink>,
    pushes: JoinSet<()>,
    /// How much of the text the other devices were told, and when.
    pub(super) pushed: usize,
    pushed_at: Instant,
    /// How much of what the model thinks.
    thoughts_pushed: usize,
}

impl<'a> Audience<'a> {
    pub(super) fn new(delivery: &'a Delivery, claim: &'a Claim, reader: Option<&'a EventSink>) -> Self {
        Self {
            delivery,
            claim,
            reader,
            pushes: JoinSet::new(),
            pushed: 0,
            pushed_at: Instant::now(),
            thoughts_pushed: 0,
        }
    }

    /// Tells the other devices what is new of the thoughts and the text, if that was not done a moment ago.
    pub(super) fn push_news(&mut self, thoughts: &str, text: &str) {
        if self.pushed_at.elapsed() >= PUSH_EVERY {
            let mut news = self.untold_thoughts(thoughts);
            news.extend(self.untold(text));
            if !news.is_empty() {
                self.push(news);
            }
        }
    }

    fn untold_thoughts(&mut self, thoughts: &str) -> Vec<Outgoing> {
        if thoughts.len() <= self.thoughts_pushed {
            return Vec::new();
        }
        let event = reasoning(self.claim, self.thoughts_pushed, &thoughts[self.thoughts_pushed..]);
        self.thoughts_pushed = thoughts.len();
        self.pushed_at = Instant::now();
        vec![Outgoing {
            event,
            audience: vec![self.claim.asked_by.clone()],
        }]
    }

    /// What the other devices have not been told of the text, and are told by this.
    fn untold(&mut self, text: &str) -> Vec<Outgoing> {
        if text.len() <= self.pushed {
            return Vec::new();
        }
        let delta = delta_event(self.claim, self.pushed, &text[self.pushed..]);
        self.pushed = text.len();
        self.pushed_at = Instant::now();
        vec![Outgoing {
            event: delta,
            audience: vec![self.claim.asked_by.clone()],
        }]
    }

    /// Tells the reader of this response alone.
    pub(super) fn stream(&self, event: &Event) {
        if let Some(reader) = self.reader {
            reader.send(event);
        }
    }

    /// Tells the reader and the devices of whoever asked.
    pub(super) fn broadcast(&mut self, event: Event) {
        self.stream(&event);
        self.push(vec![Outgoing {
            event,
            audience: vec![self.claim.asked_by.clone()],
        }]);
    }

    /// Tells the reader of a thought; the other devices, which are told what it thinks at times, that it has begun to.
    pub(super) fn tell_thought(&mut self, event: Event, is_first: bool) {
        if is_first && event.data.get("text").is_none() {
            self.broadcast(event);
        } else {
            self.stream(&event);
        }
    }

    /// Tells everyone that the reply is over, and before that whoever heard its text piece by piece the last one.
    pub(super) fn tell_end(&mut self, text: Option<&str>, events: Vec<Event>, people: &[UserId]) {
        let rest = text.map(|text| self.untold(text)).unwrap_or_default();
        for event in &events {
            self.stream(event);
        }
        let told = events.into_iter().map(|event| Outgoing {
            event,
            audience: people.to_vec(),
        });
        self.push_in_order([rest, told.collect()]);
    }

    fn push(&mut self, news: Vec<Outgoing>) {
        self.push_in_order([news, Vec::new()]);
    }

    /// Requests overtake each other: what must come second is sent once the first has come.
    fn push_in_order(&mut self, news: [Vec<Outgoing>; 2]) {
        let delivery = self.delivery.clone();
        self.pushes.spawn(telemetry::in_current_request(async move {
            for news in news.iter().filter(|news| !news.is_empty()) {
                delivery.publish(news).await;
            }
        }));
    }

    /// A function may be frozen once its work is done: what was to be pushed must be on its way before.
    pub(super) async fn flush(&mut self) {
        while self.pushes.join_next().await.is_some() {}
    }
}

/// More of an attempt's text, after `offset` bytes of it.
pub(super) fn delta_event(claim: &Claim, offset: usize, text: &str) -> Event {
    let delta = ReplyDelta {
        message_id: claim.reply_id,
        attempt: claim.attempt,
        offset,
        text: text.to_owned(),
    };
    Event::reply_delta(claim.chat_id, &delta)
}
