//! Figures for CloudWatch, as lines of the log in its embedded metric format. None are said unless `METRICS_NAMESPACE` is set.

use std::env;
use std::sync::LazyLock;

use chrono::Utc;
use serde_json::{Value, json};

static NAMESPACE: LazyLock<Option<String>> =
    LazyLock::new(|| env::var("METRICS_NAMESPACE").ok().filter(|name| !name.is_empty()));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Events that Pusher did not take.
    PushesFailed,
    /// Chats in which somebody's unread count was wrong. Any is a bug of ours.
    UnreadRepaired,
    InputTokens,
    OutputTokens,
    CachedTokens,
    /// From the claim of a reply to its first word.
    TimeToFirstToken,
    RepliesCompleted,
    RepliesStopped,
    RepliesFailed,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::PushesFailed => "PushesFailed",
            Self::UnreadRepaired => "UnreadRepaired",
            Self::InputTokens => "InputTokens",
            Self::OutputTokens => "OutputTokens",
            Self::CachedTokens => "CachedTokens",
            Self::TimeToFirstToken => "TimeToFirstToken",
            Self::RepliesCompleted => "RepliesCompleted",
            Self::RepliesStopped => "RepliesStopped",
            Self::RepliesFailed => "RepliesFailed",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::TimeToFirstToken => "Milliseconds",
            _ => "Count",
        }
    }
}

/// Says some figures at once. `model`: of which model they are told apart, beside their sum over all.
pub fn say(figures: &[(Metric, f64)], model: Option<&str>) {
    if let Some(namespace) = NAMESPACE.as_deref()
        && !figures.is_empty()
    {
        println!("{}", line(namespace, figures, model, Utc::now().timestamp_millis()));
    }
}

fn line(namespace: &str, figures: &[(Metric, f64)], model: Option<&str>, at: i64) -> Value {
    let definitions: Vec<_> = figures
        .iter()
        .map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit() }))
        .collect();
    let dimensions = match model {
        Some(_) => json!([[], ["Model"]]),
        None => json!([[]]),
    };
    let mut line = json!({
        "_aws": {
            "Timestamp": at,
            "CloudWatchMetrics": [{ "Namespace": namespace, "Dimensions": dimensions, "Metrics": definitions }],
        },
    });
    for (metric, figure) in figures {
        line[metric.name()] = json!(figure);
    }
    if let Some(model) = model {
        line["Model"] = json!(model);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_cloudwatch_reads() {
        let figures = [(Metric::OutputTokens, 12.0), (Metric::TimeToFirstToken, 420.5)];
        assert_eq!(
            line("Backtalk/dev", &figures, Some("gemini-3-flash"), 1_700_000_000_000),
            json!({
                "_aws": {
                    "Timestamp": 1_700_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Backtalk/dev",
                        "Dimensions": [[], ["Model"]],
                        "Metrics": [
                            { "Name": "OutputTokens", "Unit": "Count" },
                            { "Name": "TimeToFirstToken", "Unit": "Milliseconds" },
                        ],
                    }],
                },
                "OutputTokens": 12.0,
                "TimeToFirstToken": 420.5,
                "Model": "gemini-3-flash",
            })
        );
        assert_eq!(
            line("n", &[(Metric::PushesFailed, 1.0)], None, 0)["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
            json!([[]])
        );
    }
}
