//! A provider of tokens: its keys, its server, and whoever checks what it signs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use backtalk_http::auth::Authenticator;
use backtalk_http::auth::TokenConfig;
use backtalk_http::error::Error;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use domain::person::Caller;
use foundation::environment::Environment;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time;

/// A provider's key pair under a name.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: &'static str,
    pub(crate) key: EncodingKey,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm, kid: &'static str) -> Self {
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

    pub(crate) fn token(&self) -> String {
        self.signed(&claims())
    }

    pub(crate) fn signed(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.into()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }

    /// The claims as they are written here, which may be no JSON that a library makes.
    pub(crate) fn signed_as_written(&self, header: &str, claims: &str) -> String {
        let message = [header, claims]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Without saying by which key.
    pub(crate) fn nameless(&self) -> String {
        encode(&Header::new(self.algorithm), &claims(), &self.key).unwrap()
    }

    /// The public key without its name.
    pub(crate) fn public_nameless(&self) -> Value {
        let mut jwk = self.public();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    }

    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.into());
        json!(jwk)
    }
}

pub(crate) fn claims() -> Value {
    json!({"sub": "anna", "name": "Anna", "iss": "site", "aud": "chat", "exp": Utc::now().timestamp() + 60})
}

pub(crate) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    claims
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    claims
}

/// What the provider answers: its keys, or nothing good.
pub(crate) type Keys = Option<Vec<Value>>;

/// The same as a body, to the byte.
pub(crate) type Body = Option<String>;

pub(crate) fn body(keys: Keys) -> Body {
    keys.map(|keys| json!({ "keys": keys }).to_string())
}

/// The provider's server. It counts how often it is asked.
pub(crate) struct Provider {
    url: String,
    body: watch::Sender<Body>,
    /// While it is, an answer that was begun is not given.
    pub(crate) is_held: watch::Sender<bool>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) async fn with(keys: Keys) -> Self {
        Self::saying(keys, "x-nothing: in particular").await
    }

    /// `header`: of each answer.
    pub(crate) async fn saying(keys: Keys, header: &'static str) -> Self {
        Self::sending(body(keys), header).await
    }

    pub(crate) async fn sending(body: Body, header: &'static str) -> Self {
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

    pub(crate) fn now_has(&self, keys: Keys) {
        self.body.send_replace(body(keys));
    }

    pub(crate) fn authenticator(&self, algorithm: Algorithm) -> Authenticator {
        self.set_up(algorithm, &[])
    }

    /// With settings beyond the usual.
    pub(crate) fn set_up(&self, algorithm: Algorithm, settings: &[(&str, &str)]) -> Authenticator {
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

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) async fn caller(authenticator: &Authenticator, token: &str) -> Result<Caller, Error> {
    authenticator.caller(Some(&format!("Bearer {token}"))).await
}

pub(crate) fn is_unavailable(outcome: &Result<Caller, Error>) -> bool {
    matches!(outcome, Err(Error::KeysUnavailable { .. }))
}

pub(crate) fn is_refused(outcome: &Result<Caller, Error>) -> bool {
    matches!(outcome, Err(Error::Unauthenticated(_)))
}

/// As if so long had passed; the clock runs on afterwards, for the network needs it.
pub(crate) async fn pass(duration: Duration) {
    time::pause();
    time::advance(duration).await;
    time::resume();
}

/// Why a token was refused.
pub(crate) fn why(outcome: &Result<Caller, Error>) -> String {
    match outcome {
        Err(error @ Error::Unauthenticated(_)) => error.problem("").detail,
        other => panic!("{other:?} is no refusal"),
    }
}
