//! Thoughts that stand in an answer's text, between tags: many open models write them so where their server does not take them
//! out. They are thoughts only where they open the answer. Later on the same tags are text, for an answer may be about them.

/// Of DeepSeek, Qwen and others; of Mistral; of ByteDance's Seed; of gpt-oss, whose answer has a head of its own.
const TAGS: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    (
        "<|channel|>analysis<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
    ),
];

/// Takes the thoughts out of a text that comes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct TaggedThoughts {
    place: Place,
    /// What may be the beginning of a tag, or blanks before one.
    held: String,
    has_thought: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    BeforeTheAnswer,
    /// With the tag that ends the thought.
    InAThought(&'static str),
    InTheAnswer,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) thought: String,
    pub(super) text: String,
}

impl TaggedThoughts {
    /// For answers whose tags are text.
    pub(super) fn none() -> Self {
        Self {
            place: Place::InTheAnswer,
            ..Self::default()
        }
    }

    /// The model has ended in the middle of a thought.
    pub(super) fn is_in_a_thought(&self) -> bool {
        matches!(self.place, Place::InAThought(_))
    }

    pub(super) fn take_in(&mut self, text: &str) -> Told {
        let mut told = Told::default();
        self.held.push_str(text);
        loop {
            match self.place {
                Place::InTheAnswer => {
                    told.text.push_str(&std::mem::take(&mut self.held));
                    return told;
                }
                Place::InAThought(close) => {
                    let Some(at) = find(&self.held, close) else {
                        let rest = self.held.split_off(self.held.len() - begun(&self.held, close));
                        told.thought.push_str(&std::mem::replace(&mut self.held, rest));
                        return told;
                    };
                    told.thought.push_str(&self.held[..at]);
                    self.held.drain(..at + close.len());
                    self.has_thought = true;
                    self.place = Place::BeforeTheAnswer;
                }
                Place::BeforeTheAnswer => {
                    let said = self.held.trim_start();
                    let blanks = self.held.len() - said.len();
                    if let Some((open, close)) = TAGS.iter().find(|(open, _)| begins_with(said, open)) {
                        self.held.drain(..blanks + open.len());
                        self.place = Place::InAThought(close);
                    } else if TAGS.iter().any(|(open, _)| begins_with(open, said)) {
                        return told;
                    } else {
                        self.begin_the_answer(blanks);
                    }
                }
            }
        }
    }

    /// What was held when the text ended.
    pub(super) fn rest(&mut self) -> Told {
        let held = std::mem::take(&mut self.held);
        let (mut told, text) = (Told::default(), held.trim_start());
        match self.place {
            Place::InAThought(_) => told.thought = held,
            _ if self.has_thought => told.text = text.to_owned(),
            _ => told.text = held,
        }
        told
    }

    /// The blanks between a thought and the answer are of neither.
    fn begin_the_answer(&mut self, blanks: usize) {
        if self.has_thought {
            self.held.drain(..blanks);
        }
        self.place = Place::InTheAnswer;
    }
}

fn begins_with(text: &str, beginning: &str) -> bool {
    let (text, beginning) = (text.as_bytes(), beginning.as_bytes());
    text.get(..beginning.len())
        .is_some_and(|first| first.eq_ignore_ascii_case(beginning))
}

fn find(text: &str, tag: &str) -> Option<usize> {
    text.as_bytes()
        .windows(tag.len())
        .position(|window| window.eq_ignore_ascii_case(tag.as_bytes()))
}

/// How many bytes at the end of the text may be the beginning of the tag.
fn begun(text: &str, tag: &str) -> usize {
    (1..tag.len())
        .rev()
        .find(|length| {
            let from = text.len().checked_sub(*length);
            from.is_some_and(|from| text.as_bytes()[from..].eq_ignore_ascii_case(&tag.as_bytes()[..*length]))
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
