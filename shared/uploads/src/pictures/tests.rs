use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::super::tests::{BUCKET, attachments};
use super::*;
use domain::ids::AttachmentId;

impl Attachments {
    /// Of one message: the images, and what is said of the others.
    async fn for_model(&self, attachments: &Value) -> (Vec<Image>, Vec<String>) {
        let all: Vec<_> = attachments.as_array().into_iter().flatten().collect();
        let (mut images, mut notes) = (Vec::new(), Vec::new());
        for shown in self.pictures(&all, usize::MAX).await.shown {
            match shown {
                Shown::Image(image) => images.push(image),
                Shown::Note(note) => notes.push(note),
            }
        }
        (images, notes)
    }
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";
const KEY: &str = "attachments/0192aaaa-0000-7000-8000-000000000000";

/// A server that answers each path with what it is told to, on threads of its own; others with 404.
fn server(answers: &[(&str, &str, &[u8])]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let answers: HashMap<_, _> = answers
        .iter()
        .map(|(path, head, body)| ((*path).to_owned(), [head.as_bytes(), b"\r\n\r\n", body].concat()))
        .collect();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let line = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let path = line.split([' ', '?']).nth(1).unwrap_or_default();
            let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
            let answer = answers.get(path).unwrap_or(&missing);
            // The client may have left: it takes no more than the limit.
            let _left = stream.write_all(answer);
        }
    });
    at
}

fn png(length: usize) -> Vec<u8> {
    let mut bytes = PNG.to_vec();
    bytes.resize(length, b'.');
    bytes
}

fn head(status: &str, mime_type: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {mime_type}\r\ncontent-length: {length}\r\nconnection: close")
}

fn upload(mime_type: &str) -> Value {
    json!([{"type": "image", "url": format!("s3://bucket/{KEY}"), "mimeType": mime_type}])
}

fn unreadable() -> (Vec<Image>, Vec<String>) {
    (vec![], vec![UNREADABLE.to_owned()])
}

#[tokio::test]
async fn an_upload_is_shown_as_it_is() {
    let path = format!("/bucket/{KEY}");
    let at = server(&[(&path, &head("200 OK", "image/png", PNG.len()), PNG)]);
    let attachments = attachments(&[BUCKET], &at);
    let (images, notes) = attachments.for_model(&upload("image/png")).await;
    let [image] = images.as_slice() else {
        panic!("{images:?}, {notes:?}")
    };
    assert_eq!((image.mime_type.as_str(), &*image.bytes), ("image/png", PNG));
    assert_eq!(notes, [""; 0]);
}

/// A JPEG that its sender announced as a PNG is shown as what it is.
#[tokio::test]
async fn the_bytes_of_an_upload_decide_what_it_is() {
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0....";
    let path = format!("/bucket/{KEY}");
    for (announced, bytes, is) in [
        ("image/png", JPEG, "image/jpeg"),
        ("image/webp", PNG, "image/png"),
        ("image/jpg", JPEG, "image/jpeg"),
        ("application/octet-stream", PNG, "image/png"),
    ] {
        let at = server(&[(&path, &head("200 OK", announced, bytes.len()), bytes)]);
        let (images, notes) = attachments(&[BUCKET], &at).for_model(&upload(announced)).await;
        let [image] = images.as_slice() else {
            panic!("{announced}: {images:?}, {notes:?}")
        };
        assert_eq!((image.mime_type.as_str(), &*image.bytes), (is, bytes), "{announced}");
    }
}

#[tokio::test]
async fn what_no_model_can_be_shown_is_said_to_be_that() {
    let path = format!("/bucket/{KEY}");
    for bytes in [&b"<script>"[..], b"\0\0\0\x18ftypheic....", b"<svg/>"] {
        let at = server(&[(&path, &head("200 OK", "image/png", bytes.len()), bytes)]);
        let seen = attachments(&[BUCKET], &at).for_model(&upload("image/png")).await;
        assert_eq!(seen, (vec![], vec![UNSUPPORTED.to_owned()]));
    }
}

#[tokio::test]
async fn an_upload_that_was_never_made_or_is_too_large_is_a_note() {
    let path = format!("/bucket/{KEY}");
    let large = png(101);
    for (what, settings, answer, mime_type) in [
        ("never made", &[BUCKET][..], None, "image/png"),
        (
            "too large",
            &[BUCKET, ("MAX_ATTACHMENT_BYTES", "100")],
            Some(&large),
            "image/png",
        ),
        ("no bucket", &[], Some(&PNG.to_vec()), "image/png"),
        (
            "another bucket",
            &[("ATTACHMENTS_BUCKET", "other")],
            Some(&PNG.to_vec()),
            "image/png",
        ),
    ] {
        let at = match answer {
            Some(body) => server(&[(&path, &head("200 OK", mime_type, body.len()), body)]),
            None => server(&[]),
        };
        let seen = attachments(settings, &at).for_model(&upload(mime_type)).await;
        assert_eq!(seen, unreadable(), "{what}");
    }
}

#[tokio::test]
async fn only_listed_hosts_are_asked_and_others_are_told_of() {
    let attachments = attachments(
        &[("ATTACHMENT_HOSTS", "Pictures.example.com, cdn.example.com")],
        "http://127.0.0.1:9",
    );
    for (url, may) in [
        ("https://pictures.example.com/a", true),
        ("https://CDN.example.com:8443/a", true),
        ("https://example.com/a", false),
        ("https://cdn.example.com.evil.org/a", false),
        ("https://evil.org/cdn.example.com", false),
        ("https://169.254.169.254/latest/meta-data", false),
    ] {
        assert_eq!(attachments.may_fetch_from(&Url::parse(url).unwrap()), may, "{url}");
    }
    let urls = json!([{"url": "https://example.com/a?b=c"}, {"url": "https://evil.org/"}]);
    let (images, notes) = attachments.for_model(&urls).await;
    assert_eq!(images, []);
    assert_eq!(
        notes,
        ["[image: https://example.com/a?b=c]", "[image: https://evil.org/]"]
    );
}

#[tokio::test]
async fn what_a_host_answers_must_be_an_image_within_the_limit() {
    let (small, large) = (png(100), png(101));
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close";
    let html = b"<html>";
    let moved = "HTTP/1.1 302 Found\r\nlocation: /small\r\ncontent-type: image/png\r\ncontent-length: 0";
    let at = server(&[
        ("/small", &head("200 OK", "image/PNG; q=1", small.len()), &small),
        ("/large", &head("200 OK", "image/png", large.len()), &large),
        // It says nothing of its length.
        ("/endless", chunked, &large),
        ("/cut", &head("200 OK", "image/png", 100), PNG),
        ("/other-type", &head("200 OK", "image/gif", small.len()), &small),
        (
            "/untyped",
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close",
            &small,
        ),
        ("/page", &head("200 OK", "text/html", html.len()), html),
        ("/image-as-page", &head("200 OK", "text/html", small.len()), &small),
        ("/page-as-image", &head("200 OK", "image/png", html.len()), html),
        ("/moved", moved, b""),
        ("/error", &head("500 Oh", "image/png", small.len()), &small),
    ]);
    let attachments = attachments(&[("MAX_ATTACHMENT_BYTES", "100")], "http://127.0.0.1:9");
    let fetch = async |path: &str| {
        attachments
            .fetch_from_web(Url::parse(&format!("{at}{path}")).unwrap(), Most::Bytes(100))
            .await
    };
    // What a host says of them is often wrong.
    for good in ["/small", "/other-type", "/image-as-page", "/untyped"] {
        let image = fetch(good).await.unwrap();
        assert_eq!(
            (image.mime_type.as_str(), image.bytes.len()),
            ("image/png", 100),
            "{good}"
        );
    }
    for bad in [
        "/large",
        "/endless",
        "/cut",
        "/page",
        "/page-as-image",
        "/moved",
        "/error",
        "/nowhere",
    ] {
        assert!(fetch(bad).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn nonsense_in_place_of_attachments_is_no_image() {
    let attachments = attachments(&[BUCKET], "http://127.0.0.1:9");
    for nonsense in [json!(null), json!({}), json!([])] {
        assert_eq!(attachments.for_model(&nonsense).await, (vec![], vec![]), "{nonsense}");
    }
    for odd in [
        json!([7]),
        json!([{"url": 7}]),
        json!([{"url": "file:///etc/passwd"}]),
        json!([{"url": "http://h/a"}]),
    ] {
        assert_eq!(attachments.for_model(&odd).await, unreadable(), "{odd}");
    }
}

#[test]
fn four_kinds_are_told_by_their_first_bytes() {
    for (bytes, kind) in [
        (PNG, Some("image/png")),
        (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
        (b"GIF87a", Some("image/gif")),
        (b"GIF89a...", Some("image/gif")),
        (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"\x89PNG", None),
        (b"<svg/>", None),
        (b"", None),
    ] {
        assert_eq!(sniffed(bytes), kind, "{bytes:?}");
    }
}

/// What S3 does not say counts as made: people go on talking while it is down, forbidden or silent.
#[tokio::test]
async fn only_an_upload_that_s3_says_is_not_there_is_missing() {
    let [there, absent, forbidden] = std::array::from_fn(|_| AttachmentId::fresh());
    let path = |id: AttachmentId| format!("/bucket/attachments/{id}");
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close");
    let at = server(&[
        (&path(there), &answer("200 OK"), b""),
        (&path(forbidden), &answer("403 Forbidden"), b""),
    ]);
    let missing = async |at: &str| attachments(&[BUCKET], at).missing(&[there, absent, forbidden]).await;
    assert_eq!(missing(&at).await, [absent]);
    assert_eq!(missing("http://127.0.0.1:9").await, []);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(missing(&format!("http://{}", silent.local_addr().unwrap())).await, []);
    assert_eq!(attachments(&[], &at).missing(&[absent]).await, []);
}
