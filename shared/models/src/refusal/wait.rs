//! How long a provider asks to be left alone: in headers, in fields, or in words alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::number;

/// No limit is longer; more is nonsense, and would be beyond any calendar.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// OpenAI's milliseconds, or the standard's seconds or date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str, unit: f64| seconds(text(name)?.parse::<f64>().ok()? * unit);
    number("retry-after-ms", 0.001)
        .or_else(|| number(RETRY_AFTER.as_str(), 1.0))
        .or_else(|| {
            let date = DateTime::parse_from_rfc2822(text(RETRY_AFTER.as_str())?).ok()?;
            let wait = (date.to_utc() - Utc::now()).to_std().unwrap_or_default();
            Some(wait.min(LONGEST))
        })
}

/// What an error says of it: in a field, else in words such as "Please try again in 7m12.5s." or "Resets in 16 days."
pub(crate) fn told_wait(error: &Value, said: &str) -> Option<Duration> {
    let fields = [
        ("retry_after_ms", 0.001),
        ("retry_after", 1.0),
        ("retry_after_seconds", 1.0),
        ("retryAfter", 1.0),
    ];
    let holders = [Some(error), error.get("metadata")];
    let told = holders.into_iter().flatten().find_map(|holder| {
        let field = |(name, unit): &(&str, f64)| seconds(number(holder.get(*name)?)? * unit);
        fields.iter().find_map(field)
    });
    told.or_else(|| in_words(said))
}

fn seconds(number: f64) -> Option<Duration> {
    // One beyond all measure is long, and not none; what is no number is none.
    let number = Some(number).filter(|number| number.is_finite())?;
    Duration::try_from_secs_f64(number.min(LONGEST.as_secs_f64())).ok()
}

fn in_words(said: &str) -> Option<Duration> {
    const BEFORE: [&str; 8] = [
        "try again in ",
        "retry in ",
        "retry after ",
        "resets in ",
        "reset in ",
        "reset after ",
        "available in ",
        "try again after ",
    ];
    let said = said.to_lowercase();
    BEFORE.iter().find_map(|words| span(said.split_once(words)?.1))
}

/// The time with which a text begins: `53.2s`, `1h2m`, `26 seconds`, `2 hours and 5 minutes`.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut whole) = (text, None::<f64>);
    loop {
        rest = rest.trim_start_matches([' ', ',', '~']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
        rest = rest.strip_prefix("about ").unwrap_or(rest);
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<f64>() else {
            break;
        };
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => break,
        };
        whole = Some(whole.unwrap_or(0.0) + number * unit);
        rest = &after[letters..];
    }
    whole.and_then(seconds)
}
