use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

const HOST: &str = "models.internal";

/// A company's own authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server of that company.
    fn server(&self) -> ServerConnection {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([HOST.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}

/// A handshake in memory.
fn meets(config: ClientConfig, mut server: ServerConnection) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(HOST).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn of(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("backtalk-tls-{}-{name}.pem", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn a_companys_servers_are_trusted_by_its_own_file_and_by_no_other() {
    let authority = Authority::new();
    let file = File::of("own", &authority.0.pem());
    let others = File::of("others", &Authority::new().0.pem());
    meets(config(Some(&file.0)).unwrap(), authority.server()).unwrap();
    for authorities in [None, Some(&*others.0)] {
        let refused = meets(config(authorities).unwrap(), authority.server());
        assert!(
            matches!(refused, Err(rustls::Error::InvalidCertificate(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_file_that_holds_no_authority_is_named() {
    let text = File::of("text", "no certificate");
    for path in [&*text.0, Path::new("/nowhere/ca.pem")] {
        let error = config(Some(path)).unwrap_err().to_string();
        let begins = format!("SSL_CERT_FILE names {}: ", path.display());
        assert!(error.starts_with(&begins), "{error}");
    }
}

#[test]
fn clients_are_made_by_it() {
    client().unwrap().build().unwrap();
}
