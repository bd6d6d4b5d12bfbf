use serde_json::json;

use super::*;

/// RFC 7515, appendix A.2.1.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-\
                 yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-\
                 KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_\
                 h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn good() -> Value {
    json!({"kty": "RSA", "kid": "good", "n": N, "e": "AQAB"})
}

fn with(changes: Value) -> Value {
    let mut jwk = good();
    jwk.as_object_mut()
        .expect("an object")
        .extend(changes.as_object().expect("an object").clone());
    jwk
}

fn read(jwk: &Value) -> Result<Key, Unusable> {
    let text = RawValue::from_string(jwk.to_string()).expect("JSON");
    Key::read(&text, Algorithm::RS256)
}

#[test]
fn what_a_key_need_not_have_may_be_anything_that_allows_it() {
    for changes in [
        json!({}),
        json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"]}),
        json!({"use": null, "alg": null, "key_ops": null, "kid": null}),
        json!({"key_ops": "verify"}),
        json!({"x5c": "text", "x5t": 7, "x5u": {}, "ext": "yes"}),
        json!({"n": format!("{N}==")}),
        json!({"n": N.replace('-', "+").replace('_', "/")}),
        json!({"n": format!("{}\n{}", &N[..64], &N[64..])}),
        json!({"e": "AAEAAQ=="}),
    ] {
        assert!(read(&with(changes.clone())).is_ok(), "{changes}");
    }
    // With a zero before it, as Java's numbers have one.
    let octets = [vec![0], LENIENT.decode(N).expect("base64")].concat();
    let jwk = with(json!({"n": BASE64_URL_SAFE_NO_PAD.encode(octets)}));
    assert!(read(&jwk).is_ok());
}

#[test]
fn what_cannot_be_used_is_told_apart() {
    for changes in [
        json!({"kty": "EC"}),
        json!({"kty": "oct"}),
        json!({"kty": "brainpool"}),
        json!({"use": "enc"}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": "sign"}),
    ] {
        assert_eq!(read(&with(changes.clone())).err(), Some(OfOtherUse), "{changes}");
    }
    for changes in [
        json!({"kty": null}),
        json!({"kty": ["RSA"]}),
        json!({"kid": 7}),
        json!({"kid": ["good"]}),
        json!({"use": ["sig"]}),
        json!({"alg": 256}),
        json!({"key_ops": 1}),
        json!({"d": "secret"}),
        json!({"n": null}),
        json!({"n": 7}),
        json!({"n": "!"}),
        json!({"n": ""}),
        json!({"n": &N[..100]}),
        json!({"n": N.repeat(5)}),
        json!({"e": "AQ"}),
        json!({"e": "AQAA"}),
        json!({"e": ""}),
    ] {
        assert!(matches!(read(&with(changes.clone())), Err(Odd(_))), "{changes}");
    }
    for entry in [json!(null), json!([]), json!("text"), json!(7)] {
        assert_eq!(read(&entry).err(), Some(Odd("is no object")), "{entry}");
    }
}

#[test]
fn coordinates_may_lack_the_zeros_that_they_begin_with() {
    let point = |x: &[u8], y: &[u8]| {
        let [x, y] = [x, y].map(|octets| BASE64_URL_SAFE_NO_PAD.encode(octets));
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "c", "x": x, "y": y});
        let text = RawValue::from_string(jwk.to_string()).expect("JSON");
        let key = Key::read(&text, Algorithm::ES256).ok()?.key;
        Some(key.try_get_as_bytes().expect("a point").to_vec())
    };
    let whole = [&[4, 0, 0][..], &[7; 30], &[0], &[9; 31]].concat();
    assert_eq!(point(&[7; 30], &[9; 31]), Some(whole.clone()));
    assert_eq!(point(&whole[1..33], &whole[33..]), Some(whole.clone()));
    assert_eq!(point(&[&[0; 4], &whole[1..33]].concat(), &whole[33..]), Some(whole));
    assert_eq!(point(&[7; 33], &[9; 32]), None);
}

#[test]
fn a_set_is_whatever_of_it_can_be_used() {
    let odd = r#"{"kty":"RSA","kid":"\ud800","n":"x","e":"AQAB"}"#;
    let text = format!(
        "\u{feff}{{\"keys\": [null, {odd}, {}, 7, {}], \"more\": \"\\ud800\"}}",
        good(),
        with(json!({"kid": 7}))
    );
    let set = KeySet::read(text.as_bytes(), Algorithm::RS256).expect("a set");
    assert_eq!(set.keys.len(), 1);
    assert_eq!(
        KeySet::read(b"{\"keys\": []}", Algorithm::RS256)
            .expect("a set")
            .keys
            .len(),
        0
    );
    for none in [
        "",
        "{}",
        "[]",
        "null",
        "{\"keys\": null}",
        "{\"keys\": {}}",
        "<html>",
        "\u{feff}",
    ] {
        assert!(KeySet::read(none.as_bytes(), Algorithm::RS256).is_err(), "{none}");
    }
}

#[test]
fn a_key_is_found_by_its_id_or_else_without_one() {
    let set = |ids: &[Option<&str>]| {
        let keys: Vec<_> = ids.iter().map(|id| with(json!({"kid": id}))).collect();
        KeySet::read(json!({"keys": keys}).to_string().as_bytes(), Algorithm::RS256).expect("a set")
    };
    let found = |set: &KeySet, id| {
        let found = set.candidates(id);
        (found.keys.len(), found.are_named)
    };
    let mixed = set(&[Some("a"), None, Some("a"), Some("b")]);
    assert_eq!(found(&mixed, Some("a")), (2, true));
    assert_eq!(found(&mixed, Some("c")), (1, false));
    assert_eq!(found(&mixed, None), (4, false));
    assert_eq!(found(&set(&[Some("a")]), Some("c")), (0, false));
    assert_eq!(found(&set(&[Some("a"); 100]), None), (MOST_TRIED, false));
}
