//! `GET /api/chat/{chatId}/messages`

use serde::Serialize;
use shared::app::App;
use shared::domain::chat::Chat;
use shared::domain::ids::Seq;
use shared::domain::message::Message;
use shared::domain::rate::RateClass;
use shared::error::{Error, FieldError};
use shared::http::{Request, Response, Result, ok};
use shared::store::messages::Range;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Messages {
    messages: Vec<Message>,
    seq: Seq,
    has_more: bool,
    /// With `changedAfter`, when the chat changed: its read positions included.
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<Chat>,
}

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let chat_id = request.chat_id()?;
    let range = range(&request)?;
    let page = app
        .store
        .messages(&caller.id, chat_id, range, request.page_size()?)
        .await?;
    let page = page.ok_or(Error::NotFound("chat"))?;
    let chat = match range {
        Range::ChangedAfter(after) if page.seq > after => app.store.chat(&caller.id, chat_id).await?,
        _ => None,
    };
    ok(&Messages {
        messages: page.messages,
        seq: page.seq,
        has_more: page.has_more,
        chat,
    })
}

fn range(request: &Request) -> Result<Range> {
    let bounds = [
        request.seq("after")?.map(Range::After),
        request.seq("before")?.map(Range::Before),
        request.seq("changedAfter")?.map(Range::ChangedAfter),
    ];
    let mut given = bounds.into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Range::Newest),
        (Some(range), None) => Ok(range),
        (Some(_), Some(_)) => Err(Error::Invalid(vec![FieldError::parameter(
            "after",
            "only one of after, before and changedAfter can be given",
        )])),
    }
}
