//! Making a connection: the name, the socket, what the broker speaks, who we are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpStream;

use super::connection::{Connection, Lost, Socket};
use super::pool::BufferPool;
use super::scram::{self, Hash, ScramError};
use super::tls::Connector;
use super::wire::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use super::wire::{AskError, Encodable, Link, Request, Versions, head, read, seal, text};
use crate::config::{ClientConfig, Sasl};

const UNSUPPORTED_VERSION: i16 = 35;

/// Why there is no connection to a broker.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to `{address}`")]
    Refused {
        address: Arc<str>,
        #[source]
        source: Arc<std::io::Error>,
    },
    #[error("cannot connect to `{address}` within {after:?}")]
    Timeout { address: Arc<str>, after: Duration },
    #[error("`{address}` does not speak TLS, or is not trusted")]
    Tls {
        address: Arc<str>,
        #[source]
        source: Arc<std::io::Error>,
    },
    #[error("broker `{id}` is not in the cluster's metadata")]
    Unknown { id: i32 },
    #[error("`{address}` did not answer as a Kafka broker does")]
    Handshake {
        address: Arc<str>,
        #[source]
        source: AskError,
    },
    #[error(
        "`{address}` refuses user `{username}` by {mechanism} with error code `{code}`{}: check mechanism, user and password",
        .message.as_deref().map(|text| format!(", {text}")).unwrap_or_default()
    )]
    Sasl { address: Arc<str>, username: String, mechanism: &'static str, code: i16, message: Option<String> },
    #[error("`{address}` does not prove that it knows the password of user `{username}`")]
    Scram {
        address: Arc<str>,
        username: String,
        #[source]
        source: ScramError,
    },
}

/// Connects; asks what the broker speaks unless `known` says it.
pub(crate) async fn connect(
    address: &Arc<str>,
    config: &ClientConfig,
    tls: Option<&Connector>,
    pool: &Arc<BufferPool>,
    known: Option<Arc<Versions>>,
) -> Result<Link, ConnectError> {
    let limit = config.connect_timeout;
    let made = tokio::time::timeout(limit, async {
        let socket = dial(address).await?;
        let socket = match tls {
            None => Socket::Plain(socket),
            Some(tls) => {
                let failed =
                    |source| ConnectError::Tls { address: address.clone(), source: Arc::new(source) };
                Socket::Secured(Box::new(tls.connect(address, socket).await.map_err(failed)?))
            }
        };
        let connection = Connection::start(socket, address.clone(), pool.clone());
        shake_hands(connection, address, config, known).await
    });
    made.await.unwrap_or_else(|_| Err(ConnectError::Timeout { address: address.clone(), after: limit }))
}

/// Resolves and connects, each address of the name in turn.
async fn dial(address: &Arc<str>) -> Result<TcpStream, ConnectError> {
    let refused = |source| ConnectError::Refused { address: address.clone(), source: Arc::new(source) };
    let socket = TcpStream::connect(&**address).await.map_err(refused)?;
    socket.set_nodelay(true).map_err(refused)?;
    Ok(socket)
}

async fn shake_hands(
    connection: Arc<Connection>,
    address: &Arc<str>,
    config: &ClientConfig,
    known: Option<Arc<Versions>>,
) -> Result<Link, ConnectError> {
    let failed = |source| ConnectError::Handshake { address: address.clone(), source };
    let client_id: Arc<str> = config.client_id.as_str().into();
    let versions = match known {
        Some(versions) => versions,
        None => {
            Arc::new(api_versions(&connection, &client_id, config.connect_timeout).await.map_err(failed)?)
        }
    };
    let link = Link { connection, versions, client_id };
    if let Some(sasl) = config.security.sasl() {
        authenticate(&link, address, sasl, config.connect_timeout).await?;
    }
    Ok(link)
}

/// Says who we are, and with SCRAM hears who the broker is.
async fn authenticate(
    link: &Link,
    address: &Arc<str>,
    sasl: &Sasl,
    timeout: Duration,
) -> Result<(), ConnectError> {
    let failed = |source| ConnectError::Handshake { address: address.clone(), source };
    let (username, password) = sasl.credentials();
    let refused = |code, message| ConnectError::Sasl {
        address: address.clone(),
        username: username.to_owned(),
        mechanism: sasl.mechanism(),
        code,
        message,
    };
    let hello = SaslHandshakeRequest::default().with_mechanism(text(sasl.mechanism()));
    let answer = link.ask(&hello, timeout).await.map_err(failed)?;
    if answer.error_code != 0 {
        let known: Vec<&str> = answer.mechanisms.iter().map(|mechanism| mechanism.as_str()).collect();
        return Err(refused(answer.error_code, Some(format!("it knows {}", known.join(", ")))));
    }
    let say = async |bytes: Bytes| {
        let proof = SaslAuthenticateRequest::default().with_auth_bytes(bytes);
        let answer = link.ask(&proof, timeout).await.map_err(failed)?;
        match answer.error_code {
            0 => Ok(answer.auth_bytes),
            code => Err(refused(code, answer.error_message.map(|text| text.to_string()))),
        }
    };
    let hash = match sasl {
        // RFC 4616: authorization identity, user, password.
        Sasl::Plain { .. } => {
            say(Bytes::from(format!("\0{username}\0{password}"))).await?;
            return Ok(());
        }
        Sasl::ScramSha256 { .. } => Hash::Sha256,
        Sasl::ScramSha512 { .. } => Hash::Sha512,
    };
    let disbelieved =
        |source| ConnectError::Scram { address: address.clone(), username: username.to_owned(), source };
    let (begun, first) = scram::begin(hash, username, nonce());
    let server_first = say(Bytes::from(first)).await?;
    let (proven, last) = begun.prove(password, &server_first).map_err(disbelieved)?;
    let server_last = say(Bytes::from(last)).await?;
    proven.believe(&server_last).map_err(disbelieved)
}

/// 160 random bits, printable.
fn nonce() -> String {
    let mut bytes = [0; 20];
    // Without randomness of the system nothing here is safe; and where it fails, so does every TLS handshake.
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks what the broker speaks; one too old for our question says so, and is asked in the first version (KIP-511).
async fn api_versions(
    connection: &Connection,
    client_id: &str,
    timeout: Duration,
) -> Result<Versions, AskError> {
    for version in [3, 0] {
        let mut frame = head::<ApiVersionsRequest>(version, client_id);
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("kohort"))
            .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
        let unreadable =
            || AskError::Unreadable { peer: connection.peer().clone(), key: ApiVersionsRequest::KEY };
        request.encode(&mut frame, version).map_err(|_| unreadable())?;
        seal(&mut frame, 0);
        let answer = connection.ask(frame, &[], timeout).await?;
        // The refusal is in the first version's form, whatever was asked.
        let refused = answer.starts_with(&UNSUPPORTED_VERSION.to_be_bytes());
        if refused && version > 0 {
            continue;
        }
        let answer = read::<ApiVersionsRequest>(answer, version).ok_or_else(unreadable)?;
        return Ok(Versions::of(&answer));
    }
    Err(AskError::Lost(Lost::Garbage {
        peer: connection.peer().clone(),
        what: "no version of ApiVersions in common",
    }))
}
