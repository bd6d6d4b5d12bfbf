//! Files that people upload, to be shown with a message.

use std::time::Duration;

use super::ids::AttachmentId;
use super::text::{FileName, MimeType};

/// How long an upload may begin.
pub const UPLOAD_WITHIN: Duration = Duration::from_secs(10 * 60);
/// When the last that began has ended: over a slow line it takes its time.
pub const UPLOADED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Where uploads lie in the bucket.
const FOLDER: &str = "attachments/";

/// An upload as it was announced; whether it was ever made is known to the bucket alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub id: AttachmentId,
    pub mime_type: MimeType,
    /// In bytes.
    pub size: i64,
    pub file_name: Option<FileName>,
}

impl Upload {
    /// What the bucket calls its object.
    #[must_use]
    pub fn key(&self) -> String {
        Self::key_of(self.id)
    }

    #[must_use]
    pub fn key_of(id: AttachmentId) -> String {
        format!("{FOLDER}{id}")
    }

    /// Whose key it is, if it is one of ours.
    #[must_use]
    pub fn id_of(key: &str) -> Option<AttachmentId> {
        key.strip_prefix(FOLDER).and_then(AttachmentId::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_upload_and_no_other_key_does() {
        let upload = Upload {
            id: AttachmentId::fresh(),
            mime_type: MimeType::parse("image/png").unwrap(),
            size: 1,
            file_name: None,
        };
        assert_eq!(Upload::id_of(&upload.key()), Some(upload.id));
        for odd in [
            "",
            "attachments/",
            "attachments/x",
            "other/0192aaaa-0000-7000-8000-000000000000",
        ] {
            assert_eq!(Upload::id_of(odd), None, "{odd}");
        }
    }
}
