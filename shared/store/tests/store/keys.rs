//! Keys: the same one with the same content is the same thing, for as long as that is there, and with other content it is
//! refused.

use domain::chat::{Kind, fingerprint};
use domain::fingerprint::IdempotencyKey;
use domain::ids::{AttachmentId, ChatId, MessageId, UserId};
use domain::message::{Attachment, AttachmentType, Draft, EditHistory, MessageType};
use domain::notice::{NoticeDraft, Priority};
use domain::person::Caller;
use domain::person::{Organisations, UnknownPeople};
use domain::post::PostDraft;
use domain::text::{AttachmentUrl, ClientId, Content, FileName, MimeType, PostText, ProviderName, Title};
use serde_json::json;
use sqlx::PgPool;
use store::channels::Channel;
use store::chats::{AssistantChat, ChatChange, Deleted, DirectChat};
use store::messages::SendOutcome;
use store::notices::NoticeOutcome;
use store::replies::{Regeneration, Which};

use crate::notices::{notice, notify};
use crate::world::{ALLOWANCE, FREE, LEASE, World, at_once, draft, edit, metadata};

fn key(client_id: &str, kind: Kind, title: Option<&str>, members: &[UserId]) -> IdempotencyKey {
    IdempotencyKey {
        client_id: ClientId::parse(client_id).unwrap(),
        asked: fingerprint(kind, title.map(|title| Title::parse(title).unwrap()).as_ref(), members),
    }
}

async fn assistant(world: &World, owner: &Caller, client_id: &str, title: &str) -> AssistantChat {
    let key = key(client_id, Kind::Assistant, Some(title), &[]);
    let title = Title::parse(title).unwrap();
    let opened = world
        .people
        .open_assistant_chat(&owner.id, None, Some(&title), 5, Some(&key));
    opened.await.unwrap()
}

async fn channel(world: &World, owner: &Caller, client_id: &str, title: &str, others: &[UserId]) -> Channel {
    let key = key(client_id, Kind::Channel, Some(title), others);
    let title = Title::parse(title).unwrap();
    let opened = world.people.open_channel(&owner.id, None, &title, others, Some(&key));
    opened.await.unwrap()
}

async fn direct(world: &World, me: &Caller, client_id: &str, other: &Caller) -> DirectChat {
    let others = [other.id.clone()];
    let key = key(client_id, Kind::Direct, None, &others);
    world
        .people
        .open_direct_chat(&me.id, &other.id, Some(&key))
        .await
        .unwrap()
}

/// A question and its answer.
async fn answered(world: &World, me: &Caller, chat: ChatId, key: &str) -> MessageId {
    let sent = world.send_as(me, chat, &draft(key, "hi?"), None).await;
    let claim = world.claim(sent.wake.unwrap().job_id).await;
    world.complete(&claim, "hello").await.message.unwrap().id
}

async fn regenerate(world: &World, me: &Caller, chat: ChatId, which: Which<'_>, key: &str) -> Regeneration {
    let key = ClientId::parse(key).unwrap();
    world
        .people
        .regenerate_reply(me, chat, which, Some(&key), None, &FREE)
        .await
        .unwrap()
}

/// Has it written again to its end.
async fn rewritten(world: &World, me: &Caller, chat: ChatId, which: Which<'_>, key: &str) -> MessageId {
    let Regeneration::Opened(opened) = regenerate(world, me, chat, which, key).await else {
        panic!("{key} opened nothing")
    };
    let claim = world.claim(opened.wake.job_id).await;
    world.complete(&claim, key).await.message.unwrap().id
}

fn knows(outcome: &Regeneration, id: MessageId) -> bool {
    matches!(outcome, Regeneration::Known(reply) if reply.id == id)
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_retry_of_any_earlier_regeneration_opens_nothing(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let answer = answered(&world, &anna, chat, "q-1").await;
    for key in ["r-1", "r-2", "r-3"] {
        assert_eq!(rewritten(&world, &anna, chat, Which::Newest, key).await, answer);
    }
    let costs = || world.number("select sum(output_tokens)::bigint from replies");
    let cost = costs().await;
    // However late, and although another answer is the newest one by now.
    let newest = answered(&world, &anna, chat, "q-2").await;
    for key in ["r-1", "r-2", "r-3", "r-1"] {
        let heard = regenerate(&world, &anna, chat, Which::Newest, key).await;
        assert!(knows(&heard, answer), "{key}: {heard:?}");
    }
    assert_eq!(world.number("select count(*) from jobs").await, 0);
    assert_eq!(world.number("select count(*) from holds").await, 0);
    assert!(costs().await > cost, "the newer answer has cost something, too");
    // A question that is deleted does not make a new wish of an old one.
    let question: MessageId = sqlx::query_scalar::<_, uuid::Uuid>("select id from messages where seq = 1")
        .fetch_one(&world.rows)
        .await
        .unwrap()
        .into();
    world.people.delete_message(&anna.id, chat, question).await.unwrap();
    assert!(knows(
        &regenerate(&world, &anna, chat, Which::Newest, "r-2").await,
        answer
    ));
    assert_eq!(rewritten(&world, &anna, chat, Which::Newest, "r-4").await, newest);
}

#[sqlx::test(migrations = "../../migrations")]
async fn who_joined_an_answer_that_was_being_written_has_been_heard_as_well(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let running = world.ask(&anna, chat, "hi?").await.claim.unwrap();
    let joined = regenerate(&world, &anna, chat, Which::Newest, "r-1").await;
    assert!(knows(&joined, running.reply_id));
    world.complete(&running, "hello").await;
    // Its answer was lost on the way: the retry is not paid for.
    let late = regenerate(&world, &anna, chat, Which::Newest, "r-1").await;
    assert!(knows(&late, running.reply_id), "{late:?}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_regeneration_that_was_refused_has_used_no_key(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let nothing = regenerate(&world, &anna, chat, Which::Newest, "r-1").await;
    assert!(matches!(nothing, Regeneration::NothingToRegenerate));
    let answer = answered(&world, &anna, chat, "q-1").await;
    assert_eq!(rewritten(&world, &anna, chat, Which::Newest, "r-1").await, answer);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_regenerations_key_of_another_answer_is_refused(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let first = answered(&world, &anna, chat, "q-1").await;
    let second = answered(&world, &anna, chat, "q-2").await;
    rewritten(&world, &anna, chat, Which::Answer(first), "named").await;
    rewritten(&world, &anna, chat, Which::Newest, "newest").await;
    let ask = async |which, key| regenerate(&world, &anna, chat, which, key).await;
    for (which, key) in [
        (Which::Answer(second), "named"),
        (Which::Newest, "named"),
        (Which::Answer(first), "newest"),
        (Which::Named("q-2"), "named"),
        (Which::Answer(MessageId::fresh()), "named"),
    ] {
        let refused = ask(which, key).await;
        assert!(
            matches!(refused, Regeneration::KeyReused),
            "{which:?} {key}: {refused:?}"
        );
    }
    // The same answer by another of its names is the same.
    assert!(knows(&ask(Which::Answer(first), "named").await, first));
    assert!(knows(&ask(Which::Named("q-1"), "named").await, first));
    assert!(knows(&ask(Which::Newest, "newest").await, second));
    assert!(knows(&ask(Which::Answer(second), "newest").await, second));
    assert_eq!(world.number("select count(*) from jobs").await, 0);
    // Keys are of one chat.
    let other = world.assistant_chat(&anna).await;
    let there = answered(&world, &anna, other, "q-1").await;
    assert_eq!(rewritten(&world, &anna, other, Which::Newest, "named").await, there);
}

#[sqlx::test(migrations = "../../migrations")]
async fn many_retries_of_many_regenerations_at_once_open_one_each(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let answer = answered(&world, &anna, chat, "q-1").await;
    for round in 0..3 {
        let outcomes = at_once(30, |index| {
            let (store, anna) = (world.people.clone(), anna.clone());
            async move {
                // Those of the rounds before come late, in between.
                let key = ClientId::parse(&format!("r-{}", index % (round + 1))).unwrap();
                store
                    .regenerate_reply(&anna, chat, Which::Newest, Some(&key), Some(LEASE), &FREE)
                    .await
                    .unwrap()
            }
        })
        .await;
        let mut opened = Vec::new();
        for outcome in outcomes {
            match outcome {
                Regeneration::Opened(reopened) => opened.push(reopened),
                known => assert!(knows(&known, answer), "{known:?}"),
            }
        }
        assert_eq!(opened.len(), 1, "in round {round}");
        world.complete(opened[0].claim.as_ref().unwrap(), "again").await;
    }
    assert_eq!(world.number("select version::bigint from replies").await, 4);
}

/// Nobody else's key, and nothing left of it with its chat.
#[sqlx::test(migrations = "../../migrations")]
async fn keys_are_ones_own_and_go_with_what_they_named(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let AssistantChat::Opened(chat) = assistant(&world, &anna, "c-1", "one").await else {
        panic!("not opened")
    };
    assert!(matches!(assistant(&world, &ben, "c-1", "one").await, AssistantChat::Opened(other) if other != chat));
    answered(&world, &anna, chat, "q-1").await;
    rewritten(&world, &anna, chat, Which::Newest, "r-1").await;
    // What the chat is called by now makes no difference.
    let title = Title::parse("two").unwrap();
    let change = ChatChange {
        title: Some(&title),
        ..ChatChange::default()
    };
    world.people.update_chat(&anna.id, chat, change, 5).await.unwrap();
    assert_eq!(assistant(&world, &anna, "c-1", "one").await, AssistantChat::Known(chat));
    assert_eq!(assistant(&world, &anna, "c-1", "two").await, AssistantChat::KeyReused);

    assert!(matches!(
        world.people.delete_chat(&anna.id, chat).await.unwrap(),
        Deleted::Gone { .. }
    ));
    assert_eq!(
        world
            .number("select count(*) from chat_keys where owner_id = 'anna'")
            .await,
        0
    );
    assert_eq!(world.number("select count(*) from regenerations").await, 0);
    assert!(matches!(
        assistant(&world, &anna, "c-1", "two").await,
        AssistantChat::Opened(_)
    ));
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_key_opens_one_chat_of_whatever_kind(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let both = [ben.id.clone(), cleo.id.clone()];
    let Channel::Opened { chat_id: team, .. } = channel(&world, &anna, "c-1", "team", &both).await else {
        panic!("not opened")
    };
    // Members are a set.
    let turned = [cleo.id.clone(), ben.id.clone(), cleo.id.clone()];
    assert_eq!(
        channel(&world, &anna, "c-1", "team", &turned).await,
        Channel::Known(team)
    );
    assert_eq!(channel(&world, &anna, "c-1", "other", &both).await, Channel::KeyReused);
    assert_eq!(
        channel(&world, &anna, "c-1", "team", &both[..1]).await,
        Channel::KeyReused
    );
    assert_eq!(assistant(&world, &anna, "c-1", "team").await, AssistantChat::KeyReused);
    assert_eq!(direct(&world, &anna, "c-1", &ben).await, DirectChat::KeyReused);

    // A direct chat belongs to both, and each has keys of their own for it, whoever opened it.
    let DirectChat::Opened { chat_id: pair, .. } = direct(&world, &anna, "d-1", &ben).await else {
        panic!("not opened")
    };
    assert_eq!(direct(&world, &anna, "d-1", &ben).await, DirectChat::Known(pair));
    assert_eq!(direct(&world, &ben, "d-2", &anna).await, DirectChat::Known(pair));
    assert_eq!(direct(&world, &anna, "d-1", &cleo).await, DirectChat::KeyReused);
    assert_eq!(direct(&world, &ben, "d-2", &cleo).await, DirectChat::KeyReused);
    assert_eq!(world.number("select count(*) from chats").await, 2);
    // What was refused has used no key.
    let nobody = UserId::parse("nobody").unwrap();
    assert!(matches!(
        channel(&world, &anna, "c-2", "t", &[nobody]).await,
        Channel::Unknown(_)
    ));
    assert!(matches!(
        channel(&world, &anna, "c-2", "u", &both).await,
        Channel::Opened { .. }
    ));
}

#[sqlx::test(migrations = "../../migrations")]
async fn fifty_openings_by_one_key_at_once_are_one_chat(pool: PgPool) {
    let world = World::racing(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let mut chats = Vec::new();
    for kind in [Kind::Assistant, Kind::Channel, Kind::Direct] {
        let opened = at_once(50, |_| {
            let (store, anna, ben) = (world.people.clone(), anna.id.clone(), ben.id.clone());
            async move {
                let title = Title::parse("one").unwrap();
                let named = key(kind.word(), kind, None, &[]);
                match kind {
                    Kind::Assistant => {
                        let opened = store.open_assistant_chat(&anna, None, Some(&title), 5, Some(&named));
                        match opened.await.unwrap() {
                            AssistantChat::Opened(chat) => (chat, true),
                            AssistantChat::Known(chat) => (chat, false),
                            other => panic!("{other:?}"),
                        }
                    }
                    Kind::Channel => {
                        let others = [ben];
                        let opened = store.open_channel(&anna, None, &title, &others, Some(&named));
                        match opened.await.unwrap() {
                            Channel::Opened { chat_id, .. } => (chat_id, true),
                            Channel::Known(chat) => (chat, false),
                            other => panic!("{other:?}"),
                        }
                    }
                    _ => match store.open_direct_chat(&anna, &ben, Some(&named)).await.unwrap() {
                        DirectChat::Opened { chat_id, .. } => (chat_id, true),
                        DirectChat::Known(chat) => (chat, false),
                        other => panic!("{other:?}"),
                    },
                }
            }
        })
        .await;
        assert_eq!(opened.iter().filter(|(_, is_new)| *is_new).count(), 1, "{kind}");
        assert!(opened.iter().all(|(chat, _)| *chat == opened[0].0), "{kind}");
        chats.push(opened[0].0);
    }
    assert_eq!(world.number("select count(*) from chats").await, 3);
    assert_eq!(
        world
            .number("select assistant_chats::bigint from people where id = 'anna'")
            .await,
        1
    );
    world.assert_inboxes_are_contiguous().await;
}

fn upload_of(url: &AttachmentUrl, mime_type: &str, size: i64) -> Attachment {
    Attachment {
        attachment_type: AttachmentType::Image,
        url: url.clone(),
        mime_type: MimeType::parse(mime_type).ok(),
        size: Some(size),
        file_name: None,
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_message_is_refused_where_its_client_id_said_something_else(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let original = world.send(&ben, chat, "original").await.message.id;
    let web = AttachmentUrl::parse("https://host/a.png").unwrap();
    let whole = Draft {
        attachments: vec![upload_of(&web, "image/png", 7)],
        mentions: vec![ben.id.clone(), anna.id.clone()],
        reply_to: Some(original),
        metadata: metadata(json!({"a": {"x": 1, "y": 2}})),
        ..draft("c-1", "hello")
    };
    let sent = world.send_as(&anna, chat, &whole, None).await.message;
    let others = [
        Draft {
            content: Content::or_none("hallo", 100).unwrap(),
            ..whole.clone()
        },
        Draft {
            content: Content::or_none("hello ", 100).unwrap(),
            ..whole.clone()
        },
        Draft {
            content: None,
            ..whole.clone()
        },
        Draft {
            attachments: vec![],
            ..whole.clone()
        },
        Draft {
            attachments: vec![upload_of(&web, "image/png", 8)],
            ..whole.clone()
        },
        Draft {
            mentions: vec![ben.id.clone()],
            ..whole.clone()
        },
        Draft {
            reply_to: None,
            ..whole.clone()
        },
        Draft {
            metadata: metadata(json!({"a": {"x": 1, "y": 3}})),
            ..whole.clone()
        },
        Draft {
            metadata: metadata(json!({})),
            ..whole.clone()
        },
    ];
    let before = world.dump("messages").await;
    let refuse_all = async || {
        for other in &others {
            let outcome = world.people.send_message(&anna, chat, other, Some(LEASE), &FREE).await;
            assert!(matches!(outcome.unwrap(), SendOutcome::KeyReused), "{other:?}");
        }
    };
    refuse_all().await;
    assert_eq!(world.dump("messages").await, before);
    // The same in another order is the same.
    let same = Draft {
        mentions: vec![anna.id.clone(), ben.id.clone()],
        metadata: metadata(serde_json::from_str(r#"{"a": {"y": 2, "x": 1}}"#).unwrap()),
        ..whole.clone()
    };
    let again = world.send_as(&anna, chat, &same, None).await;
    assert_eq!((again.message.id, again.is_replay), (sent.id, true));
    // Another person's clientId, and another chat's, is another one.
    assert!(!world.send_as(&ben, chat, &draft("c-1", "mine"), None).await.is_replay);
    let elsewhere = world.assistant_chat(&anna).await;
    assert!(
        !world
            .send_as(&anna, elsewhere, &draft("c-1", "there"), None)
            .await
            .is_replay
    );

    // What was asked counts, not what is there now.
    world
        .people
        .edit_message(&anna.id, chat, sent.id, &edit("hallo"), EditHistory::None)
        .await
        .unwrap();
    assert_eq!(world.send_as(&anna, chat, &whole, None).await.message.content, "hallo");
    refuse_all().await;
    world.people.delete_message(&anna.id, chat, sent.id).await.unwrap();
    assert!(
        world
            .send_as(&anna, chat, &whole, None)
            .await
            .message
            .deleted_at
            .is_some()
    );
    refuse_all().await;
    // Of one from before there were fingerprints nobody knows what was asked: it replays.
    sqlx::query("update messages set request_hash = null")
        .execute(&world.rows)
        .await
        .unwrap();
    assert!(world.send_as(&anna, chat, &others[0], None).await.is_replay);
}

/// An upload is its address: what the sender says of it beside that is not asked for, and may be left out of a retry.
#[sqlx::test(migrations = "../../migrations")]
async fn a_retry_may_say_less_of_an_upload(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let url = AttachmentUrl::of_object("bucket", &format!("attachments/{}", AttachmentId::fresh()));
    let showing = |attachment: Attachment| Draft {
        attachments: vec![attachment],
        ..draft("c-1", "look")
    };
    let announced = Attachment {
        file_name: FileName::parse("a.png").ok(),
        ..upload_of(&url, "image/png", 7)
    };
    let sent = world.send_as(&anna, chat, &showing(announced), None).await;
    let again = world
        .send_as(&anna, chat, &showing(upload_of(&url, "image/jpg", 1)), None)
        .await;
    assert_eq!((again.message.id, again.is_replay), (sent.message.id, true));
    let other = AttachmentUrl::of_object("bucket", &format!("attachments/{}", AttachmentId::fresh()));
    let other = showing(upload_of(&other, "image/png", 7));
    let outcome = world
        .people
        .send_message(&anna, chat, &other, None, &FREE)
        .await
        .unwrap();
    assert!(matches!(outcome, SendOutcome::KeyReused));
}

#[sqlx::test(migrations = "../../migrations")]
async fn of_two_contents_at_once_under_one_client_id_one_is_said_and_the_other_refused(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    for chat in [
        world.assistant_chat(&anna).await,
        world.chat(Kind::Channel, &[&anna]).await,
    ] {
        let outcomes = at_once(40, |index| {
            let (store, anna) = (world.people.clone(), anna.clone());
            async move {
                let text = if index % 2 == 0 { "even" } else { "odd" };
                let claim_for = (index % 3 == 0).then_some(LEASE);
                let sent = store
                    .send_message(&anna, chat, &draft("c-1", text), claim_for, &FREE)
                    .await;
                match sent.unwrap() {
                    SendOutcome::Sent(sent) => Some((text, sent.message.content, sent.is_replay)),
                    SendOutcome::KeyReused => None,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        let said: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(said.len(), 20);
        assert!(said.iter().all(|(asked, said, _)| asked == said), "{said:?}");
        assert_eq!(said.iter().filter(|(_, _, is_replay)| !is_replay).count(), 1);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_notice_is_refused_where_its_key_told_something_else(pool: PgPool) {
    let world = World::on(pool).await;
    world.person("anna").await;
    let first = NoticeDraft {
        key: ClientId::parse("k-1").ok(),
        ..notice("anna", "t-1", MessageType::Confirmation, "booked")
    };
    let told = notify(&world, &first).await;
    let others = [
        NoticeDraft {
            content: Content::parse("moved", 100).unwrap(),
            ..first.clone()
        },
        NoticeDraft {
            message_type: MessageType::Cancellation,
            ..first.clone()
        },
        NoticeDraft {
            priority: Priority::High,
            ..first.clone()
        },
        NoticeDraft {
            data: metadata(json!({"eventId": "e-2"})),
            ..first.clone()
        },
    ];
    let before = world.dump("messages").await;
    for other in &others {
        let outcome = world
            .people
            .send_notice(other, UnknownPeople::Refuse, Organisations::Agents)
            .await
            .unwrap();
        assert!(matches!(outcome, NoticeOutcome::KeyReused), "{other:?}");
    }
    assert_eq!(world.dump("messages").await, before);
    let again = notify(&world, &first).await;
    assert_eq!((again.message.id, again.is_replay), (told.message.id, true));
    // Another task's key is another one; without a key each is new.
    let elsewhere = NoticeDraft {
        key: ClientId::parse("k-1").ok(),
        ..notice("anna", "t-2", MessageType::Info, "hi")
    };
    assert!(!notify(&world, &elsewhere).await.is_replay);
    let without = notice("anna", "t-1", MessageType::Info, "hi");
    assert!(!notify(&world, &without).await.is_replay);
    assert!(!notify(&world, &without).await.is_replay);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_post_is_refused_where_its_client_id_made_another(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let key = ClientId::parse("p-1").unwrap();
    let create = async |draft: &PostDraft| {
        let made = world
            .people
            .create_post(&anna, draft, Some(&key), ALLOWANCE, &FREE.budget);
        made.await.unwrap()
    };
    let first = PostDraft {
        content: PostText::parse("hello", 100).unwrap(),
        providers: vec![ProviderName::parse("x").unwrap()],
        auth_provider_ids: Vec::new(),
    };
    let made = create(&first).await.unwrap();
    assert!(made.wake.is_some());
    for other in [
        PostDraft {
            content: PostText::parse("hallo", 100).unwrap(),
            ..first.clone()
        },
        PostDraft {
            providers: Vec::new(),
            ..first.clone()
        },
        PostDraft::default(),
    ] {
        assert!(create(&other).await.is_none(), "{other:?}");
    }
    let again = create(&first).await.unwrap();
    assert_eq!((again.post.id, again.wake), (made.post.id, None));
    assert_eq!(world.number("select count(*) from posts").await, 1);
}
