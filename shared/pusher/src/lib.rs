//! An event to everyone who must learn of it, after the commit and at best effort: what Pusher loses, the event stream
//! and polling find in the inbox.

pub mod client;
mod settings;

use tracing::{info, warn};

use self::client::{ChannelName, Pushed, Pusher, Trigger, fit, user_channel};
pub use self::settings::PusherSettings;
use domain::event::{EventType, Outgoing};
use telemetry::Part;
use telemetry::metrics::{self, Metric};

/// Pusher takes so many channels in one call.
const CHANNELS_A_TRIGGER: usize = 100;

/// Events to people, through Pusher where it is configured.
#[derive(Clone, Debug)]
pub struct Delivery {
    pusher: Option<Pusher>,
}

impl Delivery {
    #[must_use]
    pub fn new(settings: Option<PusherSettings>, http: reqwest::Client) -> Self {
        if settings.is_none() {
            info!("Pusher is not configured: clients poll or listen to the event stream");
        }
        Self {
            pusher: settings.map(|settings| Pusher::new(settings, http)),
        }
    }

    /// Pusher, where it is configured.
    #[must_use]
    pub fn pusher(&self) -> Option<&Pusher> {
        self.pusher.as_ref()
    }

    /// Tells everyone, within [`client::PUSH_TIMEOUT`]. Whether Pusher took it all; `None` where there is no Pusher or
    /// nobody to tell.
    pub async fn publish(&self, news: &[Outgoing]) -> Option<bool> {
        if let Some(seq) = news.iter().find_map(|news| news.event.seq) {
            telemetry::place(seq);
        }
        let pusher = self.pusher.as_ref()?;
        let triggers: Vec<Trigger> = news.iter().flat_map(triggers).collect();
        if triggers.is_empty() {
            return None;
        }
        match telemetry::timing(Part::Pusher, pusher.trigger(&triggers)).await {
            Pushed::Sent => Some(true),
            Pushed::Failed(reason) => {
                warn!(%reason, events = news.len(), "Pusher did not take an event");
                metrics::say(&[(Metric::PushesFailed, news.len() as f64)], None);
                Some(false)
            }
        }
    }
}

/// One trigger for every hundred people.
fn triggers(news: &Outgoing) -> Vec<Trigger> {
    let envelope = serde_json::json!(news.event).to_string();
    let data = fit(envelope, &news.event.fetch_path());
    let channels: Vec<ChannelName> = news.audience.iter().map(user_channel).collect();
    channels
        .chunks(CHANNELS_A_TRIGGER)
        .map(|channels| Trigger {
            channels: channels.to_vec(),
            event: pusher_name(news.event.event_type).to_owned(),
            data: data.clone(),
            socket_id: None,
        })
        .collect()
}

/// The name that pusher-js clients bind to: the type, but for new messages the one that they have always used.
#[must_use]
pub fn pusher_name(event_type: EventType) -> &'static str {
    match event_type {
        EventType::MessageCreated => "chat-message",
        other => other.word(),
    }
}
