//! What of a message is not for all who are told of it. Whoever asks for a message is given their own view by the store;
//! this is the same for what is pushed to many at once.

use super::event::{Event, Outgoing};
use super::ids::UserId;
use super::message::Message;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// They joined after it was said, and see nothing of it.
    pub blind: Vec<UserId>,
    /// They joined after that was said to which it replies.
    pub without_preview: Vec<UserId>,
    /// It names them, and they have a block with its sender.
    pub unnamed: Vec<UserId>,
}

impl Withheld {
    /// Those of an audience who may see the message.
    #[must_use]
    pub fn seeing(&self, audience: &[UserId]) -> Vec<UserId> {
        audience
            .iter()
            .filter(|person| !self.blind.contains(person))
            .cloned()
            .collect()
    }

    /// An event of the message to each as they may see it: mostly one for all.
    #[must_use]
    pub fn outgoing(&self, message: &Message, audience: &[UserId], event: impl Fn(&Message) -> Event) -> Vec<Outgoing> {
        let mut views: Vec<(View, Vec<UserId>)> = Vec::new();
        for person in self.seeing(audience) {
            let view = View {
                has_preview: !self.without_preview.contains(&person),
                unnamed: self.unnamed.contains(&person).then(|| person.clone()),
            };
            match views.iter_mut().find(|(known, _)| *known == view) {
                Some((_, people)) => people.push(person),
                None => views.push((view, vec![person])),
            }
        }
        views
            .into_iter()
            .map(|(view, audience)| Outgoing {
                event: event(&view.of(message)),
                audience,
            })
            .collect()
    }
}

#[derive(PartialEq, Eq)]
struct View {
    has_preview: bool,
    unnamed: Option<UserId>,
}

impl View {
    fn of(&self, message: &Message) -> Message {
        let mut seen = message.clone();
        if !self.has_preview {
            seen.reply_preview = None;
        }
        seen.mentions.retain(|named| Some(named) != self.unnamed.as_ref());
        seen
    }
}
