//! TLS: a relay with a certificate of the test's own stands before the server.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use kohort_client::{Client, ClientConfig, ClientError, OffsetReset, Outgoing, Security, Tls, TlsError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::relay::{FETCH, Fate, PRODUCE, Relays, Way, every};
use crate::server::{Server, produce_with, read, soon, tp, unique, values};

/// An authority and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, unique("authority"));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// A server with a certificate for `name`; it wants one of this authority from its clients, too, if `mutual`.
    fn acceptor(&self, name: &str, mutual: bool) -> TlsAcceptor {
        let identity = self.sign(name);
        let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![identity.certificate.der().clone()];
        let provider = Arc::new(crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    fn trusted(&self) -> Tls {
        Tls::new().authorities(self.certificate.pem())
    }
}

/// Why a client does not reach the server: all errors of the chain in one text.
async fn refusal(bootstrap: &str, tls: Tls) -> String {
    let config = ClientConfig::new([bootstrap]).security(Security::Tls(tls));
    let client = Client::new(config.api_timeout(Duration::from_secs(2))).unwrap();
    let error = soon("an outcome", client.admin().list_topics()).await.unwrap_err();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn over_tls_everything_goes_as_without_it() {
    let server = Server::start().await;
    let topic = server.topic(&server.client(), 2).await;
    let authority = Authority::new();
    let relays = Relays::secured(&server.bootstrap, authority.acceptor("127.0.0.1", false)).await;
    let client = relays.client_with(|config| config.security(Security::Tls(authority.trusted())));
    let producer = client.producer().build();
    assert_eq!(produce_with(&producer, &topic, 0, &["a", "b"]).await, [0, 1]);
    // More than a TLS record, a socket buffer or a reading buffer holds.
    let big: Vec<u8> = (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..3 {
        soon("ack", producer.send(Outgoing::to(&topic).partition(1).value(&big)).await.unwrap())
            .await
            .unwrap();
    }
    let settings = client.consumer().group(unique("group")).offset_reset(OffsetReset::Earliest);
    let mut consumer = settings.build().unwrap();
    consumer.subscribe([&*topic]).unwrap();
    let records = read(&mut consumer, 5).await;
    assert_eq!(values(&records)[&0], ["a", "b"]);
    let big_ones = records.iter().filter(|record| record.value.as_deref() == Some(&big));
    assert_eq!(big_ones.count(), 3);
    soon("commit", consumer.commit([(tp(&topic, 0), 2)])).await.unwrap();
    // Connections that end are made again, handshake and all.
    relays.rule(every(2, Way::Answer(PRODUCE), Fate::Half));
    assert_eq!(produce_with(&producer, &topic, 0, &["c", "d", "e"]).await, [2, 3, 4]);
    relays.rule(every(3, Way::Answer(FETCH), Fate::Half));
    assert_eq!(values(&read(&mut consumer, 3).await)[&0], ["c", "d", "e"]);
    consumer.close().await;
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_not_named_is_refused_and_told_why() {
    let server = Server::start().await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let relays = Relays::secured(&server.bootstrap, theirs.acceptor("127.0.0.1", false)).await;
    let text = refusal(relays.address(), ours.trusted()).await;
    assert!(text.contains("not trusted") && text.contains("UnknownIssuer"), "{text}");
    let relays = Relays::secured(&server.bootstrap, ours.acceptor("elsewhere.example", false)).await;
    let text = refusal(relays.address(), ours.trusted()).await;
    assert!(text.contains("not valid for name"), "{text}");
    let text = refusal(&server.bootstrap, ours.trusted()).await;
    assert!(text.contains("does not speak TLS"), "{text}");
}

#[tokio::test]
async fn where_the_server_asks_who_the_client_is_its_certificate_says() {
    let server = Server::start().await;
    let authority = Authority::new();
    let relays = Relays::secured(&server.bootstrap, authority.acceptor("127.0.0.1", true)).await;
    let client = authority.sign("client.example");
    let known = authority.trusted().identity(client.certificate.pem(), client.key.serialize_pem());
    let admin = relays.client_with(|config| config.security(Security::Tls(known))).admin();
    soon("topics", admin.list_topics()).await.unwrap();
    let text = refusal(relays.address(), authority.trusted()).await;
    assert!(text.contains("127.0.0.1"), "{text}");
}

#[test]
fn settings_that_cannot_be_used_are_refused_at_once() {
    let client = |tls| Client::new(ClientConfig::new(["127.0.0.1:1"]).security(Security::Tls(tls)));
    let refused = client(Tls::new().authorities("no certificate")).unwrap_err();
    assert!(matches!(refused, ClientError::Tls(TlsError::NoAuthorities)), "{refused:?}");
    let authority = Authority::new();
    let refused = client(authority.trusted().identity(authority.certificate.pem(), "no key")).unwrap_err();
    assert!(matches!(refused, ClientError::Tls(TlsError::Pem { what: "client's key", .. })), "{refused:?}");
    let another = KeyPair::generate().unwrap().serialize_pem();
    let refused = client(authority.trusted().identity(authority.certificate.pem(), another)).unwrap_err();
    assert!(matches!(refused, ClientError::Tls(TlsError::Identity(_))), "{refused:?}");
}
