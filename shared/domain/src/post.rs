//! A person's post, and what the networks it goes to allow.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::fingerprint::Fingerprint;
use super::ids::{ChatId, PostId};
use super::text::{AuthProviderId, PostText, ProviderName};

/// Who publishes says how far a post has come; we only keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostStatus {
    Draft,
    Scheduled,
    /// Published: it stays as it is.
    Sent,
    Failed,
}
wire_enum!(PostStatus { Draft = "DRAFT", Scheduled = "SCHEDULED", Sent = "SENT", Failed = "FAILED" });

impl PostStatus {
    /// From where a post gets here. What has failed can be tried again; what is sent is sent.
    #[must_use]
    pub fn comes_from(self) -> &'static [Self] {
        match self {
            Self::Draft => &[Self::Scheduled, Self::Failed],
            Self::Scheduled => &[Self::Draft, Self::Failed],
            Self::Sent => &[Self::Draft, Self::Scheduled, Self::Failed],
            Self::Failed => &[Self::Draft, Self::Scheduled],
        }
    }
}

/// A post as its owner sees it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Post {
    pub id: PostId,
    /// The AI chat of this post.
    pub chat_id: ChatId,
    pub content: String,
    pub providers: Vec<String>,
    pub auth_provider_ids: Vec<String>,
    pub status: PostStatus,
    pub client_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

/// A post that someone wants to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostDraft {
    pub content: PostText,
    pub providers: Vec<ProviderName>,
    pub auth_provider_ids: Vec<AuthProviderId>,
}

impl PostDraft {
    /// What is asked for by its `clientId`.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let providers: Vec<_> = self.providers.iter().map(ProviderName::as_str).collect();
        let accounts: Vec<_> = self.auth_provider_ids.iter().map(AuthProviderId::as_str).collect();
        Fingerprint::of(json!({
            "content": self.content.as_str(),
            "providers": providers,
            "authProviderIds": accounts,
        }))
    }
}

/// What of a post is to be changed; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostChange {
    pub content: Option<PostText>,
    pub providers: Option<Vec<ProviderName>>,
    pub auth_provider_ids: Option<Vec<AuthProviderId>>,
    pub status: Option<PostStatus>,
}

/// An edit is followed up when the text is longer than this, in characters.
pub const FOLLOWED_UP_ABOVE: usize = 10;

/// How long a post may be, in characters, by the networks' own pages for developers and helpers (July 2025). A network counts
/// in its own way (a link is 23 on X, Bluesky counts graphemes): it is guidance for the assistant, never a refusal.
#[must_use]
pub fn longest_on(provider: &str) -> Option<u32> {
    let name = provider.to_ascii_lowercase();
    Some(match name.as_str() {
        "x" | "twitter" => 280,
        "bluesky" => 300,
        "mastodon" | "threads" | "pinterest" => 500,
        "google" | "google-business" | "googlebusiness" | "gmb" => 1500,
        "discord" => 2000,
        "instagram" => 2200,
        "tiktok" => 2200,
        "linkedin" => 3000,
        "telegram" => 4096,
        "youtube" => 5000,
        "reddit" => 40_000,
        "facebook" => 63_206,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sent_post_goes_nowhere_and_every_other_may_be_sent() {
        for to in PostStatus::ALL {
            assert!(!to.comes_from().contains(&PostStatus::Sent), "{to}");
            assert!(!to.comes_from().contains(to), "{to}");
        }
        for from in [PostStatus::Draft, PostStatus::Scheduled, PostStatus::Failed] {
            assert!(PostStatus::Sent.comes_from().contains(&from), "{from}");
        }
    }

    #[test]
    fn limits_are_known_by_the_names_that_sites_give_networks() {
        for (name, limit) in [("x", 280), ("TWITTER", 280), ("LinkedIn", 3000), ("facebook", 63_206)] {
            assert_eq!(longest_on(name), Some(limit), "{name}");
        }
        assert_eq!(longest_on("our-intranet"), None);
    }
}
