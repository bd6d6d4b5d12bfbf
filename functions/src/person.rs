//! `person`: exports or erases one person, when it is invoked: `{"export": "ID", "after"?: "…"}` or `{"erase": "ID"}`.
//!
//! An export is given page by page, for as long as there is a `next`; an erasure is a job, which the worker does.

use backtalk_http::Result;
use backtalk_http::error::Error;
use capabilities::Jobs;
use domain::ids::{AttachmentId, UserId};
use queue::Queue;
use queue::Woken;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::export::ExportCursor;
use tracing::info;
use uploads::Attachments;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[serde(default)]
    export: Option<String>,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    erase: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Page {
        lines: Vec<Value>,
        next: Option<String>,
    },
    Erasing {
        erasing: String,
        woken: bool,
    },
    /// Neither was asked for.
    Nothing {},
}

pub async fn handle(jobs: Jobs, queue: Queue, uploads: Attachments, asked: Asked) -> Result<Answer> {
    match (asked.export, asked.erase) {
        (Some(id), None) => export(&jobs, &uploads, &person(&id)?, asked.after.as_deref()).await,
        (None, Some(id)) => erase(&jobs, &queue, &person(&id)?).await,
        (None, None) => Ok(Answer::Nothing {}),
        (Some(_), Some(_)) => Err(Error::Conflict("Export first, erase then.")),
    }
}

async fn export(jobs: &Jobs, uploads: &Attachments, person: &UserId, after: Option<&str>) -> Result<Answer> {
    let after = match after {
        None => ExportCursor::START,
        Some(text) => ExportCursor::parse(text).ok_or(Error::NotFound("place in an export"))?,
    };
    let mut page = jobs.store.export(person, &after).await?;
    if after == ExportCursor::START && page.lines.is_empty() {
        return Err(Error::NotFound("person"));
    }
    if uploads.are_stored() {
        for line in &mut page.lines {
            show_upload(uploads, line).await?;
        }
    }
    Ok(Answer::Page {
        lines: page.lines,
        next: page.next.map(|next| next.written()),
    })
}

/// Adds to an upload where its object can be had for a while.
async fn show_upload(uploads: &Attachments, line: &mut Value) -> Result<()> {
    let data = &line["data"];
    let (Some("attachment"), Some(id)) = (line["type"].as_str(), data["id"].as_str().and_then(AttachmentId::parse))
    else {
        return Ok(());
    };
    let (mime_type, file_name) = (data["mimeType"].as_str(), data["fileName"].as_str());
    let view = uploads.signed_view(id, mime_type, file_name).await?;
    line["data"]["view"] = json!(view);
    Ok(())
}

async fn erase(jobs: &Jobs, queue: &Queue, person: &UserId) -> Result<Answer> {
    let wake = jobs
        .store
        .ask_for_erasure(person)
        .await?
        .ok_or(Error::NotFound("person"))?;
    let erasing = wake.job_id.to_string();
    info!(job = erasing, "a person is to be erased");
    // What SQS does not take the sweeper finds.
    let woken = queue.wake(&[wake]).await == Woken::Sent;
    Ok(Answer::Erasing { erasing, woken })
}

fn person(id: &str) -> Result<UserId> {
    UserId::parse(id).ok_or(Error::NotFound("person"))
}
