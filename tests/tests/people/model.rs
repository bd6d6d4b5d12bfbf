//! What a chat is, as simply as can be: fed by the answers of the API, and asked in the end what everyone must see.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One of the script's people, by number.
pub(crate) type Who = usize;

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) sender: Who,
    pub(crate) content: String,
    pub(crate) changed_seq: i64,
    pub(crate) is_edited: bool,
    pub(crate) is_deleted: bool,
    /// What each has reacted with, and not taken back.
    pub(crate) reactions: BTreeSet<(&'static str, Who)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) role: &'static str,
    pub(crate) joined_seq: i64,
    pub(crate) read_seq: i64,
    pub(crate) delivered_seq: i64,
    pub(crate) has_read: bool,
    pub(crate) muted: bool,
    pub(crate) archived: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Chat {
    pub(crate) title: Option<String>,
    /// By seq.
    pub(crate) messages: BTreeMap<i64, Message>,
    /// Every seq that an answer has told, with what took it.
    pub(crate) taken: BTreeMap<i64, &'static str>,
    pub(crate) members: BTreeMap<Who, Member>,
    /// Who is not in it any more, and since which seq.
    pub(crate) removed: BTreeMap<Who, i64>,
    /// Messages that somebody could not react to.
    pub(crate) found_deleted: BTreeSet<i64>,
}

impl Chat {
    pub(crate) fn take(&mut self, seq: i64, what: &'static str) {
        let twice = self.taken.insert(seq, what);
        assert_eq!(twice, None, "seq {seq} is taken twice, for {what} now");
    }

    pub(crate) fn last_seq(&self) -> i64 {
        self.taken.keys().next_back().copied().unwrap_or(0)
    }

    pub(crate) fn join(&mut self, who: Who, role: &'static str, at: i64) {
        self.removed.remove(&who);
        let member = Member {
            role,
            joined_seq: at,
            read_seq: at,
            delivered_seq: at,
            has_read: false,
            muted: false,
            archived: false,
        };
        assert!(self.members.insert(who, member).is_none());
    }

    pub(crate) fn leave(&mut self, who: Who, at: i64) {
        self.take(at, "member.removed");
        self.members.remove(&who).unwrap();
        self.removed.insert(who, at);
    }

    /// A message as it was stored; whoever sends has read all before it.
    pub(crate) fn said(&mut self, sender: Who, message: &Value) {
        let seq = message["seq"].as_i64().unwrap();
        self.take(seq, "message.created");
        self.messages.insert(
            seq,
            Message {
                id: message["id"].as_str().unwrap().to_owned(),
                sender,
                content: message["content"].as_str().unwrap().to_owned(),
                changed_seq: seq,
                is_edited: false,
                is_deleted: false,
                reactions: BTreeSet::new(),
            },
        );
        let member = self.members.get_mut(&sender).unwrap();
        member.read_seq = seq;
        member.delivered_seq = seq;
        member.has_read = true;
    }

    /// A message as it is after it was edited or deleted.
    pub(crate) fn changed(&mut self, answer: &Value, content: Option<&str>) {
        let (seq, changed_seq) = (answer["seq"].as_i64().unwrap(), answer["changedSeq"].as_i64().unwrap());
        let message = self.messages.get_mut(&seq).unwrap();
        let is_same = message.is_deleted || content == Some(message.content.as_str());
        if is_same {
            // Its seq is of an earlier change or of somebody's reaction; one taken for nothing would be a hole in the end.
            return;
        }
        message.changed_seq = message.changed_seq.max(changed_seq);
        match content {
            Some(content) => {
                message.content = content.to_owned();
                message.is_edited = true;
            }
            None => {
                message.content.clear();
                message.is_deleted = true;
            }
        }
        self.take(
            changed_seq,
            if content.is_some() {
                "message.updated"
            } else {
                "message.deleted"
            },
        );
    }

    /// Somebody has reacted to a message, or took it back; what they had done already takes no seq.
    pub(crate) fn reacted(&mut self, who: Who, emoji: &'static str, is_added: bool, answer: &Value) {
        let (seq, changed_seq) = (answer["seq"].as_i64().unwrap(), answer["changedSeq"].as_i64().unwrap());
        let message = self.messages.get_mut(&seq).unwrap();
        let is_new = if is_added {
            message.reactions.insert((emoji, who))
        } else {
            message.reactions.remove(&(emoji, who))
        };
        if is_new {
            message.changed_seq = message.changed_seq.max(changed_seq);
            self.take(changed_seq, "reaction.changed");
        }
    }

    pub(crate) fn unread(&self, who: Who) -> i64 {
        let from = self.members[&who].read_seq;
        let counts = |message: &&Message| message.sender != who && !message.is_deleted;
        i64::try_from(
            self.messages
                .range(from + 1..)
                .map(|(_, message)| message)
                .filter(counts)
                .count(),
        )
        .unwrap()
    }

    /// Of some messages those that are unread for somebody, and the furthest of them.
    pub(crate) fn unread_among(&self, who: Who, seqs: &BTreeSet<i64>) -> (usize, Option<i64>) {
        let from = self.members[&who].read_seq;
        let counting: Vec<_> = seqs
            .iter()
            .filter(|seq| **seq > from)
            .filter(|seq| self.messages[seq].sender != who && !self.messages[seq].is_deleted)
            .collect();
        (counting.len(), counting.last().map(|seq| **seq))
    }
}
