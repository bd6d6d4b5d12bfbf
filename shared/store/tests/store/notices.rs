//! Notices: stored once, in one chat of the person and the task, and read in their order.

use domain::ids::{ChatId, MessageId, UserId};
use domain::limits::PageSize;
use domain::message::{Draft, MessageType};
use domain::notice::{NoticeDraft, Priority};
use domain::person::Caller;
use domain::person::{Organisations, UnknownPeople};
use domain::text::{ClientId, Content, Metadata, OrganisationId, TaskId};
use serde_json::{Map, json};
use sqlx::PgPool;
use store::notices::{NoticeOutcome, Notified};

use crate::world::{World, at_once, caller, draft};

pub(crate) fn notice(person: &str, task: &str, message_type: MessageType, says: &str) -> NoticeDraft {
    NoticeDraft {
        user_id: UserId::parse(person).unwrap(),
        task_id: TaskId::parse(task).unwrap(),
        message_type,
        content: Content::parse(says, 1000).unwrap(),
        data: Metadata::parse(Map::from_iter([("eventId".to_owned(), json!("e-1"))]), 1000).unwrap(),
        organisation: None,
        priority: Priority::Normal,
        key: None,
    }
}

pub(crate) fn of_organisation(draft: NoticeDraft, organisation: &str) -> NoticeDraft {
    NoticeDraft {
        organisation: Some(OrganisationId::parse(organisation).unwrap()),
        ..draft
    }
}

fn with_key(draft: NoticeDraft, key: &str) -> NoticeDraft {
    NoticeDraft {
        key: Some(ClientId::parse(key).unwrap()),
        ..draft
    }
}

pub(crate) async fn notify(world: &World, draft: &NoticeDraft) -> Notified {
    match world
        .people
        .send_notice(draft, UnknownPeople::Refuse, Organisations::Agents)
        .await
        .unwrap()
    {
        NoticeOutcome::Sent(notified) => *notified,
        other => panic!("not sent: {other:?}"),
    }
}

pub(crate) fn answering(key: &str, says: &str, to: MessageId) -> Draft {
    Draft {
        reply_to: Some(to),
        ..draft(key, says)
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_notice_opens_its_chat_and_is_delivered_like_any_message(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let first = notify(&world, &notice("anna", "t-1", MessageType::SchedulingUpdate, "looking")).await;
    assert!(first.opens_chat && !first.is_replay);
    assert_eq!(
        (first.message.seq.value(), &first.audience),
        (1, &vec![anna.id.clone()])
    );
    assert_eq!(first.message.metadata, json!({"eventId": "e-1"}));
    let second = notify(&world, &notice("anna", "t-1", MessageType::Confirmation, "booked")).await;
    assert!(!second.opens_chat);
    assert_eq!(
        (second.message.chat_id, second.message.seq.value()),
        (first.message.chat_id, 2)
    );
    let other = notify(&world, &notice("anna", "t-2", MessageType::Info, "hm")).await;
    assert_ne!(other.message.chat_id, first.message.chat_id);

    let chat = world
        .people
        .chat(&anna.id, first.message.chat_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((chat.unread_count, chat.task_id.as_deref()), (2, Some("t-1")));
    assert_eq!(chat.last_message.unwrap().content, "booked");
    let unread = world.people.unread_messages(&anna.id, PageSize::DEFAULT).await.unwrap();
    assert_eq!(unread.total, 3);
    assert_eq!(unread.messages[0].task_id.as_deref(), Some("t-1"));
    world.assert_inboxes_are_contiguous().await;
    // Marked one by one, exactly.
    let marked = world
        .people
        .mark_messages_read(&anna.id, &[second.message.id, second.message.id])
        .await
        .unwrap();
    assert_eq!(marked.count, 1);
    let page = task(&world, &anna.id, "t-1").await;
    assert_eq!(page, [("looking".to_owned(), false), ("booked".to_owned(), true)]);
}

async fn task(world: &World, person: &UserId, task: &str) -> Vec<(String, bool)> {
    let task = TaskId::parse(task).unwrap();
    let page = world
        .people
        .task_messages(person, &task, None, PageSize::LARGEST)
        .await
        .unwrap();
    page.messages
        .into_iter()
        .map(|message| (message.content, message.read))
        .collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_many_first_notices_at_once_one_opens_the_chat_and_twins_are_one(pool: PgPool) {
    let world = std::sync::Arc::new(World::racing(pool).await);
    let outcomes = at_once(16, |index| {
        let world = world.clone();
        async move {
            let draft = notice("nobody-yet", "t-1", MessageType::Info, &format!("{}", index % 4));
            let draft = with_key(draft, &format!("key-{}", index % 4));
            world
                .people
                .send_notice(&draft, UnknownPeople::Create, Organisations::Agents)
                .await
                .unwrap()
        }
    })
    .await;
    let sent: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            NoticeOutcome::Sent(notified) => *notified,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sent.iter().filter(|sent| sent.opens_chat).count(), 1);
    assert_eq!(sent.iter().filter(|sent| !sent.is_replay).count(), 4);
    for (index, one) in sent.iter().enumerate() {
        assert_eq!(one.message.id, sent[index % 4].message.id);
        assert_eq!(one.is_replay, one.audience.is_empty());
    }
    assert_eq!(world.number("select count(*) from chats").await, 1);
    assert_eq!(world.number("select max(seq) from messages").await, 4);
    assert_eq!(world.number("select count(*) from messages").await, 4);
    world.assert_inboxes_are_contiguous().await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn unknown_people_and_other_organisations_change_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    world.person("anna").await;
    let to_nobody = notice("nobody", "t-1", MessageType::Info, "hi");
    let refused = world
        .people
        .send_notice(&to_nobody, UnknownPeople::Refuse, Organisations::Agents)
        .await
        .unwrap();
    assert!(matches!(refused, NoticeOutcome::NoSuchPerson));
    assert_eq!(world.number("select count(*) from people").await, 1);

    let of_acme = of_organisation(notice("anna", "t-1", MessageType::Info, "hi"), "acme");
    notify(&world, &of_acme).await;
    let before = world.dump("messages").await;
    let of_other = of_organisation(of_acme.clone(), "other");
    let refused = world
        .people
        .send_notice(&of_other, UnknownPeople::Refuse, Organisations::Agents)
        .await
        .unwrap();
    assert!(matches!(refused, NoticeOutcome::OtherOrganisation));
    assert_eq!(world.dump("messages").await, before);
    // An agent of no organisation serves all.
    notify(&world, &notice("anna", "t-1", MessageType::Info, "hi")).await;
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_organisation_tells_nothing_to_those_who_are_known_to_be_of_another(pool: PgPool) {
    let world = World::on(pool).await;
    let of = |name: &str, organisation: Option<&str>| Caller {
        org_id: organisation.map(str::to_owned),
        ..caller(name)
    };
    for (name, organisation) in [("anna", Some("acme")), ("ben", None)] {
        world.people.upsert_user(&of(name, organisation)).await.unwrap();
    }
    let tell = async |person: &str, task: &str, organisation: Option<&str>, organisations| {
        let draft = notice(person, task, MessageType::Info, "hi");
        let draft = organisation.map_or_else(|| draft.clone(), |name| of_organisation(draft.clone(), name));
        let told = world
            .people
            .send_notice(&draft, UnknownPeople::Refuse, organisations)
            .await
            .unwrap();
        match told {
            NoticeOutcome::Sent(_) => "told",
            NoticeOutcome::BeyondOrganisation => "beyond",
            NoticeOutcome::OtherOrganisation => "other's task",
            NoticeOutcome::NoSuchPerson => "nobody",
            NoticeOutcome::KeyReused => "key reused",
        }
    };
    let before = world.dump("chats").await;
    for bound in [Organisations::Agents, Organisations::Everyone] {
        assert_eq!(tell("anna", "t-1", Some("other"), bound).await, "beyond");
        assert_eq!(world.dump("chats").await, before);
    }
    for (person, task, organisation, bound, outcome) in [
        // Where it is not known, or nobody is bounded.
        ("ben", "t-1", Some("other"), Organisations::Agents, "told"),
        ("anna", "t-1", Some("acme"), Organisations::Agents, "told"),
        ("anna", "t-2", None, Organisations::Agents, "told"),
        ("anna", "t-3", Some("other"), Organisations::Open, "told"),
        // A task that is another's says so, as ever; one that is its own goes no further.
        ("anna", "t-1", Some("other"), Organisations::Agents, "other's task"),
        ("anna", "t-3", Some("other"), Organisations::Agents, "beyond"),
        ("nobody", "t-1", Some("other"), Organisations::Agents, "nobody"),
    ] {
        assert_eq!(
            tell(person, task, organisation, bound).await,
            outcome,
            "{person} {task} {organisation:?}"
        );
    }
    // The last token says where somebody is.
    world.people.upsert_user(&of("anna", Some("other"))).await.unwrap();
    assert_eq!(tell("anna", "t-4", Some("other"), Organisations::Agents).await, "told");
    assert_eq!(tell("anna", "t-5", Some("acme"), Organisations::Agents).await, "beyond");
    world.people.upsert_user(&of("anna", None)).await.unwrap();
    assert_eq!(tell("anna", "t-5", Some("acme"), Organisations::Agents).await, "told");
    let everyone = [UserId::parse("anna").unwrap(), UserId::parse("ben").unwrap()];
    world.people.upsert_user(&of("ben", Some("other"))).await.unwrap();
    let others = world.people.of_other_organisations("acme", &everyone).await.unwrap();
    assert_eq!(others, [everyone[1].clone()]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_task_is_its_persons_alone(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let sent = notify(&world, &notice("anna", "t-1", MessageType::Info, "a secret")).await;
    assert_eq!(task(&world, &anna.id, "t-1").await.len(), 1);
    assert_eq!(task(&world, &ben.id, "t-1").await, []);
    assert!(
        world
            .people
            .chat(&ben.id, sent.message.chat_id)
            .await
            .unwrap()
            .is_none()
    );
    // The same name is another task of another person.
    let bens = notify(&world, &notice("ben", "t-1", MessageType::Info, "another")).await;
    assert_ne!(bens.message.chat_id, sent.message.chat_id);
    // The second lock: who acts for a person writes no notice but by the one function, and sees no webhook.
    for sql in [
        "select * from webhooks",
        "select announce(null, null, null, null)",
        "select * from retention",
    ] {
        assert!(sqlx::query(sql).fetch_all(&world.restricted).await.is_err(), "{sql}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_unread_list_is_by_priority_then_by_age(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(domain::chat::Kind::Channel, &[&ben, &anna]).await;
    for (says, priority) in [("l1", Priority::Low), ("n1", Priority::Normal), ("h1", Priority::High)] {
        notify(
            &world,
            &NoticeDraft {
                priority,
                ..notice("anna", "t-1", MessageType::Info, says)
            },
        )
        .await;
    }
    world.send(&ben, chat, "n2").await;
    for (says, priority) in [("h2", Priority::High), ("n3", Priority::Normal), ("l2", Priority::Low)] {
        notify(
            &world,
            &NoticeDraft {
                priority,
                ..notice("anna", "t-2", MessageType::Info, says)
            },
        )
        .await;
    }
    let listed = async |limit: i64| {
        let page = world
            .people
            .unread_messages(&anna.id, PageSize::new(limit).unwrap())
            .await
            .unwrap();
        let says: Vec<_> = page.messages.iter().map(|message| message.content.clone()).collect();
        (says.join(" "), page.total, page.has_more, page.messages)
    };
    let (says, total, has_more, messages) = listed(50).await;
    assert_eq!((says.as_str(), total, has_more), ("h1 h2 n1 n2 n3 l1 l2", 7, false));
    assert_eq!(
        (messages[0].priority, messages[6].priority),
        (Priority::High, Priority::Low)
    );
    // Whoever marks page after page sees all of them.
    let (says, total, has_more, messages) = listed(3).await;
    assert_eq!((says.as_str(), total, has_more), ("h1 h2 n1", 7, true));
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    assert_eq!(world.people.mark_messages_read(&anna.id, &ids).await.unwrap().count, 3);
    let (says, total, has_more, _) = listed(3).await;
    assert_eq!((says.as_str(), total, has_more), ("n2 n3 l1", 4, true));
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_answer_closes_the_clarification_that_it_is_for(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let ask = notice("anna", "t-1", MessageType::Clarification, "which title?");
    let (one, two, three) = (
        notify(&world, &ask).await,
        notify(&world, &ask).await,
        notify(&world, &ask).await,
    );
    let chat = one.message.chat_id;
    let open = async || open_clarifications(&world, chat).await;
    assert_eq!(open().await, [one.message.id, two.message.id, three.message.id]);
    // What is replied to is answered; without that, what was asked last.
    world
        .send_as(&anna, chat, &answering("c-1", "Lunch", one.message.id), None)
        .await;
    assert_eq!(open().await, [two.message.id, three.message.id]);
    let sent = world.send(&anna, chat, "at noon").await;
    assert_eq!(open().await, [two.message.id]);
    // A retry answers nothing more.
    let retried = draft(sent.message.client_id.as_deref().unwrap(), "at noon");
    assert!(world.send_as(&anna, chat, &retried, None).await.is_replay);
    assert_eq!(open().await, [two.message.id]);
    notify(&world, &notice("anna", "t-1", MessageType::Cancellation, "never mind")).await;
    assert_eq!(open().await, []);
    let page = world
        .people
        .task_messages(
            &anna.id,
            &TaskId::parse("t-1").unwrap(),
            None,
            PageSize::new(2).unwrap(),
        )
        .await
        .unwrap();
    assert!(page.has_more);
    let shown: Vec<_> = page
        .messages
        .iter()
        .map(|message| (message.content.as_str(), message.open))
        .collect();
    assert_eq!(shown, [("at noon", None), ("never mind", None)]);
}

async fn open_clarifications(world: &World, chat: ChatId) -> Vec<MessageId> {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from messages where chat_id = $1 and type = 'CLARIFICATION' and answered_by is null order by seq",
    )
    .bind(chat.uuid())
    .fetch_all(&world.rows)
    .await
    .unwrap();
    ids.into_iter().map(Into::into).collect()
}
