//! What every part of the client shares: where the brokers are and how patient to be. Kafka's property names stand
//! at each field.

use std::fmt;
use std::time::Duration;

/// Settings of a [`Client`](crate::Client). A value with setters; nothing is resolved or connected here.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `bootstrap.servers`: `host:port`, names allowed; asked in turn until one answers.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`: shown by the broker's tools and quotas; member ids begin with it. Default `kohort`.
    pub client_id: String,
    /// `request.timeout.ms`: a request unanswered for this long ends its connection. Default 30 s.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: default 10 s.
    pub connect_timeout: Duration,
    /// `default.api.timeout.ms`: how long an operation may retry before it gives up. Default 60 s.
    pub api_timeout: Duration,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`, `reconnect.backoff.*`.
    pub backoff: Backoff,
    /// `metadata.max.age.ms`: metadata older than this is refreshed. Default 5 min.
    pub metadata_max_age: Duration,
    /// `allow.auto.create.topics` for what is produced to or subscribed. Default true, as Kafka's.
    pub allow_auto_create_topics: bool,
    /// `security.protocol`, `sasl.*`, `ssl.*`.
    pub security: Security,
}

/// How connections are made: Kafka's four values of `security.protocol`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Security {
    /// `PLAINTEXT`: neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// `SASL_PLAINTEXT`: authenticated, and readable on the way; for trusted networks.
    Sasl(Sasl),
    /// `SSL`: encrypted; who the client is, its certificate says, if anything.
    Tls(Tls),
    /// `SASL_SSL`: encrypted, and authenticated by user and password.
    TlsSasl(Tls, Sasl),
}

impl Security {
    /// The settings of TLS, where it is spoken.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(tls) | Self::TlsSasl(tls, _) => Some(tls),
            Self::Plaintext | Self::Sasl(_) => None,
        }
    }

    /// How the client says who it is, where it does.
    pub(crate) fn sasl(&self) -> Option<&Sasl> {
        match self {
            Self::Sasl(sasl) | Self::TlsSasl(_, sasl) => Some(sasl),
            Self::Plaintext | Self::Tls(_) => None,
        }
    }
}

/// `sasl.mechanism`, user and password. `Debug` leaves the password out.
#[derive(Clone)]
#[non_exhaustive]
pub enum Sasl {
    /// `PLAIN`: the password itself is sent; only within TLS or a trusted network.
    Plain {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// `SCRAM-SHA-256`: both sides prove that they know the password; it is not sent.
    ScramSha256 {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// `SCRAM-SHA-512`.
    ScramSha512 {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
}

impl Sasl {
    /// Kafka's name of the mechanism.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
            Self::ScramSha512 { .. } => "SCRAM-SHA-512",
        }
    }

    /// Name and password.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        match self {
            Self::Plain { username, password }
            | Self::ScramSha256 { username, password }
            | Self::ScramSha512 { username, password } => (username, password),
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.mechanism(), self.credentials().0)
    }
}

/// Whom to trust and who we are (`ssl.*`). TLS 1.2 and 1.3; the broker's name must be in its certificate. `Debug` leaves the
/// key out.
#[derive(Clone, Default)]
pub struct Tls {
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Trusts whom the system trusts, and says nothing about itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `ssl.truststore`: certificates in PEM; these are trusted and no others.
    #[must_use]
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// `ssl.keystore`: the client's certificate, with those that lead to an authority behind it, and its key, in PEM: for brokers with
    /// `ssl.client.auth=required`.
    #[must_use]
    pub fn identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, identity) = (self.authorities.is_some(), self.identity.is_some());
        f.debug_struct("Tls").field("own_authorities", &own).field("identity", &identity).finish()
    }
}

impl ClientConfig {
    /// Kafka's defaults, and these servers.
    pub fn new(bootstrap_servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into_iter().map(Into::into).collect(),
            client_id: "kohort".into(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            api_timeout: Duration::from_secs(60),
            backoff: Backoff::default(),
            metadata_max_age: Duration::from_secs(300),
            allow_auto_create_topics: true,
            security: Security::Plaintext,
        }
    }

    /// Sets `client.id`.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Sets `request.timeout.ms`.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets `default.api.timeout.ms`.
    #[must_use]
    pub fn api_timeout(mut self, timeout: Duration) -> Self {
        self.api_timeout = timeout;
        self
    }

    /// Sets the waits between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets `metadata.max.age.ms`.
    #[must_use]
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.metadata_max_age = age;
        self
    }

    /// Sets `allow.auto.create.topics`.
    #[must_use]
    pub fn allow_auto_create_topics(mut self, allow: bool) -> Self {
        self.allow_auto_create_topics = allow;
        self
    }

    /// Sets how connections are made.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }
}

/// Exponential waits between attempts: base times two each time, at most `max`, with a fifth of jitter to either side,
/// as Kafka's `ExponentialBackoff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait. Default 100 ms.
    pub base: Duration,
    /// The longest wait, before jitter. Default 1 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The wait before attempt number `failures` + 1; `roll` is any number and decides the jitter.
    #[must_use]
    pub fn after(self, failures: u32, roll: u64) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.base.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        let percent = 80 + u32::try_from(roll % 41).unwrap_or(0);
        doubled.min(self.max).saturating_mul(percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
        let middle = |failures| backoff.after(failures, 20).as_millis();
        assert_eq!([0, 1, 2, 3, 4, 5, 40].map(middle), [0, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let (username, password) = ("ann".to_owned(), "secret".to_owned());
        let security = Security::TlsSasl(
            Tls::new().identity("chain", "secret"),
            Sasl::ScramSha512 { username, password },
        );
        let shown = format!("{:?}", ClientConfig::new(["a:1"]).security(security));
        assert!(shown.contains("SCRAM-SHA-512 \"ann\"") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..41).map(|roll| backoff.after(1, roll).as_millis()).collect();
        assert_eq!((waits[0], waits[40]), (80, 120));
    }
}
