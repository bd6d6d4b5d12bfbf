//! How long what is said is kept, by kind of chat.

use domain::chat::Kind;
use domain::retention::Retention;
use foundation::environment::{ConfigError, Environment};

/// `RETENTION`: kinds of chats and days, such as `task=30d,assistant=365d`.
pub(super) fn read(env: &Environment<'_>) -> Result<Retention, ConfigError> {
    let mut rules: Vec<(Kind, i32)> = Vec::new();
    for rule in env.optional("RETENTION").unwrap_or_default().split(',') {
        let rule = rule.trim();
        if rule.is_empty() {
            continue;
        }
        let read = rule.split_once('=').and_then(|(kind, days)| {
            let days: i32 = days.trim().strip_suffix('d')?.parse().ok()?;
            Some((Kind::parse(kind.trim())?, days)).filter(|_| days > 0)
        });
        let Some((kind, days)) = read else {
            return Err(ConfigError::new(format!(
                "RETENTION has {rule:?}: use a kind of chat and days, such as task=30d."
            )));
        };
        if rules.iter().any(|(known, _)| *known == kind) {
            return Err(ConfigError::new(format!("RETENTION names {kind} twice.")));
        }
        rules.push((kind, days));
    }
    Ok(Retention(rules))
}
