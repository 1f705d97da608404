//! What every part of the client shares: where the brokers are and how patient to be. Kafka's property names stand
//! at each field.

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

/// How connections are made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Security {
    /// `PLAINTEXT`: neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// `SASL_PLAINTEXT` with `sasl.mechanism=PLAIN`: the password travels readable; for trusted networks.
    SaslPlain {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
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
    fn jitter_stays_within_a_fifth() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..41).map(|roll| backoff.after(1, roll).as_millis()).collect();
        assert_eq!((waits[0], waits[40]), (80, 120));
    }
}
