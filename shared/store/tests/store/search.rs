//! Search over one's own messages: what it finds equals what reading all of them would, page by page, and whatever is asked.

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId};
use domain::message::EditHistory;
use domain::person::Caller;
use domain::reply::Failure;
use domain::text::SearchText;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::replies::Ending;
use store::search::SearchPage;
use uuid::Uuid;

use crate::world::{Random, World, caller, edit, page, usage};

fn text(text: &str) -> SearchText {
    SearchText::parse(text).unwrap()
}

async fn search(world: &World, me: &Caller, wanted: &str, chat: Option<ChatId>) -> Option<SearchPage> {
    let store = &world.people;
    store
        .search(&me.id, &text(wanted), chat, None, page(100))
        .await
        .unwrap()
}

/// What is found, newest first.
async fn found(world: &World, me: &Caller, wanted: &str) -> Vec<String> {
    let results = search(world, me, wanted, None).await.unwrap().results;
    results.into_iter().map(|result| result.message.content).collect()
}

/// What is found on pages of so many.
async fn paged(world: &World, me: &Caller, wanted: &str, chat: Option<ChatId>, size: i64) -> Vec<MessageId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let store = &world.people;
        let found = store
            .search(&me.id, &text(wanted), chat, after, page(size))
            .await
            .unwrap()
            .unwrap();
        assert!(found.next.is_none() || found.results.len() == usize::try_from(size).unwrap());
        ids.extend(found.results.iter().map(|result| result.message.id));
        after = found.next;
        if after.is_none() {
            return ids;
        }
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn words_are_found_in_ones_own_chats_newest_first(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let direct = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let channel = world.chat(Kind::Channel, &[&anna, &cleo]).await;
    let foreign = world.chat(Kind::Direct, &[&ben, &cleo]).await;
    world.send(&anna, direct, "The Lighthouse at noon").await;
    world.send(&cleo, channel, "a lighthouse keeper's café").await;
    world.send(&ben, foreign, "secret lighthouse").await;
    let own = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, own, "who keeps it?").await.claim.unwrap();
    world.complete(&claim, "The keeper of the lighthouse does.").await;

    for (wanted, expected) in [
        (
            "lighthouse",
            vec![
                "The keeper of the lighthouse does.",
                "a lighthouse keeper's café",
                "The Lighthouse at noon",
            ],
        ),
        (
            "LIGHTHOUSE keeper",
            vec!["The keeper of the lighthouse does.", "a lighthouse keeper's café"],
        ),
        (
            "keeper ligh",
            vec!["The keeper of the lighthouse does.", "a lighthouse keeper's café"],
        ),
        ("ligh keeper", vec![]),
        ("\"lighthouse keeper\"", vec!["a lighthouse keeper's café"]),
        ("lighthouse -keeper", vec!["The Lighthouse at noon"]),
        (
            "lighthouse -keep",
            vec![
                "The keeper of the lighthouse does.",
                "a lighthouse keeper's café",
                "The Lighthouse at noon",
            ],
        ),
        (
            "noon or café",
            vec!["a lighthouse keeper's café", "The Lighthouse at noon"],
        ),
        ("caf", vec!["a lighthouse keeper's café"]),
        ("cafe ", vec![]),
        ("secret", vec![]),
        ("-noon", vec![]),
        ("!!! &&", vec![]),
    ] {
        assert_eq!(found(&world, &anna, wanted).await, expected, "{wanted}");
    }
    assert_eq!(found(&world, &ben, "lighthouse").await.len(), 2);

    let in_direct = search(&world, &anna, "lighthouse", Some(direct)).await.unwrap();
    assert_eq!((in_direct.results.len(), in_direct.next), (1, None));
    let result = &in_direct.results[0];
    assert_eq!((result.chat.id, result.chat.kind), (direct, Kind::Direct));
    assert_eq!(result.chat.user.as_ref().unwrap().id, ben.id);
    for (who, chat) in [(&anna, foreign), (&cleo, own), (&anna, ChatId::fresh())] {
        assert!(search(&world, who, "lighthouse", Some(chat)).await.is_none());
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_is_said_now_is_found_and_what_is_gone_is_not(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let message = world.send(&anna, chat, "old words").await.message.id;
    let doomed = world.send(&anna, chat, "doomed words").await.message.id;
    let store = &world.people;
    store
        .edit_message(&anna.id, chat, message, &edit("new text"), EditHistory::Kept)
        .await
        .unwrap();
    store.delete_message(&anna.id, chat, doomed).await.unwrap();
    assert_eq!(found(&world, &ben, "words").await, [""; 0]);
    assert_eq!(found(&world, &ben, "text").await, ["new text"]);

    // A failure's words are ours, not theirs.
    let own = world.assistant_chat(&anna).await;
    let claim = world.ask(&anna, own, "hi").await.claim.unwrap();
    let failed = Ending::Failed {
        failure: Failure::Abandoned,
        usage: usage(),
    };
    let ended = world.system.end_reply(&claim, &failed).await.unwrap().unwrap();
    let words = ended.message.unwrap().content;
    let word = words.split(' ').find(|word| word.len() > 3).unwrap();
    assert_eq!(found(&world, &anna, word).await, [""; 0]);

    // Of what was said before somebody joined, what they may see.
    let joined_late = "insert into members (chat_id, user_id, read_seq, read_number, visible_after)
                 select id, 'cleo', 3, 2, 3 from chats where kind = 'channel'";
    let cleo = world.person("cleo").await;
    let channel = world.chat(Kind::Channel, &[&anna, &ben]).await;
    for said in ["before one", "before two", "before three", "after all"] {
        world.send(&ben, channel, said).await;
    }
    world.rows.execute(joined_late).await.unwrap();
    assert_eq!(found(&world, &cleo, "before or after").await, ["after all"]);
    assert_eq!(paged(&world, &cleo, "before or after", Some(channel), 1).await.len(), 1);
    assert_eq!(found(&world, &ben, "before or after").await.len(), 4);

    // Whoever has left finds nothing there.
    world
        .rows
        .execute("delete from members where user_id = 'ben'")
        .await
        .unwrap();
    assert_eq!(found(&world, &ben, "text").await, [""; 0]);
}

#[sqlx::test(migrations = "../../migrations")]
async fn pages_neither_skip_nor_repeat_while_messages_arrive(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chats = [
        world.chat(Kind::Direct, &[&anna, &ben]).await,
        world.chat(Kind::Channel, &[&anna, &ben]).await,
    ];
    let mut sent = Vec::new();
    for number in 0..60 {
        sent.push(world.send(&ben, chats[number % 2], "again and again").await.message.id);
    }
    // Many in one microsecond, so that ids must tell them apart.
    world
        .rows
        .execute("update messages set created_at = date_trunc('hour', created_at) where seq % 3 > 0")
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let store = &world.people;
        let found = store
            .search(&anna.id, &text("again"), None, after, page(7))
            .await
            .unwrap()
            .unwrap();
        seen.extend(found.results.into_iter().map(|result| result.message.id));
        after = found.next;
        if after.is_none() {
            break;
        }
        world.send(&ben, chats[0], "again").await;
    }
    let ordered = seen.clone();
    sent.sort();
    seen.sort();
    assert_eq!(seen, sent);
    let later = paged(&world, &anna, "again", None, 100).await;
    assert!(later.ends_with(&ordered));
}

/// Busy and quiet chats, blocks of the index with their borders, times out of order, and every kind of question.
#[sqlx::test(migrations = "../../migrations")]
async fn what_is_found_is_what_reading_everything_would_find(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    for _ in 0..40 {
        world.chat(Kind::Channel, &[&anna, &ben]).await;
    }
    let busy = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let foreign = world.chat(Kind::Channel, &[&ben]).await;
    world
        .rows
        .execute(AssertSqlSafe(format!(
            "select setseed(0.5);
             insert into messages (
                 chat_id, seq, id, number, changed_seq, role, sender_id, content, created_at, deleted_at
             )
             select
                 c.id, n, gen_random_uuid(), n, n, 'user', 'ben',
                 (select string_agg('w' || floor(exp(random() * ln(400)))::int, ' ') from generate_series(1, 4 + n % 3)),
                 -- About in order, as sends that wait for one another are.
                 now() - interval '1 second' * (floor((5000 - n + random() * 3) / 2) + abs(hashtext(c.id::text)) % 4000),
                 case when n % 17 = 0 then now() end
             from chats c
             cross join lateral generate_series(1, case when c.id in ('{busy}', '{foreign}') then 3500 else 12 end) as n;
             update chats c
             set last_seq = said.seq, last_number = said.seq, last_message_seq = said.seq, last_message_at = said.at
             from (select chat_id, max(seq) as seq, max(created_at) as at from messages group by chat_id) as said
             where said.chat_id = c.id;
             analyze;"
        )))
        .await
        .unwrap();
    let mut random = Random(20_261_121);
    for round in 0..120 {
        let mut word = || {
            format!(
                "w{}",
                f64::from(u32::try_from(random.below(400)).unwrap() + 1).sqrt() as u32
            )
        };
        let (one, two, three) = (word(), word(), word());
        let wanted = match round % 8 {
            0 => one,
            1 => format!("{one} {two}"),
            2 => format!("{one} {two} w"),
            3 => format!("\"{one} {two}\""),
            4 => format!("{one} -{two}"),
            5 => format!("{one} or {two} {three}"),
            6 => format!("{one}0 "),
            _ => format!("\"{one} {two}\" or w39{}", round % 10),
        };
        let chat = (round % 5 == 0).then_some(busy);
        let expected: Vec<Uuid> = sqlx::query_scalar(
            "select m.id from messages m
             where m.chat_id in (select chat_id from members where user_id = 'anna') and m.deleted_at is null
                 and to_tsvector('simple', m.content) @@ search_query($1) and ($2::uuid is null or m.chat_id = $2)
             order by m.created_at desc, m.id desc
             limit 200",
        )
        .bind(&wanted)
        .bind(chat.map(ChatId::uuid))
        .fetch_all(&world.rows)
        .await
        .unwrap();
        let mut got = Vec::new();
        let mut after = None;
        while got.len() < 200 {
            let store = &world.people;
            let size = page([100, 37, 9][round % 3]);
            let found = store
                .search(&anna.id, &text(&wanted), chat, after, size)
                .await
                .unwrap()
                .unwrap();
            got.extend(found.results.iter().map(|result| result.message.id.uuid()));
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        got.truncate(200);
        assert_eq!(got, expected, "{wanted}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn nothing_that_is_asked_is_an_error(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    world
        .send(
            &ben,
            chat,
            "it's a 'quoted' \\ back\\slash <b>tag</b> x@y.z http://a.b/c?d=e#f 1.5e3 -7 a-b_c",
        )
        .await;
    const PIECES: [&str; 38] = [
        "a",
        "it's",
        "'",
        "''",
        "\"",
        "\\",
        "\\'",
        "&",
        "|",
        "!",
        "<->",
        "<2>",
        "(",
        ")",
        ":*",
        ":A",
        ":",
        "*",
        "-",
        "--",
        " or ",
        " and ",
        " ",
        "\t",
        "\u{1}",
        "\u{7f}",
        "é",
        "🦀",
        "\u{e000}",
        "x@y.z",
        "http://a.b/c?d=e",
        "1.5e3",
        "-7",
        "a-b_c",
        "%",
        "_",
        "$1",
        "<b>",
    ];
    let mut random = Random(7);
    for _ in 0..1_500 {
        let pieces = (0..=random.below(7)).map(|_| *random.pick(&PIECES));
        let wanted: String = pieces.collect();
        if let Ok(wanted) = SearchText::parse(&wanted) {
            let found = world.people.search(&anna.id, &wanted, None, None, page(5)).await;
            assert!(found.is_ok(), "{wanted:?}: {found:?}");
        }
    }
    for wanted in ["it's", "back\\slash", "x@y.z", "\"a-b_c\"", "1.5e3", "'quoted'"] {
        assert_eq!(found(&world, &anna, wanted).await.len(), 1, "{wanted}");
    }
    let longest = "ü".repeat(200);
    assert_eq!(found(&world, &anna, &longest).await, [""; 0]);
    world.send(&ben, chat, &longest).await;
    assert_eq!(found(&world, &anna, &longest).await.len(), 1);
}

#[sqlx::test(migrations = "../../migrations")]
async fn no_message_is_too_odd_to_be_stored(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let words: String = (0..60_000).map(|number| format!("n{number} ")).collect();
    for odd in [
        words,
        "x".repeat(5_000),
        "ü".repeat(1_500_000),
        "🦀".repeat(9_000),
        " '\\ ".repeat(9_000),
        "\t\r\n".repeat(9),
    ] {
        world.send(&ben, chat, &format!("needle {odd}")).await;
    }
    assert_eq!(found(&world, &anna, "needle").await.len(), 6);
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_snippet_is_text_around_the_match(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    let padding = "so much else is said ".repeat(50);
    world
        .send(
            &ben,
            chat,
            &format!("{padding} the \u{e000}keeper\u{e001} & <i>sea</i> {padding}"),
        )
        .await;
    let results = search(&world, &anna, "keep", None).await.unwrap().results;
    let snippet = &results[0].snippet;
    let matches: Vec<_> = snippet
        .iter()
        .filter(|piece| piece.is_match)
        .map(|piece| piece.text.as_str())
        .collect();
    assert_eq!(matches, ["keeper"]);
    let whole: String = snippet.iter().map(|piece| piece.text.as_str()).collect();
    assert!(whole.contains("the keeper &") && whole.len() < 300, "{whole}");
}

#[sqlx::test(migrations = "../../migrations")]
async fn what_one_can_see_and_paste_is_found_in_any_script(pool: PgPool) {
    const SAID: [(&str, &[&str]); 12] = [
        (
            "the plan: https://wiki.exa-mple.com/docs/v1.2/a_b?page=7&sort=up#top, see there",
            &[
                "https://wiki.exa-mple.com/docs/v1.2/a_b?page=7&sort=up#top",
                "https://wiki.exa-mple.com/docs/v1.2/a_b?page=7",
                "wiki.exa-mple.com",
                "exa-mple.com/docs",
                "/docs/v1.2/a_b",
                "?page=7&sort=up",
                "sort=up",
                "mple",
                "exa-mple",
                "v1.2",
            ],
        ),
        (
            "fix user_id_of_owner in src/store/chats.rs:123 (ISO-8859-1), cc anna.b@mail.example",
            &[
                "user_id_of_owner",
                "src/store/chats.rs:123",
                "chats.rs",
                "iso-8859-1",
                "anna.b@mail.example",
                "owner",
                "--owner",
            ],
        ),
        (
            "私は明日東京都へ行きます。",
            &[
                "東京",
                "東京都",
                "京都",
                "都",
                "私",
                "明日東京",
                "行きます。",
                "\"東京都\"",
                "東京都 私は",
            ],
        ),
        ("我们在北京大学见面吧", &["北京大学", "大学", "北", "吧", "见面"]),
        ("สวัสดีครับ พรุ่งนี้เจอกันที่กรุงเทพ", &["สวัสดี", "เจอกัน", "กรุงเทพ", "พรุ่งนี้เจอกัน"]),
        ("내일 학교에서 만나요", &["학교", "학교에서", "만나"]),
        ("ສະບາຍດີຕອນເຊົ້າ", &["ຕອນເຊົ້າ"]),
        ("un cafe\u{301} noir", &["café", "cafe\u{301}", "caf\u{e9} noir"]),
        ("ein Gru\u{df} aus K\u{f6}ln", &["ko\u{308}ln", "KÖLN", "gruß"]),
        ("Ὀδυσσεὺς ΟΔΥΣΣΕΥΣ οδυσσεύς", &["οδυσσευσ", "ΟΔΥΣΣΕΥΣ", "οδυσσευς"]),
        ("ｆｕｌｌ　ｗｉｄｔｈ ﬁne", &["full width", "fine", "ｗｉｄｔｈ"]),
        ("see 🦀☕️ later", &["🦀", "☕", "☕️", "🦀☕️"]),
    ];
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    for (said, _) in SAID {
        world.send(&ben, chat, said).await;
    }
    for (said, pasted) in SAID {
        for wanted in pasted.iter().chain([&said]) {
            let results = search(&world, &anna, wanted, None).await.unwrap().results;
            let found: Vec<_> = results.iter().map(|result| result.message.content.as_str()).collect();
            assert_eq!(found, [said], "{wanted}");
            assert!(
                results[0].snippet.iter().any(|piece| piece.is_match),
                "{wanted}: {:?}",
                results[0].snippet
            );
        }
    }
    // What is only alike is not it: the order counts in an address, accents do, and so do the characters of a word.
    for wanted in [
        "example.com",
        "sort=7",
        "京東",
        "学大",
        "cafe ",
        "koln ",
        "都東",
        "user_of_id",
        "кот",
        "v12",
    ] {
        assert_eq!(found(&world, &anna, wanted).await, [""; 0], "{wanted}");
    }
    for (without, count) in [("の -東京", 0), ("私 -東", 0), ("私 -大学", 1)] {
        assert_eq!(found(&world, &anna, without).await.len(), count, "{without}");
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn a_snippet_marks_what_was_found_and_no_more(pool: PgPool) {
    let world = World::on(pool).await;
    let marked = async |content: &str, wanted: &str| -> String {
        sqlx::query_scalar("select search_snippet($1, $2, '[', ']')")
            .bind(content)
            .bind(wanted)
            .fetch_one(&world.rows)
            .await
            .unwrap()
    };
    for (content, wanted, expected) in [
        (
            "a b https://e.com/a?b=c b c",
            "e.com/a",
            "a b https://[e][.][com][/][a]?b=c b c",
        ),
        ("The Keepers keep", "keep", "The [Keepers] [keep]"),
        ("The Keepers keep", "keep ", "The Keepers [keep]"),
        ("one two one", "\"two one\"", "one [two][ ][one]"),
        ("私は東京都へ", "東京", "私は[東][京]都へ"),
        ("私は東京都へ", "都", "私は東京[都]へ"),
        ("un cafe\u{301} noir", "caf\u{e9}", "un [caf\u{e9}] noir"),
        ("nothing of it", "else", "nothing of it"),
        ("not -this but that", "that -this", "not -this but [that]"),
    ] {
        assert_eq!(marked(content, wanted).await, expected, "{wanted}");
    }
    // Far into a long text, also where nothing parts its words.
    for (filler, needle) in [("so much else ", "the keeper "), ("何も書いていない", "東京都")] {
        for before in [0, 10, 37, 100, 1000] {
            let content = format!("{}{needle}{}", filler.repeat(before), filler.repeat(50));
            let snippet = marked(&content, needle.trim()).await;
            assert!(
                snippet.contains('[') && snippet.chars().count() < 400,
                "{before}: {snippet}"
            );
        }
    }
}

/// What was said before it was upgraded.
#[sqlx::test(migrations = false)]
async fn what_was_said_before_is_found_as_well(pool: PgPool) {
    let all = Migrator::new(std::path::Path::new("../../migrations")).await.unwrap();
    let until = |last: i64| {
        let migrations: Vec<_> = all.iter().filter(|one| one.version <= last).cloned().collect();
        Migrator {
            migrations: migrations.into(),
            ..Migrator::DEFAULT
        }
    };
    until(77).run(&pool).await.unwrap();
    let world = World::on(pool.clone()).await;
    pool.execute(
        "insert into people (id, name) values ('anna', 'Anna');
         insert into chats (id, kind, owner_id, last_seq, last_number, last_message_seq, last_message_at)
         values ('0192aaaa-0000-7000-8000-000000000000', 'channel', 'anna', 1, 1, 1, now());
         insert into members (chat_id, user_id) values ('0192aaaa-0000-7000-8000-000000000000', 'anna');
         insert into messages (chat_id, seq, id, number, changed_seq, role, sender_id, content)
         values ('0192aaaa-0000-7000-8000-000000000000', 1, gen_random_uuid(), 1, 1, 'user', 'anna', '東京都 a_b')",
    )
    .await
    .unwrap();
    all.run(&pool).await.unwrap();
    let anna = caller("anna");
    for wanted in ["京都", "a_b"] {
        assert_eq!(found(&world, &anna, wanted).await, ["東京都 a_b"]);
    }
}

#[sqlx::test(migrations = "../../migrations")]
async fn without_a_caller_nothing_is_found(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben) = (world.person("anna").await, world.person("ben").await);
    let chat = world.chat(Kind::Direct, &[&anna, &ben]).await;
    world.send(&ben, chat, "needle").await;
    let search = "select count(*) from search_messages(search_query('needle'), null, null, null, 5)";
    for (caller, expected) in [("", 0), ("cleo", 0), ("anna", 1)] {
        let mut transaction = world.restricted.begin().await.unwrap();
        if !caller.is_empty() {
            sqlx::query("select acting_as($1)")
                .bind(caller)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        let found: i64 = sqlx::query_scalar(search).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(found, expected, "{caller}");
    }
}
