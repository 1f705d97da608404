//! TLS and SASL: a relay with a certificate of the test's own, and one that asks for a password, stands before the server.

use std::error::Error as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kohort_client::{
    Client, ClientConfig, ClientError, OffsetReset, Outgoing, Sasl, Security, Tls, TlsError,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring::{digest, hmac, pbkdf2};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::relay::{FETCH, Fate, Guard, PRODUCE, Relays, Way, every};
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
async fn refusal(bootstrap: &str, security: Security) -> String {
    let config = ClientConfig::new([bootstrap]).security(security);
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
    let text = refusal(relays.address(), Security::Tls(ours.trusted())).await;
    assert!(text.contains("not trusted") && text.contains("UnknownIssuer"), "{text}");
    let relays = Relays::secured(&server.bootstrap, ours.acceptor("elsewhere.example", false)).await;
    let text = refusal(relays.address(), Security::Tls(ours.trusted())).await;
    assert!(text.contains("not valid for name"), "{text}");
    let text = refusal(&server.bootstrap, Security::Tls(ours.trusted())).await;
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
    let text = refusal(relays.address(), Security::Tls(authority.trusted())).await;
    assert!(text.contains("127.0.0.1"), "{text}");
}

/// The server's half of SCRAM (RFC 5802) for user `ann`, whose password is `pencil`.
fn scram() -> Guard {
    let (mut bare, mut server_first) = (String::new(), String::new());
    Box::new(move |mechanism, said| {
        let (digest, mac, derive) = match mechanism {
            "SCRAM-SHA-256" => (&digest::SHA256, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            "SCRAM-SHA-512" => (&digest::SHA512, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
            _ => return None,
        };
        let said = std::str::from_utf8(said).unwrap();
        if let Some(first) = said.strip_prefix("n,,") {
            bare = first.to_owned();
            let nonce = first.strip_prefix("n=ann,r=")?;
            server_first = format!("r={nonce}server,s={},i=4096", STANDARD.encode("salt"));
            return Some(server_first.clone().into_bytes());
        }
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(derive, NonZeroU32::new(4096).unwrap(), b"salt", b"pencil", &mut salted);
        let (last, proof) = said.split_once(",p=").unwrap();
        let all = format!("{bare},{server_first},{last}");
        let stored = digest::digest(digest, sign(&salted, b"Client Key").as_ref());
        let signature = sign(stored.as_ref(), all.as_bytes());
        let proof = STANDARD.decode(proof).unwrap();
        let key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(proof, sign)| proof ^ sign).collect();
        let proven = digest::digest(digest, &key).as_ref() == stored.as_ref();
        let known = sign(sign(&salted, b"Server Key").as_ref(), all.as_bytes());
        proven.then(|| format!("v={}", STANDARD.encode(known)).into_bytes())
    })
}

/// Mechanisms for user `ann` with this password.
fn mechanisms(password: &str) -> [Sasl; 3] {
    let named = || ("ann".to_owned(), password.to_owned());
    let ((username, password), of_256, of_512) = (named(), named(), named());
    [
        Sasl::Plain { username, password },
        Sasl::ScramSha256 { username: of_256.0, password: of_256.1 },
        Sasl::ScramSha512 { username: of_512.0, password: of_512.1 },
    ]
}

#[tokio::test]
async fn who_knows_the_password_is_let_in_by_every_mechanism_and_nobody_else() {
    let server = Server::start().await;
    let topic = server.topic(&server.client(), 1).await;
    let authority = Authority::new();
    let relays = Relays::secured(&server.bootstrap, authority.acceptor("127.0.0.1", false)).await;
    relays.guard(|| {
        let mut scram = scram();
        Box::new(move |mechanism, said| match mechanism {
            "PLAIN" => (said == b"\0ann\0pencil").then(Vec::new),
            _ => scram(mechanism, said),
        })
    });
    for (offset, sasl) in mechanisms("pencil").into_iter().enumerate() {
        let security = Security::TlsSasl(authority.trusted(), sasl);
        let client = relays.client_with(|config| config.security(security));
        let producer = client.producer().build();
        assert_eq!(produce_with(&producer, &topic, 0, &["a"]).await, [offset as i64]);
    }
    for sasl in mechanisms("guessed") {
        let mechanism = sasl.mechanism();
        let text = refusal(relays.address(), Security::TlsSasl(authority.trusted(), sasl)).await;
        assert!(text.contains(mechanism) && text.contains("who are you?"), "{text}");
        assert!(!text.contains("guessed"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_gets_nothing() {
    let server = Server::start().await;
    let relays = Relays::before(&server.bootstrap, 1).await;
    relays.guard(|| {
        let mut scram = scram();
        Box::new(move |mechanism, said| match scram(mechanism, said) {
            Some(told) if told.starts_with(b"v=") => Some(b"v=AAAA".to_vec()),
            told => told,
        })
    });
    let [_, sasl, _] = mechanisms("pencil");
    let text = refusal(relays.address(), Security::Sasl(sasl)).await;
    assert!(text.contains("does not prove that it knows the password"), "{text}");
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
