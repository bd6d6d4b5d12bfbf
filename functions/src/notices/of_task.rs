//! `GET /api/chat-messages/{taskId}`

use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::ids::Seq;
use domain::limits::PageSize;
use domain::notice::TaskMessage;
use domain::text::TaskId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessagesOfTask {
    task_id: TaskId,
    messages: Vec<TaskMessage>,
    /// Of the messages in this answer.
    count: usize,
    has_more: bool,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listTaskMessages", "The newest messages of a task of mine, ascending")
        .for_people()
        .path::<TaskId>("taskId", "What the agent calls its task.")
        .query::<Seq>("before", "The newest before this seq.")
        .query::<PageSize>("limit", "How many; without it, as many as a page may have.")
        .answers::<MessagesOfTask>(200, "A page of them; none where there is no such task.")
}

/// A task has few messages: without a limit it is shown as far as a page goes.
pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let task_id = request.task_id()?;
    let size = match request.query("limit")? {
        None => PageSize::LARGEST,
        Some(_) => request.page_size()?,
    };
    let before = request.seq("before")?;
    let page = reads.store.task_messages(&caller.id, &task_id, before, size).await?;
    ok(&MessagesOfTask {
        task_id,
        count: page.messages.len(),
        messages: page.messages,
        has_more: page.has_more,
    })
}
