use url::Url;

use super::*;
use domain::text::{FileName, MimeType};
use foundation::environment::Environment;

/// Configured with these settings beside those that every function needs; S3 is at `endpoint`.
pub(super) fn attachments(settings: &[(&str, &str)], endpoint: &str) -> Attachments {
    let all: BTreeMap<_, _> = settings
        .iter()
        .copied()
        .chain([("AWS_ENDPOINT_URL", "somewhere")])
        .collect();
    let config = AttachmentConfig::read(&Environment(&|name| all.get(name).map(|value| (*value).to_owned()))).unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    Attachments::new(&config, &aws::at(endpoint), http)
}

pub(super) const BUCKET: (&str, &str) = ("ATTACHMENTS_BUCKET", "bucket");

fn upload() -> Upload {
    Upload {
        id: AttachmentId::fresh(),
        mime_type: MimeType::parse("image/png").unwrap(),
        size: 1234,
        file_name: FileName::parse("Grüße \"1\".png").ok(),
    }
}

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("{name} is not in {url}")).1.into_owned()
}

#[tokio::test]
async fn an_upload_is_signed_for_its_type_and_size_alone_and_for_once() {
    let attachments = attachments(&[BUCKET], "http://127.0.0.1:9");
    let upload = upload();
    let before = Utc::now();
    let signed = attachments.signed_upload(&upload).await.unwrap();

    assert_eq!(signed.method, "PUT");
    let path = format!("http://127.0.0.1:9/bucket/attachments/{}?", upload.id);
    assert!(signed.url.starts_with(&path), "{}", signed.url);
    // What is among the signed headers cannot be sent otherwise.
    assert_eq!(
        parameter(&signed.url, "X-Amz-SignedHeaders"),
        "content-length;content-type;host;if-none-match"
    );
    assert_eq!(
        signed.headers,
        BTreeMap::from([
            ("content-type".into(), "image/png".into()),
            ("if-none-match".into(), "*".into())
        ])
    );
    assert_eq!(parameter(&signed.url, "X-Amz-Expires"), "600");
    let lasts = signed.expires_at - before;
    assert!((590..=610).contains(&lasts.num_seconds()), "{lasts}");
    // A checksum of nothing would make S3 refuse whatever comes.
    assert!(!signed.url.to_lowercase().contains("checksum"), "{}", signed.url);
    assert!(!signed.url.contains("secret"));
}

#[tokio::test]
async fn a_view_shows_the_image_under_its_name_for_five_minutes() {
    let attachments = attachments(&[BUCKET], "http://127.0.0.1:9");
    let upload = upload();
    let name = upload.file_name.as_ref().map(FileName::as_str);
    let view = attachments
        .signed_view(upload.id, Some("image/png"), name)
        .await
        .unwrap();

    assert!(view.url.contains(&upload.key()), "{}", view.url);
    assert_eq!(parameter(&view.url, "X-Amz-Expires"), "300");
    assert_eq!(parameter(&view.url, "response-content-type"), "image/png");
    assert_eq!(
        parameter(&view.url, "response-content-disposition"),
        "inline; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%221%22.png"
    );
}

#[tokio::test]
async fn without_a_bucket_there_is_nothing_to_sign() {
    let attachments = attachments(&[], "http://127.0.0.1:9");
    let refused = attachments.signed_upload(&upload()).await.unwrap_err();
    assert!(matches!(refused, Error::NotConfigured(_)), "{refused:?}");
    let url = AttachmentUrl::of_object("bucket", &upload().key());
    assert_eq!(attachments.upload_at(&url), None);
}

#[test]
fn only_uploads_in_our_bucket_are_ours() {
    let attachments = attachments(&[BUCKET], "http://127.0.0.1:9");
    let upload = upload();
    let key = upload.key();
    assert_eq!(
        attachments.attachment(&upload).unwrap().url,
        AttachmentUrl::of_object("bucket", &key)
    );
    for (url, id) in [
        (format!("s3://bucket/{key}"), Some(upload.id)),
        (format!("s3://other/{key}"), None),
        (format!("s3://bucket/other/{key}"), None),
        (format!("https://bucket/{key}"), None),
    ] {
        assert_eq!(attachments.upload_at(&AttachmentUrl::parse(&url).unwrap()), id, "{url}");
    }
}
