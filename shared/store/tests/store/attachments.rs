//! Uploads are their owner's, seen by the chat, and kept as long as a message shows them.

use domain::attachment::Upload;
use domain::chat::Kind;
use domain::ids::{AttachmentId, ChatId};
use domain::job::JobClaimOutcome;
use domain::message::{Attachment, AttachmentType, Draft, EditHistory};
use domain::person::Caller;
use domain::text::{AttachmentUrl, FileName, MimeType};
use serde_json::json;
use sqlx::{Executor, PgPool};
use store::erasure::ErasureStep;
use uuid::Uuid;

use crate::world::{FREE, LEASE, World, at_once, draft, edit};

async fn uploaded(world: &World, owner: &Caller) -> Upload {
    let upload = Upload {
        id: AttachmentId::fresh(),
        mime_type: MimeType::parse("image/png").unwrap(),
        size: 7,
        file_name: FileName::parse("a.png").ok(),
    };
    world.people.announce_upload(&owner.id, &upload).await.unwrap();
    upload
}

fn showing(uploads: &[&Upload]) -> Draft {
    let attachments = uploads.iter().map(|upload| Attachment {
        attachment_type: AttachmentType::Image,
        url: AttachmentUrl::of_object("bucket", &upload.key()),
        mime_type: Some(upload.mime_type.clone()),
        size: Some(upload.size),
        file_name: upload.file_name.clone(),
    });
    Draft {
        attachments: attachments.collect(),
        ..draft(&Uuid::now_v7().to_string(), "look")
    }
}

async fn attachable(world: &World, who: &Caller, chat: ChatId, uploads: &[&Upload]) -> Vec<AttachmentId> {
    let ids: Vec<_> = uploads.iter().map(|upload| upload.id).collect();
    let client_id = draft("new", "x").client_id;
    let found = world.people.attachable(&who.id, chat, &client_id, &ids).await.unwrap();
    assert!(!found.is_sent);
    let mut own = Vec::new();
    for upload in found.uploads {
        assert!(uploads.contains(&&upload), "{upload:?}");
        own.push(upload.id);
    }
    own.sort();
    own
}

async fn uses(world: &World, upload: &Upload) -> i64 {
    world
        .number(&format!(
            "select uses::bigint from attachments where id = '{}'",
            upload.id
        ))
        .await
}

/// As if the upload had been unused for so many hours.
async fn age(world: &World, upload: &Upload, hours: i32) {
    sqlx::query("update attachments set unused_since = now() - make_interval(hours => $2) where id = $1")
        .bind(upload.id.uuid())
        .bind(hours)
        .execute(&world.rows)
        .await
        .unwrap();
}

#[sqlx::test(migrations = "../../migrations")]
async fn only_the_owner_may_attach_an_upload(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let (one, other) = (uploaded(&world, &anna).await, uploaded(&world, &anna).await);

    assert_eq!(attachable(&world, &anna, chat, &[&one]).await, [one.id]);
    assert_eq!(attachable(&world, &ben, chat, &[&one, &other]).await, []);
    assert_eq!(
        attachable(&world, &anna, chat, &[&other, &one]).await,
        [one.id, other.id]
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_upload_must_be_sent_within_a_day_and_a_retry_may_come_at_any_time(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let upload = uploaded(&world, &anna).await;
    age(&world, &upload, 23).await;
    assert_eq!(attachable(&world, &anna, chat, &[&upload]).await, [upload.id]);
    age(&world, &upload, 25).await;
    assert_eq!(attachable(&world, &anna, chat, &[&upload]).await, []);

    // One that a message shows may be sent again.
    let shown = uploaded(&world, &anna).await;
    let draft = showing(&[&shown]);
    world.send_as(&anna, chat, &draft, None).await;
    age(&world, &shown, 1000).await;
    assert_eq!(attachable(&world, &anna, chat, &[&shown]).await, [shown.id]);

    let again = world
        .people
        .attachable(&anna.id, chat, &draft.client_id, &[upload.id])
        .await;
    assert!(again.unwrap().is_sent);
}

#[sqlx::test(migrations = "../../migrations")]
async fn members_see_what_a_message_shows_and_nobody_else_does(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let other_chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let upload = uploaded(&world, &anna).await;
    let sent = world.send_as(&anna, chat, &showing(&[&upload]), None).await;
    let message = sent.message.id;
    let seen = async |who: &Caller, chat, place| {
        let seen = world.people.shown_attachment(&who.id, chat, message, place).await;
        seen.unwrap()
    };

    let shown = json!({
        "type": "image", "url": format!("s3://bucket/{}", upload.key()), "mimeType": "image/png", "size": 7, "fileName": "a.png",
    });
    assert_eq!(seen(&anna, chat, 0).await, Some(shown.clone()));
    assert_eq!(seen(&ben, chat, 0).await, Some(shown));
    assert_eq!(seen(&ben, chat, 1).await, None);
    assert_eq!(seen(&ben, other_chat, 0).await, None);
    assert_eq!(seen(&cleo, chat, 0).await, None);
    world.people.delete_message(&anna.id, chat, message).await.unwrap();
    assert_eq!(seen(&ben, chat, 0).await, None);
}

#[sqlx::test(migrations = "../../migrations")]
async fn every_message_that_shows_an_upload_is_counted(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let (chat, other_chat) = (
        world.chat(Kind::Channel, &[&anna, &ben]).await,
        world.chat(Kind::Channel, &[&ben, &anna]).await,
    );
    let (one, other) = (uploaded(&world, &anna).await, uploaded(&world, &anna).await);
    assert_eq!(uses(&world, &one).await, 0);

    // Twice in one message is one use, and a retry is none.
    let draft = showing(&[&one, &one, &other]);
    let first = world.send_as(&anna, chat, &draft, None).await;
    world.send_as(&anna, chat, &draft, None).await;
    world.send_as(&anna, other_chat, &showing(&[&one]), None).await;
    // Who names what is another's, past every check, does not keep it.
    world.send_as(&ben, chat, &showing(&[&one]), None).await;
    assert_eq!((uses(&world, &one).await, uses(&world, &other).await), (2, 1));

    world
        .people
        .edit_message(
            &anna.id,
            chat,
            first.message.id,
            &edit("other words"),
            EditHistory::None,
        )
        .await
        .unwrap();
    assert_eq!(uses(&world, &one).await, 2);
    for _ in 0..2 {
        world
            .people
            .delete_message(&anna.id, chat, first.message.id)
            .await
            .unwrap();
        assert_eq!((uses(&world, &one).await, uses(&world, &other).await), (1, 0));
    }
    // Ben deletes a chat in which Anna has shown something.
    world.people.delete_chat(&ben.id, other_chat).await.unwrap();
    assert_eq!((uses(&world, &one).await, uses(&world, &other).await), (0, 0));
}

#[sqlx::test(migrations = "../../migrations")]
async fn the_same_images_in_many_messages_at_once_neither_deadlock_nor_miscount(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let mut uploads = Vec::new();
    for _ in 0..5 {
        uploads.push(uploaded(&world, &anna).await);
    }
    let mut chats = Vec::new();
    for _ in 0..20 {
        chats.push(world.assistant_chat(&anna).await);
    }
    let sent = at_once(20, |index| {
        let (store, anna, chat) = (world.people.clone(), anna.clone(), chats[index]);
        let mut shown: Vec<_> = uploads.iter().collect();
        shown.rotate_left(index % 5);
        if index % 2 == 0 {
            shown.reverse();
        }
        let draft = showing(&shown);
        async move { store.send_message(&anna, chat, &draft, None, &FREE).await.map(drop) }
    })
    .await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    for upload in &uploads {
        assert_eq!(uses(&world, upload).await, 20);
    }
    let deleted = at_once(20, |index| {
        let (store, anna, chat) = (world.people.clone(), anna.clone(), chats[index]);
        async move { store.delete_chat(&anna.id, chat).await.map(drop) }
    })
    .await;
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    for upload in &uploads {
        assert_eq!(uses(&world, upload).await, 0);
    }
}

/// Nobody's inbox holds them up: the chats have nobody in common any more.
#[sqlx::test(migrations = "../../migrations")]
async fn chats_that_show_the_same_images_are_deleted_at_once_without_a_deadlock(pool: PgPool) {
    let world = World::racing(pool).await;
    let anna = world.person("anna").await;
    let mut uploads = Vec::new();
    for _ in 0..40 {
        uploads.push(uploaded(&world, &anna).await);
    }
    let mut chats = Vec::new();
    for index in 0..16 {
        let owner = world.person(&format!("owner-{index}")).await;
        let chat = world.chat(Kind::Channel, &[&owner, &anna]).await;
        let mut shown: Vec<_> = uploads.iter().collect();
        shown.rotate_left(index / 2);
        if index % 2 == 0 {
            shown.reverse();
        }
        for some in shown[index..].chunks(5) {
            world.send_as(&anna, chat, &showing(some), None).await;
        }
        chats.push((owner, chat));
    }
    sqlx::query("delete from members where user_id = 'anna'")
        .execute(&world.rows)
        .await
        .unwrap();
    let all = "select sum(uses)::bigint from attachments";
    assert_eq!(world.number(all).await, (0..16).map(|index| 40 - index).sum::<i64>());
    let deleted = at_once(16, |index| {
        let (store, (owner, chat)) = (world.people.clone(), chats[index].clone());
        async move { store.delete_chat(&owner.id, chat).await.map(drop) }
    })
    .await;
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    assert_eq!(world.number(all).await, 0);
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_no_message_shows_any_more_is_found_and_forgotten_after_a_day(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let chat = world.assistant_chat(&anna).await;
    let (fresh, never_sent, shown, withdrawn) = (
        uploaded(&world, &anna).await,
        uploaded(&world, &anna).await,
        uploaded(&world, &anna).await,
        uploaded(&world, &anna).await,
    );
    world.send_as(&anna, chat, &showing(&[&shown]), None).await;
    let sent = world.send_as(&anna, chat, &showing(&[&withdrawn]), None).await;
    for upload in [&never_sent, &shown, &withdrawn] {
        age(&world, upload, 1000).await;
    }
    age(&world, &fresh, 24).await;
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), [never_sent.id]);
    // From the deletion on it is another day.
    world
        .people
        .delete_message(&anna.id, chat, sent.message.id)
        .await
        .unwrap();
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), [never_sent.id]);
    age(&world, &withdrawn, 26).await;
    assert_eq!(
        world.system.unused_uploads(10).await.unwrap(),
        [never_sent.id, withdrawn.id]
    );
    assert_eq!(world.system.unused_uploads(1).await.unwrap(), [never_sent.id]);

    let forgotten = world
        .system
        .forget_uploads(&[never_sent.id, shown.id, withdrawn.id])
        .await;
    assert_eq!(forgotten.unwrap(), 2);
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), []);
    assert_eq!(uses(&world, &shown).await, 1);
    assert_eq!(uses(&world, &fresh).await, 0);
}

/// An address that is still good would bring an object back of which nothing is known.
#[sqlx::test(migrations = "../../migrations")]
async fn the_object_of_an_erased_upload_is_deleted_again_when_its_address_is_good_no_longer(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let (fresh, old) = (uploaded(&world, &anna).await, uploaded(&world, &anna).await);
    sqlx::query("update attachments set created_at = now() - interval '2 hours' where id = $1")
        .bind(old.id.uuid())
        .execute(&world.rows)
        .await
        .unwrap();
    let wake = world.system.ask_for_erasure(&anna.id).await.unwrap().unwrap();
    let JobClaimOutcome::Claimed(job) = world.system.try_claim_job(wake.job_id, LEASE).await.unwrap() else {
        panic!("not claimed")
    };
    loop {
        match world.system.erase_some(&job).await.unwrap() {
            ErasureStep::Uploads(uploads) => world.system.erase_uploads(&job, &uploads).await.unwrap(),
            ErasureStep::Taken(_) => {}
            ErasureStep::Last => break,
        }
    }
    assert_eq!(world.number("select count(*) from attachments").await, 0);
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), []);
    // Not before: it might come back.
    assert_eq!(world.system.forget_uploads(&[fresh.id]).await.unwrap(), 0);
    world
        .rows
        .execute("update erased_uploads set expires_at = now() - interval '1 second'")
        .await
        .unwrap();
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), [fresh.id]);
    assert_eq!(world.system.forget_uploads(&[fresh.id]).await.unwrap(), 1);
    assert_eq!(world.system.unused_uploads(10).await.unwrap(), []);
}
