//! `docs/recipes.md` as people follow it: each block of variables is read by our configuration, each model asked where the
//! page says, at a stand-in, and a token of each issuer is checked.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::{fs, thread};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Url;
use serde_json::{Value, json};

use crate::settings::tests::Everything;
use backtalk_http::auth::Authenticator;
use backtalk_http::auth::TokenConfig;
use domain::chat::Kind;
use domain::person::CallerRole;
use fakes::{Fake, stream_of};
use foundation::environment::{ConfigError, Environment};
use futures_util::TryStreamExt;
use models::assistants::Assistants;
use models::{Chunk, Finish, Prompt, Turn};

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes.md");
    fs::read_to_string(path).unwrap()
});

/// What a function has that is not in a recipe.
const BESIDE: &[(&str, &str)] = &[
    ("DATABASE_URL", "postgres://app@db/app"),
    ("SQS_QUEUE_URL", "https://sqs/1/jobs"),
];
const OF_MODELS: &[(&str, &str)] = &[("MODEL_PROVIDER", "scripted")];
const OF_TOKENS: &[(&str, &str)] = &[
    ("JWT_ALGORITHM", "HS256"),
    ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ("JWT_ISSUER", "site"),
    ("JWT_AUDIENCE", "chat"),
];

/// A section of the page.
#[derive(Clone)]
struct Recipe {
    name: &'static str,
    text: &'static str,
    variables: BTreeMap<String, String>,
}

/// Those of a chapter, in the order of the page.
fn recipes(chapter: &str) -> Vec<Recipe> {
    let (_, rest) = PAGE.split_once(&format!("\n## {chapter}\n")).unwrap();
    let chapter = rest.split("\n## ").next().unwrap();
    chapter.split("\n### ").skip(1).map(Recipe::of).collect()
}

impl Recipe {
    fn of(section: &'static str) -> Self {
        let (name, text) = section.split_once('\n').unwrap();
        let recipe = Self {
            name,
            text,
            variables: BTreeMap::new(),
        };
        let lines = recipe.block("sh").lines();
        let variables = lines.map(|line| {
            let (variable, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
            (variable.to_owned(), value.to_owned())
        });
        Self {
            variables: variables.collect(),
            ..recipe
        }
    }

    fn block(&self, language: &str) -> &'static str {
        let begin = format!("```{language}\n");
        let block = self
            .text
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split_once("```"));
        block
            .unwrap_or_else(|| panic!("{} has a block of {language}", self.name))
            .0
    }

    /// What is written between back quotes after a word.
    fn told(&self, after: &str) -> Option<&'static str> {
        let (_, rest) = self.text.split_once(after)?;
        rest.split_once('`').map(|(told, _)| told)
    }

    fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.variables.insert(variable.to_owned(), value.into());
        self
    }

    /// Beside what a function has else. Every variable must be one that we know.
    fn read(&self, beside: &[(&str, &str)]) -> Result<Everything, ConfigError> {
        let asked = RefCell::new(BTreeSet::new());
        let value = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            let mut others = beside.iter().chain(BESIDE);
            let other = || {
                others
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            self.variables.get(name).cloned().or_else(other)
        };
        let config = Everything::read(&Environment(&value));
        let asked = asked.borrow();
        let unknown = self
            .variables
            .keys()
            .find(|name| config.is_ok() && !asked.contains(*name));
        assert_eq!(unknown, None, "{} sets what nobody reads", self.name);
        config
    }

    fn read_well(&self, beside: &[(&str, &str)]) -> Everything {
        self.read(beside)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

fn named(recipes: &[Recipe]) -> Vec<&str> {
    recipes.iter().map(|recipe| recipe.name).collect()
}

#[test]
fn there_is_one_for_each() {
    assert_eq!(
        named(&recipes("Models")),
        [
            "OpenAI",
            "Azure OpenAI",
            "Gemini",
            "Anthropic",
            "Bedrock",
            "OpenRouter",
            "Groq",
            "Mistral",
            "DeepSeek",
            "vLLM",
            "Ollama",
            "llama.cpp",
        ]
    );
    assert_eq!(
        named(&recipes("Tokens")),
        ["Supabase Auth", "Clerk", "Auth0", "Cognito", "Firebase", "Auth.js"]
    );
}

/// A whole answer as the provider gives it.
fn golden(provider: &str) -> Vec<u8> {
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/src/golden");
    fs::read(format!("{home}/{provider}/plain.sse")).unwrap()
}

#[tokio::test]
async fn each_model_is_asked_where_the_page_says() {
    for recipe in recipes("Models") {
        let config = recipe.read_well(OF_TOKENS);
        if recipe.variables["MODEL_PROVIDER"] == "bedrock" {
            let made = Assistants::new(&config.assistants, &BTreeMap::new());
            assert_eq!(made.is_ok(), cfg!(feature = "bedrock"), "a part of some builds");
            continue;
        }
        let answer = golden(&recipe.variables["MODEL_PROVIDER"]);
        let fake = Fake::always(stream_of([answer]));
        let stand_in = Url::parse(&fake.url()).unwrap();
        // The provider's address, but for who is there.
        let mut url = Url::parse(&recipe.variables["MODEL_URL"]).unwrap();
        url.set_scheme("http").unwrap();
        url.set_host(stand_in.host_str()).unwrap();
        url.set_port(stand_in.port()).unwrap();
        let config = recipe.clone().with("MODEL_URL", url.as_str()).read_well(OF_TOKENS);
        let assistants = Assistants::new(&config.assistants, &BTreeMap::new()).unwrap();
        let answering = assistants.answering(Kind::Assistant, None);
        let prompt = Prompt {
            system: None,
            turns: vec![Turn::person("hi")],
            max_output_tokens: answering.max_output_tokens,
            temperature: answering.temperature,
        };
        let chunks = answering.model.stream(&prompt).await.unwrap();
        let chunks: Vec<_> = chunks.try_collect().await.unwrap();
        let is_said = chunks.iter().any(|chunk| matches!(chunk, Chunk::Text(_)));
        assert!(
            is_said
                && matches!(
                    chunks.last(),
                    Some(Chunk::Done {
                        finish: Finish::Stop,
                        ..
                    })
                ),
            "{}: {chunks:?}",
            recipe.name
        );

        let seen = fake.seen();
        let [request] = seen.as_slice() else {
            panic!("{}: {} requests", recipe.name, seen.len())
        };
        let told = Url::parse(recipe.told("Asked: `").unwrap()).unwrap();
        let target = &told[url::Position::BeforePath..];
        let line = request.head.lines().next().unwrap();
        assert_eq!(
            line,
            format!("post {} http/1.1", target.to_lowercase()),
            "{}",
            recipe.name
        );
        let keys = request.head.lines().filter(|line| line.contains("key"));
        let header = recipe.told("` with `").map(str::to_lowercase);
        assert_eq!(
            keys.collect::<Vec<_>>(),
            Vec::from_iter(header.as_deref()),
            "{}",
            recipe.name
        );
        assert_eq!(
            header.is_some(),
            recipe.variables.contains_key("MODEL_KEY"),
            "{}",
            recipe.name
        );
        if recipe.variables["MODEL_PROVIDER"] != "gemini" {
            assert_eq!(request.body["model"], recipe.variables["MODEL_NAME"], "{}", recipe.name);
        }
    }
}

/// An issuer's key, and where it is published.
struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    keys: String,
}

impl Issuer {
    /// Whose tokens a configuration checks.
    fn of(config: &TokenConfig, secret: Option<&String>) -> Self {
        let algorithm = config.algorithm;
        let key = match algorithm {
            Algorithm::HS256 => EncodingKey::from_secret(secret.unwrap().as_bytes()),
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der = BASE64_STANDARD.encode(pair.as_der().unwrap().as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                EncodingKey::from_ec_der(pair.unwrap().as_ref())
            }
            other => panic!("no issuer of the page signs by {other:?}"),
        };
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = Some("k".into());
        Self {
            algorithm,
            key,
            keys: json!({ "keys": [jwk] }).to_string(),
        }
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some("k".into()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.key).unwrap()
    }

    /// Serves the keys as long as the process lives.
    fn publish(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (length, keys) = (self.keys.len(), self.keys.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _request = stream.read(&mut [0; 4096]);
                let _gone = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{keys}"
                );
            }
        });
        url
    }
}

/// An issuer, and who checks its tokens as its recipe says.
fn set_up(mut recipe: Recipe) -> (Recipe, Issuer, Authenticator) {
    let issuer = Issuer::of(&recipe.read_well(OF_MODELS).tokens, recipe.variables.get("JWT_SECRET"));
    if recipe.variables.contains_key("JWT_JWKS_URL") {
        recipe = recipe.with("JWT_JWKS_URL", issuer.publish());
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let authenticator = Authenticator::new(&recipe.read_well(OF_MODELS).tokens, http);
    (recipe, issuer, authenticator)
}

/// The page's token, as if it had just been issued, with some claims changed; null: left out.
fn claims(recipe: &Recipe, changes: &Value) -> Value {
    let mut claims: Value = serde_json::from_str(recipe.block("json")).unwrap();
    let all = claims.as_object_mut().unwrap();
    let passed = Utc::now().timestamp() - all["iat"].as_i64().unwrap();
    for name in ["exp", "iat", "nbf", "auth_time"] {
        if let Some(at) = all.get(name).and_then(Value::as_i64) {
            all.insert(name.into(), json!(at + passed));
        }
    }
    all.extend(changes.as_object().unwrap().clone());
    all.retain(|_, value| !value.is_null());
    claims
}

#[tokio::test]
async fn a_token_of_each_issuer_says_who_calls() {
    let (agent, person) = (CallerRole::Agent, CallerRole::Person);
    let image = "https://example.com/anna.png";
    // What is changed, then who calls, or else the claim that is refused.
    #[rustfmt::skip]
    let expected = [
        ("Supabase Auth", json!({}), Ok((agent, "123e4567-e89b-12d3-a456-426614174000", "Anna Berger", Some(image), Some("42")))),
        ("Supabase Auth", json!({"app_metadata": {"provider": "email"}, "user_metadata": {}}),
            Ok((person, "123e4567-e89b-12d3-a456-426614174000", "anna@example.com", None, None))),
        ("Supabase Auth", json!({"user_metadata": {"role": "agent", "org_id": "mine"}, "app_metadata": {}}),
            Ok((person, "123e4567-e89b-12d3-a456-426614174000", "anna@example.com", None, None))),
        ("Supabase Auth", json!({"role": "service_role"}), Err("role")),
        ("Clerk", json!({}), Ok((person, "user_123", "Anna Berger", Some("https://img.clerk.com/anna"), Some("org_123")))),
        ("Clerk", json!({"role": "agent", "o": null, "org_id": "org_9", "name": null, "picture": null}),
            Ok((agent, "user_123", "user_123", None, Some("org_9")))),
        ("Clerk", json!({"azp": "https://elsewhere.example.com"}), Err("azp")),
        ("Clerk", json!({"azp": null}), Err("azp")),
        ("Auth0", json!({}), Ok((agent, "auth0|6553da60a54af58e29493993", "Anna Berger", Some(image), Some("org_9ybsU1dN2dKfDkBi")))),
        ("Auth0", json!({"https://example.com/roles": [], "org_id": null}),
            Ok((person, "auth0|6553da60a54af58e29493993", "Anna Berger", Some(image), None))),
        ("Auth0", json!({"iss": "https://TENANT.eu.auth0.com"}), Err("iss")),
        ("Cognito", json!({}), Ok((agent, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "anna", None, None))),
        // An ID token.
        ("Cognito", json!({"client_id": null, "username": null, "aud": "CLIENT", "token_use": "id", "name": "Anna Berger",
            "cognito:username": "anna", "cognito:groups": ["users"], "custom:org_id": "acme"}),
            Ok((person, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "Anna Berger", None, Some("acme")))),
        ("Cognito", json!({"client_id": "ANOTHER"}), Err("client_id")),
        ("Firebase", json!({}), Ok((person, "x9AbC", "Anna Berger", Some(image), Some("acme-1")))),
        ("Firebase", json!({"role": "agent", "org_id": 7}), Ok((agent, "x9AbC", "Anna Berger", Some(image), Some("7")))),
        ("Auth.js", json!({}), Ok((person, "clx1", "Anna Berger", Some(image), None))),
        ("Auth.js", json!({"aud": "page"}), Err("aud")),
    ];
    let known: BTreeMap<_, _> = recipes("Tokens")
        .into_iter()
        .map(|recipe| (recipe.name, set_up(recipe)))
        .collect();
    for name in known.keys() {
        assert!(expected.iter().any(|(of, ..)| of == name), "{name} is not tried");
    }
    for (name, changes, expected) in expected {
        let (recipe, issuer, authenticator) = &known[name];
        let token = issuer.token(&claims(recipe, &changes));
        let outcome = authenticator.caller(Some(&format!("Bearer {token}"))).await;
        match (outcome, expected) {
            (Ok(caller), Ok((role, id, shown, image, organisation))) => {
                assert_eq!(
                    (caller.id.as_str(), caller.name.as_str()),
                    (id, shown),
                    "{name} {changes}"
                );
                assert_eq!(caller.image.as_deref(), image, "{name} {changes}");
                assert_eq!(caller.org_id.as_deref(), organisation, "{name} {changes}");
                assert_eq!(caller.role, role, "{name} {changes}");
            }
            (Err(error), Err(claim)) => {
                let said = error.problem("").detail;
                assert!(said.contains(&format!("`{claim}`")), "{name} {changes}: {said}");
            }
            (outcome, _) => panic!("{name} {changes}: {outcome:?}"),
        }
    }
}
