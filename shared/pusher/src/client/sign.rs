//! Everything that the application's secret signs: HTTP requests, subscriptions, and webhooks coming in.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

/// Signs with one application's secret, which it does not give back.
#[derive(Clone)]
pub(super) struct Signer {
    key: String,
    keyed: Hmac<Sha256>,
}

impl Signer {
    pub(super) fn new(key: &str, secret: &str) -> Self {
        let keyed = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
        Self {
            key: key.to_owned(),
            keyed,
        }
    }

    /// The query of a POST, in the order in which it is signed: by name.
    /// <https://pusher.com/docs/channels/library_auth_reference/rest-api/#generating-authentication-signatures>
    pub(super) fn request(&self, path: &str, seconds: u64, body: &[u8]) -> [(&'static str, String); 5] {
        let timestamp = seconds.to_string();
        let body_md5 = hex::encode(Md5::digest(body));
        let key = &self.key;
        let signature = self.sign(&format!(
            "POST\n{path}\nauth_key={key}&auth_timestamp={timestamp}&auth_version=1.0&body_md5={body_md5}"
        ));
        [
            ("auth_key", key.clone()),
            ("auth_timestamp", timestamp),
            ("auth_version", "1.0".to_owned()),
            ("body_md5", body_md5),
            ("auth_signature", signature),
        ]
    }

    /// What a connection shows to subscribe: `key:signature`.
    /// <https://pusher.com/docs/channels/library_auth_reference/auth-signatures>
    pub(super) fn token(&self, text: &str) -> String {
        format!("{}:{}", self.key, self.sign(text))
    }

    /// Whether `signature` is ours for exactly these bytes; it takes as long for a near miss as for a wild guess.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &str) -> bool {
        hex::decode(signature)
            .is_ok_and(|signature| self.keyed.clone().chain_update(bytes).verify_slice(&signature).is_ok())
    }

    fn sign(&self, text: &str) -> String {
        hex::encode(self.keyed.clone().chain_update(text).finalize().into_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The examples that Pusher publishes for those who write libraries.
#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new("278d425bdf160c739803", "7ad3773142a6692b25b8")
    }

    #[test]
    fn a_request_is_signed_as_documented() {
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let query = signer().request("/apps/3/events", 1_353_088_179, body);
        assert_eq!(
            query.map(|(name, value)| format!("{name}={value}")).join("&"),
            "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn a_private_channel_is_signed_as_documented() {
        assert_eq!(
            signer().token("1234.1234:private-foobar"),
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
    }

    #[test]
    fn a_presence_channel_is_signed_as_documented() {
        assert_eq!(
            signer().token(r#"1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#),
            "278d425bdf160c739803:afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"
        );
    }

    #[test]
    fn a_signature_that_is_not_one_is_no_panic() {
        let signature = signer().sign("body");
        assert!(signer().has_signed(b"body", &signature));
        assert!(!signer().has_signed(b"Body", &signature));
        for odd in [
            "",
            "0",
            "zz",
            "é",
            &signature[..62],
            &format!("{signature}00"),
            &format!(" {signature}"),
        ] {
            assert!(!signer().has_signed(b"body", odd), "{odd}");
        }
    }
}
