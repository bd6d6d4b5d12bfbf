use std::net::SocketAddr;

use serde_json::json;

use super::*;
use fakes::http::{self as fake, Answer as Reply, Fake, response};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Far more than a local answer takes.
const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

fn hook(at: SocketAddr, timeout: Duration, on_failure: OnFailure) -> Moderation {
    let settings = ModerationSettings {
        url: Url::parse(&format!("http://{at}/judge?key=hush")).unwrap(),
        secret: SigningSecret::parse(SECRET).unwrap(),
        timeout,
        on_failure,
        kinds: vec![Kind::Direct],
    };
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    Moderation::new(settings, http)
}

async fn judged(moderation: &Moderation) -> Verdict {
    let anna = UserId::parse("anna").unwrap();
    let utterance = Utterance {
        action: Action::Send,
        chat_id: ChatId::parse("0192aaaa-0000-7000-8000-000000000000").unwrap(),
        kind: Kind::Direct,
        sender_id: &anna,
        message_id: None,
        content: "hé",
        attachments: json!([]),
        mentions: &[],
        reply_to: None,
        metadata: json!({"a": 1}),
    };
    moderation.judge(&utterance).await
}

fn says(body: &str) -> Reply {
    response("200 OK", "content-type: application/json\r\n", body)
}

fn refused(reason: &str, code: Option<&str>) -> Verdict {
    Verdict::Refused(Refused {
        reason: reason.into(),
        code: code.map(str::to_owned),
    })
}

#[tokio::test]
async fn what_is_allowed_is_allowed_and_the_request_is_signed() {
    let fake = Fake::start(|_| says(r#"{"allow": true, "more": 1}"#));
    assert_eq!(
        judged(&hook(fake.at, PATIENT, OnFailure::Reject)).await,
        Verdict::Allowed
    );
    let seen = fake.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/judge"));
    let body: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(
        body,
        json!({
            "action": "send", "chatId": "0192aaaa-0000-7000-8000-000000000000", "kind": "direct", "senderId": "anna",
            "content": "hé", "attachments": [], "mentions": [], "replyTo": null, "metadata": {"a": 1},
        })
    );
    let header = |name: &str| {
        let line = seen[0]
            .head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().to_owned()
    };
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    assert!((Utc::now().timestamp() - timestamp).abs() < 60);
    let expected = SigningSecret::parse(SECRET)
        .unwrap()
        .sign(&header("webhook-id"), timestamp, &seen[0].body);
    assert_eq!(header("webhook-signature"), expected.to_lowercase());
}

/// The example of the Standard Webhooks specification's reference libraries.
#[test]
fn the_signature_is_that_of_standard_webhooks() {
    let secret = SigningSecret::parse(SECRET).unwrap();
    assert_eq!(
        secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
    assert_eq!(format!("{secret:?}"), "***");
    for bad in [
        "",
        "short",
        "whsec_short",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
        "whsec_",
    ] {
        assert!(SigningSecret::parse(bad).is_none(), "{bad}");
    }
    assert!(SigningSecret::parse("any text of 24 bytes or more").is_some());
}

#[tokio::test]
async fn a_refusal_says_why_in_one_bounded_line() {
    let long = "ü".repeat(300);
    for (body, verdict) in [
        (json!({"allow": false}), refused(REASON, None)),
        (
            json!({"allow": false, "reason": null, "code": null}),
            refused(REASON, None),
        ),
        (json!({"allow": false, "reason": " \u{1b}\n"}), refused(REASON, None)),
        (
            json!({"allow": false, "reason": "No\r\nlinks\u{0}!", "code": "links"}),
            refused("No  links !", Some("links")),
        ),
        (
            json!({"allow": false, "reason": long, "code": "no spaces"}),
            refused(&"ü".repeat(200), None),
        ),
    ] {
        let text = body.to_string();
        let fake = Fake::start(move |_| says(&text));
        assert_eq!(
            judged(&hook(fake.at, PATIENT, OnFailure::Accept)).await,
            verdict,
            "{body}"
        );
    }
}

#[tokio::test]
async fn whatever_is_no_verdict_fails_as_the_configuration_says() {
    let elsewhere = Fake::start(|_| says(r#"{"allow": true}"#));
    let redirect = |status: &'static str, at: SocketAddr| {
        Fake::start(move |_| response(status, &format!("location: http://{at}/?x\r\n"), r#"{"allow": true}"#))
    };
    let answers = [
        Fake::start(|_| response("500 Internal Server Error", "", r#"{"allow": true}"#)),
        Fake::start(|_| response("404 Not Found", "", r#"{"allow": false}"#)),
        redirect("302 Found", elsewhere.at),
        redirect("307 Temporary Redirect", elsewhere.at),
        redirect("308 Permanent Redirect", elsewhere.at),
        Fake::start(|_| says("")),
        Fake::start(|_| says("true")),
        Fake::start(|_| says("<html>")),
        Fake::start(|_| says(r#"{"allow": "false"}"#)),
        Fake::start(|_| says(r#"{"reason": "no"}"#)),
        Fake::start(|_| says(r#"{"allow": false, "reason": 7}"#)),
        Fake::start(|_| Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\xfd".to_vec())),
        Fake::start(|_| {
            says(&format!(
                r#"{{"allow": false, "reason": "{}"}}"#,
                "x".repeat(MOST_BYTES)
            ))
        }),
        Fake::start(|_| Reply::Close),
    ];
    for (number, fake) in answers.iter().enumerate() {
        let closed = judged(&hook(fake.at, PATIENT, OnFailure::Reject)).await;
        assert_eq!(closed, Verdict::Unknown, "answer {number}");
        let open = judged(&hook(fake.at, PATIENT, OnFailure::Accept)).await;
        assert_eq!(open, Verdict::Allowed, "answer {number}");
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
    let nobody = hook(fake::nobody(), PATIENT, OnFailure::Reject);
    assert_eq!(judged(&nobody).await, Verdict::Unknown);
}

#[tokio::test]
async fn a_slow_or_endless_answer_is_waited_for_no_longer_than_said() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let begun = [&head[..], b"content-length: 15\r\n\r\n{\"allow\": "].concat();
    for fake in [
        Fake::start(|_| Reply::Hang(Vec::new())),
        Fake::start(move |_| Reply::Hang(begun.clone())),
    ] {
        assert_eq!(judged(&hook(fake.at, SHORT, OnFailure::Reject)).await, Verdict::Unknown);
    }
    let endless = [&head[..], b"transfer-encoding: chunked\r\n\r\n"].concat();
    let fake = Fake::start(move |_| Reply::Flood(endless.clone(), b"5\r\n     \r\n".to_vec()));
    // Not by the timeout: it is cut off when it has said too much.
    assert_eq!(
        judged(&hook(fake.at, PATIENT, OnFailure::Reject)).await,
        Verdict::Unknown
    );
}
