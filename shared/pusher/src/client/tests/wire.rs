//! What goes out, and what becomes of it when the other side fails.

use std::net::TcpListener;
use std::time::Instant;

use serde_json::json;

use super::*;
use fakes::http::{Answer, Fake, Seen, nobody, ok, response};

/// Pusher's own example: 2012, and so long past that only a clock held still can give it.
fn in_2012() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_353_088_179)
}

fn hello() -> Trigger {
    event("chat-message", &["private-user-anna"], "{}")
}

/// What a push of one event becomes when it is answered so.
async fn answered(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Pushed {
    pusher(Fake::start(answer).at).trigger(&[hello()]).await
}

fn bodies(fake: &Fake) -> Vec<Value> {
    fake.seen()
        .iter()
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect()
}

#[tokio::test]
async fn an_event_goes_out_as_pusher_documents_it() {
    let fake = Fake::start(|_| ok());
    let example = event("foo", &["project-3"], r#"{"some":"data"}"#);
    assert_eq!(
        pusher(fake.at).with_clock(in_2012).trigger(&[example]).await,
        Pushed::Sent
    );

    let [
        Seen {
            path,
            query,
            head,
            body,
        },
    ] = &fake.seen()[..]
    else {
        panic!("one request, not {:?}", fake.seen())
    };
    assert!(
        head.starts_with("post /apps/3/events?") && head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    assert_eq!(path, "/apps/3/events");
    assert_eq!(
        body,
        r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#
    );
    assert_eq!(
        query,
        "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
         &body_md5=ec365a775a4cd0599faeb73354201b6f\
         &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    );
}

#[tokio::test]
async fn events_for_one_channel_each_go_out_as_a_batch() {
    let fake = Fake::start(|_| ok());
    let typing = Trigger {
        socket_id: Some(socket("1.2")),
        ..event("typing", &["presence-chat-1"], "{}")
    };
    assert_eq!(pusher(fake.at).trigger(&[hello(), typing]).await, Pushed::Sent);
    assert_eq!(fake.seen()[0].path, "/apps/3/batch_events");
    assert_eq!(
        bodies(&fake),
        [json!({"batch": [
            {"name": "chat-message", "channel": "private-user-anna", "data": "{}"},
            {"name": "typing", "channel": "presence-chat-1", "data": "{}", "socket_id": "1.2"},
        ]})]
    );
}

#[tokio::test]
async fn a_channel_of_256_members_hears_of_it_in_three_calls() {
    let fake = Fake::start(|_| ok());
    let channels = (0..256).map(|n| channel(&format!("private-user-{n}"))).collect();
    let trigger = Trigger {
        channels,
        socket_id: Some(socket("1.2")),
        ..hello()
    };
    assert_eq!(pusher(fake.at).trigger(&[trigger]).await, Pushed::Sent);

    let mut told: Vec<String> = Vec::new();
    for body in bodies(&fake) {
        assert_eq!(body["socket_id"], "1.2");
        told.extend(
            body["channels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned()),
        );
    }
    told.sort();
    told.dedup();
    assert_eq!((fake.seen().len(), told.len()), (3, 256));
}

#[tokio::test]
async fn nothing_to_send_is_sent_without_a_call() {
    assert_eq!(pusher(nobody()).trigger(&[]).await, Pushed::Sent);
    assert_eq!(
        pusher(nobody()).trigger(&[event("typing", &[], "{}")]).await,
        Pushed::Sent
    );
}

#[tokio::test]
async fn what_is_too_large_stays_here_and_the_rest_goes_out() {
    let fake = Fake::start(|_| ok());
    let at_most = event("fits", &["a"], &"x".repeat(10_240));
    let more = event("fits-not", &["a"], &"x".repeat(10_241));
    let outcome = pusher(fake.at).trigger(&[more, at_most]).await;
    assert_eq!(outcome, Pushed::Failed(PushFailure::TooLarge));
    assert_eq!(
        bodies(&fake).iter().map(|body| &body["name"]).collect::<Vec<_>>(),
        ["fits"]
    );
}

#[tokio::test]
async fn one_failed_call_of_several_is_a_failed_push() {
    let fake = Fake::start(|nth| if nth == 1 { response("500 Oh", "", "") } else { ok() });
    let channels = (0..201).map(|n| channel(&n.to_string())).collect();
    let outcome = pusher(fake.at).trigger(&[Trigger { channels, ..hello() }]).await;
    assert_eq!(outcome, Pushed::Failed(PushFailure::Refused(500)));
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_refused_connection_is_a_failed_push() {
    assert_eq!(
        pusher(nobody()).trigger(&[hello()]).await,
        Pushed::Failed(PushFailure::Unreachable)
    );
}

#[tokio::test]
async fn an_answer_that_is_not_pushers_is_a_failed_push() {
    for body in ["<!doctype html><p>Sign in", "", "[]", "\"ok\"", "{", "null"] {
        let outcome = answered(move |_| response("200 OK", "content-type: text/html\r\n", body)).await;
        assert_eq!(outcome, Pushed::Failed(PushFailure::Unintelligible), "{body}");
    }
    assert_eq!(
        answered(|_| Answer::Bytes(b"SSH-2.0-x\r\n".into())).await,
        Pushed::Failed(PushFailure::Unreachable)
    );
}

#[tokio::test]
async fn a_refusal_is_a_failed_push_and_says_which() {
    for status in [400, 401, 403, 404, 429, 500, 502, 503] {
        let outcome = answered(move |_| response(&format!("{status} No"), "", "Unknown auth_key")).await;
        assert_eq!(outcome, Pushed::Failed(PushFailure::Refused(status)));
    }
    assert_eq!(
        answered(|_| response("413 Large", "", "")).await,
        Pushed::Failed(PushFailure::TooLarge)
    );
}

#[tokio::test]
async fn a_redirect_is_a_failed_push_whether_or_not_it_is_followed() {
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let elsewhere = Fake::start(|_| ok());
        let location = format!("location: http://{}/apps/3/events?\r\n", elsewhere.at);
        let redirect = Fake::start(move |_| response(status, &location, "{}"));
        for policy in [reqwest::redirect::Policy::limited(3), reqwest::redirect::Policy::none()] {
            let http = Client::builder().no_proxy().redirect(policy).build().unwrap();
            let outcome = Pusher::new(settings(redirect.at), http).trigger(&[hello()]).await;
            assert_eq!(outcome, Pushed::Failed(PushFailure::Redirected), "{status}");
        }
    }
}

#[tokio::test]
async fn a_redirect_without_end_is_a_failed_push() {
    let outcome = answered(|_| response("307 Round", "location: /apps/3/events?again\r\n", "")).await;
    assert_eq!(outcome, Pushed::Failed(PushFailure::Redirected));
}

#[tokio::test]
async fn of_a_flood_no_more_than_a_few_kilobytes_are_read() {
    let started = Instant::now();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let flood = Fake::start(move |_| Answer::Flood(head.into(), chunk.clone().into()));
    assert_eq!(
        pusher(flood.at).trigger(&[hello()]).await,
        Pushed::Failed(PushFailure::Unintelligible)
    );
    let large = answered(|_| response("200 OK", "", &format!("{{}}{}", " ".repeat(100_000)))).await;
    assert_eq!(large, Pushed::Failed(PushFailure::Unintelligible));
    assert!(
        started.elapsed() < PUSH_TIMEOUT,
        "it stops reading, not waiting: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn silence_at_any_point_costs_a_second() {
    let hangs_after = |bytes: &'static [u8]| Fake::start(move |_| Answer::Hang(bytes.into())).at;
    let one_call_of_three = Fake::start(|nth| if nth == 1 { Answer::Hang(Vec::new()) } else { ok() });
    // Its connections are made by the operating system; nobody ever takes them up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = settings(listener.local_addr().unwrap());
    let clients = [
        Pusher::new(deaf.clone(), http()),
        Pusher::new(PusherSettings { tls: true, ..deaf }, http()),
        pusher(hangs_after(b"")),
        pusher(hangs_after(b"HTTP/1.1 200 OK\r\ncontent-le")),
        pusher(hangs_after(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")),
        pusher(one_call_of_three.at),
    ];
    let channels = (0..300).map(|n| channel(&n.to_string())).collect();
    let triggers = [Trigger { channels, ..hello() }];

    let started = Instant::now();
    let outcomes = join_all(clients.iter().map(|client| client.trigger(&triggers))).await;
    let took = started.elapsed();

    assert_eq!(outcomes, [Pushed::Failed(PushFailure::TimedOut); 6]);
    assert!(
        took >= PUSH_TIMEOUT && took < PUSH_TIMEOUT + Duration::from_millis(500),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_no_server_for_tls() {
    let fake = Fake::start(|_| ok());
    let tls = Pusher::new(
        PusherSettings {
            tls: true,
            ..settings(fake.at)
        },
        http(),
    );
    // The fake may wait for the end of a line that a TLS greeting does not have: an error or silence, never success.
    assert_ne!(tls.trigger(&[hello()]).await, Pushed::Sent);
    assert_eq!(fake.seen(), []);
}

#[tokio::test]
async fn a_kept_connection_that_has_ended_is_opened_anew() {
    let fake = Fake::start(|nth| if nth == 1 { Answer::Close } else { ok() });
    let pusher = pusher(fake.at);
    assert_eq!(pusher.trigger(&[hello()]).await, Pushed::Sent);
    assert_eq!(pusher.trigger(&[hello()]).await, Pushed::Sent);
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_tried_twice() {
    let fake = Fake::start(|_| Answer::Close);
    assert_eq!(
        pusher(fake.at).trigger(&[hello()]).await,
        Pushed::Failed(PushFailure::Unreachable)
    );
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_host_that_is_none_is_a_failed_push() {
    for host in ["", "not a host", "[", "a/b?c#d"] {
        let settings = PusherSettings {
            host: host.to_owned(),
            ..settings(nobody())
        };
        assert_ne!(
            Pusher::new(settings, http()).trigger(&[hello()]).await,
            Pushed::Sent,
            "{host}"
        );
    }
}

#[test]
fn a_handler_may_spawn_it() {
    fn is_send(_: impl Send) {}
    is_send(pusher(nobody()).trigger(&[]));
}
