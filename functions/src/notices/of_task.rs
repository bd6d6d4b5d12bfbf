//! `GET /api/chat-messages/{taskId}`

use serde::Serialize;
use shared::app::App;
use shared::domain::limits::PageSize;
use shared::domain::notice::TaskMessage;
use shared::domain::rate::RateClass;
use shared::domain::text::TaskId;
use shared::http::{Request, Response, Result, ok};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessagesOfTask {
    task_id: TaskId,
    messages: Vec<TaskMessage>,
    /// Of the messages in this answer.
    count: usize,
    has_more: bool,
}

/// A task has few messages: without a limit it is shown as far as a page goes.
pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Read).await?;
    let task_id = request.task_id()?;
    let size = match request.query("limit") {
        None => PageSize::LARGEST,
        Some(_) => request.page_size()?,
    };
    let before = request.seq("before")?;
    let page = app.store.task_messages(&caller.id, &task_id, before, size).await?;
    ok(&MessagesOfTask {
        task_id,
        count: page.messages.len(),
        messages: page.messages,
        has_more: page.has_more,
    })
}
