//! TLS for every client over HTTP: one configuration a process, made when a client first wants it.
//!
//! The authorities that are trusted are Mozilla's, and part of the binary: to read the system's takes three quarters of a
//! function's start. `SSL_CERT_FILE` names others, in their place.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A file of certificates in PEM, all of them of authorities to trust.
const AUTHORITIES: &str = "SSL_CERT_FILE";
/// All that our clients speak.
const PROTOCOL: &[u8] = b"http/1.1";

/// One sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl From<reqwest::Error> for TlsError {
    fn from(error: reqwest::Error) -> Self {
        Self(format!("an HTTP client cannot be made: {error}"))
    }
}

static CONFIG: LazyLock<Result<ClientConfig, TlsError>> = LazyLock::new(|| {
    let file: Option<OsString> = env::var_os(AUTHORITIES).filter(|path| !path.is_empty());
    config(file.as_deref().map(Path::new))
});

/// A client to be, which goes by that configuration.
pub fn client() -> Result<reqwest::ClientBuilder, TlsError> {
    let config = CONFIG.as_ref().map_err(TlsError::clone)?;
    Ok(reqwest::Client::builder().tls_backend_preconfigured(config.clone()))
}

fn config(authorities: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let roots = match authorities {
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => read(path)?,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<RootCertStore, TlsError> {
    let refused = |why: &dyn std::fmt::Display| TlsError(format!("{AUTHORITIES} names {}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(&error))?;
        // As elsewhere, what is no authority of today's kind is passed over.
        let (_added, _ignored) = roots.add_parsable_certificates([certificate]);
    }
    if roots.is_empty() {
        return Err(refused(&"it has no certificate of an authority"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
