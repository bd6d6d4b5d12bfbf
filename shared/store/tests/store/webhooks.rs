//! Events for webhooks: written with the change, delivered in order, once each is done.

use std::time::Duration;

use domain::ids::{ChatId, JobId};
use domain::job::JobKind;
use domain::message::MessageType;
use domain::reply::Wake;
use domain::webhook::{WebhookCall, WebhookClaimOutcome, WebhookEvent};
use serde_json::json;
use sqlx::PgPool;
use store::webhooks::WebhookEnd;
use uuid::Uuid;

use crate::notices::{answering, notice, notify, of_organisation};
use crate::world::{World, at_once, opened};

const LEASE: Duration = Duration::from_secs(30);

async fn listen(world: &World, organisation: &str, events: &[&str]) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query("insert into webhooks (id, org_id, url, secret, events) values ($1, $2, 'https://hook/', 'env:S', $3)")
        .bind(id)
        .bind(organisation)
        .bind(events)
        .execute(&world.rows)
        .await
        .unwrap();
    id
}

async fn claimed(world: &World, job: JobId) -> WebhookCall {
    match world.system.try_claim_webhook(job, LEASE).await.unwrap() {
        WebhookClaimOutcome::Claimed(call) => *call,
        other => panic!("{other:?}"),
    }
}

fn jobs(wakes: &[Wake]) -> Vec<JobId> {
    wakes.iter().map(|wake| wake.job_id).collect()
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_organisation_hears_what_it_wants_of_its_own_chats(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    let acme = |task: &str, says: &str| of_organisation(notice("anna", task, MessageType::Info, says), "acme");
    // Nobody listens yet.
    assert!(notify(&world, &acme("t-1", "one")).await.webhooks.is_empty());
    listen(&world, "acme", &["message.created"]).await;
    listen(&world, "other", &["message.created"]).await;
    listen(&world, "acme", &["reply.ended"]).await;
    let sent = notify(&world, &acme("t-1", "two")).await;
    let call = claimed(&world, jobs(&sent.webhooks)[0]).await;
    assert_eq!(
        world.system.job_kind(call.job.id).await.unwrap(),
        Some(JobKind::Webhook)
    );
    assert_eq!(
        (call.event, call.organisation.as_str()),
        (WebhookEvent::MessageCreated, "acme")
    );
    assert_eq!(call.message.unwrap(), sent.message);
    assert_eq!(
        (call.task_id.as_deref(), call.person.as_deref()),
        (Some("t-1"), Some("anna"))
    );
    // A chat of no organisation is nobody's.
    assert!(
        notify(&world, &notice("anna", "t-2", MessageType::Info, "x"))
            .await
            .webhooks
            .is_empty()
    );
    assert_eq!(world.number("select count(*) from jobs").await, 1);

    // A reply's end, of an organisation's chat: one job each, with the message and with its end.
    let chat = world
        .people
        .open_assistant_chat(&anna.id, Some("acme"), None, 5, None)
        .await;
    let chat = opened(chat.unwrap()).unwrap();
    let asked = world.ask(&anna, chat, "hi").await;
    assert_eq!(asked.webhooks.len(), 1);
    let ended = world.complete(asked.claim.as_ref().unwrap(), "hello").await;
    assert_eq!(ended.webhooks.len(), 2);
    let call = claimed(&world, ended.webhooks[1].job_id).await;
    assert_eq!(call.event, WebhookEvent::ReplyEnded);
    assert_eq!(call.data["state"], "completed");
}

#[sqlx::test(migrations = "../../migrations")]
async fn an_answer_is_told_with_what_it_answers(pool: PgPool) {
    let world = World::on(pool).await;
    let anna = world.person("anna").await;
    listen(&world, "acme", &["clarification.answered"]).await;
    let ask = of_organisation(notice("anna", "t-1", MessageType::Clarification, "which?"), "acme");
    let asked = notify(&world, &ask).await;
    assert!(asked.webhooks.is_empty());
    let chat = asked.message.chat_id;
    let sent = world
        .send_as(&anna, chat, &answering("c-1", "Lunch", asked.message.id), None)
        .await;
    let [wake] = sent.webhooks[..] else { panic!("{sent:?}") };
    let call = claimed(&world, wake.job_id).await;
    assert_eq!(call.event, WebhookEvent::ClarificationAnswered);
    let clarification = call.clarification.unwrap();
    assert_eq!(
        (clarification.id, clarification.metadata),
        (asked.message.id, json!({"eventId": "e-1"}))
    );
    assert_eq!(call.message.unwrap().content, "Lunch");
    // A retry is told to nobody, and what answers nothing neither.
    assert!(
        world
            .send_as(&anna, chat, &answering("c-1", "Lunch", asked.message.id), None)
            .await
            .webhooks
            .is_empty()
    );
    assert!(world.send(&anna, chat, "thanks").await.webhooks.is_empty());
    assert_eq!(world.number("select count(*) from jobs").await, 1);
}

async fn three(world: &World) -> (ChatId, Vec<JobId>) {
    listen(world, "acme", &["message.created"]).await;
    let mut all = Vec::new();
    let mut chat = None;
    for says in ["one", "two", "three"] {
        let sent = notify(
            world,
            &of_organisation(notice("anna", "t-1", MessageType::Info, says), "acme"),
        )
        .await;
        chat = Some(sent.message.chat_id);
        all.extend(jobs(&sent.webhooks));
    }
    (chat.unwrap(), all)
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_chats_events_are_delivered_one_after_the_other(pool: PgPool) {
    let world = World::racing(pool).await;
    world.person("anna").await;
    let (_, all) = three(&world).await;
    assert!(matches!(
        world.system.try_claim_webhook(all[2], LEASE).await.unwrap(),
        WebhookClaimOutcome::Behind
    ));
    let first = claimed(&world, all[0]).await;
    assert!(matches!(
        world.system.try_claim_webhook(all[1], LEASE).await.unwrap(),
        WebhookClaimOutcome::Behind
    ));
    assert!(matches!(
        world.system.try_claim_webhook(all[0], LEASE).await.unwrap(),
        WebhookClaimOutcome::Later {
            after_seconds: 29 | 30,
            ..
        }
    ));
    // What waits behind is not lost, however late; the sweeper finds the first alone.
    sqlx::query("update jobs set run_at = now() - interval '1 hour'")
        .execute(&world.rows)
        .await
        .unwrap();
    let lost = world.system.overdue_jobs(Duration::from_secs(15), 100).await.unwrap();
    assert_eq!(jobs(&lost), [all[0]]);
    // Another worker has it by now: the first says nothing any more.
    let again = claimed(&world, all[0]).await;
    assert_eq!(again.job.attempt, 2);
    assert!(
        world
            .system
            .end_webhook(&first.job, WebhookEnd::Delivered)
            .await
            .unwrap()
            .is_none()
    );
    // Its end wakes the next.
    let next = world
        .system
        .end_webhook(&again.job, WebhookEnd::Delivered)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.job_id, all[1]);
    let second = claimed(&world, all[1]).await;
    // One that is given up makes way, and is kept.
    let next = world
        .system
        .end_webhook(&second.job, WebhookEnd::Parked("it answers 500"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.job_id, all[2]);
    assert_eq!(claimed(&world, all[2]).await.message.unwrap().content, "three");
    assert!(matches!(
        world.system.try_claim_webhook(all[1], LEASE).await.unwrap(),
        WebhookClaimOutcome::Over
    ));
    assert_eq!(
        world
            .number("select count(*) from jobs where state = 'dead' and last_error = 'it answers 500'")
            .await,
        1
    );
}

#[sqlx::test(migrations = "../../migrations")]
async fn places_agree_with_seqs_whoever_writes_at_once(pool: PgPool) {
    let world = std::sync::Arc::new(World::racing(pool).await);
    world.person("anna").await;
    listen(&world, "acme", &["message.created"]).await;
    at_once(16, |index| {
        let world = world.clone();
        async move {
            let draft = of_organisation(notice("anna", "t-1", MessageType::Info, &index.to_string()), "acme");
            notify(&world, &draft).await
        }
    })
    .await;
    let seqs: Vec<i64> = sqlx::query_scalar(
        "select m.seq from jobs j join messages m on m.id = (j.payload ->> 'messageId')::uuid order by j.place",
    )
    .fetch_all(&world.rows)
    .await
    .unwrap();
    assert_eq!(seqs, (1..=16).collect::<Vec<_>>());
}
