//! Who calls is what a valid token says, and nothing else.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tests::stack::{Jwt, in_an_hour, now};
use tests::{Answer, Stack};

fn encoded(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

#[tokio::test]
async fn no_token_but_a_valid_one_opens_anything() {
    let stack = Stack::running();
    let anna = stack.person("anna");
    let chat = anna.assistant_chat().await;
    let jwt = &stack.jwt;
    let good = json!({ "sub": anna.id, "name": "anna", "iss": jwt.issuer, "aud": jwt.audience, "exp": in_an_hour() });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        jwt.signed(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        jwt.signed(&claims)
    };
    let signed = jwt.signed(&good);
    let [header, claims, signature] = signed.split('.').collect::<Vec<_>>()[..] else {
        panic!("not three parts")
    };
    let unsigned = |algorithm: &str| format!("{}.{claims}.", encoded(&json!({ "alg": algorithm, "typ": "JWT" })));
    let with_header = |header: Value| format!("{}.{claims}.{signature}", encoded(&header));
    let other_claims = encoded(&json!({ "sub": "ben", "iss": jwt.issuer, "aud": jwt.audience, "exp": in_an_hour() }));
    let stranger = Jwt {
        secret: "f".repeat(64),
        ..jwt.clone()
    };

    let bearer = |token: String| Some(format!("Bearer {token}"));
    let refused = [
        ("none at all", None),
        ("no scheme", Some(signed.clone())),
        ("another scheme", Some(format!("Basic {signed}"))),
        ("an empty one", bearer(String::new())),
        ("garbage", bearer("garbage".into())),
        ("garbage in three parts", bearer("a.b.c".into())),
        ("two parts", bearer(format!("{header}.{claims}"))),
        ("an empty signature", bearer(format!("{header}.{claims}."))),
        ("alg none", bearer(unsigned("none"))),
        ("alg None", bearer(unsigned("None"))),
        (
            "alg none with a signature",
            bearer(with_header(json!({ "alg": "none" }))),
        ),
        (
            "RS256 with our secret",
            bearer(with_header(json!({ "alg": "RS256", "typ": "JWT" }))),
        ),
        (
            "HS384 with our secret",
            bearer(with_header(json!({ "alg": "HS384", "typ": "JWT" }))),
        ),
        (
            "other claims under the signature",
            bearer(format!("{header}.{other_claims}.{signature}")),
        ),
        ("another secret", bearer(stranger.signed(&good))),
        ("expired", bearer(with("exp", json!(now() - 60)))),
        ("not valid yet", bearer(with("nbf", json!(in_an_hour())))),
        ("no exp", bearer(without("exp"))),
        ("an exp that is no number", bearer(with("exp", json!("soon")))),
        ("another issuer", bearer(with("iss", json!("somebody")))),
        ("no issuer", bearer(without("iss"))),
        ("another audience", bearer(with("aud", json!("others")))),
        ("no audience", bearer(without("aud"))),
        ("no sub", bearer(without("sub"))),
        ("an empty sub", bearer(with("sub", json!("")))),
        ("a sub with NUL", bearer(with("sub", json!("an\u{0}na")))),
        ("a sub that is too long", bearer(with("sub", json!("a".repeat(256))))),
        ("a sub that is no text", bearer(with("sub", json!(7)))),
        ("an application's", bearer(with("role", json!("service_role")))),
        ("too long a token", bearer(with("name", json!("n".repeat(9000))))),
    ];
    let rows = stack.rows_of_chat(&chat).await;
    let send = format!("/api/chat/{chat}/messages");
    for (what, authorization) in refused {
        for (method, path) in [(Method::GET, "/api/me"), (Method::POST, &*send)] {
            let mut request = stack.http.request(method.clone(), format!("{}{path}", stack.api));
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if method == Method::POST {
                request = request.json(&json!({ "clientId": "c-1", "content": "hi" }));
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status.as_u16(), 401, "{what}: {}", answer.body);
            assert_eq!(answer.headers.get(WWW_AUTHENTICATE).unwrap(), "Bearer", "{what}");
            let problem = answer.problem(401, "unauthenticated");
            assert_eq!(problem["retryable"], false);
            assert!(!problem.to_string().contains(&jwt.secret));
        }
    }
    assert_eq!(stack.rows_of_chat(&chat).await, rows);

    for (what, authorization) in [
        ("as it should be", format!("Bearer {signed}")),
        ("another case of the scheme", format!("bearer {signed}")),
        (
            "several audiences",
            format!("Bearer {}", with("aud", json!(["others", jwt.audience]))),
        ),
        (
            "the longest sub",
            format!("Bearer {}", with("sub", json!("é".repeat(255)))),
        ),
        (
            "seconds too old, for clocks differ",
            format!("Bearer {}", with("exp", json!(now() - 1))),
        ),
    ] {
        let request = stack
            .http
            .get(format!("{}/api/me", stack.api))
            .header(AUTHORIZATION, authorization);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{what}: {}", answer.body);
    }
}

#[tokio::test]
async fn who_calls_cannot_be_said_in_a_body_or_a_query() {
    let stack = Stack::running();
    let (anna, ben) = (stack.person("anna"), stack.person("ben"));
    let chat = anna.assistant_chat().await;
    let list = ben
        .get(&format!("/api/chat?userId={}&sub={}", anna.id, anna.id))
        .await
        .with(200);
    assert_eq!(list["total"], 0);
    let body = json!({ "clientId": "c-1", "content": "hi", "senderId": anna.id, "userId": anna.id });
    ben.post(&format!("/api/chat/{chat}/messages"), &body)
        .await
        .problem(422, "invalid-request");
}
