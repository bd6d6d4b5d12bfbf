//! The HTTP client of the AWS SDK's clients: the one that all of this process use, so that there is one stack of HTTP and TLS
//! in it. It is made with the first request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::redirect::Policy;

use crate::CONNECT_TIMEOUT;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// Cloning it is cheap; clones share their connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client(Arc<OnceLock<reqwest::Client>>);

impl Client {
    pub(crate) fn http(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let client = tls::client()?
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            // A signature is for one host.
            .redirect(Policy::none())
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    client: Client,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, read_timeout) = (self.client.clone(), self.read_timeout);
        HttpConnectorFuture::new(async move {
            let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
            let http = client.http().map_err(|error| user(error.into()))?;
            let request = request.try_into_http1x().map_err(|error| user(error.into()))?;
            // What is sent here was serialised before.
            let request = request.map(|body| body.bytes().map(<[u8]>::to_vec).unwrap_or_default());
            let mut request = reqwest::Request::try_from(request).map_err(|error| user(error.into()))?;
            *request.timeout_mut() = read_timeout;
            let answer = http.execute(request).await.map_err(failed)?;
            let mut whole = http::Response::new(());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            let body = answer.bytes().await.map_err(failed)?;
            HttpResponse::try_from(whole.map(|()| SdkBody::from(body))).map_err(|error| user(error.into()))
        })
    }
}

/// Whether it is worth another try depends on the kind.
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
