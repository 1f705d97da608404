//! One POST over HTTP/1.1, with TLS where the address says so: hyper on tokio, rustls with ring. A connection for each request: no channel
//! takes more than a few in a second, and a connection that was kept may be dead.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::channel::{Answer, Request};
use super::secret::Secret;

/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An answer whose status has come is handed on so long before the time is up.
const BODY_SPARE: Duration = Duration::from_millis(50);
/// Lark's gateway says here what others say in `Retry-After`.
const RATE_LIMIT_RESET: &str = "x-ogw-ratelimit-reset";

/// Where a channel is. Its path and query may be a secret and are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    path: Secret,
}

impl Endpoint {
    /// Reads `http://` or `https://`, host, port, path and query. The error says what is wrong, and not the text.
    pub(crate) fn parse(url: &str) -> Result<Endpoint, &'static str> {
        let uri: hyper::Uri = url.trim().parse().map_err(|_| "not an address such as `https://host/path`")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("an address that begins neither with `https://` nor with `http://`"),
        };
        let authority = uri.authority().ok_or("an address without a host")?;
        if authority.as_str().contains('@') {
            return Err("an address with a user or password in it, which is not used");
        }
        let host = authority.host().to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Endpoint { tls, host, port, path: Secret::new(path.to_owned()) })
    }

    /// What of this address nobody should read: its path, and the path's last part, which a server may repeat alone.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let path = self.path.reveal();
        let last = path.rsplit('/').next().filter(|last| last.len() >= 12);
        let path = Some(path).filter(|path| path.len() > 1);
        path.into_iter().chain(last).map(|part| Secret::new(part.to_owned())).collect()
    }

    fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/***", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

/// Why TLS cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The system names no certificate authority.
    #[error(
        "no certificate authority is known to the system: install its certificates, or name a file in `SSL_CERT_FILE`"
    )]
    NoAuthorities,
    /// rustls refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Why there was no answer. It names the server and no more of the address.
#[derive(Debug, Error)]
pub(crate) enum PostError {
    #[error("`{server}` cannot be reached")]
    Connect { server: String, source: std::io::Error },
    #[error("no TLS with `{server}`")]
    Tls { server: String, source: std::io::Error },
    #[error("`{server}` did not answer as HTTP")]
    Talk { server: String, source: hyper::Error },
    #[error("`{server}` did not answer within {timeout:?}")]
    Timeout { server: String, timeout: Duration },
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Http {
    timeout: Duration,
    tls: Option<TlsConnector>,
}

impl Http {
    /// With certificates of the system's authorities, if any of the endpoints needs them.
    pub(crate) fn new<'a>(
        timeout: Duration,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<Http, TlsError> {
        let tls = endpoints.into_iter().any(|endpoint| endpoint.tls);
        Ok(Http { timeout, tls: tls.then(connector).transpose()? })
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn post(&self, to: &Endpoint, request: Request) -> Result<Answer, PostError> {
        let until = Instant::now() + self.timeout;
        match tokio::time::timeout_at(until, self.exchange(to, request, until)).await {
            Ok(answered) => answered,
            Err(_) => Err(PostError::Timeout { server: to.server(), timeout: self.timeout }),
        }
    }

    async fn exchange(&self, to: &Endpoint, request: Request, until: Instant) -> Result<Answer, PostError> {
        let host = to.host.trim_start_matches('[').trim_end_matches(']');
        let connected = TcpStream::connect((host, to.port)).await;
        let socket = connected.map_err(|source| PostError::Connect { server: to.server(), source })?;
        let Some(connector) = self.tls.as_ref().filter(|_| to.tls) else {
            return talk(socket, to, request, until).await;
        };
        let tls = |source| PostError::Tls { server: to.server(), source };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        talk(connector.connect(name, socket).await.map_err(tls)?, to, request, until).await
    }
}

fn connector() -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn talk(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    to: &Endpoint,
    request: Request,
    until: Instant,
) -> Result<Answer, PostError> {
    let broken = |source| PostError::Talk { server: to.server(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
    // It moves the bytes while we wait for the answer, and ends with it; what goes wrong there, the answer says.
    let moving = tokio::spawn(connection);
    let answered = async {
        let mut http = hyper::Request::post(to.path.reveal())
            .header(HOST, if to.port == default_port(to.tls) { to.host.clone() } else { to.server() })
            .header(USER_AGENT, concat!("kohort/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        for (name, value) in &request.headers {
            http = http.header(*name, value);
        }
        let http = http.body(Full::new(Bytes::from(request.body))).map_err(PostError::Request)?;
        let response = sender.send_request(http).await.map_err(broken)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        // The status has come: a body that is too long, breaks off or never ends is as good as none.
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = tokio::time::timeout_at(until - BODY_SPARE.min(until - Instant::now()), body).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok(Answer { status, retry_after, body })
    };
    let answer = answered.await;
    moving.abort();
    answer
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Seconds; a date, which is allowed too, is left to our own waiting.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    seconds(RETRY_AFTER.as_str()).or_else(|| seconds(RATE_LIMIT_RESET)).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_path_never_shown() {
        let endpoint = Endpoint::parse("https://hooks.slack.com/services/T0/B0/secrettoken1").unwrap();
        assert_eq!(format!("{endpoint:?}"), "https://hooks.slack.com:443/***");
        let secrets: Vec<_> = endpoint.secrets().iter().map(|secret| secret.reveal().to_owned()).collect();
        assert_eq!(secrets, ["/services/T0/B0/secrettoken1", "secrettoken1"]);
        assert_eq!(
            format!("{:?}", Endpoint::parse("http://[::1]:8080?x=1").unwrap()),
            "http://[::1]:8080/***"
        );
        for wrong in ["", "hooks.slack.com/x", "ftp://a/b", "https://user:pass@host/x", "https://", "/x"] {
            let error = Endpoint::parse(wrong).unwrap_err();
            assert!(!error.contains("pass@"), "{error}");
        }
    }
}
