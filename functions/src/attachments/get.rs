//! `GET /api/chat/{chatId}/messages/{messageId}/attachments/{index}`: where a member of the chat sees an image.

use backtalk_http::error::Error;
use backtalk_http::{Request, Response, Result, found, ok};
use capabilities::Reads;
use domain::text::AttachmentUrl;
use uploads::Attachments;
use uploads::View;

use crate::openapi::{Number, Operation};

/// What the contract says of it.
#[must_use]
pub fn operation() -> Operation {
    Operation::new("getAttachment", "Where an image can be seen")
        .for_people()
        .in_chat()
        .of_message()
        .path::<Number<0>>("index", "Its place among the attachments of the message, from 0 on.")
        .answers::<View>(200, "With `Accept: application/json`: its address.")
        .redirects("Otherwise: there it is.")
        .refuses([Error::NotFound(""), Error::NotConfigured("")])
}

pub async fn handle(reads: Reads, uploads: Attachments, request: Request) -> Result<Response> {
    let caller = reads.caller(&request).await?;
    let (chat_id, message_id, place) = (request.chat_id()?, request.message_id()?, request.place("index")?);
    let shown = reads
        .store
        .shown_attachment(&caller.id, chat_id, message_id, place)
        .await?
        .ok_or(Error::NotFound("attachment"))?;
    let text = |name: &str| shown[name].as_str();
    let url = text("url")
        .and_then(|url| AttachmentUrl::parse(url).ok())
        .ok_or(Error::NotFound("attachment"))?;
    let view = if url.object().is_none() {
        View::on_the_web(&url)
    } else {
        let upload = uploads.upload_at(&url).ok_or(Error::NotFound("attachment"))?;
        uploads.signed_view(upload, text("mimeType"), text("fileName")).await?
    };
    // A redirect suits links and scripts; a page that shows an image needs the address itself, for `<img>` sends no token.
    if request.accepts_json() {
        ok(&view)
    } else {
        found(&view.url)
    }
}
