//! TLS: whom to trust, who we are, and the handshake. rustls with ring: both build with the C compiler that the workspace needs
//! anyway, where aws-lc would ask for CMake as well.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use tokio_rustls::rustls::{self, RootCertStore};

use crate::config::Tls;

/// Why the settings of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text is no PEM, or holds nothing of what it should.
    #[error("the {what} cannot be read: PEM is expected")]
    Pem {
        /// Which setting.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// Nobody would be trusted.
    #[error("no certificate authority is known: name one with `Tls::authorities`")]
    NoAuthorities,
    /// The certificate does not go with the key, or neither can be used.
    #[error("certificate and key cannot be used")]
    Identity(#[source] rustls::Error),
}

/// What connections are made with.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(crate) fn new(tls: &Tls) -> Result<Self, TlsError> {
        let roots = match &tls.authorities {
            Some(pem) => authorities(pem)?,
            None => of_the_system(),
        };
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let trusting = versions.map_err(TlsError::Identity)?.with_root_certificates(roots);
        let config = match &tls.identity {
            None => trusting.with_no_client_auth(),
            Some((chain, key)) => {
                let unreadable = |what| move |source| TlsError::Pem { what, source };
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let chain = chain.map_err(unreadable("client's certificate"))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(unreadable("client's key"))?;
                trusting.with_client_auth_cert(chain, key).map_err(TlsError::Identity)?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with the server that is to be `address`, `host:port`.
    pub(crate) async fn connect(&self, address: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, socket).await
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let what = "certificate authorities";
        let certificate = certificate.map_err(|source| TlsError::Pem { what, source })?;
        roots.add(certificate).map_err(TlsError::Identity)?;
    }
    Ok(roots)
}

/// Those that the system trusts; one that cannot be read is passed over, as every other client does.
fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(error = error as &dyn std::error::Error, "certificates of the system");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}
