//! `PUT` and `DELETE /api/people/{userId}/block`: said twice, it is one block or none.

use backtalk_http::error::{Error, FieldError};
use backtalk_http::{Request, Response, Result, no_content};
use capabilities::Reads;
use domain::ids::UserId;
use lambda_http::http::Method;

use crate::openapi::Operation;

/// What the contract says of it.
#[must_use]
pub fn operation_to_block() -> Operation {
    blocking("blockPerson", "Blocks somebody").refuses([Error::NotFound("")])
}

#[must_use]
pub fn operation_to_unblock() -> Operation {
    blocking("unblockPerson", "Blocks somebody no more")
}

fn blocking(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary)
        .describe("Said twice, it is one block or none.")
        .for_people()
        .path::<UserId>("userId", "Whom.")
        .answers_nothing(204, "It is so.")
}

pub async fn handle(reads: Reads, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let other = request.user_id()?;
    if request.method() == Method::DELETE {
        reads.store.unblock(&caller.id, &other).await?;
        return Ok(no_content());
    }
    if other == caller.id {
        let oneself = FieldError::parameter("userId", "must be somebody else");
        return Err(Error::Invalid(vec![oneself]));
    }
    reads.store.upsert_user(&caller).await?;
    if reads.store.block(&caller.id, &other).await? {
        Ok(no_content())
    } else {
        Err(Error::NotFound("person"))
    }
}
