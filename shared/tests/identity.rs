//! Tokens signed by a provider whose public keys are to be fetched.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use futures_util::future::join_all;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use shared::auth::Authenticator;
use shared::config::{TokenConfig, TokenKey};
use shared::domain::person::Caller;
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
            Algorithm::RS256 => {
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
            other => panic!("{other:?} is not signed here"),
        };
        Self { algorithm, kid, key }
    }

    fn token(&self) -> String {
        let header = Header {
            kid: Some(self.kid.into()),
            ..Header::new(self.algorithm)
        };
        encode(&header, &claims(), &self.key).unwrap()
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

/// What the provider answers: its keys, or nothing good.
type Keys = Option<Vec<Value>>;

/// The provider's server. It counts how often it is asked.
struct Provider {
    url: String,
    keys: watch::Sender<Keys>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn with(keys: Keys) -> Self {
        Self::saying(keys, "x-nothing: in particular").await
    }

    /// `header`: of each answer.
    async fn saying(keys: Keys, header: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (sender, keys) = watch::channel(keys);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (keys, count) = (keys.clone(), count.clone());
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _bytes = stream.read(&mut request).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = match &*keys.borrow() {
                        Some(keys) => ("200 OK", json!({ "keys": keys }).to_string()),
                        None => ("500 Internal Server Error", "{}".to_owned()),
                    };
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
            keys: sender,
            asked,
        }
    }

    fn authenticator(&self, algorithm: Algorithm) -> Authenticator {
        let config = TokenConfig {
            algorithm,
            key: TokenKey::Jwks(self.url.clone()),
            issuer: "site".into(),
            audience: "chat".into(),
        };
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
    matches!(outcome, Err(Error::Unavailable(_)))
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
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
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
        let nameless = encode(&Header::new(algorithm), &claims(), &one.key).unwrap();
        for token in [impostor.token(), nameless] {
            let outcome = caller(&authenticator, &token).await;
            assert!(is_refused(&outcome), "{outcome:?}");
        }
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
    provider.keys.send_replace(Some(vec![old.public(), new.public()]));

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
    provider.keys.send_replace(Some(vec![new.public()]));
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
        provider.keys.send_replace(Some(vec![new.public()]));
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
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(Error::Unavailable(_)))),
        "{outcomes:?}"
    );
    assert_eq!(provider.asked(), 1, "a provider in trouble is left alone for a moment");

    provider.keys.send_replace(Some(vec![signer.public()]));
    pass(Duration::from_secs(3)).await;
    assert!(caller(&authenticator, &token).await.is_ok());
}

#[tokio::test]
async fn known_keys_outlive_their_provider_for_an_hour() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
    provider.keys.send_replace(None);
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
    provider.keys.send_replace(Some(vec![signer.public()]));
    pass(Duration::from_secs(2)).await;
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
}
