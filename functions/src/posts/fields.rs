//! The fields that a new post and a changed one have in common.

use std::collections::HashSet;
use std::hash::Hash;

use backtalk_http::Fields;
use capabilities::Reads;
use domain::post::Post;
use domain::text::{AuthProviderId, PostText, ProviderName};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

#[derive(JsonSchema, Serialize)]
pub(super) struct OnePost {
    pub(super) post: Post,
}

pub(super) fn content(fields: &mut Fields, name: &'static str, reads: &Reads) -> Option<PostText> {
    let longest = reads.settings.limits.post_bytes;
    fields.optional(name, |text: String| PostText::parse(&text, longest))
}

/// `None` where they are absent.
pub(super) fn providers(fields: &mut Fields, reads: &Reads) -> Option<Vec<ProviderName>> {
    names(
        fields,
        "providers",
        reads.settings.limits.providers,
        ProviderName::parse,
    )
}

pub(super) fn auth_provider_ids(fields: &mut Fields, reads: &Reads) -> Option<Vec<AuthProviderId>> {
    names(
        fields,
        "authProviderIds",
        reads.settings.limits.providers,
        AuthProviderId::parse,
    )
}

fn names<T: Clone + Eq + Hash>(
    fields: &mut Fields,
    name: &'static str,
    most: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let mut seen = HashSet::new();
    let is_there = fields.has(name);
    let list = fields.list(name, most, |item| match item {
        Value::String(text) => {
            let item = parse(&text)?;
            if seen.insert(item.clone()) {
                Ok(item)
            } else {
                Err("is there twice".to_owned())
            }
        }
        _ => Err("must be a string".to_owned()),
    });
    is_there.then_some(list)
}
