//! A reservation is a bound: whatever is written, however a provider counts it, no budget is exceeded.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::peer::{Bucket, Model};
use crate::world::{Person, World, script};

/// Text of every density, so many bytes of each.
fn texts(bytes: usize) -> Vec<String> {
    [
        "The quick brown fox jumps over the lazy dog. ",
        "31415926535897932384626433832795028841971",
        "{}[]()<>!?#$%&*+-=/\\|~^@;:'\"`,._ ",
        "🧑‍🚀🏳️‍🌈👩‍👩‍👧‍👦🇦🇹",
        "語りえぬものについては、沈黙しなければならない。",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "xqzjkvwpqzxj",
        "\n\t \n\n\t\t ",
        "ﷺﷻ﷽",
    ]
    .iter()
    .map(|piece| format!("q{}", piece.repeat(bytes / piece.len() + 1)))
    .collect()
}

async fn limit(world: &World, person: &Person, tokens: i64) {
    let sql = "insert into budget_limits (subject, subject_id, tokens) values ('person', $1, $2)
               on conflict (subject, subject_id) do update set tokens = excluded.tokens";
    let query = sqlx::query(sql).bind(person.caller.id.as_str()).bind(tokens);
    query.execute(&world.rows).await.unwrap();
}

/// Checks at every look that no budget is over its limit, while something happens.
async fn never_over<T>(world: &World, doing: impl Future<Output = T>) -> T {
    let watching = async {
        loop {
            let over = world
                .row(
                    "select coalesce(jsonb_agg(to_jsonb(b)), '[]') from budgets b
                     join budget_limits l using (subject, subject_id) where b.used + b.reserved > l.tokens",
                )
                .await;
            assert_eq!(over, json!([]));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = doing => done,
        () = watching => unreachable!("it has no end"),
    }
}

/// Asks until the budget refuses. How often it was answered.
async fn spend(world: &World, person: &Person, text: &str) -> usize {
    let mut answered = 0;
    loop {
        let body = json!({ "content": text });
        let sent = world.try_to_post(person, body).await;
        if sent == 429 {
            return answered;
        }
        assert_eq!(sent, 201);
        answered += 1;
        world.work(&world.system).await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn whatever_the_text_no_more_is_used_than_the_budget_has(pool: PgPool) {
    let settings = [
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_KEY", "test"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
        ("SYSTEM_PROMPT", "0123456789 !§$%&"),
        ("RATE_LIMIT_SEND", "none"),
    ];
    let world = World::on(pool, &settings).await;
    world.peer.behave(Bucket::Hangs, Model::CountsBytes);
    for (number, text) in texts(600).iter().enumerate() {
        let anna = world.person(&format!("p{number}")).await;
        // Room for the first question, and then less and less for what was said before.
        limit(&world, &anna, 4_321).await;
        let answered = never_over(&world, spend(&world, &anna, text)).await;
        let used = world
            .row("select to_jsonb(used) from budgets order by period_start, subject_id desc limit 1")
            .await;
        println!(
            "{answered} answers, {used} of 4321 used: {:?}",
            text.chars().take(12).collect::<String>()
        );
        assert!(answered >= 2, "{answered} of {text}");
    }
    let unlike: Value = world
        .row(
            "select to_jsonb(count(*)) from budgets b join budget_limits l using (subject, subject_id)
             where used > tokens or reserved <> 0 or used <> (
                 select sum(input_tokens + output_tokens) from replies where asked_by = subject_id
             )",
        )
        .await;
    assert_eq!(unlike, json!(0));
}

#[sqlx::test(migrations = "../migrations")]
async fn chats_at_once_share_a_budget_without_exceeding_it(pool: PgPool) {
    let settings = [
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_KEY", "test"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
    ];
    let world = World::on(pool, &settings).await;
    world.peer.behave(Bucket::Hangs, Model::CountsBytes);
    let anna = world.person("anna").await;
    limit(&world, &anna, 2_500).await;
    let text = "9".repeat(300);
    let mut chats = vec![anna.clone()];
    for _ in 0..7 {
        chats.push(world.another_chat(&anna).await);
    }
    let sent = never_over(&world, async {
        let body = || json!({ "content": text });
        let sent = join_all(chats.iter().map(|chat| world.try_to_post(chat, body()))).await;
        world.work(&world.system).await;
        sent
    })
    .await;
    let accepted = sent.iter().filter(|status| **status == 201).count();
    assert!((3..8).contains(&accepted), "{sent:?}");
    let completed = "select to_jsonb(count(*)) from replies where state = 'completed'";
    assert_eq!(world.row(completed).await, json!(accepted));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_thought_is_no_more_than_what_is_held(pool: PgPool) {
    let world = World::on(pool, &[("MODEL_MAX_OUTPUT_TOKENS", "100")]).await;
    let anna = world.person("anna").await;
    limit(&world, &anna, 1_000).await;
    // Without end, and of no count: what was heard is all that there is to go by.
    let thinks = script(&json!({"thoughts": 1_000_000, "thoughtBytes": 300, "delayMs": 0}));
    never_over(&world, async {
        world.ask(&anna, &thinks).await;
        world.work(&world.system).await;
    })
    .await;
    let reply = world.reply().await;
    assert_eq!(
        (&reply["state"], &reply["failure"], &reply["attempt"]),
        (&json!("failed"), &json!("output-limit-spent-on-thinking"), &json!(1))
    );
    let books = "select jsonb_build_array(used, reserved, used <= 1000) from budgets where subject = 'person'";
    let spent = reply["input_tokens"].as_u64().unwrap() + reply["output_tokens"].as_u64().unwrap();
    assert_eq!(world.row(books).await, json!([spent, 0, true]));
    assert!(reply["output_tokens"].as_u64() >= Some(100), "{reply}");
}
