//! Who calls, as a token claims that is validly signed.

use chrono::Utc;
use domain::person::CallerRole;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::provider::{Provider, Signer, caller, claims_with, is_refused, why};

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
        (&none, json!({"aud": ["abc", "others"], "azp": "abc"})),
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
        (&none, json!({"aud": ["abc", "hush"], "azp": "hush"}), "azp"),
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
