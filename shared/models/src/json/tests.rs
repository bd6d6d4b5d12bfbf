use super::*;

fn texts(pieces: &[&str]) -> String {
    let mut halves = Halves::default();
    let mut whole = String::new();
    for piece in pieces {
        let Value::String(text) = value(&format!("\"{piece}\"")).unwrap() else {
            panic!("{piece} is no text")
        };
        whole.push_str(&halves.join(text));
    }
    whole.extend(halves.rest());
    whole
}

#[test]
fn halves_are_joined_wherever_they_are_cut() {
    for (pieces, whole) in [
        (&["a\\ud83d\\ude00b"][..], "a😀b"),
        (&["a\\ud83d", "\\ude00b"], "a😀b"),
        (&["a\\uD83D", "", "\\uDE00b"], "a😀b"),
        (&["\\ud83d", "\\ud83d", "\\ude00"], "\u{fffd}😀"),
        (&["\\ud83d", "a", "\\ude00"], "\u{fffd}a\u{fffd}"),
        (&["\\ude00\\ud83d"], "\u{fffd}\u{fffd}"),
        (&["\\ud83d"], "\u{fffd}"),
    ] {
        assert_eq!(texts(pieces), whole, "{pieces:?}");
    }
}

#[test]
fn the_mark_itself_is_no_half() {
    for text in ["\u{fdd0}\u{e03d}", "\\ufdd0\\ue03d", "\\uFDD0\u{e03d}"] {
        assert_eq!(texts(&[text, "\\ude00"]), "\u{fffd}\u{e03d}\u{fffd}", "{text}");
    }
    assert_eq!(texts(&["\u{e03d}\u{e000}"]), "\u{e03d}\u{e000}");
}

#[test]
fn what_is_not_quite_json_is_mended() {
    let read = |text: &str| value(text).unwrap().to_string();
    assert_eq!(read("{\"a\": \"b\tc\u{1}\"}"), r#"{"a":"b\tc\u0001"}"#);
    assert_eq!(
        read("{\"a\": NaN, \"b\": [-Infinity, Infinity]}"),
        r#"{"a":null,"b":[null,null]}"#
    );
    assert_eq!(
        read("{\"a\": \"NaN \\' \\\\ \\\" \\u00e4\tx\"}"),
        r#"{"a":"NaN ' \\ \" ä\tx"}"#
    );
}

#[test]
fn what_may_hide_words_is_told_from_what_cannot() {
    for (text, may_hide) in [
        ("{", false),
        ("[[[[", false),
        ("{not json}", false),
        ("{\"type\": 'ping'}", false),
        ("{\"typ", true),
        ("{\"type\": \"ping\"", true),
        ("{'content': 'a'}", true),
        ("{\"choices\": [}", true),
    ] {
        assert_eq!(value(text).unwrap_err().may_hide_words, may_hide, "{text}");
    }
}

#[test]
fn nothing_makes_it_panic() {
    for text in [
        "\"\\",
        "\"\\u",
        "\"\\ud83",
        "\"\\ud83d\\",
        "\"\\ud83d\\u12",
        "\"\\ü\"",
        "\\",
        "\"\\\u{1}",
        "\u{fdd0}",
    ] {
        let _ = value(text);
        let mut halves = Halves::default();
        let _ = (halves.join(text.to_owned()), halves.rest());
    }
}
