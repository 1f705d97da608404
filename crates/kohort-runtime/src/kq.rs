//! A `Kq` block of a service's file in the words of the client and the runtime: one reading of it for all services.

use std::time::Duration;

use kohort_client::{Client, ClientConfig, OffsetReset, Sasl, Security, Tls};
use kohort_service::{Complaint, Kq, StartOffset};

use crate::{GroupConfig, Order, Retries};

/// Where the broker is when a file names none.
pub const DEFAULT_BROKER: &str = "127.0.0.1:9092";

/// Ctrl-C ends everything within three seconds; what is not flushed by then is read again at the next start.
const DRAIN_MAX: Duration = Duration::from_millis(2500);

/// The client of a block of service `service`: its brokers (`instead`, where given), user, password and certificates.
///
/// # Errors
/// Addresses that are none, certificates that cannot be read, and a group protocol that the client does not speak.
pub fn client(kq: &Kq, service: &str, instead: Option<&[String]>) -> Result<Client, Complaint> {
    if let Some(complaint) = unavailable(kq, service) {
        return Err(complaint);
    }
    let config = config(kq, instead)?.client_id(format!("{service}-{}", kq.name));
    Client::new(config).map_err(|error| {
        Complaint::new(format!("`{service}` cannot start: {error}"))
            .at(kq.at("Brokers"))
            .hint("write `Brokers: [127.0.0.1:9092]`")
    })
}

/// What a block asks for and this client does not have.
#[must_use]
pub fn unavailable(kq: &Kq, service: &str) -> Option<Complaint> {
    let complaint = || {
        Complaint::new(format!("`{service}` cannot start: `Protocol: consumer` is not available"))
            .at(kq.at("Protocol"))
            .why("members would silently speak the classic protocol, with its rebalances and its assignors")
            .hint("write `Protocol: auto`, or leave it out")
    };
    (kq.protocol == kohort_service::config::Protocol::Consumer).then(complaint)
}

/// How the brokers of a block are reached (`instead`, where given): addresses, user, password and certificates.
///
/// # Errors
/// Certificates that cannot be read.
pub fn config(kq: &Kq, instead: Option<&[String]>) -> Result<ClientConfig, Complaint> {
    let default = [DEFAULT_BROKER.to_owned()];
    let brokers = match instead {
        Some(brokers) => brokers,
        None if kq.brokers.is_empty() => &default[..],
        None => &kq.brokers,
    };
    Ok(ClientConfig::new(brokers).security(security(kq)?))
}

fn security(kq: &Kq) -> Result<Security, Complaint> {
    let sasl = match (&kq.username, &kq.password) {
        (Some(username), Some(password)) => {
            Some(Sasl::Plain { username: username.clone(), password: password.clone() })
        }
        _ => None,
    };
    let tls = kq.ca_file.as_ref().map(|file| {
        let pem = std::fs::read(file).map_err(|error| {
            Complaint::new(format!("`CaFile` `{file}` cannot be read: {error}"))
                .at(kq.at("CaFile"))
                .hint("name a file with certificates in PEM")
        })?;
        Ok(Tls::new().authorities(pem))
    });
    Ok(match (tls.transpose()?, sasl) {
        (None, None) => Security::Plaintext,
        (None, Some(sasl)) => Security::Sasl(sasl),
        (Some(tls), None) => Security::Tls(tls),
        (Some(tls), Some(sasl)) => Security::TlsSasl(tls, sasl),
    })
}

impl GroupConfig {
    /// The members that a block asks for.
    #[must_use]
    pub fn of(kq: &Kq) -> Self {
        let mut config = Self::new(&kq.group, &kq.topic);
        config.consumers = kq.consumers as usize;
        config.processors = kq.processors as usize;
        config.order = match kq.order {
            kohort_service::Order::Key => Order::Key,
            kohort_service::Order::Partition => Order::Partition,
            kohort_service::Order::None => Order::None,
        };
        config.offset_reset = match kq.offset {
            StartOffset::First => OffsetReset::Earliest,
            StartOffset::Last => OffsetReset::Latest,
        };
        config.flush_interval = kq.commit_interval;
        config.drain_timeout = kq.drain_timeout.min(DRAIN_MAX);
        if let Some(timeout) = kq.session_timeout {
            config.session_timeout = timeout;
            // Kafka's advice: three heartbeats in a session.
            config.heartbeat_interval = config.heartbeat_interval.min(timeout / 3);
        }
        config.instance_id.clone_from(&kq.instance_id);
        config.assignors.clone_from(&kq.assignors);
        // kq's own default of 10 KiB would hold each trade of a quiet topic up for half a second: only who asks for it waits.
        if kq.says("MinBytes") {
            config.fetch_min_bytes = i32::try_from(kq.min_bytes).unwrap_or(i32::MAX);
        }
        config.fetch_max_bytes = i32::try_from(kq.max_bytes).unwrap_or(i32::MAX);
        config.dead_letter_topic = Some(kq.dlq_topic.clone());
        config
    }
}

impl Retries {
    /// What a block says of records that cannot be handled.
    #[must_use]
    pub fn of(kq: &Kq) -> Self {
        Self {
            attempts_max: kq.max_attempts,
            backoff: kq.retry_backoff,
            give_up: kq.force_commit,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kohort_service::ServiceFile;

    use super::*;

    fn kq(keys: &str) -> Kq {
        let text = format!("Kq:\n  Group: g\n  Topic: t\n  Offset: first\n{keys}");
        ServiceFile::parse("s", "s.yaml", &text).expect("a file").kqs.remove(0)
    }

    #[test]
    fn a_block_says_how_many_how_long_and_what_then() {
        let kq = kq(
            "  Consumers: 3\n  Processors: 2\n  SessionTimeout: 6s\n  Order: partition\n  MaxAttempts: 7\n  \
                     RetryBackoff: 5ms\n  ForceCommit: false\n  Assignor: range\n  InstanceId: i\n",
        );
        let config = GroupConfig::of(&kq);
        assert_eq!((config.consumers, config.processors, config.order), (3, 2, Order::Partition));
        assert_eq!(
            (config.session_timeout, config.heartbeat_interval),
            (Duration::from_secs(6), Duration::from_secs(2))
        );
        assert_eq!((config.assignors, config.instance_id), (vec!["range".to_owned()], Some("i".to_owned())));
        assert_eq!(config.offset_reset, OffsetReset::Earliest);
        let retries = Retries::of(&kq);
        assert_eq!(
            (retries.attempts_max, retries.backoff, retries.give_up),
            (7, Duration::from_millis(5), false)
        );
    }

    #[test]
    fn only_who_asks_for_it_waits_for_bytes() {
        assert_eq!(GroupConfig::of(&kq("")).fetch_min_bytes, 1);
        assert_eq!(GroupConfig::of(&kq("  MinBytes: 4096\n")).fetch_min_bytes, 4096);
    }

    #[test]
    fn what_the_client_cannot_do_stops_the_start_with_its_place() {
        let told = client(&kq("  Protocol: consumer\n"), "s", None).expect_err("not spoken").to_string();
        assert!(told.contains("s.yaml:5") && told.contains("Protocol: auto"), "{told}");
        let told = client(&kq("  CaFile: /nowhere/ca.pem\n"), "s", None).expect_err("no file").to_string();
        assert!(told.contains("s.yaml:5") && told.contains("/nowhere/ca.pem"), "{told}");
    }
}
