//! The `pusher` crate signs what we sign and checks what we check: for random inputs both must agree.

use std::collections::HashMap;

use serde_json::json;

use super::*;
use fakes::http::{Fake, ok};

const ROUNDS: u64 = 200;

/// SplitMix64, seeded, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    fn anything(&mut self) -> String {
        let length = self.below(40);
        self.text("az09 \"\\/&=%+:{}[],\n\té日\u{1F600}", length)
    }

    fn key(&mut self) -> String {
        let length = 1 + self.below(30);
        self.text("abcdef0123456789-_&=+ é", length)
    }

    /// Longer than HMAC's block of 64 bytes now and then.
    fn secret(&mut self) -> String {
        let length = 1 + self.below(100);
        self.text("abcdef0123456789é", length)
    }

    fn channel(&mut self) -> ChannelName {
        let length = 1 + self.below(ChannelName::MAX);
        channel(&self.text("abcXYZ019_-=@,.;", length))
    }

    fn socket(&mut self) -> SocketId {
        socket(&format!("{}.{}", self.below(1 << 40), self.below(1 << 40)))
    }
}

#[tokio::test]
async fn we_sign_the_oracles_requests_as_it_does() {
    let mut dice = Dice(1);
    let fake = Fake::start(|_| ok());
    let mut events = Vec::new();
    for _ in 0..ROUNDS {
        let (key, secret) = (dice.key(), dice.secret());
        let oracle = ::pusher_peer::PusherBuilder::new("3", &key, &secret)
            .host(&fake.at.to_string())
            .finalize();
        let channels: Vec<ChannelName> = (0..1 + dice.below(10)).map(|_| dice.channel()).collect();
        let channels: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
        oracle
            .trigger_multi(&channels, &dice.anything(), dice.anything())
            .await
            .unwrap();
        events.push((key, secret));
    }

    let seen = fake.seen();
    assert_eq!(seen.len(), events.len());
    for (seen, (key, secret)) in seen.iter().zip(events) {
        let asked = Url::parse(&format!("http://host{}?{}", seen.path, seen.query)).unwrap();
        let seconds = asked
            .query_pairs()
            .find(|(name, _)| name == "auth_timestamp")
            .unwrap()
            .1
            .parse()
            .unwrap();
        let ours = Signer::new(&key, &secret).request(&seen.path, seconds, seen.body.as_bytes());
        let theirs: Vec<(String, String)> = asked.query_pairs().into_owned().collect();
        assert_eq!(ours.map(|(name, value)| (name.to_owned(), value)).to_vec(), theirs);
    }
}

#[tokio::test]
async fn the_same_event_is_the_same_request() {
    let mut dice = Dice(2);
    let fake = Fake::start(|_| ok());
    for _ in 0..ROUNDS {
        let (key, secret) = (dice.key(), dice.secret());
        let oracle = ::pusher_peer::PusherBuilder::new("3", &key, &secret)
            .host(&fake.at.to_string())
            .finalize();
        let ours = Pusher::new(
            PusherSettings {
                key,
                secret,
                ..settings(fake.at)
            },
            http(),
        );
        let (event, data) = (dice.anything(), json!({"text": dice.anything()}));
        let channels: Vec<ChannelName> = (0..2 + dice.below(8)).map(|_| dice.channel()).collect();
        let socket = dice.socket();

        let names: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
        oracle
            .trigger_multi_exclusive(&names, &event, &data, socket.as_str())
            .await
            .unwrap();
        let trigger = Trigger {
            channels,
            event,
            data: data.to_string(),
            socket_id: Some(socket),
        };
        assert_eq!(ours.trigger(&[trigger]).await, Pushed::Sent);
    }

    let seen = fake.seen();
    for pair in seen.chunks(2) {
        assert_eq!((&pair[0].path, &pair[0].body), (&pair[1].path, &pair[1].body));
    }
    // A second may pass between the two, but not often.
    let equal = seen.chunks(2).filter(|pair| pair[0].query == pair[1].query).count();
    assert!(
        equal * 2 > seen.len() / 2,
        "{equal} of {} queries are equal",
        seen.len() / 2
    );
}

#[test]
fn we_authorize_channels_as_the_oracle_does() {
    let mut dice = Dice(3);
    for _ in 0..ROUNDS {
        let (key, secret) = (dice.key(), dice.secret());
        let oracle = ::pusher_peer::PusherBuilder::new("3", &key, &secret).finalize();
        let ours = Pusher::new(
            PusherSettings {
                key,
                secret,
                ..settings(([127, 0, 0, 1], 1).into())
            },
            http(),
        );
        let (socket, channel) = (dice.socket(), dice.channel());

        let private = oracle
            .authenticate_private_channel(channel.as_str(), socket.as_str())
            .unwrap();
        let private: Value = serde_json::from_str(&private).unwrap();
        assert_eq!(private["auth"], ours.authorize_private(&socket, &channel));

        let (id, name) = (dice.anything(), dice.anything());
        let user_info = (dice.below(2) == 0).then(|| HashMap::from([("name", name.as_str())]));
        let member = ::pusher_peer::Member {
            user_id: &id,
            user_info,
        };
        let presence = oracle
            .authenticate_presence_channel(channel.as_str(), socket.as_str(), &member)
            .unwrap();
        let presence: Value = serde_json::from_str(&presence).unwrap();
        let channel_data = presence["channel_data"].as_str().unwrap();
        assert_eq!(
            presence["auth"],
            ours.authorize_presence(&socket, &channel, channel_data)
        );
    }
}

#[test]
fn we_believe_the_webhooks_that_the_oracle_believes() {
    let mut dice = Dice(4);
    for _ in 0..ROUNDS {
        let (key, secret) = (dice.key(), dice.secret());
        let oracle = ::pusher_peer::PusherBuilder::new("3", &key, &secret).finalize();
        let signer = Signer::new(&key, &secret);
        let ours = Pusher::new(
            PusherSettings {
                key: key.clone(),
                secret,
                ..settings(([127, 0, 0, 1], 1).into())
            },
            http(),
        );

        let name = ["member_added", "member_removed", "channel_occupied", "else"][dice.below(4)];
        let event = json!({"name": name, "channel": dice.channel(), "user_id": dice.anything()});
        let body = json!({"time_ms": dice.below(1 << 50), "events": [event]}).to_string();
        let signature = signer.token(&body).rsplit_once(':').unwrap().1.to_owned();

        let told = ours.verify_webhook(body.as_bytes(), &key, &signature).unwrap();
        let told_them = oracle.webhook(&key, &signature, &body).unwrap();
        assert_eq!(told.at.unwrap().timestamp_millis(), told_them.time_ms);
        assert_eq!(told.events.len() + told.skipped, told_them.events.len());

        let mut other = signature.into_bytes();
        let at = dice.below(other.len());
        other[at] = if other[at] == b'0' { b'1' } else { b'0' };
        let other = String::from_utf8(other).unwrap();
        assert!(oracle.webhook(&key, &other, &body).is_err());
        assert_eq!(
            ours.verify_webhook(body.as_bytes(), &key, &other),
            Err(WebhookError::Forged)
        );
    }
}

#[test]
fn a_webhook_is_believed_only_whole_and_from_us() {
    let ours = pusher(([127, 0, 0, 1], 1).into());
    let key = "278d425bdf160c739803";
    let body = r#"{"time_ms":1,"events":[]}"#;
    let signature = ours.signer.token(body).rsplit_once(':').unwrap().1.to_owned();
    assert!(ours.verify_webhook(body.as_bytes(), key, &signature).is_ok());
    assert!(
        ours.verify_webhook(body.as_bytes(), key, &signature.to_uppercase())
            .is_ok()
    );

    let forged = Err(WebhookError::Forged);
    assert_eq!(ours.verify_webhook(body.as_bytes(), "another-key", &signature), forged);
    assert_eq!(
        ours.verify_webhook(format!("{body} ").as_bytes(), key, &signature),
        forged
    );
    assert_eq!(ours.verify_webhook(&[], key, &signature), forged);
    for odd in [
        "",
        "26c778",
        "not hex",
        "é",
        &signature[..63],
        &format!("{signature}00"),
    ] {
        assert_eq!(ours.verify_webhook(body.as_bytes(), key, odd), forged, "{odd}");
    }
}
