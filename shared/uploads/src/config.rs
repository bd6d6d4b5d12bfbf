//! What may be attached to a message, and where it lies.

use domain::text::MimeType;
use foundation::environment::{ConfigError, Environment};

/// Those that all of our models take and all browsers show.
const TYPES: &str = "image/png,image/jpeg,image/gif,image/webp";
/// What every provider takes inline.
const MAX_BYTES: i64 = 5 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct AttachmentConfig {
    /// `ATTACHMENTS_BUCKET`: the S3 bucket of uploads; none: nothing can be uploaded.
    pub bucket: Option<String>,
    /// Whether the bucket's name goes into the path, as with a store of one's own: one that `AWS_ENDPOINT_URL_S3` or
    /// `AWS_ENDPOINT_URL` names.
    pub is_path_style: bool,
    /// `ATTACHMENT_TYPES`: comma-separated media types; default PNG, JPEG, GIF and WebP.
    pub types: Vec<MimeType>,
    /// `MAX_ATTACHMENT_BYTES`: of one upload, and of one image that a model is shown; default 5 MiB.
    pub max_bytes: i64,
    /// `ATTACHMENT_HOSTS`: comma-separated hosts from which images are fetched for the model; default none. It is told
    /// the addresses of others.
    pub hosts: Vec<String>,
}

impl AttachmentConfig {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let types = env.optional("ATTACHMENT_TYPES").unwrap_or_else(|| TYPES.into());
        let types: Result<Vec<_>, _> = listed(&types).map(MimeType::parse).collect();
        let max_bytes = env.parsed("MAX_ATTACHMENT_BYTES", MAX_BYTES)?;
        if max_bytes < 1 {
            return Err(ConfigError::new(format!(
                "MAX_ATTACHMENT_BYTES is {max_bytes}, but must be 1 at least."
            )));
        }
        let endpoints = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        Ok(Self {
            bucket: env.optional("ATTACHMENTS_BUCKET"),
            is_path_style: endpoints.iter().any(|name| env.optional(name).is_some()),
            types: types.map_err(|refusal| ConfigError::new(format!("ATTACHMENT_TYPES {refusal}.")))?,
            max_bytes,
            hosts: listed(&env.optional("ATTACHMENT_HOSTS").unwrap_or_default())
                .map(str::to_ascii_lowercase)
                .collect(),
        })
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
