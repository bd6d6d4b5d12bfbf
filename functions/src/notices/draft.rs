//! A notice as an agent writes it: the body of a request, or a message on the queue.

use backtalk_http::{Fields, Result, parsed};
use capabilities::settings::Settings;
use domain::ids::UserId;
use domain::message::MessageType;
use domain::notice::{NoticeDraft, Priority};
use domain::text::{ClientId, Content, Metadata, OrganisationId, TaskId};
use serde_json::{Map, Value};

/// Reads all fields; every bad one is named at once.
pub(crate) fn draft(mut fields: Fields, settings: &Settings) -> Result<NoticeDraft> {
    let limits = &settings.limits;
    let user_id = fields.required("userId", |text: String| {
        UserId::parse(&text).ok_or_else(|| "must be the id of a person".to_owned())
    });
    let task_id = fields.required("taskId", |text: String| TaskId::parse(&text));
    let message_type = fields.required("type", |text: String| match MessageType::parse(&text) {
        None | Some(MessageType::Text) => Err(format!("must be one of {}", types().join(", "))),
        Some(message_type) => Ok(message_type),
    });
    let content = fields.required("content", |text: String| Content::parse(&text, limits.content_bytes));
    let data = fields.optional("data", |object: Map<String, Value>| {
        Metadata::parse(object, limits.metadata_bytes)
    });
    let organisation = fields.optional("orgId", |text: String| OrganisationId::parse(&text));
    let priority = fields.optional("priority", |text: String| {
        Priority::parse(&text).ok_or_else(|| "must be high, normal or low".to_owned())
    });
    let key = fields.optional("key", |text: String| ClientId::parse(&text));
    fields.finish()?;
    Ok(NoticeDraft {
        user_id: parsed(user_id),
        task_id: parsed(task_id),
        message_type: parsed(message_type),
        content: parsed(content),
        data: data.unwrap_or_default(),
        organisation,
        priority: priority.unwrap_or_default(),
        key,
    })
}

pub(super) fn types() -> Vec<&'static str> {
    let all = MessageType::ALL.iter();
    all.filter(|one| **one != MessageType::Text)
        .map(|one| one.word())
        .collect()
}
