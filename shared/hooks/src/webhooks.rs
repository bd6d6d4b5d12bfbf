//! Telling an organisation's own servers: one signed request an event, as Standard Webhooks says (`webhook-id`,
//! `webhook-timestamp`, `webhook-signature`). An address is given by somebody outside, so by default it is asked by `https`
//! alone, only where it is public, and never where it redirects to.

mod config;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws::SdkConfig;
use chrono::Utc;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};
use url::{Host, Url};

pub use self::config::{Targets, WebhookConfig};
use crate::signing::SigningSecret;
use domain::webhook::{WebhookCall, WebhookEvent};
use parameters::Client;

/// A secret that was changed is taken up so soon.
const SECRET_KEEPS: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Debug)]
pub struct Webhooks {
    http: reqwest::Client,
    config: WebhookConfig,
    parameters: Client,
    secrets: Arc<Mutex<HashMap<String, Kept>>>,
}

/// The secrets of one reference, and since when they are known.
#[derive(Clone, Debug)]
struct Kept {
    secrets: Vec<SigningSecret>,
    since: Instant,
}

impl Webhooks {
    pub fn new(config: &WebhookConfig, aws: &SdkConfig) -> Result<Self, tls::TlsError> {
        let mut http = tls::client()?
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            // It would carry what is said, signed, to a stranger.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("Backtalk");
        if config.targets == Targets::Public {
            // A proxy would look names up itself.
            http = http.no_proxy().https_only(true).dns_resolver(Arc::new(PublicNames));
        }
        Ok(Self {
            http: http.build()?,
            config: config.clone(),
            parameters: Client::new(aws),
            secrets: Arc::default(),
        })
    }

    /// How often and how long an event is tried.
    #[must_use]
    pub fn config(&self) -> &WebhookConfig {
        &self.config
    }

    /// Delivers one event; whatever is not a 2xx in time is an error, which names neither the address nor the secret.
    pub async fn deliver(&self, call: &WebhookCall) -> anyhow::Result<()> {
        let url = Url::parse(&call.url).context("its address is no URL")?;
        if self.config.targets == Targets::Public {
            ensure!(is_public_address(&url), "its address is not public");
        }
        let secrets = self.secrets(&call.secret).await?;
        let body = body(call).to_string();
        let id = call.job.id.to_string();
        let timestamp = Utc::now().timestamp();
        let signatures: Vec<_> = secrets
            .iter()
            .map(|secret| secret.sign(&id, timestamp, &body))
            .collect();
        let answer = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(body)
            .send()
            .await
            .map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        ensure!(status.is_success(), "it answers {status}");
        Ok(())
    }

    /// What a reference names: one secret, or several between which it is being changed, separated by blanks.
    async fn secrets(&self, reference: &str) -> anyhow::Result<Vec<SigningSecret>> {
        let kept = self.kept(reference);
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let text = match reference.split_once(':') {
            Some(("env", name)) => env::var(name).with_context(|| format!("{name} is not set"))?,
            Some(("ssm", name)) => {
                let values = parameters::read(&self.parameters, &BTreeSet::from([name])).await?;
                values
                    .get(name)
                    .context("its secret is not in SSM")?
                    .expose()
                    .to_owned()
            }
            _ => bail!("its secret is not named as env:NAME or ssm:/path"),
        };
        let secrets: Option<Vec<_>> = text.split_whitespace().map(SigningSecret::parse).collect();
        let secrets = secrets.filter(|secrets| !secrets.is_empty()).with_context(|| {
            format!(
                "its secret must be whsec_ and a key in base64, or a text, of {} bytes at least",
                SigningSecret::LEAST_BYTES
            )
        })?;
        let kept = Kept {
            secrets: secrets.clone(),
            since: Instant::now(),
        };
        let mut all = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(reference.to_owned(), kept);
        Ok(secrets)
    }

    fn kept(&self, reference: &str) -> Option<Vec<SigningSecret>> {
        let all = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get(reference)?;
        (kept.since.elapsed() < SECRET_KEEPS).then(|| kept.secrets.clone())
    }
}

/// What a webhook is sent: the envelope of every event, with who it is for and an id that tells duplicates.
fn body(call: &WebhookCall) -> Value {
    let data = match call.event {
        WebhookEvent::MessageCreated => json!(call.message),
        WebhookEvent::ReplyEnded => call.data.clone(),
        WebhookEvent::ClarificationAnswered => json!({
            "taskId": call.task_id,
            "userId": call.person,
            "clarification": call.clarification,
            "answer": call.message,
        }),
    };
    json!({
        "id": call.job.id,
        "type": call.event,
        "timestamp": call.at,
        "organisation": call.organisation,
        "chatId": call.chat_id,
        "seq": call.message.as_ref().map(|message| message.seq),
        "data": data,
    })
}

fn is_public_address(url: &Url) -> bool {
    url.scheme() == "https"
        && match url.host() {
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(ip)) => is_public(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => is_public(IpAddr::V6(ip)),
            None => false,
        }
}

/// Names, without those of their addresses that are not public: what is asked is what was looked at.
#[derive(Debug)]
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("it has no public address".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the internet's, as the registries of special addresses say (RFC 6890 and its like).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        // Shared by carriers, protocol assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3; of that, not 2001::/23 (protocol assignments) and not documentation.
    let [first, second, ..] = ip.segments();
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
        && (first & 0xfff0) != 0x3ff0
}

/// The IPv4 address inside one that is mapped, translated or 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}
