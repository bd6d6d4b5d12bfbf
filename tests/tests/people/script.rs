//! Two people and three people do ten thousand things, all of them at once and each of them one after the other, by a
//! script that is the same in every run. Afterwards everyone's view, unread counts, receipts and events are those of a
//! simple model that was fed by the answers.
//!
//! Where an answer depends on what another does at the same moment, the model takes it from the answer, within what is
//! possible. Only what has no place in a chat's sequence that the answer tells, who comes and goes and what the chat is
//! called, is done while nobody else does anything in that chat.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::person::text;
use tests::{Person, Stack};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::model::{Chat, Who};
use crate::{add, channel, direct, events, member, patch, people, reactions, read, remove};

const OPERATIONS: usize = 10_000;
const EMOJIS: [&str; 3] = ["👍", "🎉", ":wave:"];
const SEED: u64 = 20_261_121;

/// The same numbers in every run: SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len())])
    }
}

struct Place {
    id: String,
    is_channel: bool,
    /// Held by all while they do something here; alone by whoever changes who is here, or its name.
    gate: RwLock<()>,
    model: Mutex<Chat>,
}

struct Scene {
    people: Vec<Person>,
    places: Vec<Place>,
    done: Mutex<BTreeMap<&'static str, usize>>,
}

/// What is done, and how often in a hundred.
const OPERATIONS_BY_WEIGHT: [(Operation, usize); 13] = [
    (Operation::Send, 30),
    (Operation::React, 8),
    (Operation::Edit, 9),
    (Operation::Delete, 6),
    (Operation::ReadToTheEnd, 8),
    (Operation::ReadUpTo, 7),
    (Operation::MarkUnread, 5),
    (Operation::Acknowledge, 5),
    (Operation::MarkById, 4),
    (Operation::Keep, 5),
    (Operation::ComeOrGo, 8),
    (Operation::Rename, 3),
    (Operation::TouchForeign, 2),
];

#[derive(Clone, Copy, Debug)]
enum Operation {
    Send,
    React,
    Edit,
    Delete,
    ReadToTheEnd,
    ReadUpTo,
    MarkUnread,
    Acknowledge,
    MarkById,
    Keep,
    ComeOrGo,
    Rename,
    TouchForeign,
}

impl Operation {
    fn random(random: &mut Random) -> Self {
        let total = OPERATIONS_BY_WEIGHT.iter().map(|(_, weight)| weight).sum();
        let mut dice = random.below(total);
        for (operation, weight) in OPERATIONS_BY_WEIGHT {
            if dice < weight {
                return operation;
            }
            dice -= weight;
        }
        unreachable!("the dice are below the sum of the weights")
    }

    fn needs_to_be_alone(self) -> bool {
        matches!(self, Self::ComeOrGo | Self::Rename)
    }
}

impl Place {
    async fn direct(people: &[Person], me: Who, other: Who) -> Self {
        let mut model = Chat::default();
        model.join(me, "member", 0);
        model.join(other, "member", 0);
        Self {
            id: direct(&people[me], &people[other]).await,
            is_channel: false,
            gate: RwLock::default(),
            model: Mutex::new(model),
        }
    }

    /// The first of all owns it.
    async fn channel(people: &[Person]) -> Self {
        let others: Vec<_> = people[1..].iter().collect();
        let mut model = Chat {
            title: Some("Harbour".into()),
            ..Chat::default()
        };
        for who in 0..people.len() {
            model.join(who, if who == 0 { "owner" } else { "member" }, 0);
        }
        Self {
            id: channel(&people[0], &others).await,
            is_channel: true,
            gate: RwLock::default(),
            model: Mutex::new(model),
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/chat/{}{rest}", self.id)
    }

    fn path_of(&self, message: &str) -> String {
        self.path(&format!("/messages/{message}"))
    }
}

impl Scene {
    /// One thing that somebody does somewhere.
    async fn act(&self, who: Who, random: &mut Random) {
        let operation = Operation::random(random);
        let place = &self.places[random.below(self.places.len())];
        let is_in = || place.model.lock().unwrap().members.contains_key(&who);
        if operation.needs_to_be_alone() {
            let _alone = place.gate.write().await;
            match operation {
                Operation::Rename => self.rename(who, place, random).await,
                _ => self.come_or_go(who, place, random).await,
            }
        } else {
            let _with_others = place.gate.read().await;
            if is_in() {
                self.act_in(who, place, operation, random).await;
            } else {
                self.stay_out(who, place, random).await;
            }
        }
    }

    fn count(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }

    async fn act_in(&self, who: Who, place: &Place, operation: Operation, random: &mut Random) {
        let me = &self.people[who];
        match operation {
            Operation::Send => {
                let content = format!("{} says {}", me.id, random.below(1_000_000));
                let client_id = Uuid::now_v7().to_string();
                let sent = me.send(&place.id, &client_id, &content).await.with(201)["message"].clone();
                assert_eq!(sent["content"], content);
                place.model.lock().unwrap().said(who, &sent);
                self.count("sent");
                if random.below(20) == 0 {
                    let other = me.send(&place.id, &client_id, "something else").await;
                    other.problem(422, "idempotency-key-reused");
                    let again = me.send(&place.id, &client_id, &content).await.with(200)["message"].clone();
                    // Others may have reacted to it meanwhile.
                    for field in ["id", "seq", "content", "createdAt"] {
                        assert_eq!(again[field], sent[field], "a retry is never a second message");
                    }
                }
            }
            Operation::React => self.react(who, place, random).await,
            Operation::Edit | Operation::Delete => self.change(who, place, operation, random).await,
            Operation::ReadToTheEnd => {
                let last = place.model.lock().unwrap().last_seq();
                self.mark(who, place, &json!({}), |_, new, _| new >= last).await;
            }
            Operation::ReadUpTo => {
                let seq = self.around(place, random);
                let is_right = move |old: i64, new: i64, _| new == old.max(seq) || (new >= old && new < seq);
                self.mark(who, place, &json!({ "seq": seq }), is_right).await;
            }
            Operation::MarkUnread => {
                let seq = self.around(place, random).max(1);
                let is_right = move |old: i64, new: i64, _| new == old.min(seq - 1);
                self.mark(who, place, &json!({ "unreadFrom": seq }), is_right).await;
            }
            Operation::Acknowledge => {
                let seq = self.around(place, random);
                let is_right = move |old: i64, new: i64, delivered: i64| old == new && delivered >= old.min(seq);
                self.mark(who, place, &json!({ "deliveredSeq": seq }), is_right).await;
            }
            Operation::MarkById => self.mark_by_id(who, place, random).await,
            Operation::Keep => {
                let (archived, muted) = (random.below(3) == 0, random.below(2) == 0);
                let body = match random.below(3) {
                    0 => json!({ "muted": muted }),
                    1 => json!({ "archived": archived }),
                    _ => json!({ "archived": archived, "muted": muted }),
                };
                let chat = patch(me, &place.path(""), &body).await.with(200)["chat"].clone();
                let mut model = place.model.lock().unwrap();
                let member = model.members.get_mut(&who).unwrap();
                member.archived = body["archived"].as_bool().unwrap_or(member.archived);
                member.muted = body["muted"].as_bool().unwrap_or(member.muted);
                assert_eq!(
                    (&chat["archived"], &chat["muted"]),
                    (&json!(member.archived), &json!(member.muted))
                );
                self.count("kept");
            }
            Operation::TouchForeign => {
                let foreign: Vec<_> = {
                    let model = place.model.lock().unwrap();
                    let foreign = model
                        .messages
                        .values()
                        .rev()
                        .filter(|message| message.sender != who)
                        .take(10);
                    foreign.map(|message| message.id.clone()).collect()
                };
                if foreign.is_empty() {
                    return;
                }
                let path = place.path_of(&foreign[random.below(foreign.len())]);
                let _no = patch(me, &path, &json!({ "content": "forged" }))
                    .await
                    .problem(403, "forbidden");
                let _no = me.delete(&path).await.problem(403, "forbidden");
                self.count("refused");
            }
            Operation::ComeOrGo | Operation::Rename => unreachable!("done alone"),
        }
    }

    /// Reacts to one of the latest messages, whoever said it, or takes it back.
    async fn react(&self, who: Who, place: &Place, random: &mut Random) {
        let latest: Vec<_> = {
            let model = place.model.lock().unwrap();
            let latest = model.messages.iter().rev().take(6);
            latest.map(|(seq, message)| (*seq, message.id.clone())).collect()
        };
        if latest.is_empty() {
            return;
        }
        let (seq, id) = &latest[random.below(latest.len())];
        let (emoji, is_added) = (EMOJIS[random.below(EMOJIS.len())], random.below(3) > 0);
        let (me, path) = (&self.people[who], reactions::path(&place.id, id, emoji));
        let answer = if is_added {
            reactions::react(me, &path).await
        } else {
            me.delete(&path).await
        };
        if answer.status == 404 {
            // Its author may be deleting it at this moment: the end shows that it is deleted.
            place.model.lock().unwrap().found_deleted.insert(*seq);
        } else {
            let message = answer.with(200)["message"].clone();
            place.model.lock().unwrap().reacted(who, emoji, is_added, &message);
        }
        self.count("reacted");
    }

    /// Somewhere near the end of a chat, and sometimes anywhere.
    fn around(&self, place: &Place, random: &mut Random) -> i64 {
        let last = place.model.lock().unwrap().last_seq();
        let back = if random.below(10) == 0 {
            random.below(usize::try_from(last).unwrap() + 1)
        } else {
            random.below(12)
        };
        (last + 1 - i64::try_from(back).unwrap()).max(0)
    }

    async fn mark(&self, who: Who, place: &Place, body: &Value, is_right: impl Fn(i64, i64, i64) -> bool) {
        let standing = read(&self.people[who], &place.id, body).await.with(200);
        let mut model = place.model.lock().unwrap();
        let member = model.members.get_mut(&who).unwrap();
        let [read_seq, delivered] = ["readSeq", "deliveredSeq"].map(|field| standing[field].as_i64().unwrap());
        let before = member.clone();
        assert!(
            is_right(before.read_seq, read_seq, delivered),
            "{body} of {before:?} gives {standing}"
        );
        assert!(
            delivered >= before.delivered_seq && delivered >= read_seq,
            "{body} of {before:?} gives {standing}"
        );
        if read_seq > before.read_seq {
            member.has_read = true;
        }
        if body == &json!({}) || body.get("seq").is_some() {
            assert_eq!(
                delivered,
                before.delivered_seq.max(read_seq),
                "{body} of {before:?} gives {standing}"
            );
        }
        member.read_seq = read_seq;
        member.delivered_seq = delivered;
        self.count("marked");
    }

    async fn mark_by_id(&self, who: Who, place: &Place, random: &mut Random) {
        // Messages that nobody can change meanwhile: of those who do nothing else, our own task is one. What others delete at
        // this moment is known from the count alone.
        let seqs: BTreeSet<i64> = {
            let model = place.model.lock().unwrap();
            let latest = model.messages.keys().rev().take(12).copied().collect::<Vec<_>>();
            (0..random.below(4)).filter_map(|_| random.pick(&latest)).collect()
        };
        let (ids, before): (Vec<_>, _) = {
            let model = place.model.lock().unwrap();
            let ids = seqs.iter().map(|seq| model.messages[seq].id.clone()).collect();
            (ids, model.unread_among(who, &seqs))
        };
        let me = &self.people[who];
        let marked = me
            .post("/api/chat-messages/mark-read", &json!({ "messageIds": ids }))
            .await
            .with(200);
        let chat = me.get(&place.path("")).await.with(200)["chat"].clone();
        let mut model = place.model.lock().unwrap();
        let after = model.unread_among(who, &seqs);
        let count = usize::try_from(marked["markedCount"].as_i64().unwrap()).unwrap();
        assert!((after.0..=before.0).contains(&count), "{before:?}, {after:?}: {marked}");
        // Where the furthest was deleted at the same moment, the position tells whether it counted.
        let read_seq = chat["readSeq"].as_i64().unwrap();
        let member = model.members.get_mut(&who).unwrap();
        let possible = [before.1, after.1].map(|furthest| furthest.unwrap_or(member.read_seq));
        assert!(
            possible.contains(&read_seq) || (possible[1]..=possible[0]).contains(&read_seq),
            "{possible:?}: {chat}"
        );
        if read_seq > member.read_seq {
            member.has_read = true;
            member.read_seq = read_seq;
            member.delivered_seq = member.delivered_seq.max(read_seq);
        }
        self.count("marked");
    }

    /// Edits or deletes an own message, of the latest.
    async fn change(&self, who: Who, place: &Place, operation: Operation, random: &mut Random) {
        let own: Vec<_> = {
            let model = place.model.lock().unwrap();
            let own = model
                .messages
                .values()
                .rev()
                .filter(|message| message.sender == who)
                .take(10);
            own.map(|message| (message.id.clone(), message.is_deleted)).collect()
        };
        let Some((id, is_deleted)) = (!own.is_empty()).then(|| own[random.below(own.len())].clone()) else {
            return;
        };
        let me = &self.people[who];
        if matches!(operation, Operation::Edit) {
            let content = format!("edited to {}", random.below(20));
            let answer = patch(me, &place.path_of(&id), &json!({ "content": content })).await;
            if is_deleted {
                let _gone = answer.problem(404, "not-found");
            } else {
                let changed = answer.with(200)["message"].clone();
                place.model.lock().unwrap().changed(&changed, Some(&content));
            }
            self.count("edited");
        } else {
            let changed = me.delete(&place.path_of(&id)).await.with(200)["message"].clone();
            place.model.lock().unwrap().changed(&changed, None);
            self.count("deleted");
        }
    }

    async fn rename(&self, who: Who, place: &Place, random: &mut Random) {
        let title = format!("Harbour {}", random.below(5));
        let answer = patch(&self.people[who], &place.path(""), &json!({ "title": title })).await;
        let mut model = place.model.lock().unwrap();
        let Some(member) = model.members.get(&who) else {
            let _none = answer.problem(404, "not-found");
            return;
        };
        if !place.is_channel {
            let _no = answer.problem(422, "invalid-request");
        } else if member.role == "member" {
            let _no = answer.problem(403, "forbidden");
        } else {
            let chat = answer.with(200)["chat"].clone();
            assert_eq!(chat["title"], title);
            if model.title.as_ref() != Some(&title) {
                let seq = model.last_seq() + 1;
                model.take(seq, "chat.updated");
                model.title = Some(title);
            }
            assert_eq!(chat["lastSeq"], model.last_seq());
            self.count("renamed");
        }
    }

    /// The owner adds somebody or removes them, another leaves, or somebody's role changes.
    async fn come_or_go(&self, who: Who, place: &Place, random: &mut Random) {
        let (me, owner) = (&self.people[who], &self.people[0]);
        let role = place.model.lock().unwrap().members.get(&who).map(|member| member.role);
        let other = random.below(self.people.len());
        let is_in = place.model.lock().unwrap().members.contains_key(&other);
        let person = &self.people[other];
        if !place.is_channel {
            if role.is_some() {
                let _no = add(me, &place.id, person).await.problem(409, "conflict");
            }
            return;
        }
        match (role, random.below(4)) {
            (None, _) => {
                let _none = add(me, &place.id, me).await.problem(404, "not-found");
                // Not out for long.
                let chat = add(owner, &place.id, me).await.with(200)["chat"].clone();
                self.joined(who, place, &chat);
            }
            (Some("member"), 0) => {
                remove(me, &place.id, me).await.with(204);
                let mut model = place.model.lock().unwrap();
                let seq = model.last_seq() + 1;
                model.leave(who, seq);
                self.count("left");
            }
            (Some("member"), 1) => {
                let _no = add(me, &place.id, person).await.problem(403, "forbidden");
                let _no = remove(me, &place.id, owner).await.problem(403, "forbidden");
            }
            (Some("owner"), 0) if other == who => {
                let _no = remove(me, &place.id, me).await.problem(409, "conflict");
            }
            (Some("owner" | "admin"), 0) if is_in && other != 0 => {
                remove(me, &place.id, person).await.with(204);
                let mut model = place.model.lock().unwrap();
                let seq = model.last_seq() + 1;
                model.leave(other, seq);
                self.count("removed");
            }
            (Some("owner" | "admin"), 1) => {
                let chat = add(me, &place.id, person).await.with(200)["chat"].clone();
                if is_in {
                    assert_eq!(
                        chat["lastSeq"],
                        place.model.lock().unwrap().last_seq(),
                        "nothing changes"
                    );
                } else {
                    self.joined(other, place, &chat);
                }
            }
            (Some("owner"), _) if is_in && other != who => {
                let role = ["admin", "member"][random.below(2)];
                let path = place.path(&format!("/members/{}", person.id));
                let chat = patch(me, &path, &json!({ "role": role })).await.with(200)["chat"].clone();
                let mut model = place.model.lock().unwrap();
                if model.members[&other].role != role {
                    let seq = model.last_seq() + 1;
                    model.take(seq, "chat.updated");
                    model.members.get_mut(&other).unwrap().role = role;
                    self.count("promoted");
                }
                assert_eq!(chat["lastSeq"], model.last_seq());
            }
            _ => {}
        }
    }

    fn joined(&self, who: Who, place: &Place, chat: &Value) {
        let mut model = place.model.lock().unwrap();
        let seq = model.last_seq() + 1;
        assert_eq!(chat["lastSeq"], seq);
        model.take(seq, "member.added");
        model.join(who, "member", seq);
        self.count("joined");
    }

    /// For who is not in it, a chat does not exist.
    async fn stay_out(&self, who: Who, place: &Place, random: &mut Random) {
        let me = &self.people[who];
        let answer = match random.below(4) {
            0 => me.send(&place.id, "c-1", "let me in").await,
            1 => me.get(&place.path("")).await,
            2 => read(me, &place.id, &json!({})).await,
            _ => me.get(&place.path("/messages")).await,
        };
        let _none = answer.problem(404, "not-found");
        self.count("kept out");
    }

    /// Everyone sees of every chat what the model says.
    async fn check(&self) {
        for (who, person) in self.people.iter().enumerate() {
            let mut badge = 0;
            let mut listed = BTreeMap::new();
            for archived in [false, true] {
                let list = person
                    .get(&format!("/api/chat?archived={archived}&limit=100"))
                    .await
                    .with(200);
                for chat in list["chats"].as_array().unwrap() {
                    assert_eq!(chat["archived"], archived);
                    listed.insert(text(&chat["id"]), chat.clone());
                }
            }
            for place in &self.places {
                let model = place.model.lock().unwrap().messages.len();
                let is_member = place.model.lock().unwrap().members.contains_key(&who);
                if !is_member {
                    let _none = person.get(&place.path("")).await.problem(404, "not-found");
                    assert!(!listed.contains_key(&place.id));
                    continue;
                }
                let opened = person.get(&place.path("")).await.with(200)["chat"].clone();
                // As in the list, but for what only lists know.
                assert_eq!(listed[&place.id], opened);
                self.check_view(who, place, &opened);
                let history = self.history(person, place).await;
                assert_eq!(history.len(), model);
                self.check_history(place, &history);
                let model = place.model.lock().unwrap();
                let me = &model.members[&who];
                if !me.muted && !me.archived {
                    badge += model.unread(who);
                }
            }
            assert_eq!(person.unread_total().await, badge, "{}", person.id);
            self.check_unread_list(who).await;
            self.check_events(who).await;
        }
    }

    fn check_view(&self, who: Who, place: &Place, chat: &Value) {
        let model = place.model.lock().unwrap();
        let me = &model.members[&who];
        let at = format!("{chat}\n{me:?}");
        assert_eq!(chat["title"], json!(model.title), "{at}");
        assert_eq!(chat["lastSeq"], model.last_seq(), "{at}");
        assert_eq!(chat["unreadCount"], model.unread(who), "{at}");
        assert_eq!(chat["readSeq"], me.read_seq, "{at}");
        assert_eq!(
            (&chat["muted"], &chat["archived"]),
            (&json!(me.muted), &json!(me.archived)),
            "{at}"
        );
        let last = model.messages.last_key_value().map(|(seq, _)| *seq);
        assert_eq!(chat["lastMessage"]["seq"].as_i64(), last, "{at}");
        assert_eq!(chat["members"].as_array().unwrap().len(), model.members.len(), "{at}");
        for (other, expected) in &model.members {
            let receipt = member(chat, &self.people[*other]).unwrap();
            assert_eq!(receipt["role"], expected.role, "{at}");
            assert_eq!(receipt["readSeq"], expected.read_seq, "{at}");
            assert_eq!(receipt["deliveredSeq"], expected.delivered_seq, "{at}");
            assert_eq!(
                receipt["readAt"].is_string(),
                expected.has_read,
                "{receipt} {expected:?}"
            );
        }
        // No seq was lost, and none given twice.
        let taken: Vec<_> = model.taken.keys().copied().collect();
        assert_eq!(taken, (1..=model.last_seq()).collect::<Vec<_>>());
    }

    async fn history(&self, person: &Person, place: &Place) -> Vec<Value> {
        let mut history: Vec<Value> = Vec::new();
        loop {
            let after = history.last().map_or(0, |last| last["seq"].as_i64().unwrap());
            let page = person
                .get(&place.path(&format!("/messages?after={after}&limit=100")))
                .await
                .with(200);
            history.extend(page["messages"].as_array().unwrap().iter().cloned());
            if page["hasMore"] == false {
                return history;
            }
        }
    }

    fn check_history(&self, place: &Place, history: &[Value]) {
        let model = place.model.lock().unwrap();
        for (message, (seq, expected)) in history.iter().zip(&model.messages) {
            assert_eq!((&message["seq"], &message["id"]), (&json!(seq), &json!(expected.id)));
            assert_eq!(message["senderId"], *self.people[expected.sender].id, "{message}");
            assert_eq!(message["content"], expected.content, "{message}");
            assert_eq!(message["changedSeq"], expected.changed_seq, "{message}");
            assert_eq!(message["editedAt"].is_string(), expected.is_edited, "{message}");
            assert_eq!(message["deletedAt"].is_string(), expected.is_deleted, "{message}");
            assert!(expected.is_deleted || !model.found_deleted.contains(seq), "{message}");
            let mut shown = BTreeSet::new();
            for reaction in message["reactions"].as_array().unwrap() {
                let people = reaction["userIds"].as_array().unwrap();
                shown.extend(people.iter().map(|person| (text(&reaction["emoji"]), text(person))));
            }
            let left = expected.reactions.iter().filter(|_| !expected.is_deleted);
            let left: BTreeSet<_> = left
                .map(|(emoji, who)| ((*emoji).to_owned(), self.people[*who].id.clone()))
                .collect();
            assert_eq!(shown, left, "{message}");
        }
    }

    async fn check_unread_list(&self, who: Who) {
        let list = self.people[who].get("/api/chat-messages?limit=100").await.with(200);
        let mut expected = BTreeSet::new();
        for place in &self.places {
            let model = place.model.lock().unwrap();
            let Some(me) = model.members.get(&who) else { continue };
            let unread = model.messages.range(me.read_seq + 1..);
            let counting = unread.filter(|(_, message)| message.sender != who && !message.is_deleted);
            expected.extend(counting.map(|(_, message)| message.id.clone()));
        }
        assert_eq!(list["total"], expected.len());
        let shown: BTreeSet<_> = list["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| text(&message["id"]))
            .collect();
        assert_eq!(shown.len(), expected.len().min(100));
        assert!(shown.is_subset(&expected));
    }

    /// What was told to somebody of each chat is its sequence, from when they came for the last time on; to who is not in
    /// it, that they are not.
    async fn check_events(&self, who: Who) {
        let told = events(&self.people[who]).await;
        for place in &self.places {
            let of_it: Vec<_> = told.iter().filter(|event| event["chatId"] == *place.id).collect();
            let model = place.model.lock().unwrap();
            if let Some(removed) = model.removed.get(&who) {
                let seqs: Vec<_> = of_it.iter().map(|event| event["seq"].as_i64()).collect();
                assert_eq!(seqs.last(), Some(&Some(*removed)), "{of_it:?}");
                assert!(of_it.iter().all(|event| event["type"] == "member.removed"), "{of_it:?}");
                continue;
            }
            let Some(me) = model.members.get(&who) else {
                assert!(of_it.is_empty(), "{of_it:?}");
                continue;
            };
            // A chat that is opened is told without a seq.
            let numbered: Vec<_> = of_it
                .iter()
                .filter_map(|event| Some((event["seq"].as_i64()?, *event)))
                .collect();
            let since: Vec<_> = numbered.iter().filter(|(seq, _)| *seq >= me.joined_seq).collect();
            let expected: Vec<_> = model.taken.range(me.joined_seq..).collect();
            assert_eq!(since.len(), expected.len());
            for ((seq, event), (expected_seq, what)) in since.into_iter().zip(expected) {
                assert_eq!((seq, &event["type"]), (expected_seq, &json!(what)), "{event}");
            }
            let last_read = of_it
                .iter()
                .rev()
                .find(|event| event["type"] == "read" && event["data"]["userId"] == *self.people[who].id);
            if let Some(read) = last_read {
                assert!(read["data"]["readSeq"].as_i64().unwrap() <= me.read_seq.max(model.last_seq()));
            }
        }
    }
}

async fn play(scene: &Scene, operations: usize) {
    let each = operations / scene.people.len();
    join_all((0..scene.people.len()).map(async |who| {
        let mut random = Random(SEED + who as u64);
        for _ in 0..each {
            scene.act(who, &mut random).await;
        }
    }))
    .await;
    scene.check().await;
}

#[tokio::test]
async fn ten_thousand_things_leave_everyone_with_what_the_model_says() {
    let stack = Stack::running();
    // For a quick look while writing; what counts is the whole.
    let operations = env::var("SCRIPT_OPERATIONS").map_or(OPERATIONS, |text| text.parse().unwrap());
    let two = people(&stack, ["anna", "ben"]).await.to_vec();
    let three = people(&stack, ["cleo", "dan", "eve"]).await.to_vec();
    let of_two = vec![Place::direct(&two, 0, 1).await, Place::channel(&two).await];
    let of_three = vec![
        Place::channel(&three).await,
        Place::channel(&three).await,
        Place::direct(&three, 0, 1).await,
        Place::direct(&three, 2, 1).await,
    ];
    let scene = |people, places| Scene {
        people,
        places,
        done: Mutex::default(),
    };
    let (two, three) = (scene(two, of_two), scene(three, of_three));
    let begun = Instant::now();
    tokio::join!(play(&two, operations * 2 / 5), play(&three, operations * 3 / 5));
    println!("{operations} operations and their check took {:.0?}", begun.elapsed());
    for scene in [two, three] {
        println!("{:?}", scene.done.lock().unwrap());
    }
}
