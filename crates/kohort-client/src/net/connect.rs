//! Making a connection: the name, the socket, what the broker speaks, who we are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::connection::{Connection, Lost};
use super::pool::BufferPool;
use super::wire::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use super::wire::{AskError, Encodable, Link, Request, Versions, head, read, seal, text};
use crate::config::{ClientConfig, Security};

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
    #[error("broker `{id}` is not in the cluster's metadata")]
    Unknown { id: i32 },
    #[error("`{address}` did not answer as a Kafka broker does")]
    Handshake {
        address: Arc<str>,
        #[source]
        source: AskError,
    },
    #[error(
        "`{address}` refuses user `{username}` with error code `{code}`: check `sasl.mechanism`, user and password"
    )]
    Sasl { address: Arc<str>, username: String, code: i16 },
}

/// Connects; asks what the broker speaks unless `known` says it.
pub(crate) async fn connect(
    address: &Arc<str>,
    config: &ClientConfig,
    pool: &Arc<BufferPool>,
    known: Option<Arc<Versions>>,
) -> Result<Link, ConnectError> {
    let limit = config.connect_timeout;
    let made = tokio::time::timeout(limit, async {
        let socket = dial(address).await?;
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
    if let Security::SaslPlain { username, password } = &config.security {
        let refused =
            |code| ConnectError::Sasl { address: address.clone(), username: username.clone(), code };
        let hello = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
        let answer = link.ask(&hello, config.connect_timeout).await.map_err(failed)?;
        if answer.error_code != 0 {
            return Err(refused(answer.error_code));
        }
        // RFC 4616: authorization identity, user, password.
        let secret = Bytes::from(format!("\0{username}\0{password}"));
        let proof = SaslAuthenticateRequest::default().with_auth_bytes(secret);
        let answer = link.ask(&proof, config.connect_timeout).await.map_err(failed)?;
        if answer.error_code != 0 {
            return Err(refused(answer.error_code));
        }
    }
    Ok(link)
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
