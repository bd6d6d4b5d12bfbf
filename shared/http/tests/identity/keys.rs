//! Which key checks a token.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::provider::{Provider, Signer, body, caller, claims, is_refused, is_unavailable, pass, why};

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
    let encrypted = format!("{}.a.b", signer.token());
    assert!(why(&caller(&authenticator, &encrypted).await).contains("JWE"));
    // What nobody reads may be anything.
    let odd = r#"{"alg":"ES256","kid":"one","typ":7,"x5c":"text","jwk":"text","x5t":null,"cty":[]}"#;
    let outcome = caller(&authenticator, &signer.signed_as_written(odd, &good)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}
