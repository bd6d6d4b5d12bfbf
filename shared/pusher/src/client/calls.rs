//! Which HTTP calls carry a set of triggers. Pusher takes one event for up to 100 channels in a call, or up to 10 events
//! for one channel each.

use serde::Serialize;

use super::{ChannelName, SocketId, Trigger};

/// The most channels of one event in one call.
pub(super) const MAX_CHANNELS: usize = 100;

/// The most events in a batch.
pub(super) const MAX_BATCH: usize = 10;

/// One HTTP call, ready to be signed.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) endpoint: &'static str,
    pub(super) body: String,
    /// How many events it carries, counting one for each channel.
    pub(super) events: usize,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    channels: &'a [ChannelName],
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<&'a SocketId>,
}

#[derive(Serialize)]
struct BatchEvent<'a> {
    name: &'a str,
    channel: &'a ChannelName,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<&'a SocketId>,
}

#[derive(Serialize)]
struct Batch<'a> {
    batch: &'a [BatchEvent<'a>],
}

/// A trigger with as many of its channels as one call takes.
#[derive(Clone, Copy)]
struct Piece<'a> {
    trigger: &'a Trigger,
    channels: &'a [ChannelName],
}

/// As few calls as carry them all. What shares a batch keeps its order.
pub(super) fn fewest(triggers: &[&Trigger]) -> Vec<Call> {
    let pieces: Vec<Piece<'_>> = triggers
        .iter()
        .flat_map(|trigger| {
            trigger
                .channels
                .chunks(MAX_CHANNELS)
                .map(|channels| Piece { trigger, channels })
        })
        .collect();
    let sizes: Vec<usize> = pieces.iter().map(|piece| piece.channels.len()).collect();

    let mut calls = Vec::new();
    let mut batched = Vec::new();
    for (piece, joins_batch) in pieces.iter().zip(worth_batching(&sizes)) {
        if joins_batch {
            batched.extend(piece.batch_events());
        } else {
            calls.push(piece.call());
        }
    }
    calls.extend(batched.chunks(MAX_BATCH).map(batch_call));
    calls
}

/// Which pieces to put into batches. A piece costs a call of its own, or a place in a batch for each of its channels; so
/// if any are batched it is the smallest, and the rest is to try how many. Where it makes no difference none is, for a
/// batch repeats the data for every channel.
fn worth_batching(sizes: &[usize]) -> Vec<bool> {
    let mut smallest_first: Vec<usize> = (0..sizes.len()).collect();
    smallest_first.sort_by_key(|&piece| sizes[piece]);

    let mut best = (sizes.len(), 0);
    let mut places = 0;
    for (already, &piece) in smallest_first.iter().enumerate() {
        places += sizes[piece];
        let count = already + 1;
        let calls = sizes.len() - count + places.div_ceil(MAX_BATCH);
        if calls < best.0 {
            best = (calls, count);
        }
    }

    let mut joins_batch = vec![false; sizes.len()];
    for &piece in &smallest_first[..best.1] {
        joins_batch[piece] = true;
    }
    joins_batch
}

impl<'a> Piece<'a> {
    fn call(&self) -> Call {
        let Trigger {
            event, data, socket_id, ..
        } = self.trigger;
        let event = Event {
            name: event,
            channels: self.channels,
            data,
            socket_id: socket_id.as_ref(),
        };
        Call {
            endpoint: "events",
            body: json(&event),
            events: self.channels.len(),
        }
    }

    fn batch_events(self) -> impl Iterator<Item = BatchEvent<'a>> {
        let Trigger {
            event, data, socket_id, ..
        } = self.trigger;
        self.channels.iter().map(move |channel| BatchEvent {
            name: event,
            channel,
            data,
            socket_id: socket_id.as_ref(),
        })
    }
}

fn batch_call(batch: &[BatchEvent<'_>]) -> Call {
    Call {
        endpoint: "batch_events",
        body: json(&Batch { batch }),
        events: batch.len(),
    }
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("strings alone always become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(sizes: &[usize]) -> Vec<Trigger> {
        let channel = |n: usize| ChannelName::parse(&format!("private-user-{n}")).unwrap();
        let trigger = |(nth, size): (usize, &usize)| Trigger {
            channels: (0..*size).map(channel).collect(),
            event: format!("event-{nth}"),
            data: "{}".to_owned(),
            socket_id: None,
        };
        sizes.iter().enumerate().map(trigger).collect()
    }

    /// The calls as `channels` for one of its own and `b` before a batch's events.
    fn shape(sizes: &[usize]) -> String {
        let triggers = triggers(sizes);
        let calls = fewest(&triggers.iter().collect::<Vec<_>>());
        let words: Vec<String> = calls
            .iter()
            .map(|call| {
                format!(
                    "{}{}",
                    if call.endpoint == "batch_events" { "b" } else { "" },
                    call.events
                )
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn one_event_goes_to_a_hundred_channels_a_call() {
        assert_eq!(shape(&[1]), "1");
        assert_eq!(shape(&[100]), "100");
        assert_eq!(shape(&[101]), "100 1");
        assert_eq!(shape(&[256]), "100 100 56");
    }

    #[test]
    fn small_events_share_batches_of_ten() {
        assert_eq!(shape(&[1; 2]), "b2");
        assert_eq!(shape(&[1; 10]), "b10");
        assert_eq!(shape(&[1; 11]), "1 b10");
        assert_eq!(shape(&[1; 12]), "b10 b2");
        assert_eq!(shape(&[2, 3, 5]), "b10");
        assert_eq!(shape(&[100, 1, 1]), "100 b2");
        assert_eq!(shape(&[4, 8, 8]), "b10 b10");
        assert_eq!(shape(&[101, 1]), "100 b2");
    }

    #[test]
    fn nothing_to_say_or_nobody_to_tell_is_no_call() {
        assert_eq!(shape(&[]), "");
        assert_eq!(shape(&[0, 0]), "");
    }

    #[test]
    fn no_other_choice_of_what_to_batch_needs_fewer_calls() {
        let sizes = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60];
        for chosen in 0_usize..1 << sizes.len() {
            let some = pick(&sizes, chosen, true);
            let mut fewest = some.len();
            for batched in 0_usize..1 << some.len().min(8) {
                let places: usize = pick(&some, batched, true).iter().sum();
                fewest = fewest.min(pick(&some, batched, false).len() + places.div_ceil(MAX_BATCH));
            }
            if some.len() <= 8 {
                assert_eq!(shape(&some).split_whitespace().count(), fewest, "{some:?}");
            }
        }
    }

    fn pick(sizes: &[usize], chosen: usize, is_in: bool) -> Vec<usize> {
        let mask = |nth: &usize| (chosen >> nth & 1 == 1) == is_in;
        (0..sizes.len()).filter(mask).map(|nth| sizes[nth]).collect()
    }

    #[test]
    fn a_batch_keeps_the_order_of_what_it_was_given() {
        let triggers = triggers(&[2, 1, 2]);
        let calls = fewest(&triggers.iter().collect::<Vec<_>>());
        let body: serde_json::Value = serde_json::from_str(&calls[0].body).unwrap();
        let names: Vec<&str> = body["batch"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["event-0", "event-0", "event-1", "event-2", "event-2"]);
    }
}
