//! What goes with a message: addresses on the web as they are, and uploads of the sender, of which we know more than the
//! sender may claim.

use backtalk_http::Result;
use backtalk_http::error::{Error, FieldError};
use capabilities::Reads;
use domain::ids::ChatId;
use domain::message::Draft;
use domain::person::Caller;
use uploads::Attachments;

const NOT_THERE: &str = "url is an upload that was announced and not made";
const NOT_YOURS: &str = "url must be an upload of yours, announced within a day and not deleted since";

/// The draft with its uploads as they were announced. Asks the store only where there are any.
pub(super) async fn with_own_uploads(
    reads: &Reads,
    uploads: &Attachments,
    sender: &Caller,
    chat: ChatId,
    mut draft: Draft,
) -> Result<Draft> {
    let named: Vec<_> = draft
        .attachments
        .iter()
        .enumerate()
        .filter(|(_, attachment)| attachment.url.object().is_some())
        .map(|(place, attachment)| (place, uploads.upload_at(&attachment.url)))
        .collect();
    if named.is_empty() {
        return Ok(draft);
    }
    let ids: Vec<_> = named.iter().filter_map(|(_, id)| *id).collect();
    let known = reads.store.attachable(&sender.id, chat, &draft.client_id, &ids).await?;
    if known.is_sent {
        return Ok(draft);
    }
    let mut errors = Vec::new();
    for (place, id) in &named {
        let (place, id) = (*place, *id);
        match known.uploads.iter().find(|upload| Some(upload.id) == id) {
            Some(upload) => draft.attachments[place] = uploads.attachment(upload)?,
            None => errors.push(FieldError::at(format!("/attachments/{place}/url"), NOT_YOURS)),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    // What another message shows is there.
    let unseen: Vec<_> = known
        .uploads
        .iter()
        .map(|upload| upload.id)
        .filter(|id| !known.shown.contains(id))
        .collect();
    let missing = uploads.missing(&unseen).await;
    if missing.is_empty() {
        return Ok(draft);
    }
    let missing = named
        .into_iter()
        .filter(|(_, id)| id.is_some_and(|id| missing.contains(&id)));
    Err(Error::NotUploaded(
        missing
            .map(|(place, _)| FieldError::at(format!("/attachments/{place}/url"), NOT_THERE))
            .collect(),
    ))
}
