//! Tokens and key sets as issuers really send them, of `../shared/cases/identity.md` and of their kind.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tests::stack::{in_an_hour, now};
use tests::{Answer, Gateway, Stack, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A key pair of the issuer.
#[derive(Clone)]
struct Signer(Arc<EncodingKey>);

impl Signer {
    fn new() -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        Self(Arc::new(EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()))
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = message.join(".");
        let signature = crypto::sign(message.as_bytes(), &self.0, Algorithm::RS256).unwrap();
        format!("{message}.{signature}")
    }

    fn public(&self, changes: Value) -> Value {
        let mut jwk = json!(Jwk::from_encoding_key(&self.0, Algorithm::RS256).unwrap());
        jwk.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        jwk
    }
}

/// Where the issuer publishes its keys, to the byte.
struct Published {
    url: String,
    body: watch::Sender<String>,
    serving: JoinHandle<()>,
}

impl Published {
    async fn start(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (sender, body) = watch::channel(body);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _request = stream.read(&mut [0; 4096]).await;
                let body = body.borrow().clone();
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                // Who left does not read it.
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            url,
            body: sender,
            serving,
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn claims(changes: Value) -> Value {
    let id = format!("anna-{}", Uuid::now_v7().simple());
    let mut claims = json!({"sub": id, "name": "Anna", "iss": "https://issuer/", "aud": "chat", "exp": in_an_hour()});
    let all = claims.as_object_mut().unwrap();
    all.extend(changes.as_object().unwrap().clone());
    // Null is none here.
    all.retain(|_, value| !value.is_null());
    claims
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "good"})
}

/// Asks a function that is set up for the issuer alone.
async fn me(stack: &Stack, token: &str) -> Answer {
    let request = stack.http.get(format!("{}/api/me", stack.api)).bearer_auth(token);
    Answer::of(request.send().await.unwrap()).await
}

fn settings<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("JWT_ALGORITHM", "RS256"),
        ("JWT_SECRET", ""),
        ("JWT_JWKS_URL", url),
        ("JWT_ISSUER", "https://issuer/"),
        ("JWT_AUDIENCE", "chat"),
        ("NO_PROXY", "127.0.0.1,localhost"),
    ];
    usual.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn claims_are_read_one_by_one_and_refusals_name_them() {
    let stack = Stack::running();
    let signer = Signer::new();
    let published = Published::start(set(&[signer.public(json!({"kid": "good"}))])).await;
    let gateway = Gateway::start(&stack).await;
    let function = gateway.function("get-me", &settings(&published.url, &[]));
    for (changes, name, image) in [
        (json!({"role": ["admin", "user"]}), Some("Anna"), Value::Null),
        (json!({"org_id": 42}), Some("Anna"), Value::Null),
        (json!({"name": 7}), None, Value::Null),
        (json!({"picture": {"url": "x"}}), Some("Anna"), Value::Null),
        (json!({"picture": "https://x/a"}), Some("Anna"), json!("https://x/a")),
        (json!({"nbf": now() + 4}), Some("Anna"), Value::Null),
        (
            json!({"exp": in_an_hour() as f64 + 0.5, "iat": now() as f64 - 0.5}),
            Some("Anna"),
            Value::Null,
        ),
        (json!({"aud": ["others", "chat"]}), Some("Anna"), Value::Null),
    ] {
        let claims = claims(changes.clone());
        let user = me(&gateway.stack, &signer.token(&header(), &claims)).await.with(200)["user"].clone();
        // Who has no name is shown by the id.
        assert_eq!(
            user["name"],
            name.map_or_else(|| claims["sub"].clone(), |name| json!(name)),
            "{changes}"
        );
        assert_eq!((&user["id"], &user["image"]), (&claims["sub"], &image), "{changes}");
    }
    for (changes, claim) in [
        (json!({"exp": "soon"}), "exp"),
        (json!({"exp": now() - 60}), "exp"),
        (json!({"nbf": now() + 60}), "nbf"),
        (json!({"iss": "https://issuer"}), "iss"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": "others"}), "aud"),
        (json!({"sub": 7}), "sub"),
        (json!({"org_id": {"id": "hush"}}), "org_id"),
        (json!({"role": {"hush": true}}), "role"),
    ] {
        let answer = me(&gateway.stack, &signer.token(&header(), &claims(changes.clone()))).await;
        let detail = answer.problem(401, "unauthenticated")["detail"].to_string();
        assert!(detail.contains(&format!("`{claim}`")), "{changes}: {detail}");
        assert!(!detail.contains("hush"), "{detail}");
    }
    let critical = json!({"alg": "RS256", "kid": "good", "crit": ["b64"]});
    let answer = me(&gateway.stack, &signer.token(&critical, &claims(json!({})))).await;
    answer.problem(401, "unauthenticated");
    function.kill();
}

#[tokio::test]
async fn usable_keys_are_used_whatever_is_beside_them() {
    let stack = Stack::running();
    let signer = Signer::new();
    let good = signer.public(json!({"kid": "good"}));
    let modulus = good["n"].as_str().unwrap();
    let odd = [
        json!({"kty": "RSA", "kid": 7, "n": modulus, "e": "AQAB"}),
        Value::Null,
        json!({"kty": "RSA", "kid": "x", "x5c": "text"}),
        json!({"kty": "RSA", "kid": "y", "key_ops": "text", "n": modulus, "e": "AQAB"}),
        json!({"kty": "EC", "kid": "good", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "new", "kid": "good", "alg": "NEW"}),
        json!({"kty": "RSA", "kid": "good", "use": "enc", "n": modulus, "e": "AQAB"}),
    ];
    let beside = set(&[std::slice::from_ref(&good), &odd].concat());
    let padded = signer.public(json!({"kid": "good", "n": format!("{modulus}=="), "e": "AQAB"}));
    let gateway = Gateway::start(&stack).await;
    let nameless = json!({"alg": "RS256"});
    let one = set(std::slice::from_ref(&good));
    for (what, body, header) in [
        ("odd ones beside it", beside.clone(), header()),
        ("a byte order mark", format!("\u{feff}{beside}"), header()),
        ("padding", set(&[padded]), header()),
        (
            "x5c as text",
            set(&[signer.public(json!({"kid": "good", "x5c": "text"}))]),
            header(),
        ),
        ("no name at all", set(&[signer.public(json!({}))]), nameless.clone()),
        ("a name in the token alone", set(&[signer.public(json!({}))]), header()),
        ("a name in the set alone", one, nameless),
    ] {
        let published = Published::start(body).await;
        let (function, log) = gateway.logged("get-me", &settings(&published.url, &[]));
        let answer = me(&gateway.stack, &signer.token(&header, &claims(json!({})))).await;
        assert_eq!(answer.status.as_u16(), 200, "{what}: {}", answer.body);
        if what == "odd ones beside it" {
            let line = log.line("keys of the signer's set cannot be used").await;
            assert_eq!((&line["skipped"], &line["all"]), (&json!(3), &json!(8)), "{line}");
            for place in ["1 has no text as kid", "2 is no object", "3 has no readable parts"] {
                assert!(line["odd"].to_string().contains(place), "{line}");
            }
            assert!(!line.to_string().contains(modulus), "{line}");
        }
        function.kill();
    }
}

#[tokio::test]
async fn a_token_of_a_new_key_is_never_called_a_strangers() {
    let stack = Stack::running();
    let (old, new) = (Signer::new(), Signer::new());
    let (old_key, new_key) = (old.public(json!({"kid": "good"})), new.public(json!({"kid": "newer"})));
    let published = Published::start(set(std::slice::from_ref(&old_key))).await;
    let gateway = Gateway::start(&stack).await;
    let function = gateway.function("get-me", &settings(&published.url, &[]));
    me(&gateway.stack, &old.token(&header(), &claims(json!({}))))
        .await
        .with(200);
    published.body.send_replace(set(&[old_key, new_key]));
    let token = new.token(&json!({"alg": "RS256", "kid": "newer"}), &claims(json!({})));
    eventually("the new key", async || {
        let answer = me(&gateway.stack, &token).await;
        if answer.status.as_u16() == 200 {
            return Some(());
        }
        let seconds = answer.headers[RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap();
        assert!((1..=31).contains(&seconds), "{seconds}");
        assert_eq!(answer.problem(503, "unavailable")["retryable"], true);
        None
    })
    .await;
    function.kill();
}

#[tokio::test]
async fn which_claims_say_who_calls_and_for_whom_is_a_setting() {
    let stack = Stack::running();
    let signer = Signer::new();
    let published = Published::start(set(&[signer.public(json!({"kid": "good"}))])).await;
    let gateway = Gateway::start(&stack).await;
    let own = [
        ("JWT_AUDIENCE", "none"),
        ("JWT_CLIENT_ID", "abc"),
        ("JWT_LEEWAY_SECONDS", "60"),
        ("JWT_NAME_CLAIM", "user_metadata.full_name,username"),
        ("JWT_PICTURE_CLAIM", "https://example.com/picture"),
        ("JWT_ROLE_CLAIM", "app_metadata.role"),
        ("JWT_AGENT_ROLE", "Bot"),
        ("JWT_ORGANISATION_CLAIM", "o.id"),
    ];
    let all = settings(&published.url, &own);
    let function = gateway.function("get-me", &all);
    let notices = gateway.function("send-notice", &all);
    let claims = |changes: Value| {
        let mut all = claims(changes);
        all.as_object_mut().unwrap().remove("aud");
        all
    };
    for client in ["client_id", "azp"] {
        let claims = claims(json!({
            (client): "abc", "user_metadata": {"full_name": "Anna B."}, "https://example.com/picture": "https://x/a",
            "nbf": now() + 50, "role": {"id": 7}, "org_id": [1, 2],
        }));
        let user = me(&gateway.stack, &signer.token(&header(), &claims)).await.with(200)["user"].clone();
        assert_eq!(
            (&user["name"], &user["image"]),
            (&json!("Anna B."), &json!("https://x/a"))
        );
    }
    let named = claims(json!({"azp": "abc", "username": "anna", "user_metadata": {"full_name": null}}));
    let token = signer.token(&header(), &named);
    assert_eq!(me(&gateway.stack, &token).await.with(200)["user"]["name"], "anna");
    for (changes, claim) in [
        (json!({}), "client_id"),
        (json!({"client_id": "others"}), "client_id"),
        (json!({"azp": "others"}), "azp"),
        (json!({"azp": "abc", "o": {"id": [1, 2]}}), "o.id"),
        (json!({"azp": "abc", "app_metadata": {"role": {}}}), "app_metadata.role"),
    ] {
        let answer = me(&gateway.stack, &signer.token(&header(), &claims(changes))).await;
        let detail = answer.problem(401, "unauthenticated")["detail"].to_string();
        assert!(detail.contains(&format!("`{claim}`")), "{detail}");
    }
    // Whoever has the role is an agent, and nobody else.
    for (roles, status) in [
        (json!(["user", "Bot"]), 201),
        (json!("agent"), 403),
        (json!(["Bot"]), 201),
    ] {
        let agent = claims(json!({"azp": "abc", "app_metadata": {"role": roles}, "o": {"id": "acme"}}));
        let notice = json!({"userId": named["sub"], "taskId": Uuid::now_v7(), "type": "INFO", "content": "Hello."});
        let url = format!("{}/api/chat-messages", gateway.stack.api);
        let request = stack
            .http
            .post(url)
            .bearer_auth(signer.token(&header(), &agent))
            .json(&notice);
        Answer::of(request.send().await.unwrap()).await.with(status);
    }
    function.kill();
    notices.kill();
}
