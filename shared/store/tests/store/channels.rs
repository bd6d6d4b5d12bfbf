//! Channels: who may do what, how many fit, and what those see who come and those who go.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::chat::{History, Kind, MemberRole};
use domain::event::{Event, EventType};
use domain::ids::{ChatId, UserId};
use domain::limits::PageSize;
use domain::message::{Draft, EditHistory};
use domain::page::Page;
use domain::person::Caller;
use domain::text::Title;
use domain::unread::ReadMark;
use serde_json::json;
use sqlx::PgPool;
use store::channels::{Channel, Membership};
use store::chats::{ChatChange, Deleted, DirectChat, ListFilter, Updated};
use store::messages::{Change, Range, SendOutcome};

use crate::world::{FREE, World, at_once, draft, edit, opened, page, seq};

const MOST: usize = 256;

impl World {
    pub(crate) async fn channel(&self, owner: &Caller, others: &[&Caller]) -> ChatId {
        let others: Vec<_> = others.iter().map(|person| person.id.clone()).collect();
        let title = Title::parse("Harbour").unwrap();
        match self
            .people
            .open_channel(&owner.id, None, &title, &others, None)
            .await
            .unwrap()
        {
            Channel::Opened { chat_id, .. } => chat_id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn add(&self, by: &Caller, chat: ChatId, person: &Caller) -> Membership {
        self.add_as(by, chat, person, MemberRole::Member, History::All).await
    }

    pub(crate) async fn add_as(
        &self,
        by: &Caller,
        chat: ChatId,
        person: &Caller,
        role: MemberRole,
        history: History,
    ) -> Membership {
        self.people
            .add_members(&by.id, chat, std::slice::from_ref(&person.id), role, MOST, history)
            .await
            .unwrap()
    }

    pub(crate) async fn remove(&self, by: &Caller, chat: ChatId, person: &Caller) -> Membership {
        self.people.remove_member(&by.id, chat, &person.id).await.unwrap()
    }

    async fn events(&self, person: &Caller, after: i64) -> Vec<Event> {
        let news = self.people.news(&person.id, after, None, 1000).await.unwrap();
        news.events.into_iter().flat_map(|(_, events)| events).collect()
    }

    async fn rename(&self, by: &Caller, chat: ChatId, title: &str) -> Updated {
        let title = Title::parse(title).unwrap();
        let change = ChatChange {
            title: Some(&title),
            ..ChatChange::default()
        };
        self.people.update_chat(&by.id, chat, change, 5).await.unwrap()
    }
}

/// The outcome in one word, for tables.
fn word(outcome: &Membership) -> &'static str {
    match outcome {
        Membership::Changed(Some(_)) => "done",
        Membership::Changed(None) => "nothing",
        Membership::Unknown(_) => "unknown",
        Membership::Blocked(_) => "blocked",
        Membership::NoSuchMember => "no member",
        Membership::Full => "full",
        Membership::OwnerStays => "owner stays",
        Membership::NotAllowed => "refused",
        Membership::NotAChannel => "no channel",
        Membership::NoSuchChat => "no chat",
    }
}

fn role_of(chat: &domain::chat::Chat, person: &Caller) -> Option<MemberRole> {
    chat.members
        .iter()
        .find(|member| member.user_id == person.id)
        .map(|member| member.role)
}

#[sqlx::test(migrations = "../../migrations")]
async fn roles_decide_what_one_may_do(pool: PgPool) {
    use MemberRole::{Admin, Member, Owner};
    let world = World::on(pool).await;
    let mut people = Vec::new();
    for name in ["owner", "admin", "member", "stranger", "admin2", "member2", "fresh"] {
        people.push(world.person(name).await);
    }
    let [owner, admin, member, stranger, admin2, member2, fresh] = people.as_slice() else {
        panic!()
    };
    let open = async || {
        let chat = world.channel(owner, &[admin, member, admin2, member2]).await;
        for person in [admin, admin2] {
            let made = world
                .people
                .change_role(&owner.id, chat, &person.id, Admin)
                .await
                .unwrap();
            assert_eq!(word(&made), "done");
        }
        chat
    };
    // For the owner, an admin, a member and a stranger.
    let callers = [owner, admin, member, stranger];
    let add = async |by: &Caller, role| word(&world.add_as(by, open().await, fresh, role, History::All).await);
    let remove = async |by: &Caller, person: &Caller| word(&world.remove(by, open().await, person).await);
    let change = async |by: &Caller, person: &Caller, role| {
        let chat = open().await;
        word(&world.people.change_role(&by.id, chat, &person.id, role).await.unwrap())
    };
    let rename = async |by: &Caller| match world.rename(by, open().await, "Quay").await {
        Updated::Made(news) if news.len() == 1 => "done",
        Updated::NotAllowed => "refused",
        Updated::NoSuchChat => "no chat",
        other => panic!("{other:?}"),
    };
    let delete = async |by: &Caller| match world.people.delete_chat(&by.id, open().await).await.unwrap() {
        Deleted::Gone { .. } => "done",
        Deleted::NotYourChannel => "refused",
        Deleted::NoSuchChat => "no chat",
        Deleted::NotYours => panic!("it is a channel"),
    };
    for (index, by) in callers.into_iter().enumerate() {
        let expect = |outcomes: [&'static str; 4]| outcomes[index];
        let who = &by.id;
        assert_eq!(
            add(by, Member).await,
            expect(["done", "done", "refused", "no chat"]),
            "{who} adds"
        );
        assert_eq!(
            add(by, Admin).await,
            expect(["done", "refused", "refused", "no chat"]),
            "{who} adds an admin"
        );
        assert_eq!(
            remove(by, owner).await,
            expect(["owner stays", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            remove(by, admin2).await,
            expect(["done", "done", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            remove(by, member2).await,
            expect(["done", "done", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            remove(by, by).await,
            expect(["owner stays", "done", "done", "no chat"]),
            "{who} leaves"
        );
        assert_eq!(
            remove(by, fresh).await,
            expect(["no member", "no member", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            change(by, member2, Admin).await,
            expect(["done", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            change(by, admin2, Member).await,
            expect(["done", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            change(by, admin2, Owner).await,
            expect(["done", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            change(by, owner, Member).await,
            expect(["owner stays", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            change(by, fresh, Member).await,
            expect(["no member", "refused", "refused", "no chat"]),
            "{who}"
        );
        assert_eq!(
            rename(by).await,
            expect(["done", "done", "refused", "no chat"]),
            "{who} renames"
        );
        assert_eq!(
            delete(by).await,
            expect(["done", "refused", "refused", "no chat"]),
            "{who} deletes"
        );
    }
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn only_channels_have_members_that_come_and_go(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let assistant = world.assistant_chat(&anna).await;
    for chat in [direct, assistant] {
        assert_eq!(word(&world.add(&anna, chat, &cleo).await), "no channel");
        assert_eq!(word(&world.remove(&anna, chat, &anna).await), "no channel");
        let made = world
            .people
            .change_role(&anna.id, chat, &anna.id, MemberRole::Admin)
            .await
            .unwrap();
        assert_eq!(word(&made), "no channel");
    }
    assert!(matches!(world.rename(&anna, direct, "Us").await, Updated::HasNoTitle));
    assert!(matches!(world.rename(&anna, assistant, "Me").await, Updated::Made(_)));
}

#[sqlx::test(migrations = "../../migrations")]
async fn whoever_becomes_the_owner_takes_the_place_of_the_old_one(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    let handed = world
        .people
        .change_role(&anna.id, chat, &ben.id, MemberRole::Owner)
        .await
        .unwrap();
    let Membership::Changed(Some(news)) = handed else {
        panic!("{handed:?}")
    };
    assert_eq!(news.event.event_type, EventType::ChatUpdated);
    assert_eq!(news.event.seq, Some(seq(1)));
    let roles = json!([{"userId": "anna", "role": "admin"}, {"userId": "ben", "role": "owner"}]);
    assert_eq!(news.event.data, json!({"members": roles, "by": "anna"}));
    let now = world.people.chat(&anna.id, chat).await.unwrap().unwrap();
    assert_eq!(role_of(&now, &anna), Some(MemberRole::Admin));
    assert_eq!(role_of(&now, &ben), Some(MemberRole::Owner));
    assert_eq!(
        world.people.delete_chat(&anna.id, chat).await.unwrap(),
        Deleted::NotYourChannel
    );
    assert_eq!(word(&world.remove(&anna, chat, &anna).await), "done");
    assert!(matches!(
        world.people.delete_chat(&ben.id, chat).await.unwrap(),
        Deleted::Gone { .. }
    ));
}

/// However it races, there is one owner, and it is the chat's.
#[sqlx::test(migrations = "../../migrations")]
async fn two_handovers_at_once_leave_one_owner(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let mut people = Vec::new();
    for n in 0..9 {
        people.push(world.person(&format!("p{n}")).await);
    }
    let others: Vec<_> = people[1..].iter().collect();
    for _ in 0..10 {
        let chat = world.channel(&people[0], &others).await;
        let outcomes = at_once(8, |n| {
            let (world, me, heir) = (world.clone(), people[0].id.clone(), people[n + 1].id.clone());
            async move {
                world
                    .people
                    .change_role(&me, chat, &heir, MemberRole::Owner)
                    .await
                    .unwrap()
            }
        })
        .await;
        let done = outcomes.iter().filter(|outcome| word(outcome) == "done").count();
        assert_eq!(done, 1, "{outcomes:?}");
        let owners = world
            .number(&format!(
                "select count(*) from members m join chats c on c.id = m.chat_id and c.owner_id = m.user_id
                 where m.chat_id = '{chat}' and m.role = 'owner'
                     and 1 = (select count(*) from members where chat_id = '{chat}' and role = 'owner')"
            ))
            .await;
        assert_eq!(owners, 1);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_last_place_is_taken_once(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    let most = 10;
    let mut others = Vec::new();
    for n in 0..8 {
        others.push(world.person(&format!("p{n}")).await);
    }
    let chat = world.channel(&anna, &others.iter().collect::<Vec<_>>()).await;
    let mut newcomers = Vec::new();
    for n in 0..50 {
        newcomers.push(world.person(&format!("n{n}")).await.id);
    }
    let add = async |world: &World, person: UserId| {
        let added = world
            .people
            .add_members(&anna.id, chat, &[person], MemberRole::Member, most, History::All)
            .await;
        added.unwrap()
    };
    let outcomes = at_once(50, |n| {
        let (world, anna, person) = (world.clone(), anna.id.clone(), newcomers[n].clone());
        async move {
            world
                .people
                .add_members(&anna, chat, &[person], MemberRole::Member, most, History::All)
                .await
                .unwrap()
        }
    })
    .await;
    let count = |what| outcomes.iter().filter(|outcome| word(outcome) == what).count();
    assert_eq!((count("done"), count("full")), (1, 49));
    let members = format!("select count(*) from members where chat_id = '{chat}'");
    assert_eq!(world.number(&members).await, 10);
    assert_eq!(
        world
            .number(&format!("select last_seq from chats where id = '{chat}'"))
            .await,
        1
    );
    // Those who are in it are no error where it is full.
    assert_eq!(word(&add(&world, others[0].id.clone()).await), "nothing");
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn one_person_added_by_many_at_once_joins_once(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[]).await;
    let outcomes = at_once(20, |_| {
        let (world, anna, ben) = (world.clone(), anna.clone(), ben.clone());
        async move { world.add(&anna, chat, &ben).await }
    })
    .await;
    let count = |what| outcomes.iter().filter(|outcome| word(outcome) == what).count();
    assert_eq!((count("done"), count("nothing")), (1, 19));
    assert_eq!(
        world
            .number(&format!("select last_seq from chats where id = '{chat}'"))
            .await,
        1
    );
    assert_eq!(world.events(&ben, 0).await.len(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn all_are_added_or_none_and_unknown_people_can_be_introduced(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[]).await;
    let ghost = UserId::parse("ghost").unwrap();
    let people = [ben.id.clone(), ghost.clone()];
    let add = async || {
        let role = MemberRole::Member;
        world
            .people
            .add_members(&anna.id, chat, &people, role, MOST, History::All)
            .await
            .unwrap()
    };
    let refused = add().await;
    assert!(
        matches!(&refused, Membership::Unknown(unknown) if *unknown == [ghost.clone()]),
        "{refused:?}"
    );
    assert_eq!(
        world.people.chat(&anna.id, chat).await.unwrap().unwrap().members.len(),
        1
    );
    let title = Title::parse("Quay").unwrap();
    let refused = world
        .people
        .open_channel(&anna.id, None, &title, &people, None)
        .await
        .unwrap();
    assert_eq!(refused, Channel::Unknown(vec![ghost.clone()]));
    assert_eq!(
        world.people.open_direct_chat(&anna.id, &ghost, None).await.unwrap(),
        DirectChat::NoSuchPerson
    );

    world
        .people
        .create_placeholder_users(&[ghost.clone(), ben.id.clone()])
        .await
        .unwrap();
    let Membership::Changed(Some(news)) = add().await else {
        panic!()
    };
    assert_eq!(news.event.event_type, EventType::MemberAdded);
    let newcomer = |id: &str, name: &str| json!({"userId": id, "name": name, "image": null, "role": "member", "readSeq": 1, "readAt": null, "deliveredSeq": 1});
    // Ben is as he was; whom nobody knows is called by their id.
    assert_eq!(
        news.event.data,
        json!({"members": [newcomer("ben", "BEN"), newcomer("ghost", "ghost")], "by": "anna"})
    );
    assert_eq!(
        news.audience.iter().map(UserId::as_str).collect::<BTreeSet<_>>(),
        ["anna", "ben", "ghost"].into()
    );
    let opened = world.people.open_direct_chat(&anna.id, &ghost, None).await.unwrap();
    assert!(matches!(opened, DirectChat::Opened { .. }));
    // Until they sign in.
    world.person("ghost").await;
    let name: String = sqlx::query_scalar("select name from people where id = 'ghost'")
        .fetch_one(&world.rows)
        .await
        .unwrap();
    assert_eq!(name, "GHOST");
    assert_eq!(world.people.inbox_version(&ghost).await.unwrap(), 2);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_newcomer_starts_at_the_join_and_sees_what_came_before(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[]).await;
    let early = world.send(&anna, chat, "early").await.message;
    let gone = world.send(&anna, chat, "gone").await.message;
    world.people.delete_message(&anna.id, chat, gone.id).await.unwrap();
    assert_eq!(word(&world.add(&anna, chat, &ben).await), "done");
    let bens = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
    assert_eq!((bens.unread_count, bens.read_seq, bens.last_seq), (0, seq(4), seq(4)));
    assert_eq!(bens.last_message.unwrap().id, gone.id);
    let history = world
        .people
        .messages(&ben.id, chat, Range::Newest, page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(history.messages.len(), 2);
    world.send(&anna, chat, "late").await;
    // What was there before does not become unread by being deleted or edited.
    world.people.delete_message(&anna.id, chat, early.id).await.unwrap();
    let bens = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
    assert_eq!(bens.unread_count, 1);
    assert_eq!(
        world
            .people
            .unread_messages(&ben.id, page(10))
            .await
            .unwrap()
            .messages
            .len(),
        1
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn where_history_begins_with_the_join_nothing_shows_what_came_before(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    let bens_own = world
        .people
        .send_message(&ben, chat, &draft("c-1", "my secret"), None, &FREE)
        .await
        .unwrap();
    let SendOutcome::Sent(bens_own) = bens_own else {
        panic!()
    };
    let secret = world.send(&anna, chat, "secret").await.message;
    let version = world.people.inbox_version(&ben.id).await.unwrap();
    assert_eq!(word(&world.remove(&anna, chat, &ben).await), "done");
    world.send(&anna, chat, "secret too").await;
    let joined = world
        .add_as(&anna, chat, &ben, MemberRole::Member, History::SinceJoin)
        .await;
    assert_eq!(word(&joined), "done");

    // By the policies and the statements' own conditions together, and by the latter alone.
    for store in [&world.people, &world.system] {
        let me = &ben.id;
        let bens = store.chat(me, chat).await.unwrap().unwrap();
        assert!(bens.last_message.is_none() && bens.last_message_at.is_none());
        assert_eq!(bens.unread_count, 0);
        let list = store.chats(me, ListFilter::default(), None, page(10)).await.unwrap();
        assert!(list.chats[0].last_message.is_none());
        let (Page { items: newest, .. }, _) = store.newest(me, chat, PageSize::DEFAULT).await.unwrap();
        assert!(newest.is_empty());
        for range in [
            Range::Newest,
            Range::After(seq(0)),
            Range::Before(seq(99)),
            Range::ChangedAfter(seq(0)),
        ] {
            let page = store.messages(me, chat, range, page(10)).await.unwrap().unwrap();
            assert!(page.messages.is_empty(), "{range:?}");
        }
        assert!(store.unread_messages(me, page(10)).await.unwrap().messages.is_empty());
        // Ben's own of then is not his to change any more, and nothing is to be answered.
        let forged = edit("changed");
        for message in [bens_own.message.id, secret.id] {
            let changed = store
                .edit_message(me, chat, message, &forged, EditHistory::None)
                .await
                .unwrap();
            assert!(matches!(changed, Change::NoSuchMessage), "{changed:?}");
            let replying = Draft {
                reply_to: Some(message),
                ..draft("c-2", "what was that?")
            };
            let refused = store.send_message(&ben, chat, &replying, None, &FREE).await.unwrap();
            assert!(matches!(refused, SendOutcome::NothingToReplyTo), "{refused:?}");
        }
        let marked = store.mark_messages_read(me, &[secret.id]).await.unwrap();
        assert_eq!((marked.count, marked.reads.len()), (0, 0));
        let news = store.news(me, 0, None, 100).await.unwrap();
        let told: Vec<_> = news.events.iter().flat_map(|(_, events)| events).collect();
        assert!(
            told.iter().all(|event| event.event_type != EventType::MessageCreated),
            "{told:?}"
        );
    }
    assert!(world.people.inbox_version(&ben.id).await.unwrap() > version);
    let again = world
        .people
        .send_message(&ben, chat, &draft("c-1", "again"), None, &FREE)
        .await
        .unwrap();
    assert!(matches!(again, SendOutcome::ClientIdTaken), "{again:?}");

    let after = world.send(&anna, chat, "for all").await.message;
    let bens = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
    assert_eq!((bens.unread_count, bens.last_message.unwrap().id), (1, after.id));
    for range in [
        Range::Newest,
        Range::After(seq(0)),
        Range::Before(seq(99)),
        Range::ChangedAfter(seq(0)),
    ] {
        let page = world
            .people
            .messages(&ben.id, chat, range, page(10))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            page.messages.iter().map(|message| message.id).collect::<Vec<_>>(),
            [after.id],
            "{range:?}"
        );
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn who_is_removed_learns_that_and_nothing_after(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.channel(&anna, &[&ben, &cleo]).await;
    world.send(&anna, chat, "for Ben, who has not looked").await;
    let Membership::Changed(Some(news)) = world.remove(&anna, chat, &ben).await else {
        panic!()
    };
    assert_eq!(news.event.event_type, EventType::MemberRemoved);
    assert_eq!(news.event.data, json!({"userId": "ben", "by": "anna"}));
    assert_eq!(
        news.audience.iter().map(UserId::as_str).collect::<BTreeSet<_>>(),
        ["anna", "ben", "cleo"].into()
    );
    let removed_at = world.people.inbox_version(&ben.id).await.unwrap();

    let said = world.send(&anna, chat, "not for Ben").await.message;
    world.people.delete_message(&anna.id, chat, said.id).await.unwrap();
    world.people.mark_messages_read(&cleo.id, &[said.id]).await.unwrap();
    world.rename(&anna, chat, "Quay").await;
    assert_eq!(word(&world.remove(&anna, chat, &cleo).await), "done");

    assert_eq!(world.people.inbox_version(&ben.id).await.unwrap(), removed_at);
    // Not even what he had not looked at yet.
    for store in [&world.people, &world.system] {
        let news = store.news(&ben.id, 0, None, 100).await.unwrap();
        let told: Vec<_> = news.events.iter().flat_map(|(_, events)| events).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_for(&ben.id));
        assert!(store.chat(&ben.id, chat).await.unwrap().is_none());
        assert_eq!(store.unread_messages(&ben.id, page(10)).await.unwrap().total, 0);
        assert_eq!(store.me(&ben.id).await.unwrap().unwrap().unread_total, 0);
        assert_eq!(
            store
                .chats(&ben.id, ListFilter::default(), None, page(10))
                .await
                .unwrap()
                .total,
            0
        );
    }
    world.assert_inboxes_are_contiguous().await;
}

/// Whoever sends, edits or reads while they are removed is either before it or refused.
#[sqlx::test(migrations = "../../migrations")]
async fn nothing_is_said_by_whom_is_not_in_it_any_more(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut refused = 0;
    for round in 0..30 {
        let chat = world.channel(&anna, &[&ben]).await;
        let own = world.send(&ben, chat, "hi").await.message.id;
        let outcomes = at_once(12, |n| {
            let (world, anna, ben) = (world.clone(), anna.clone(), ben.clone());
            async move {
                match n {
                    // Not always first.
                    0 => {
                        for _ in 0..round % 4 {
                            tokio::task::yield_now().await;
                        }
                        assert_eq!(word(&world.remove(&anna, chat, &ben).await), "done");
                        false
                    }
                    1..8 => {
                        let sent = world
                            .people
                            .send_message(&ben, chat, &draft(&n.to_string(), "hi"), None, &FREE)
                            .await;
                        matches!(sent.unwrap(), SendOutcome::NoSuchChat)
                    }
                    8..10 => {
                        let text = edit(&n.to_string());
                        let changed = world
                            .people
                            .edit_message(&ben.id, chat, own, &text, EditHistory::None)
                            .await
                            .unwrap();
                        matches!(changed, Change::NoSuchMessage)
                    }
                    _ => {
                        world.people.mark_messages_read(&anna.id, &[own]).await.unwrap();
                        false
                    }
                }
            }
        })
        .await;
        refused += outcomes.into_iter().filter(|is_refused| *is_refused).count();
        let late = world
            .number(&format!(
                "select count(*) from messages m, inbox i
                 where m.chat_id = '{chat}' and i.chat_id = m.chat_id and i.event = 'member.removed' and i.user_id = 'anna'
                     and m.sender_id = 'ben' and m.changed_seq > i.seq"
            ))
            .await;
        assert_eq!(late, 0, "things said after the removal");
        let told_after = world
            .number(&format!(
                "select count(*) from inbox i where i.chat_id = '{chat}' and i.user_id = 'ben' and i.version > (
                     select version from inbox r where r.chat_id = i.chat_id and r.user_id = 'ben' and r.event = 'member.removed'
                 )"
            ))
            .await;
        assert_eq!(told_after, 0, "things that Ben learnt after it");
        let untold = world
            .number(&format!(
                "select count(*) from generate_series(1, (select last_seq from chats where id = '{chat}')) n
                 where not exists (select 1 from inbox where chat_id = '{chat}' and user_id = 'anna' and seq = n)"
            ))
            .await;
        assert_eq!(untold, 0, "seqs that nobody was told of");
    }
    assert!(refused > 0, "no race was lost: this shows nothing");
    world.assert_inboxes_are_contiguous().await;
}

/// A receipt is told without the chat's row: it may wait for the inbox of somebody who is just being removed.
#[sqlx::test(migrations = "../../migrations")]
async fn a_receipt_that_waited_for_a_removal_is_not_told_to_who_was_removed(pool: PgPool) {
    let world = Arc::new(World::on(pool).await);
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    world.send(&ben, chat, "hi").await;

    // What a removal does, and does not commit yet.
    let mut removal = world.rows.begin().await.unwrap();
    for sql in [
        "select 1 from chats where id = $1 for update",
        "delete from members where chat_id = $1 and user_id = 'ben'",
        "select tell($1, 2, 'member.removed', null, '{\"userId\": \"ben\"}', array['ben'])",
    ] {
        sqlx::query(sql).bind(chat.uuid()).execute(&mut *removal).await.unwrap();
    }
    let reading = {
        let (world, me) = (world.clone(), anna.id.clone());
        tokio::spawn(async move {
            world
                .people
                .mark_chat_read(&me, chat, ReadMark::End, None)
                .await
                .unwrap()
        })
    };
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock' and query like '%for update of m%'";
    while world.number(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    removal.commit().await.unwrap();

    assert_eq!(reading.await.unwrap().unwrap().audience, [anna.id]);
    let bens = world.events(&ben, 0).await;
    assert_eq!(bens.last().unwrap().event_type, EventType::MemberRemoved, "{bens:?}");
    assert_eq!(bens.len(), 1);
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn muting_and_archiving_are_ones_own_business(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    world.send(&anna, chat, "hi").await;
    let before = (
        world.people.inbox_version(&anna.id).await.unwrap(),
        world.people.inbox_version(&ben.id).await.unwrap(),
    );
    let keep = async |archived, muted| {
        let change = ChatChange {
            archived,
            muted,
            title: None,
        };
        match world.people.update_chat(&ben.id, chat, change, 5).await.unwrap() {
            Updated::Made(news) => news,
            other => panic!("{other:?}"),
        }
    };
    let total = async || world.people.me(&ben.id).await.unwrap().unwrap().unread_total;
    assert_eq!(total().await, 1);
    let news = keep(None, Some(true)).await;
    assert_eq!((news.len(), &news[0].audience), (1, &vec![ben.id.clone()]));
    assert_eq!(news[0].event.data, json!({"archived": false, "muted": true}));
    assert_eq!((news[0].event.seq, total().await), (None, 0));
    assert!(keep(None, Some(true)).await.is_empty(), "it is muted already");
    keep(Some(true), Some(false)).await;
    // Archived, it is not in the list and not in the badge, and a new message leaves it where it is.
    world.send(&anna, chat, "hello?").await;
    assert_eq!(total().await, 0);
    let list = async |archived| {
        let filter = ListFilter { kind: None, archived };
        world.people.chats(&ben.id, filter, None, page(10)).await.unwrap()
    };
    assert_eq!((list(false).await.total, list(false).await.chats.len()), (0, 0));
    let archived = list(true).await;
    assert_eq!((archived.total, archived.chats[0].unread_count), (1, 2));
    assert!(archived.chats[0].archived && !archived.chats[0].muted);
    keep(Some(false), None).await;
    assert_eq!((list(false).await.total, total().await), (1, 2));

    let after = (
        world.people.inbox_version(&anna.id).await.unwrap(),
        world.people.inbox_version(&ben.id).await.unwrap(),
    );
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (1, 4),
        "the message for both; Ben's three changes for Ben"
    );
    let last = world.events(&ben, after.1 - 1).await;
    assert_eq!(last[0].event_type, EventType::ChatUpdated);
    assert_eq!(last[0].data, json!({"archived": false, "muted": false}));
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_rename_takes_a_seq_and_saying_the_same_again_does_not(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.channel(&anna, &[&ben]).await;
    let Updated::Made(news) = world.rename(&anna, chat, "Quay").await else {
        panic!()
    };
    assert_eq!((news.len(), news[0].event.seq), (1, Some(seq(1))));
    assert_eq!(news[0].event.data, json!({"title": "Quay", "by": "anna"}));
    assert_eq!(news[0].audience.len(), 2);
    let Updated::Made(news) = world.rename(&anna, chat, "Quay").await else {
        panic!()
    };
    assert!(news.is_empty());
    let chat = world.people.chat(&ben.id, chat).await.unwrap().unwrap();
    assert_eq!((chat.title.as_deref(), chat.last_seq), (Some("Quay"), seq(1)));
    assert_eq!(chat.unread_count, 0);
}

/// An archived assistant chat gives its place back, and takes one again: by no race are there more than the cap.
#[sqlx::test(migrations = "../../migrations")]
async fn archived_assistant_chats_take_no_place(pool: PgPool) {
    let world = Arc::new(World::racing(pool).await);
    let anna = world.person("anna").await;
    let most = 3;
    let archive = |world: Arc<World>, chat: ChatId, archived: bool| {
        let me = anna.id.clone();
        async move {
            let change = ChatChange {
                archived: Some(archived),
                ..ChatChange::default()
            };
            world.people.update_chat(&me, chat, change, most).await.unwrap()
        }
    };
    let mut chats = Vec::new();
    for _ in 0..3 {
        chats.push(
            opened(
                world
                    .people
                    .open_assistant_chat(&anna.id, None, None, most, None)
                    .await
                    .unwrap(),
            )
            .unwrap(),
        );
    }
    assert!(
        opened(
            world
                .people
                .open_assistant_chat(&anna.id, None, None, most, None)
                .await
                .unwrap()
        )
        .is_none()
    );
    for chat in chats.clone() {
        // However often it is said.
        let made = at_once(8, |_| archive(world.clone(), chat, true)).await;
        let told = made
            .iter()
            .filter(|made| matches!(made, Updated::Made(news) if news.len() == 1))
            .count();
        assert_eq!(told, 1, "{made:?}");
    }
    assert_eq!(world.number("select assistant_chats::bigint from people").await, 0);
    for _ in 0..2 {
        chats.push(
            opened(
                world
                    .people
                    .open_assistant_chat(&anna.id, None, None, most, None)
                    .await
                    .unwrap(),
            )
            .unwrap(),
        );
    }
    let back = at_once(3, |n| archive(world.clone(), chats[n], false)).await;
    let full = back
        .iter()
        .filter(|outcome| matches!(outcome, Updated::TooManyActive))
        .count();
    assert_eq!(full, 2, "{back:?}");
    assert_eq!(world.number("select assistant_chats::bigint from people").await, 3);
    assert_eq!(world.number("select count(*) from members where archived").await, 2);
    // Refused as a whole: the title is as it was.
    let archived = *chats
        .iter()
        .zip(&back)
        .find(|(_, back)| matches!(back, Updated::TooManyActive))
        .unwrap()
        .0;
    let title = Title::parse("New").unwrap();
    let both = ChatChange {
        title: Some(&title),
        archived: Some(false),
        muted: Some(true),
    };
    let refused = world.people.update_chat(&anna.id, archived, both, most).await.unwrap();
    assert!(matches!(refused, Updated::TooManyActive));
    let chat = world.people.chat(&anna.id, archived).await.unwrap().unwrap();
    assert_eq!((chat.title, chat.muted, chat.archived), (None, false, true));
    // Deleting an archived one gives back nothing.
    world.people.delete_chat(&anna.id, archived).await.unwrap();
    assert_eq!(world.number("select assistant_chats::bigint from people").await, 3);
}
