//! Tokens signed by a provider whose public keys are to be fetched, and what such providers really send.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use futures_util::future::join_all;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use shared::auth::Authenticator;
use shared::config::{Environment, TokenConfig};
use shared::domain::person::{Caller, CallerRole};
use shared::error::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time;

/// A provider's key pair under a name.
struct Signer {
    algorithm: Algorithm,
    kid: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(algorithm: Algorithm, kid: &'static str) -> Self {
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
            Algorithm::ES256 => {
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(pair.as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
                EncodingKey::from_ed_der(pair.as_ref())
            }
            other => panic!("{other:?} is not signed here"),
        };
        Self { algorithm, kid, key }
    }

    fn token(&self) -> String {
        self.signed(&claims())
    }

    fn signed(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.into()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }

    /// The claims as they are written here, which may be no JSON that a library makes.
    fn signed_as_written(&self, header: &str, claims: &str) -> String {
        let message = [header, claims]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Without saying by which key.
    fn nameless(&self) -> String {
        encode(&Header::new(self.algorithm), &claims(), &self.key).unwrap()
    }

    /// The public key without its name.
    fn public_nameless(&self) -> Value {
        let mut jwk = self.public();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.into());
        json!(jwk)
    }
}

fn claims() -> Value {
    json!({"sub": "anna", "name": "Anna", "iss": "site", "aud": "chat", "exp": Utc::now().timestamp() + 60})
}

fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    claims
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    claims
}

/// What the provider answers: its keys, or nothing good.
type Keys = Option<Vec<Value>>;

/// The same as a body, to the byte.
type Body = Option<String>;

fn body(keys: Keys) -> Body {
    keys.map(|keys| json!({ "keys": keys }).to_string())
}

/// The provider's server. It counts how often it is asked.
struct Provider {
    url: String,
    body: watch::Sender<Body>,
    /// While it is, an answer that was begun is not given.
    is_held: watch::Sender<bool>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn with(keys: Keys) -> Self {
        Self::saying(keys, "x-nothing: in particular").await
    }

    /// `header`: of each answer.
    async fn saying(keys: Keys, header: &'static str) -> Self {
        Self::sending(body(keys), header).await
    }

    async fn sending(body: Body, header: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (sender, body) = watch::channel(body);
        let (is_held, held) = watch::channel(false);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (body, mut held, count) = (body.clone(), held.clone(), count.clone());
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _bytes = stream.read(&mut request).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = match &*body.borrow() {
                        Some(body) => ("200 OK", body.clone()),
                        None => ("500 Internal Server Error", "{}".to_owned()),
                    };
                    drop(held.wait_for(|held| !held).await.unwrap());
                    let answer = format!(
                        "HTTP/1.1 {status}\r\n{header}\r\ncontent-type: application/json\r\nconnection: close\r\n\
                         content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        Self {
            url,
            body: sender,
            is_held,
            asked,
        }
    }

    fn now_has(&self, keys: Keys) {
        self.body.send_replace(body(keys));
    }

    fn authenticator(&self, algorithm: Algorithm) -> Authenticator {
        self.set_up(algorithm, &[])
    }

    /// With settings beyond the usual.
    fn set_up(&self, algorithm: Algorithm, settings: &[(&str, &str)]) -> Authenticator {
        let algorithm = format!("{algorithm:?}");
        let usual = [
            ("JWT_ALGORITHM", algorithm.as_str()),
            ("JWT_JWKS_URL", &self.url),
            ("JWT_ISSUER", "site"),
            ("JWT_AUDIENCE", "chat"),
        ];
        let value = |name: &str| {
            let mut all = settings.iter().chain(&usual);
            all.find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let config = TokenConfig::read(&Environment(&value)).unwrap();
        Authenticator::new(&config, reqwest::Client::builder().no_proxy().build().unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn caller(authenticator: &Authenticator, token: &str) -> Result<Caller, Error> {
    authenticator.caller(Some(&format!("Bearer {token}"))).await
}

fn is_unavailable(outcome: &Result<Caller, Error>) -> bool {
    matches!(outcome, Err(Error::KeysUnavailable { .. }))
}

fn is_refused(outcome: &Result<Caller, Error>) -> bool {
    matches!(outcome, Err(Error::Unauthenticated(_)))
}

/// As if so long had passed; the clock runs on afterwards, for the network needs it.
async fn pass(duration: Duration) {
    time::pause();
    time::advance(duration).await;
    time::resume();
}

#[tokio::test]
async fn a_token_is_verified_by_the_key_it_names() {
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let (one, two) = (Signer::new(algorithm, "one"), Signer::new(algorithm, "two"));
        let unreadable = json!({"kid": "odd", "kty": "EC", "crv": "P-256", "x": "!", "y": "!"});
        let provider = Provider::with(Some(vec![one.public(), unreadable, two.public()])).await;
        let authenticator = provider.authenticator(algorithm);
        for signer in [&one, &two] {
            let caller = caller(&authenticator, &signer.token()).await.unwrap();
            assert_eq!((caller.id.as_str(), caller.name.as_str()), ("anna", "Anna"));
        }

        let impostor = Signer {
            kid: "one",
            ..Signer::new(algorithm, "-")
        };
        let outcome = caller(&authenticator, &impostor.token()).await;
        assert!(is_refused(&outcome), "{outcome:?}");
        // Which of them has signed it is tried out.
        assert!(caller(&authenticator, &two.nameless()).await.is_ok());
        assert_eq!(provider.asked(), 1);
    }
}

#[tokio::test]
async fn no_other_algorithm_is_accepted_whatever_the_header_says() {
    let (rsa, curve) = (
        Signer::new(Algorithm::RS256, "rsa"),
        Signer::new(Algorithm::ES256, "curve"),
    );
    let provider = Provider::with(Some(vec![rsa.public(), curve.public()])).await;
    let authenticator = provider.authenticator(Algorithm::RS256);
    assert!(caller(&authenticator, &rsa.token()).await.is_ok());

    // The public key is known to everyone: used as a secret it must open nothing.
    let modulus = rsa.public()["n"].as_str().unwrap().to_owned();
    let header = Header {
        kid: Some("rsa".into()),
        ..Header::new(Algorithm::HS256)
    };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(modulus.as_bytes())).unwrap();
    for token in [
        forged,
        curve.token(),
        format!("{}.", rsa.token().rsplit_once('.').unwrap().0),
    ] {
        let outcome = caller(&authenticator, &token).await;
        assert!(is_refused(&outcome), "{outcome:?}");
    }
}

#[tokio::test]
async fn many_first_requests_fetch_the_keys_once() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let token = signer.token();
    let callers = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(callers.iter().all(Result::is_ok));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_but_forged_names_are_no_storm() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    provider.now_has(Some(vec![old.public(), new.public()]));

    // Nobody is called a stranger for a key that came a moment after the last fetch.
    let token = new.token();
    let outcomes = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    assert_eq!(provider.asked(), 1, "a moment after a fetch there is no other");

    pass(Duration::from_secs(1)).await;
    let outcomes = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(provider.asked(), 2);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);

    let forged = Signer::new(Algorithm::ES256, "forged").token();
    let mut refused = 0;
    for _ in 0..300 {
        pass(Duration::from_secs(1)).await;
        let outcome = caller(&authenticator, &forged).await;
        assert!(is_refused(&outcome) || is_unavailable(&outcome), "{outcome:?}");
        refused += usize::from(is_refused(&outcome));
        assert!(caller(&authenticator, &new.token()).await.is_ok());
    }
    assert_eq!(refused, provider.asked() - 2, "a stranger is who was asked for");
    assert!((5..=15).contains(&refused), "{refused} fetches in five minutes");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_within_ten_minutes() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public(), new.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    provider.now_has(Some(vec![new.public()]));
    pass(Duration::from_secs(590)).await;
    assert!(caller(&authenticator, &new.token()).await.is_ok());
    assert_eq!(provider.asked(), 1);

    pass(Duration::from_secs(10)).await;
    let token = old.token();
    let outcomes = join_all((0..20).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_refused), "{outcomes:?}");
    assert!(caller(&authenticator, &new.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_as_soon_as_their_answer_says_but_no_storm() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    for (header, seconds) in [
        ("cache-control: public, max-age=60", 60),
        ("cache-control: max-age=0", 30),
        ("cache-control: max-age=86400", 600),
    ] {
        let provider = Provider::saying(Some(vec![old.public(), new.public()]), header).await;
        let authenticator = provider.authenticator(Algorithm::ES256);
        for _ in 0..20 {
            assert!(caller(&authenticator, &old.token()).await.is_ok());
        }
        provider.now_has(Some(vec![new.public()]));
        assert_eq!(provider.asked(), 1, "{header}");
        pass(Duration::from_secs(seconds)).await;
        let outcome = caller(&authenticator, &old.token()).await;
        assert!(is_refused(&outcome), "{header}: {outcome:?}");
        assert!(caller(&authenticator, &new.token()).await.is_ok());
        assert_eq!(provider.asked(), 2, "{header}");
    }
}

#[tokio::test]
async fn while_the_keys_cannot_be_had_nobody_is_called_a_stranger() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(None).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let token = signer.token();
    let outcomes = join_all((0..20).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    assert_eq!(provider.asked(), 1, "a provider in trouble is left alone for a moment");

    provider.now_has(Some(vec![signer.public()]));
    pass(Duration::from_secs(3)).await;
    assert!(caller(&authenticator, &token).await.is_ok());
}

#[tokio::test]
async fn known_keys_outlive_their_provider_for_an_hour() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
    provider.now_has(None);
    pass(Duration::from_secs(60)).await;

    let stranger = Signer::new(Algorithm::ES256, "unknown");
    let outcome = caller(&authenticator, &stranger.token()).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);

    // Past their ten minutes they are asked for now and then, and go on.
    for _ in 0..58 {
        pass(Duration::from_secs(60)).await;
        for _ in 0..5 {
            assert!(caller(&authenticator, &signer.token()).await.is_ok());
        }
    }
    assert!((40..=55).contains(&provider.asked()), "{}", provider.asked());

    // For ever would be too long: one may have been withdrawn meanwhile.
    pass(Duration::from_secs(60)).await;
    let outcome = caller(&authenticator, &signer.token()).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    provider.now_has(Some(vec![signer.public()]));
    pass(Duration::from_secs(2)).await;
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
}

/// Why a token was refused.
fn why(outcome: &Result<Caller, Error>) -> String {
    match outcome {
        Err(error @ Error::Unauthenticated(_)) => error.problem("").detail,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test]
async fn odd_keys_among_the_signers_are_no_reason_to_do_without_the_good_one() {
    let signer = Signer::new(Algorithm::RS256, "good");
    let good = signer.public();
    let modulus = good["n"].as_str().unwrap();
    let (_, rest) = modulus.split_at(4);
    let odd = json!([
        {"kty": "RSA", "kid": 7, "n": modulus, "e": "AQAB"},
        null,
        {"kty": "RSA", "kid": "x", "x5c": "text"},
        {"kty": "RSA", "kid": "x", "n": rest, "e": "AQAB", "key_ops": "verify"},
        {"kty": "quantum", "kid": "q", "alg": "Q-1"},
        {"kty": "RSA", "kid": "u", "alg": "RS999", "n": modulus, "e": "AQAB"},
        {"kty": "RSA", "kid": "good", "use": "enc", "n": modulus, "e": "AQAB"},
        {"kty": "EC", "kid": "good", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "oct", "kid": "good", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "p", "n": modulus, "e": "AQAB", "d": "AQAB"},
        [], "text", 7, true, {},
    ]);
    let mut keys = odd.as_array().unwrap().clone();
    keys.push(good.clone());
    // Of a name with half a character, which a whole document with it could not be read for.
    let whole = body(Some(keys))
        .unwrap()
        .replace("\"kid\":\"q\"", "\"kid\":\"\\ud83d\"");
    let texts = [
        whole.clone(),
        format!("\u{feff}{whole}"),
        json!({"keys": [{"kty": "RSA", "kid": "good", "x5c": "text", "n": modulus, "e": "AQAB"}]}).to_string(),
        json!({"keys": [{"kty": "RSA", "kid": "good", "key_ops": "verify", "n": format!("{modulus}=="), "e": "AQAB"}]})
            .to_string(),
    ];
    for text in texts {
        let provider = Provider::sending(Some(text.clone()), "x-nothing: in particular").await;
        let authenticator = provider.authenticator(Algorithm::RS256);
        let outcome = caller(&authenticator, &signer.token()).await;
        assert!(outcome.is_ok(), "{outcome:?} by {text}");
    }
}

#[tokio::test]
async fn what_is_no_set_of_keys_is_an_outage_and_an_empty_one_is_none() {
    let signer = Signer::new(Algorithm::ES256, "one");
    for text in ["", "<html>", "{}", "[]", "null", r#"{"keys": {}}"#, r#"{"keys": null}"#] {
        let provider = Provider::sending(Some(text.into()), "x-nothing: in particular").await;
        let outcome = caller(&provider.authenticator(Algorithm::ES256), &signer.token()).await;
        assert!(is_unavailable(&outcome), "{outcome:?} by {text}");
    }
    let provider = Provider::with(Some(vec![])).await;
    let outcome = caller(&provider.authenticator(Algorithm::ES256), &signer.token()).await;
    assert!(is_refused(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_key_without_a_name_checks_tokens_with_and_without_one() {
    let (signer, other) = (
        Signer::new(Algorithm::RS256, "one"),
        Signer::new(Algorithm::RS256, "two"),
    );
    let provider = Provider::with(Some(vec![signer.public_nameless()])).await;
    let authenticator = provider.authenticator(Algorithm::RS256);
    for token in [signer.nameless(), signer.token()] {
        let outcome = caller(&authenticator, &token).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    // By another key, which may be a newer one, until the signer has said that it is not.
    for token in [other.nameless(), other.token()] {
        let outcome = caller(&authenticator, &token).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
    }
    pass(Duration::from_secs(1)).await;
    let outcome = caller(&authenticator, &other.nameless()).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert_eq!(provider.asked(), 2);
    // And now it is.
    provider.now_has(Some(vec![other.public_nameless()]));
    pass(Duration::from_secs(2)).await;
    let outcome = caller(&authenticator, &other.nameless()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn of_several_keys_of_one_name_the_one_that_fits_is_used() {
    let (rsa, curve) = (
        Signer::new(Algorithm::RS256, "same"),
        Signer::new(Algorithm::ES256, "same"),
    );
    let second = Signer::new(Algorithm::RS256, "same");
    let provider = Provider::with(Some(vec![curve.public(), second.public(), rsa.public()])).await;
    for signer in [&rsa, &second, &curve] {
        let authenticator = provider.authenticator(signer.algorithm);
        let outcome = caller(&authenticator, &signer.token()).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        let authenticator = provider.authenticator(signer.algorithm);
        let outcome = caller(&authenticator, &signer.nameless()).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_new_key_says_when_to_come_again_until_the_signer_may_be_asked() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    // Forged names have made us ask less often.
    let forged = Signer::new(Algorithm::ES256, "forged").token();
    for seconds in [1, 2, 4, 8, 16] {
        pass(Duration::from_secs(seconds)).await;
        assert!(is_refused(&caller(&authenticator, &forged).await));
    }
    provider.now_has(Some(vec![old.public(), new.public()]));
    match caller(&authenticator, &new.token()).await {
        Err(Error::KeysUnavailable {
            retry_after_seconds, ..
        }) => {
            assert!((28..=31).contains(&retry_after_seconds), "{retry_after_seconds}");
            pass(Duration::from_secs(retry_after_seconds)).await;
        }
        other => panic!("{other:?}"),
    }
    assert!(caller(&authenticator, &new.token()).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_before_the_token_calls_nobody_a_stranger() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    provider.is_held.send_replace(true);
    let (old_token, new_token) = (old.token(), new.token());
    let meanwhile = async {
        while provider.asked() == 0 {
            tokio::task::yield_now().await;
        }
        provider.now_has(Some(vec![old.public(), new.public()]));
        let release = async { provider.is_held.send_replace(false) };
        tokio::join!(caller(&authenticator, &new_token), release).0
    };
    let (first, second) = tokio::join!(caller(&authenticator, &old_token), meanwhile);
    assert!(first.is_ok(), "{first:?}");
    assert!(is_unavailable(&second), "{second:?}");
    pass(Duration::from_secs(1)).await;
    assert!(caller(&authenticator, &new_token).await.is_ok());
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn headers_that_must_be_understood_are_refused() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let good = claims().to_string();
    for crit in [r#"["b64"]"#, "[]", "null", r#""b64""#, "7"] {
        let token = signer.signed_as_written(&format!(r#"{{"alg":"ES256","kid":"one","crit":{crit}}}"#), &good);
        assert!(why(&caller(&authenticator, &token).await).contains("`crit`"), "{crit}");
    }
    for kid in ["7", r#"["one"]"#, "{}"] {
        let token = signer.signed_as_written(&format!(r#"{{"alg":"ES256","kid":{kid}}}"#), &good);
        assert!(why(&caller(&authenticator, &token).await).contains("`kid`"), "{kid}");
    }
    for alg in [r#""none""#, r#""HS256""#, r#""es256""#, "null", "256"] {
        let token = signer.signed_as_written(&format!(r#"{{"alg":{alg},"kid":"one"}}"#), &good);
        assert!(why(&caller(&authenticator, &token).await).contains("`alg`"), "{alg}");
    }
    // What nobody reads may be anything.
    let odd = r#"{"alg":"ES256","kid":"one","typ":7,"x5c":"text","jwk":"text","x5t":null,"cty":[]}"#;
    let outcome = caller(&authenticator, &signer.signed_as_written(odd, &good)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn each_claim_is_read_by_itself() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let now = Utc::now().timestamp();
    let known = |changes: Value| {
        let token = signer.signed(&claims_with(changes.clone()));
        let authenticator = &authenticator;
        async move {
            let outcome = caller(authenticator, &token).await;
            outcome.unwrap_or_else(|error| panic!("{changes}: {error}"))
        }
    };
    for (changes, role) in [
        (json!({"role": ["admin", "user"]}), CallerRole::Person),
        (json!({"role": ["user", "agent"]}), CallerRole::Agent),
        (json!({"role": "agent"}), CallerRole::Agent),
        (json!({"role": []}), CallerRole::Person),
        (json!({"role": [null, 7, "agent"]}), CallerRole::Agent),
        (json!({"role": 7}), CallerRole::Person),
        (json!({"role": null}), CallerRole::Person),
        (json!({"role": "Agent"}), CallerRole::Person),
        (json!({"role": "agent,admin"}), CallerRole::Person),
    ] {
        assert_eq!(known(changes.clone()).await.role, role, "{changes}");
    }
    for (changes, organisation) in [
        (json!({"org_id": 42}), Some("42")),
        (json!({"org_id": u64::MAX}), Some("18446744073709551615")),
        (json!({"org_id": "acme"}), Some("acme")),
        (json!({"orgId": "acme"}), Some("acme")),
        (json!({"org_id": null, "orgId": "acme"}), Some("acme")),
        (json!({"org_id": ["acme"]}), Some("acme")),
        (json!({"org_id": []}), None),
        (json!({"org_id": null}), None),
        (json!({"org_id": " "}), None),
        (json!({}), None),
    ] {
        let caller = known(changes.clone()).await;
        assert_eq!(caller.org_id.as_deref(), organisation, "{changes}");
    }
    for (changes, name, picture) in [
        (json!({"name": 7, "picture": {"url": "x"}}), "anna", None),
        (json!({"name": null, "picture": null}), "anna", None),
        (json!({"name": ["Anna"], "picture": 7}), "anna", None),
        (json!({"name": " ", "picture": ""}), "anna", None),
        (json!({"name": "An\nna", "picture": "https://x/\u{0}"}), "anna", None),
        (
            json!({"name": "n".repeat(201), "picture": "p".repeat(2049)}),
            "anna",
            None,
        ),
        (
            json!({"name": "Anna B.", "picture": "https://x/a"}),
            "Anna B.",
            Some("https://x/a"),
        ),
    ] {
        let caller = known(changes.clone()).await;
        assert_eq!(
            (caller.name.as_str(), caller.image.as_deref()),
            (name, picture),
            "{changes}"
        );
    }
    // Fractions, and what nobody asks for.
    let caller =
        known(json!({"exp": now as f64 + 60.5, "nbf": now as f64 + 3.5, "iat": "soon", "jti": {}, "auth_time": []}))
            .await;
    assert_eq!(caller.token_expires_at.timestamp_millis(), now * 1000 + 60_500);
    for changes in [
        json!({"nbf": null}),
        json!({"nbf": now + 4}),
        json!({"exp": 1e11}),
        json!({"aud": ["others", "chat"]}),
        json!({"aud": ["chat", 7, null]}),
        json!({"azp": "whoever", "client_id": 7}),
    ] {
        known(changes).await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_claim_and_never_what_it_says() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let now = Utc::now().timestamp();
    for (claim, value) in [
        ("sub", json!(7)),
        ("sub", json!(null)),
        ("sub", json!(["hush"])),
        ("sub", json!("hush\u{0}")),
        ("sub", json!("")),
        ("exp", json!("hush")),
        ("exp", json!(format!("{}", now + 60))),
        ("exp", json!(null)),
        ("exp", json!(1e300)),
        ("exp", json!(-1e300)),
        ("exp", json!(now - 6)),
        ("exp", json!({"hush": 1})),
        ("nbf", json!("hush")),
        ("nbf", json!(true)),
        ("nbf", json!(now + 60)),
        ("iss", json!("hush")),
        ("iss", json!("site/")),
        ("iss", json!(["site"])),
        ("iss", json!(7)),
        ("aud", json!("hush")),
        ("aud", json!(["hush"])),
        ("aud", json!([])),
        ("aud", json!({"hush": "chat"})),
        ("aud", json!(7)),
        ("aud", json!(null)),
        ("org_id", json!({"id": "hush"})),
        ("org_id", json!(["hush", "acme"])),
        ("org_id", json!(true)),
        ("org_id", json!(4.5)),
        ("org_id", json!(1e20)),
        ("org_id", json!("hush\u{7}")),
        ("org_id", json!("hush".repeat(100))),
        ("role", json!({"hush": true})),
        ("role", json!(true)),
        ("role", json!([["hush"]])),
        ("role", json!("service_role")),
        ("role", json!(["user", "anon"])),
    ] {
        let token = signer.signed(&claims_with(json!({ (claim): value.clone() })));
        let why = why(&caller(&authenticator, &token).await);
        assert!(why.contains(&format!("`{claim}`")), "{claim} {value}: {why}");
        assert!(!why.contains("hush"), "{claim}: {why}");
    }
    let why = why(&caller(&authenticator, &signer.signed(&claims_with(json!({"iss": "site/"})))).await);
    assert!(why.contains("slash"), "{why}");
    for payload in ["[]", "null", "\"anna\"", "{", ""] {
        let token = signer.signed_as_written(r#"{"alg":"ES256","kid":"one"}"#, payload);
        assert!(is_refused(&caller(&authenticator, &token).await), "{payload}");
    }
}

#[tokio::test]
async fn half_a_character_in_a_name_spoils_that_name_alone() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let written = |name: &str, value: &str| {
        let text = claims_with(json!({ (name): "here" })).to_string();
        signer.signed_as_written(r#"{"alg":"ES256","kid":"one"}"#, &text.replace("\"here\"", value))
    };
    // As JavaScript cuts an emoji.
    let cut = caller(&authenticator, &written("name", r#""Anna \ud83d""#))
        .await
        .unwrap();
    assert_eq!((cut.id.as_str(), cut.name.as_str()), ("anna", "anna"));
    let unread = caller(&authenticator, &written("bio", r#"{"text": "\ud83d"}"#))
        .await
        .unwrap();
    assert_eq!(unread.name, "Anna");
    for (claim, value) in [("org_id", r#""\ud83d""#), ("exp", "1e400"), ("role", r#"["\ud83d"]"#)] {
        let why = why(&caller(&authenticator, &written(claim, value)).await);
        assert!(why.contains(&format!("`{claim}`")), "{why}");
    }
}

#[tokio::test]
async fn which_claims_say_who_calls_is_a_setting() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let settings = [
        (
            "JWT_ROLE_CLAIM",
            "https://example.com/roles,app_metadata.role,cognito:groups",
        ),
        ("JWT_AGENT_ROLE", "Bot"),
        ("JWT_ORGANISATION_CLAIM", "o.id"),
        ("JWT_NAME_CLAIM", "user_metadata.full_name,email"),
        ("JWT_PICTURE_CLAIM", "user_metadata.avatar.url"),
    ];
    let authenticator = provider.set_up(Algorithm::ES256, &settings);
    for (changes, role, organisation, name, picture) in [
        (
            json!({"https://example.com/roles": ["Bot"]}),
            CallerRole::Agent,
            None,
            "anna",
            None,
        ),
        (
            json!({"app_metadata": {"role": "Bot"}}),
            CallerRole::Agent,
            None,
            "anna",
            None,
        ),
        (
            json!({"cognito:groups": ["x", "Bot"]}),
            CallerRole::Agent,
            None,
            "anna",
            None,
        ),
        (
            json!({"app_metadata.role": "Bot"}),
            CallerRole::Agent,
            None,
            "anna",
            None,
        ),
        (
            json!({"app_metadata": {"role": "user"}, "cognito:groups": ["Bot"]}),
            CallerRole::Person,
            None,
            "anna",
            None,
        ),
        (
            json!({"app_metadata": {"role": null}, "cognito:groups": ["Bot"]}),
            CallerRole::Agent,
            None,
            "anna",
            None,
        ),
        (
            json!({"app_metadata": "text", "role": "Bot", "org_id": "acme"}),
            CallerRole::Person,
            None,
            "anna",
            None,
        ),
        // Another's own claim, whatever it is.
        (
            json!({"role": {"id": 7}, "org_id": [1, 2]}),
            CallerRole::Person,
            None,
            "anna",
            None,
        ),
        (
            json!({"o": {"id": "org_1"}, "user_metadata": {"full_name": "Anna B.", "avatar": {"url": "https://x/a"}}}),
            CallerRole::Person,
            Some("org_1"),
            "Anna B.",
            Some("https://x/a"),
        ),
        (
            json!({"o": {"id": 7}, "user_metadata": {"full_name": 7, "avatar": "https://x/a"}, "email": "a@x"}),
            CallerRole::Person,
            Some("7"),
            "a@x",
            None,
        ),
    ] {
        let token = signer.signed(&claims_with(changes.clone()));
        let caller = caller(&authenticator, &token)
            .await
            .unwrap_or_else(|error| panic!("{changes}: {error}"));
        assert_eq!(caller.role, role, "{changes}");
        assert_eq!(caller.org_id.as_deref(), organisation, "{changes}");
        assert_eq!(
            (caller.name.as_str(), caller.image.as_deref()),
            (name, picture),
            "{changes}"
        );
    }
    for (changes, claim) in [
        (json!({"o": {"id": {}}}), "o.id"),
        (json!({"app_metadata": {"role": {}}}), "app_metadata.role"),
        // Supabase's applications, wherever the site keeps its own roles.
        (
            json!({"role": "service_role", "app_metadata": {"role": "user"}}),
            "role",
        ),
    ] {
        let why = why(&caller(&authenticator, &signer.signed(&claims_with(changes))).await);
        assert!(why.contains(&format!("`{claim}`")), "{why}");
    }
}

#[tokio::test]
async fn without_an_audience_the_client_is_checked() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let none = provider.set_up(
        Algorithm::ES256,
        &[("JWT_AUDIENCE", "none"), ("JWT_CLIENT_ID", "abc, ios")],
    );
    let both = provider.set_up(Algorithm::ES256, &[("JWT_CLIENT_ID", "abc")]);
    let token = |changes: Value| {
        let mut claims = claims_with(changes);
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signer.signed(&claims)
    };
    for (authenticator, changes) in [
        (&none, json!({"aud": null, "client_id": "abc"})),
        (&none, json!({"aud": null, "azp": "ios"})),
        (&none, json!({"aud": null, "azp": "ios", "client_id": "abc"})),
        (&none, json!({"aud": "abc"})),
        (&both, json!({"azp": "abc"})),
    ] {
        let outcome = caller(authenticator, &token(changes.clone())).await;
        assert!(outcome.is_ok(), "{changes}: {outcome:?}");
    }
    for (authenticator, changes, claim) in [
        (&none, json!({"aud": null}), "client_id"),
        (&none, json!({"aud": null, "client_id": "hush"}), "client_id"),
        (
            &none,
            json!({"aud": null, "client_id": "hush", "azp": "abc"}),
            "client_id",
        ),
        (&none, json!({"aud": null, "client_id": "abc", "azp": "hush"}), "azp"),
        (&none, json!({"aud": null, "azp": ["abc"]}), "azp"),
        (&none, json!({"aud": null, "client_id": 7}), "client_id"),
        (&none, json!({"aud": "hush", "client_id": "abc"}), "aud"),
        (&both, json!({}), "client_id"),
        (&both, json!({"azp": "hush"}), "azp"),
        (&both, json!({"aud": null, "azp": "abc"}), "aud"),
        (&both, json!({"aud": "abc", "azp": "abc"}), "aud"),
    ] {
        let why = why(&caller(authenticator, &token(changes.clone())).await);
        assert!(why.contains(&format!("`{claim}`")), "{changes}: {why}");
        assert!(!why.contains("hush"), "{why}");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_what_is_configured() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let (usual, wide) = (
        provider.authenticator(Algorithm::ES256),
        provider.set_up(Algorithm::ES256, &[("JWT_LEEWAY_SECONDS", "60")]),
    );
    let now = Utc::now().timestamp();
    for (changes, by_usual) in [
        (json!({"nbf": now + 4}), true),
        (json!({"nbf": now + 50}), false),
        (json!({"exp": now - 40}), false),
    ] {
        let token = signer.signed(&claims_with(changes.clone()));
        assert_eq!(caller(&usual, &token).await.is_ok(), by_usual, "{changes}");
        assert!(caller(&wide, &token).await.is_ok(), "{changes}");
    }
    for changes in [json!({"nbf": now + 90}), json!({"exp": now - 60})] {
        assert!(is_refused(&caller(&wide, &signer.signed(&claims_with(changes))).await));
    }
}
