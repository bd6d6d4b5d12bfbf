//! Names of channels and connections, and which channel is whose.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use domain::ids::{ChatId, UserId};

/// A channel's name: 1 to [`ChannelName::MAX`] characters of `A-Z a-z 0-9 _ - = @ , . ;`.
///
/// That it holds no colon matters: names are signed between colons, so no name can pass for more than it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ChannelName(String);

impl ChannelName {
    /// The longest name at Pusher; self-hosted servers allow more.
    pub const MAX: usize = 164;

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        fits.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The chat whose [`chat_presence_channel`] this is.
    #[must_use]
    pub fn presence_chat(&self) -> Option<ChatId> {
        let chat = ChatId::parse(self.0.strip_prefix(CHAT_PRESENCE)?)?;
        // An id may be written in capitals too, but that would be another channel.
        (chat_presence_channel(chat) == *self).then_some(chat)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte)
}

/// A connection at Pusher: two numbers with a point between, e.g. `1234.1234`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct SocketId(String);

impl SocketId {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (left, right) = text.split_once('.')?;
        (is_number(left) && is_number(right)).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const USER: &str = "private-user-";
const CHAT_PRESENCE: &str = "presence-chat-";

/// Where a person hears of everything. No two people share it:
///
/// | user id | channel |
/// |---|---|
/// | a name that a channel may have, not beginning with `=` | `private-user-{id}` |
/// | other characters, e.g. <code>auth0&#124;123</code>, up to 112 bytes | `private-user-={base64url(id)}` without padding |
/// | too long for either | `private-user-=={sha256(id) in hex}` |
#[must_use]
pub fn user_channel(user: &UserId) -> ChannelName {
    let id = user.as_str();
    let verbatim = || {
        (!id.starts_with('='))
            .then(|| ChannelName::parse(&format!("{USER}{id}")))
            .flatten()
    };
    let escaped = || ChannelName::parse(&format!("{USER}={}", URL_SAFE_NO_PAD.encode(id)));
    let hashed = || ChannelName(format!("{USER}=={}", hex::encode(Sha256::digest(id))));
    verbatim().or_else(escaped).unwrap_or_else(hashed)
}

/// Who is here in a chat, and typing.
#[must_use]
pub fn chat_presence_channel(chat: ChatId) -> ChannelName {
    ChannelName(format!("{CHAT_PRESENCE}{chat}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn channel_of(id: &str) -> String {
        user_channel(&UserId::parse(id).unwrap()).to_string()
    }

    #[test]
    fn a_channel_name_is_what_pusher_allows() {
        for good in ["a", "private-user-anna", "A_-=@,.;9", &"x".repeat(164)] {
            assert!(ChannelName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a:b",
            "a|b",
            "a/b",
            "a\n",
            "é",
            "#server-to-user-1",
            &"x".repeat(165),
        ] {
            assert!(ChannelName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_socket_id_is_two_numbers() {
        for good in ["1234.1234", "0.0", "123456789012345678901.1"] {
            assert!(SocketId::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "1.2\n",
            " 1.2",
            "1.2:private-x",
            "-1.2",
            "１.２",
            "1,2",
            "a.b",
        ] {
            assert!(SocketId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_plain_user_id_names_its_channel_verbatim() {
        assert_eq!(channel_of("anna"), "private-user-anna");
        assert_eq!(channel_of("anna@example.com"), "private-user-anna@example.com");
        assert_eq!(
            channel_of(&"x".repeat(151)),
            format!("private-user-{}", "x".repeat(151))
        );
    }

    #[test]
    fn any_other_user_id_is_escaped() {
        assert_eq!(channel_of("auth0|123"), "private-user-=YXV0aDB8MTIz");
        assert_eq!(channel_of("Anna B"), "private-user-=QW5uYSBC");
        assert_eq!(channel_of("=YXV0aDB8MTIz"), "private-user-=PVlYVjBhREI4TVRJeg");
        assert_eq!(channel_of("ü").len(), "private-user-=".len() + 3);
        assert_eq!(channel_of(&"|".repeat(112)).len(), 164);
        assert_eq!(
            channel_of(&"x".repeat(152)),
            "private-user-==68d4a95bc47664e31607cb813ac8a421f21bff475638b7540c08e6c83fd54b72"
        );
    }

    #[test]
    fn no_two_people_share_a_channel() {
        let mut ids: HashSet<String> = HashSet::new();
        for text in [
            "a",
            "=",
            "==",
            "auth0|123",
            " ",
            "é",
            "日本",
            "|",
            "A",
            "\u{1F600}",
            "-",
            "a:b",
        ] {
            ids.extend((1..=255 / text.chars().count()).map(|times| text.repeat(times)));
        }
        // Whoever calls themselves what another's channel is called gets a channel of their own.
        let look_alikes: Vec<String> = ids
            .iter()
            .map(|id| channel_of(id)["private-user-".len()..].to_owned())
            .collect();
        ids.extend(look_alikes);

        let channels: HashSet<String> = ids.iter().map(|id| channel_of(id)).collect();
        assert_eq!(channels.len(), ids.len());
        assert!(channels.iter().all(|channel| ChannelName::parse(channel).is_some()));
    }

    #[test]
    fn a_chats_presence_channel_leads_back_to_it() {
        let chat = ChatId::parse("0192aaaa-0000-7000-8000-00000000000f").unwrap();
        let channel = chat_presence_channel(chat);
        assert_eq!(channel.as_str(), "presence-chat-0192aaaa-0000-7000-8000-00000000000f");
        assert_eq!(
            ChannelName::parse(channel.as_str()).unwrap().presence_chat(),
            Some(chat)
        );

        for other in [
            "presence-chat-0192AAAA-0000-7000-8000-00000000000F",
            "presence-chat-",
            "private-chat-0192aaaa-0000-7000-8000-00000000000f",
            "private-user-anna",
        ] {
            assert_eq!(ChannelName::parse(other).unwrap().presence_chat(), None, "{other}");
        }
    }
}
