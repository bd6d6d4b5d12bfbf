//! When the bytes come, how many, and of what kind.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// What may be heard once so many bytes of the golden answer are there.
fn expected(length: usize) -> (Vec<String>, End) {
    let (mut texts, mut finish, mut usage) = (Vec::new(), None, None);
    let mut end = 0;
    for (event, text) in golden() {
        end += event.len();
        // The blank line behind an event is no part of it.
        if end - 2 > length {
            break;
        }
        texts.extend(text.map(str::to_owned));
        if event == finishes("stop") {
            finish = Some(Finish::Stop);
        }
        if event == counts() {
            usage = Some(COUNTED);
        }
    }
    (texts, finish.map(|finish| (finish, usage)).ok_or(ModelError::Truncated))
}

#[tokio::test]
async fn no_cut_makes_a_whole_answer_of_half_a_one() {
    let bytes = golden_bytes();
    let length = bytes.len();
    assert_eq!(expected(length).1, Ok((Finish::Stop, Some(COUNTED))));
    assert_eq!(expected(length / 2).1, Err(ModelError::Truncated));
    // Each cut twice: as a connection that breaks, and as a stream that ends as streams do.
    let fake = Fake::start(move |before| match before % 2 {
        0 => vec![head(), piece(&bytes[..before / 2])],
        _ => stream_of([&bytes[..before / 2]]),
    });
    let model = model(fake.url());
    // A piece of no bytes would be the end.
    assert_eq!(hear(&model).await.1, Err(ModelError::Truncated));
    for request in 1..=2 * length + 1 {
        assert_eq!(
            hear(&model).await,
            expected(request / 2),
            "byte {}, request {request}",
            request / 2
        );
    }
}

#[tokio::test]
async fn pieces_of_any_size_make_the_same_answer() {
    let cut = |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        let bytes = golden_bytes();
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let largest = if seed == 0 { 1 } else { rest.len().min(40) };
            let (first, others) = rest.split_at(random.random_range(1..=largest));
            pieces.push(first.to_vec());
            rest = others;
        }
        pieces
    };
    let fake = Fake::start(move |before| stream_of(cut(before as u64)));
    let model = model(fake.url());
    for seed in 0..100 {
        assert_eq!(hear(&model).await, expected(usize::MAX), "seed {seed}");
    }
}

#[tokio::test]
async fn no_bytes_make_it_panic_or_wait() {
    let broken = |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = golden_bytes();
        for _ in 0..random.random_range(1..12) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    };
    let fake = Fake::start(move |before| stream_of([broken(before as u64)]));
    let model = model(fake.url());
    let mut kinds = std::collections::HashSet::new();
    for _ in 0..500 {
        let end = hear(&model).await.1;
        kinds.insert(end.map_or_else(|error| error.to_string(), |(finish, _)| format!("{finish:?}")));
    }
    assert!(kinds.len() >= 3, "{kinds:?}");
}

#[tokio::test]
async fn an_event_beyond_all_measure_is_malformed_long_before_it_ends() {
    let mut answer = vec![head(), piece(says("a")), piece("data: ")];
    answer.extend(std::iter::repeat_n(piece("x".repeat(64 * 1024)), 17));
    answer.push(Act::Hang);
    let fake = Fake::always(answer);
    let (texts, end) = hear(&model(fake.url())).await;
    assert_eq!(texts, ["a"]);
    assert!(
        matches!(&end, Err(ModelError::Malformed { detail }) if detail.contains("1 MiB")),
        "{end:?}"
    );
    fake.left().await;
}

#[tokio::test]
async fn invalid_utf8_becomes_what_the_standard_says() {
    let wrong = [
        says("a").as_bytes(),
        b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n",
        finishes("stop").as_bytes(),
    ]
    .concat();
    let (texts, end) = hear_of(stream_of([wrong])).await;
    assert_eq!((texts.concat().as_str(), end), ("a\u{fffd}", Ok((Finish::Stop, None))));
}

#[tokio::test]
async fn a_byte_order_mark_and_returns_are_no_trouble() {
    let bytes = String::from_utf8(golden_bytes()).unwrap();
    let (_, end) = hear_of(stream_of([format!("\u{feff}{}", bytes.replace('\n', "\r\n"))])).await;
    assert_eq!(end, Ok((Finish::Stop, Some(COUNTED))));
}

/// A server that does this, and a model that waits so long for the first byte and for each other.
async fn hear_with(first: Duration, silence: Duration, answer: fakes::Answer) -> (Vec<String>, End) {
    let fake = Fake::always(answer);
    let mut settings = settings(fake.url());
    settings.first_byte_timeout = first;
    settings.silence_timeout = silence;
    let begun = Instant::now();
    let heard = hear(&OpenAi::new(&settings).unwrap()).await;
    assert!(begun.elapsed() < LONG, "the longer patience was lost");
    heard
}

#[tokio::test]
async fn whoever_never_begins_is_silent() {
    let silent = (vec![], Err(ModelError::Silent));
    assert_eq!(hear_with(SHORT, LONG, vec![Act::Hang]).await, silent);
    assert_eq!(hear_with(SHORT, LONG, vec![head(), Act::Hang]).await, silent);
}

#[tokio::test]
async fn whoever_stops_talking_is_silent() {
    let heard = hear_with(LONG, SHORT, vec![head(), piece(says("a")), Act::Hang]).await;
    assert_eq!(heard, (vec!["a".to_owned()], Err(ModelError::Silent)));
    let heard = hear_with(LONG, SHORT, vec![head(), piece(": ping\n\n"), Act::Hang]).await;
    assert_eq!(heard, (vec![], Err(ModelError::Silent)));
}

#[tokio::test]
async fn the_first_byte_has_a_patience_of_its_own() {
    let mut answer = vec![Act::Rest(SHORT), head(), Act::Rest(SHORT * 2)];
    answer.push(piece(golden_bytes()));
    answer.push(fakes::end());
    assert_eq!(
        hear_with(LONG, SHORT, answer).await.1,
        Ok((Finish::Stop, Some(COUNTED)))
    );
}

#[tokio::test]
async fn pings_are_signs_of_life() {
    let pings = std::iter::repeat_n([piece(": ping\n\n"), Act::Rest(SHORT / 4)], 40).flatten();
    let answer = [head()]
        .into_iter()
        .chain(pings)
        .chain([piece(golden_bytes()), fakes::end()])
        .collect();
    // A second of pings, of which none is as far from the next as the patience is long.
    assert_eq!(
        hear_with(LONG, SHORT * 5, answer).await.1,
        Ok((Finish::Stop, Some(COUNTED)))
    );
}

#[tokio::test]
async fn a_whole_answer_whose_stream_hangs_is_whole() {
    let bytes = [says("a"), finishes("stop")].concat();
    let heard = hear_with(LONG, SHORT, vec![head(), piece(bytes), Act::Hang]).await;
    assert_eq!(heard, (vec!["a".to_owned()], Ok((Finish::Stop, None))));
}

#[tokio::test]
async fn texts_come_as_they_are_sent() {
    let fake = Fake::always(vec![head(), piece(says("a")), piece(says("b")), Act::Hang]);
    let mut chunks = model(fake.url()).stream(&prompt()).await.unwrap();
    for text in ["a", "b"] {
        assert_eq!(
            chunks.next().await,
            Some(Ok(Chunk::Text(text.into()))),
            "while the server still hangs"
        );
    }
}

#[tokio::test]
async fn dropping_the_stream_or_the_question_cancels_the_request() {
    let fake = Fake::always(vec![head(), piece(says("a")), Act::Hang]);
    let mut chunks = model(fake.url()).stream(&prompt()).await.unwrap();
    assert_eq!(chunks.next().await, Some(Ok(Chunk::Text("a".into()))));
    drop(chunks);
    fake.left().await;

    let fake = Fake::always(vec![Act::Hang]);
    let (model, prompt) = (model(fake.url()), prompt());
    let asked = timeout(SHORT, model.stream(&prompt)).await;
    assert!(asked.is_err(), "nothing was answered");
    fake.left().await;
}
