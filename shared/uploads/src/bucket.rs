//! What we do with a bucket of S3, or of a store that speaks like it: one signed request each.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use aws::{Error, SdkConfig, Service};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use md5::{Digest, Md5};
use reqwest::Response;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    name: String,
    service: Service,
    is_path_style: bool,
}

impl Bucket {
    /// `is_path_style`: whether the bucket's name goes into the path, not into the host.
    pub(super) fn new(aws: &SdkConfig, name: String, is_path_style: bool) -> Self {
        // A certificate of `*.s3.…` is good for one label.
        let is_path_style = is_path_style || name.contains('.');
        Self {
            name,
            service: Service::new(aws, "s3"),
            is_path_style,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// An object's address, or the bucket's where there is no key. Neither has characters that must be escaped.
    fn url(&self, key: &str) -> anyhow::Result<String> {
        let endpoint = self.service.endpoint()?;
        let name = &self.name;
        if self.is_path_style {
            return Ok(format!("{endpoint}/{name}/{key}"));
        }
        let (scheme, host) = endpoint.split_once("://").context("the endpoint is no URL")?;
        Ok(format!("{scheme}://{name}.{host}/{key}"))
    }

    /// An address by which whoever has it may put an object of so many bytes, with these headers.
    pub(super) async fn to_put(
        &self,
        key: &str,
        headers: &BTreeMap<String, String>,
        length: i64,
        now: SystemTime,
        lasts: Duration,
    ) -> anyhow::Result<String> {
        // Every HTTP client tells the length of its body by itself, and browsers let nobody else.
        let mut request = Request::put(self.url(key)?).header("content-length", length);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(self.service.presigned(request.body(())?, now, lasts).await?)
    }

    /// An address by which whoever has it may get an object, with these headers in the answer.
    pub(super) async fn to_get(
        &self,
        key: &str,
        answered: &[(&str, &str)],
        now: SystemTime,
        lasts: Duration,
    ) -> anyhow::Result<String> {
        let pairs: Vec<_> = answered
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = Request::get(format!("{}?{}", self.url(key)?, pairs.join("&")));
        Ok(self.service.presigned(request.body(())?, now, lasts).await?)
    }

    pub(super) async fn get(&self, key: &str) -> anyhow::Result<Response> {
        let request = Request::get(self.url(key)?).body(Bytes::new())?;
        Ok(self.service.send(&request).await?)
    }

    pub(super) async fn has(&self, key: &str) -> anyhow::Result<bool> {
        let request = Request::builder()
            .method(Method::HEAD)
            .uri(self.url(key)?)
            .body(Bytes::new())?;
        match self.service.send(&request).await {
            Ok(_) => Ok(true),
            Err(Error::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes at most 1,000 objects, and says how many it has kept.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
    pub(super) async fn delete(&self, keys: &[String]) -> anyhow::Result<usize> {
        let objects: String = keys
            .iter()
            .map(|key| format!("<Object><Key>{key}</Key></Object>"))
            .collect();
        let body =
            format!(r#"<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>"#);
        let request = Request::post(format!("{}?delete=", self.url("")?))
            .header("content-type", "application/xml")
            // It is not taken without a checksum, and all stores know this one.
            .header("content-md5", STANDARD.encode(Md5::digest(&body)))
            .body(Bytes::from(body))?;
        let answer = self.service.send(&request).await?.text().await?;
        Ok(answer.matches("<Error>").count())
    }
}

/// As RFC 3986 escapes what is not unreserved, and Signature Version 4 wants a query.
pub(super) fn encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
