//! Requests to a service of AWS, or to one that speaks like it, signed here (Signature Version 4).

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningError,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use reqwest::Response;

use super::client::{Client, ClientError};
use super::{ATTEMPTS, ENDPOINT, endpoint};

/// Before another attempt, and up to twice as long.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("AWS_REGION is not set")]
    NoRegion,
    #[error("there are no credentials of AWS")]
    NoCredentials(#[source] Option<CredentialsError>),
    #[error("the HTTP client cannot be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the request cannot be signed")]
    Unsigned(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer")]
    Lost(#[source] reqwest::Error),
    /// The service's own name for why, where it says one.
    #[error("{}", if code.is_empty() { status.as_str() } else { code })]
    Refused { status: StatusCode, code: String },
}

impl Error {
    /// Whether the same may succeed in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused { status, code } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS || code.contains("Throttl")
            }
            _ => false,
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Client(error.into())
    }
}

impl From<SigningError> for Error {
    fn from(error: SigningError) -> Self {
        Self::Unsigned(error.into())
    }
}

/// One service. Cloning it is cheap; clones share their connections.
#[derive(Clone, Debug)]
pub struct Service {
    name: &'static str,
    endpoint: Option<String>,
    region: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    client: Client,
}

impl Service {
    /// `name`: as its host and its signatures have it, such as `ssm`. Connects to nothing.
    #[must_use]
    pub fn new(aws: &SdkConfig, name: &'static str) -> Self {
        let region = aws.region().map(ToString::to_string);
        let is = |option: Option<bool>| option.unwrap_or_default();
        let of_aws = region.as_ref().map(|region| {
            let host = endpoint::host(name, region, is(aws.use_fips()), is(aws.use_dual_stack()));
            format!("https://{host}")
        });
        Self {
            name,
            endpoint: own_endpoint(aws, name).or(of_aws),
            region,
            credentials: aws.credentials_provider(),
            client: Client::default(),
        }
    }

    /// Where it is: `https://` and the host, without a path.
    pub fn endpoint(&self) -> Result<&str, Error> {
        self.endpoint
            .as_deref()
            .map(|url| url.trim_end_matches('/'))
            .ok_or(Error::NoRegion)
    }

    /// Signs and sends, a second time where that may help. What is no success is an error.
    pub async fn send(&self, request: &Request<Bytes>) -> Result<Response, Error> {
        let tries = ExponentialBuilder::default()
            .with_min_delay(PAUSE)
            .with_jitter()
            .with_max_times(ATTEMPTS as usize - 1);
        (|| self.attempt(request)).retry(tries).when(Error::may_pass).await
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response, Error> {
        let mut signed = Request::builder()
            .method(request.method())
            .uri(request.uri())
            .body(request.body().clone())
            .map_err(|error| Error::Unsigned(error.into()))?;
        signed.headers_mut().clone_from(request.headers());
        let body = SignableBody::Bytes(request.body());
        self.sign(&mut signed, body, SystemTime::now(), None).await?;
        let signed = reqwest::Request::try_from(signed).map_err(|error| Error::Unsigned(error.into()))?;
        let lost = |error: reqwest::Error| Error::Lost(error.without_url());
        let answer = self.client.http()?.execute(signed).await.map_err(lost)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.map_err(lost)?;
        let code = code(&String::from_utf8_lossy(&body)).to_owned();
        Err(Error::Refused { status, code })
    }

    /// An address by which others may do what `request` says, with its headers and no credentials, from `now` on for as long
    /// as it `lasts`.
    pub async fn presigned(&self, mut request: Request<()>, now: SystemTime, lasts: Duration) -> Result<String, Error> {
        self.sign(&mut request, SignableBody::UnsignedPayload, now, Some(lasts))
            .await?;
        Ok(request.uri().to_string())
    }

    async fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: SignableBody<'_>,
        now: SystemTime,
        presigned_for: Option<Duration>,
    ) -> Result<(), Error> {
        let provider = self.credentials.as_ref().ok_or(Error::NoCredentials(None))?;
        let credentials = provider.provide_credentials().await;
        let identity = Identity::from(credentials.map_err(|error| Error::NoCredentials(Some(error)))?);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_deref().ok_or(Error::NoRegion)?)
            .name(self.name)
            .time(now)
            .settings(self.signing(presigned_for))
            .build()
            .map_err(|error| Error::Unsigned(error.into()))?;
        let signed = {
            let uri = request.uri().to_string();
            let headers = texts(request.headers());
            let signable = SignableRequest::new(request.method().as_str(), uri, headers, body)?;
            sign(signable, &params.into())?
        };
        let (instructions, _signature) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    fn signing(&self, presigned_for: Option<Duration>) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self.name == "s3" {
            // It takes a path as it is, and wants to be told the body's hash.
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        if presigned_for.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            settings.expires_in = presigned_for;
        }
        settings
    }
}

/// One that is set for this service, or for all.
fn own_endpoint(aws: &SdkConfig, name: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(name)
        .env(ENDPOINT)
        .profile("endpoint_url")
        .build()
        .ok()?;
    let of_this = aws.service_config().and_then(|config| config.load_config(key));
    of_this.or_else(|| aws.endpoint_url().map(str::to_owned))
}

/// Those that are text, as all of ours are.
fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.iter();
    pairs.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

/// What a refusal calls itself, in JSON (`{"__type": "prefix#Code"}`) or XML (`<Code>…</Code>`).
fn code(body: &str) -> &str {
    let between = |before: &str, after: &str| {
        let (_, rest) = body.split_once(before)?;
        Some(rest.split_once(after)?.0)
    };
    let in_json = || {
        let text = between("\"__type\"", ",").or_else(|| between("\"__type\"", "}"))?;
        let text = text.split('"').nth(1)?;
        Some(text.rsplit('#').next().unwrap_or(text))
    };
    between("<Code>", "</Code>").or_else(in_json).unwrap_or_default()
}

#[cfg(test)]
mod tests;
