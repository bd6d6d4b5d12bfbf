//! What Pusher tells us: who came to a channel and who left.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::ChannelName;
use domain::ids::UserId;

/// A genuine webhook: what of it we understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// When Pusher sent it, where it says so.
    pub at: Option<DateTime<Utc>>,
    pub events: Vec<WebhookEvent>,
    /// How many events were of other kinds, or lacked what their kind needs.
    pub skipped: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A person's first connection to a presence channel.
    MemberAdded {
        channel: ChannelName,
        user: UserId,
    },
    /// A person's last connection to a presence channel has gone.
    MemberRemoved {
        channel: ChannelName,
        user: UserId,
    },
    ChannelOccupied {
        channel: ChannelName,
    },
    ChannelVacated {
        channel: ChannelName,
    },
}

/// Why a webhook is not to be believed or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("the webhook is not signed by this application")]
    Forged,
    #[error("the webhook is signed, but not a JSON object")]
    Unreadable,
}

impl Webhook {
    /// Reads a body whose signature has been checked. Only what is no JSON object at all is an error: one odd event must
    /// not cost us its neighbours, for Pusher would send them all again and again.
    pub(super) fn read(body: &[u8]) -> Result<Self, WebhookError> {
        let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| WebhookError::Unreadable)?;
        let told = body
            .get("events")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let events: Vec<WebhookEvent> = told.iter().filter_map(WebhookEvent::read).collect();
        Ok(Self {
            at: body.get("time_ms").and_then(time),
            skipped: told.len() - events.len(),
            events,
        })
    }
}

impl WebhookEvent {
    fn read(event: &Value) -> Option<Self> {
        let channel = ChannelName::parse(event.get("channel")?.as_str()?)?;
        let user = || event.get("user_id").and_then(user);
        match event.get("name")?.as_str()? {
            "member_added" => Some(Self::MemberAdded { channel, user: user()? }),
            "member_removed" => Some(Self::MemberRemoved { channel, user: user()? }),
            "channel_occupied" => Some(Self::ChannelOccupied { channel }),
            "channel_vacated" => Some(Self::ChannelVacated { channel }),
            _ => None,
        }
    }
}

/// A user id comes as the subscription gave it: as text from us, but a number is as good.
fn user(id: &Value) -> Option<UserId> {
    match id {
        Value::String(id) => UserId::parse(id),
        Value::Number(id) if id.is_i64() || id.is_u64() => UserId::parse(&id.to_string()),
        _ => None,
    }
}

fn time(milliseconds: &Value) -> Option<DateTime<Utc>> {
    let milliseconds = milliseconds.as_i64().or_else(|| milliseconds.as_str()?.parse().ok())?;
    DateTime::from_timestamp_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Webhook {
        Webhook::read(body.to_string().as_bytes()).unwrap()
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn anna() -> UserId {
        UserId::parse("anna").unwrap()
    }

    #[test]
    fn it_says_who_came_and_who_left() {
        let webhook = read(&json!({"time_ms": 1_327_078_148_132_i64, "events": [
            {"name": "member_added", "channel": "presence-chat-1", "user_id": "anna"},
            {"name": "member_removed", "channel": "presence-chat-2", "user_id": "anna"},
            {"name": "channel_occupied", "channel": "private-user-anna"},
            {"name": "channel_vacated", "channel": "private-user-ben"},
        ]}));
        assert_eq!(webhook.at.unwrap().to_rfc3339(), "2012-01-20T16:49:08.132+00:00");
        assert_eq!(webhook.skipped, 0);
        assert_eq!(
            webhook.events,
            [
                WebhookEvent::MemberAdded {
                    channel: channel("presence-chat-1"),
                    user: anna()
                },
                WebhookEvent::MemberRemoved {
                    channel: channel("presence-chat-2"),
                    user: anna()
                },
                WebhookEvent::ChannelOccupied {
                    channel: channel("private-user-anna")
                },
                WebhookEvent::ChannelVacated {
                    channel: channel("private-user-ben")
                },
            ]
        );
    }

    #[test]
    fn a_number_is_a_user_id_too() {
        let added =
            |id: Value| read(&json!({"events": [{"name": "member_added", "channel": "c", "user_id": id}]})).events;
        let user = |id: &str| {
            [WebhookEvent::MemberAdded {
                channel: channel("c"),
                user: UserId::parse(id).unwrap(),
            }]
        };
        assert_eq!(added(json!(10)), user("10"));
        assert_eq!(added(json!(-3)), user("-3"));
        assert_eq!(added(json!(u64::MAX)), user("18446744073709551615"));
    }

    #[test]
    fn what_it_does_not_understand_it_skips() {
        let webhook = read(&json!({"time_ms": 1, "extra": {"deep": [1]}, "events": [
            {"name": "client_event", "channel": "presence-chat-1", "event": "client-typing", "data": "{}", "user_id": "x"},
            {"name": "cache_miss", "channel": "cache-1"},
            {"name": "member_added", "channel": "presence-chat-1"},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": null},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": {"id": 1}},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": 1.5},
            {"name": "member_added", "channel": "presence-chat-1", "user_id": ""},
            {"name": "member_added", "channel": "not a channel", "user_id": "anna"},
            {"name": "member_added", "channel": 7, "user_id": "anna"},
            {"name": 7, "channel": "presence-chat-1"},
            {"name": "member_added"},
            {},
            null,
            "member_added",
            ["member_added"],
            {"name": "member_added", "channel": "presence-chat-1", "user_id": "anna", "socket_id": 1, "new": true},
        ]}));
        assert_eq!(
            webhook.events,
            [WebhookEvent::MemberAdded {
                channel: channel("presence-chat-1"),
                user: anna()
            }]
        );
        assert_eq!(webhook.skipped, 15);
    }

    #[test]
    fn odd_members_are_as_if_absent() {
        for odd in [
            json!({}),
            json!({"time_ms": null, "events": null}),
            json!({"time_ms": [], "events": {"name": "x"}}),
        ] {
            assert_eq!(
                read(&odd),
                Webhook {
                    at: None,
                    events: vec![],
                    skipped: 0
                },
                "{odd}"
            );
        }
        assert_eq!(
            read(&json!({"time_ms": "1327078148132"}))
                .at
                .unwrap()
                .timestamp_millis(),
            1_327_078_148_132
        );
        for never in [json!(i64::MAX), json!(i64::MIN), json!(1e300), json!("soon")] {
            assert_eq!(read(&json!({"time_ms": never})).at, None);
        }
    }

    #[test]
    fn only_what_is_no_object_is_unreadable() {
        let deep = "[".repeat(100_000);
        for odd in [
            &b""[..],
            b"[]",
            b"null",
            b"\"x\"",
            b"{",
            b"{}}",
            b"<html>",
            b"{\"a\":\"\xff\"}",
            deep.as_bytes(),
        ] {
            assert_eq!(Webhook::read(odd), Err(WebhookError::Unreadable));
        }
    }
}
