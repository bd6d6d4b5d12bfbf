//! `POST /api/posts`: a draft, with its AI chat and the welcome that is to be written there.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, created, ok};
use capabilities::Reads;
use domain::event::{Event, Outgoing};
use domain::ids::ChatId;
use domain::limits::Limits;
use domain::post::{Post, PostDraft};
use domain::text::{AuthProviderId, ClientId, PostText, ProviderName};
use models::assistants::ReplyPolicy;
use pusher::Delivery;
use queue::Queue;
use schemars::JsonSchema;
use serde::Serialize;

use super::fields::{auth_provider_ids, content, providers};
use crate::openapi::Operation;
use crate::replies::terms;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostCreated {
    chat_id: ChatId,
    post: Post,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostToCreate {
    /// Your own name for it: a retry with the same one is the same post.
    pub client_id: Option<ClientId>,
    pub content: Option<PostText>,
    /// Networks that it goes to.
    #[schemars(length(max = Limits::DEFAULT.providers), extend("uniqueItems" = true))]
    pub providers: Option<Vec<ProviderName>>,
    /// Accounts with them.
    #[schemars(length(max = Limits::DEFAULT.providers), extend("uniqueItems" = true))]
    pub auth_provider_ids: Option<Vec<AuthProviderId>>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("createPost", "A new post with its AI chat")
        .for_people()
        .reads::<PostToCreate>()
        .answers::<PostCreated>(201, "A draft; the assistant is about to welcome its owner in the chat.")
        .answers::<PostCreated>(200, "It was created before by this `clientId`.")
        .refuses([Error::key_reused("/clientId")])
}

pub async fn handle(
    reads: Reads,
    delivery: Delivery,
    queue: Queue,
    policy: ReplyPolicy,
    request: Request,
) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let mut fields = request.fields()?;
    let client_id = fields.optional("clientId", |text: String| ClientId::parse(&text));
    let draft = PostDraft {
        content: content(&mut fields, "content", &reads).unwrap_or_default(),
        providers: providers(&mut fields, &reads).unwrap_or_default(),
        auth_provider_ids: auth_provider_ids(&mut fields, &reads).unwrap_or_default(),
    };
    fields.finish()?;

    reads.store.upsert_user(&caller).await?;
    let welcome = terms::of_welcome(&policy, caller.org_id.as_deref());
    let made = reads
        .store
        .create_post(&caller, &draft, client_id.as_ref(), welcome, &reads.settings.budget)
        .await?
        .ok_or_else(|| Error::key_reused("/clientId"))?;
    let answer = PostCreated {
        chat_id: made.post.chat_id,
        post: made.post,
    };
    let Some(wake) = made.wake else { return ok(&answer) };
    let wakes = [wake];
    let news = [Outgoing {
        event: Event::chat_opened(answer.chat_id, answer.post.created_at),
        audience: vec![caller.id],
    }];
    tokio::join!(queue.wake(&wakes), delivery.publish(&news));
    created(&answer)
}
