use eventsource_stream::Eventsource;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// What is read of the pieces: the events, and the error that ends them.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<&'static str>) {
    let mut events = Events::default();
    let mut read = Vec::new();
    for piece in pieces {
        events.push(piece);
        loop {
            match events.next() {
                Ok(Some(event)) => read.push(event.data),
                Ok(None) => break,
                Err(why) => return (read, Some(why)),
            }
        }
    }
    (read, None)
}

fn data(text: &str) -> Vec<String> {
    let (events, error) = read([text.as_bytes()]);
    assert_eq!(error, None);
    events
}

#[test]
fn an_event_is_its_data_lines_joined() {
    assert_eq!(data("data: a\ndata:b\ndata:  c\n\n"), ["a\nb\n c"]);
    assert_eq!(data("data\n\n"), [""]);
    assert_eq!(data("data: a\n\n\n\ndata: b\n\n"), ["a", "b"]);
}

#[test]
fn other_fields_and_comments_are_left_out() {
    assert_eq!(
        data(": ping\n\nevent: x\nid: 1\nretry: 5\ndatas: no\ndata: a\n: data: no\n\n"),
        ["a"]
    );
    assert_eq!(data("event: x\n\n"), [""; 0]);
}

#[test]
fn every_line_end_of_the_standard_ends_a_line() {
    assert_eq!(data("data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r"), ["a\nb\nc", "d"]);
}

#[test]
fn a_byte_order_mark_is_skipped_once() {
    assert_eq!(data("\u{feff}data: a\n\n"), ["a"]);
    assert_eq!(data("\u{feff}data: \u{feff}a\n\n\u{feff}data: b\n\n"), ["\u{feff}a"]);
}

#[test]
fn an_event_that_is_not_ended_waits_for_the_end_of_the_stream() {
    for text in ["data: a\n\ndata: b\n", "data: a\n\ndata: b"] {
        assert_eq!(data(text), ["a"]);
        assert_eq!(all(text), [("a".into(), false), ("b".into(), true)]);
    }
    assert_eq!(all("data: a\n\n: ping"), [("a".into(), false)]);
}

/// All events of a stream that ends here, and which of them may be cut.
fn all(text: &str) -> Vec<(String, bool)> {
    let mut events = Events::default();
    events.push(text.as_bytes());
    events.finish();
    std::iter::from_fn(|| events.next().unwrap())
        .map(|event| (event.data, event.may_be_cut))
        .collect()
}

#[test]
fn an_event_has_the_name_of_its_own_line() {
    let mut events = Events::default();
    events.push(b"event: error\ndata: a\n\ndata: b\n\nevent: x\n\ndata: c\n\n");
    let names = std::iter::from_fn(|| events.next().unwrap()).map(|event| event.name);
    assert_eq!(names.collect::<Vec<_>>(), ["error", "", ""]);
}

#[test]
fn json_without_data_lines_is_read_object_by_object() {
    let (one, two) = (r#"{"a":"}\"{"}"#, r#"{"b":[{"c":1},[2]]}"#);
    let (whole, lines) = (format!("{one}{two}"), format!("{one}\n{two}\n"));
    let (array, spread) = (format!("[{one},\r\n{two}]"), format!("[\n{one}\n,\n{two}\n]\n"));
    for text in [whole, lines, array, spread, format!("\u{feff} {one}\r{two}")] {
        let read: Vec<_> = all(&text).into_iter().map(|(data, _)| data).collect();
        assert_eq!(read, [one, two], "{text}");
    }
    assert_eq!(all("{\n \"a\":\n 1\n}\n"), [("{\n \"a\":\n 1\n}".into(), false)]);
    assert_eq!(
        all("{\"a\":1}\n[DONE]\n"),
        [("{\"a\":1}".into(), false), ("[DONE]".into(), false)]
    );
    assert_eq!(all("{\"a\":"), [("{\"a\":\n".into(), true)]);
    // A half that something else follows.
    assert_eq!(
        all("{\"a\":\ndata: b\n\n"),
        [("{\"a\":\n".into(), false), ("b".into(), false)]
    );
}

#[test]
fn events_without_blank_lines_between_them_are_told_apart() {
    assert_eq!(
        data("data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n\n"),
        [r#"{"a":1}"#, r#"{"b":2}"#, "[DONE]"]
    );
    assert_eq!(data("data: {\ndata: \"a\":{}\ndata: }\n\n"), ["{\n\"a\":{}\n}"]);
}

#[test]
fn a_page_is_no_stream() {
    for page in ["<html>", "\u{feff}\n <!DOCTYPE html>"] {
        assert_eq!(read([page.as_bytes()]), (vec![], Some("it is a page")));
        assert_eq!(read(page.as_bytes().chunks(1)), (vec![], Some("it is a page")));
    }
}

#[test]
fn invalid_utf8_becomes_what_the_standard_says() {
    for wrong in [&b"\xff"[..], b"\xe4\xb8", b"\xc0"] {
        let bytes = [b"data: a\n\ndata: ", wrong, b"\n\ndata: c\n\n"].concat();
        let expected = (vec!["a".to_owned(), "\u{fffd}".to_owned(), "c".to_owned()], None);
        assert_eq!(read([&bytes[..]]), expected);
        assert_eq!(read(bytes.chunks(1)), expected);
    }
}

#[test]
fn an_event_has_a_largest_size_and_events_together_have_none() {
    let of = |length: usize| format!("data: {}\n\n", "x".repeat(length - "data: ".len()));
    let (events, error) = read([of(MAX_EVENT_BYTES).as_bytes(), of(MAX_EVENT_BYTES).as_bytes()]);
    assert_eq!((events.len(), error), (2, None));
    let too_large = (vec![], Some("an event is larger than 1 MiB"));
    assert_eq!(read([of(MAX_EVENT_BYTES + 1).as_bytes()]), too_large);
    // Neither a line without end nor lines without end get past it.
    assert_eq!(read(std::iter::repeat_n(&b"xxxxxxxx"[..], MAX_EVENT_BYTES)), too_large);
    assert_eq!(
        read(std::iter::repeat_n(&b"data: xx\n"[..], MAX_EVENT_BYTES)),
        too_large
    );
}

#[test]
fn pieces_of_one_byte_are_read_in_linear_time() {
    let event = format!("data: {}\n\n", "x".repeat(MAX_EVENT_BYTES - 100));
    let begun = std::time::Instant::now();
    assert_eq!(read(event.as_bytes().chunks(1)).0.len(), 1);
    // A parser that starts each line anew with each piece takes hours.
    assert!(begun.elapsed().as_secs() < 10, "took {:?}", begun.elapsed());
}

const GOLDEN: &str = "\u{feff}: ping\r\n\r\nid: 7\r\nevent: x\rdata: {\"a\":\"Grüße 世界 👋🏽\"}\r\n\r\ndata:\ndata: \u{feff}b\n\n\n\
                      data: c\r\r: ping\n\ndata\ndata: ë\r\n\n";

#[test]
fn where_a_stream_is_split_makes_no_difference() {
    let bytes = GOLDEN.as_bytes();
    let whole = read([bytes]);
    assert_eq!(whole.0, ["{\"a\":\"Grüße 世界 👋🏽\"}", "\n\u{feff}b", "c", "\në"]);
    assert_eq!(read(bytes.chunks(1)), whole);
    for first in 0..bytes.len() {
        for second in first..bytes.len() {
            assert_eq!(read([&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
        }
    }
}

/// `eventsource-stream` is the second opinion, on all that it can read: a byte order mark makes it panic, invalid UTF-8
/// waits for the end.
#[tokio::test]
async fn another_parser_reads_the_same() {
    const PARTS: &[&str] = &[
        "data", ":", " ", "\n", "\r\n", "\n\n", "data: a", "data:世", "event: x", "👋", "id: 1", "x",
    ];
    let mut some = 0;
    for seed in 0..2000 {
        let mut random = StdRng::seed_from_u64(seed);
        let text: String = (0..30).map(|_| PARTS[random.random_range(0..PARTS.len())]).collect();
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(random.random_range(1..20)).collect();
        let theirs = stream::iter(pieces.iter().map(Ok::<_, ()>)).eventsource();
        let theirs: Vec<String> = theirs.map(|event| event.unwrap().data).collect().await;
        some += theirs.len();
        assert_eq!(read(pieces), (theirs, None), "seed {seed}: {text:?}");
    }
    assert!(some > 1000, "only {some} events were compared");
}

#[test]
fn no_bytes_make_it_panic() {
    for seed in 0..2000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = GOLDEN.as_bytes().to_vec();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        let (whole, split) = (read([&bytes[..]]), read(bytes.chunks(random.random_range(1..9))));
        assert_eq!(whole, split, "seed {seed}");
    }
}
