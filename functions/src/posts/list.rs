//! `GET /api/posts`: my posts, newest first.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, ok};
use capabilities::Reads;
use domain::ids::PostId;
use domain::post::{Post, PostStatus};
use schemars::JsonSchema;
use serde::Serialize;
use store::posts::PostCursor;

use crate::cursor;
use crate::openapi::Operation;

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostList {
    posts: Vec<Post>,
    next_cursor: Option<String>,
}

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("listPosts", "My posts, newest first")
        .for_people()
        .query::<PostStatus>("status", "Only those with this status.")
        .paged()
        .after_cursor()
        .answers::<PostList>(200, "A page of them.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let size = request.page_size()?;
    let status = request.query("status")?.map(parse_status).transpose()?;
    let after = cursor::of(&request, PostId::parse)?.map(|(created_at, post_id)| PostCursor { created_at, post_id });
    let page = reads.store.posts(&caller.id, status, after, size).await?;
    ok(&PostList {
        posts: page.posts,
        next_cursor: page.next.map(|next| cursor::written(next.created_at, next.post_id)),
    })
}

fn parse_status(text: &str) -> Result<PostStatus> {
    PostStatus::parse(text).ok_or_else(|| Error::Invalid(vec![FieldError::parameter("status", one_of_all())]))
}

/// What a status must be.
pub(super) fn one_of_all() -> String {
    let all: Vec<_> = PostStatus::ALL.iter().map(|status| status.word()).collect();
    format!("must be one of {}", all.join(", "))
}
