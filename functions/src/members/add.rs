//! `POST /api/chat/{chatId}/members`

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result};
use capabilities::Reads;
use domain::chat::MemberRole;
use domain::ids::UserId;
use domain::limits::Limits;
use domain::person::UnknownPeople;
use pusher::Delivery;
use schemars::JsonSchema;
use serde_json::Value;
use store::channels::Membership;

use super::{MembersChanged, answer, beyond, blocked_among, tell, unknown_among};
use crate::openapi::Operation;

/// What one can be from the first.
const FIRST_ROLES: [MemberRole; 2] = [MemberRole::Admin, MemberRole::Member];

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct MembersToAdd {
    #[schemars(length(max = Limits::DEFAULT.ids))]
    pub members: Vec<UserId>,
    /// `member` unless it is said.
    #[schemars(with = "Option<String>", extend("enum" = FIRST_ROLES.map(Some).into_iter().chain([None]).collect::<Vec<_>>()))]
    pub role: Option<MemberRole>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("addMembers", "Adds people to a channel")
        .for_people()
        .in_chat()
        .reads::<MembersToAdd>()
        .answers::<MembersChanged>(200, "The chat as it is now.")
        .refuses([
            Error::NotFound(""),
            Error::Forbidden(""),
            Error::Conflict(""),
            Error::BlockedPeople(Vec::new()),
            Error::TooManyMembers { limit: 0 },
        ])
}

pub async fn handle(reads: Reads, delivery: Delivery, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let chat_id = request.chat_id()?;
    let mut fields = request.fields()?;
    fields.require("members");
    let members = fields.list("members", reads.settings.limits.ids, |item| match item {
        Value::String(text) => UserId::parse(&text).ok_or_else(|| "must be the id of a person".to_owned()),
        _ => Err("must be a string".to_owned()),
    });
    let role = fields.optional("role", |text: String| match MemberRole::parse(&text) {
        Some(role @ (MemberRole::Admin | MemberRole::Member)) => Ok(role),
        _ => Err("must be admin or member".to_owned()),
    });
    fields.finish()?;

    let beyond = beyond(&reads, &caller, &members).await?;
    if !beyond.is_empty() {
        return Err(unknown_among(&beyond, &members));
    }
    let role = role.unwrap_or(MemberRole::Member);
    let add = async || {
        let (most, history) = (reads.settings.limits.members, reads.settings.people.history);
        reads
            .store
            .add_members(&caller.id, chat_id, &members, role, most, history)
            .await
    };
    let mut outcome = add().await?;
    if let (Membership::Unknown(people), UnknownPeople::Create) = (&outcome, reads.settings.people.unknown) {
        reads.store.create_placeholder_users(people).await?;
        outcome = add().await?;
    }
    match &outcome {
        Membership::Unknown(people) => return Err(unknown_among(people, &members)),
        Membership::Blocked(people) => return Err(blocked_among(people, &members)),
        _ => {}
    }
    tell(&reads, &delivery, outcome).await?;
    answer(&reads, &caller.id, chat_id).await
}
