//! What the caller's environment replaces: a part whose address is given is not started.

use std::collections::BTreeMap;

use crate::instance;

/// Names that would lead a function away from what it is given, to a developer's own account.
const ACCOUNT: &[&str] = &[
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SQS",
];

#[derive(Debug, Default)]
pub(crate) struct Overrides {
    given: BTreeMap<String, String>,
    /// Names of what stacks of ours exported.
    stale: Vec<String>,
}

impl Overrides {
    /// The environment without what a stack of ours exported: a shell that has read `.local/env` is not asking for the
    /// parts of an earlier start.
    pub(crate) fn of_process() -> Self {
        let ours = instance::exported_by_all();
        Self::among(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
            &ours,
        )
    }

    fn among(environment: impl Iterator<Item = (String, String)>, ours: &[BTreeMap<String, String>]) -> Self {
        let is_ours = |name: &str, value: &str| ours.iter().any(|one| one.get(name).is_some_and(|own| own == value));
        let mut overrides = Self::default();
        for (name, value) in environment {
            if is_ours(&name, &value) {
                overrides.stale.push(name);
            } else if !value.trim().is_empty() {
                overrides.given.insert(name, value);
            }
        }
        overrides
    }

    /// What functions must not get from our environment: what was exported by a stack, and what would compete with
    /// their `settings`.
    pub(crate) fn unwanted(&self, settings: &BTreeMap<String, String>) -> Vec<String> {
        let competing = ACCOUNT.iter().map(|name| (*name).to_owned());
        let pusher = self.given.keys().filter(|name| name.starts_with("PUSHER_")).cloned();
        let all = self.stale.iter().cloned().chain(competing).chain(pusher);
        all.filter(|name| !settings.contains_key(name)).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// Those whose names start so, as they are.
    pub(crate) fn starting_with(&self, prefix: &str) -> BTreeMap<String, String> {
        self.given
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_a_stack_exported_replaces_nothing() {
        let environment = table(&[("DATABASE_URL", "local"), ("MODEL_URL", "theirs"), ("MODEL_KEY", " ")]);
        let overrides = Overrides::among(environment.into_iter(), &[table(&[("DATABASE_URL", "local")])]);
        assert_eq!(overrides.get("DATABASE_URL"), None);
        assert_eq!(overrides.get("MODEL_KEY"), None);
        assert_eq!(overrides.get("MODEL_URL"), Some("theirs"));
        assert_eq!(overrides.starting_with("MODEL_"), table(&[("MODEL_URL", "theirs")]));
    }

    #[test]
    fn another_value_of_an_exported_name_replaces() {
        let environment = table(&[("DATABASE_URL", "theirs")]);
        let overrides = Overrides::among(environment.into_iter(), &[table(&[("DATABASE_URL", "local")])]);
        assert_eq!(overrides.get("DATABASE_URL"), Some("theirs"));
    }
}
