//! Brokers that a command talks to: the flag that names them, and what a person is told when they refuse or do not answer.

use std::time::Duration;

use kohort_client::{Admin, AdminError, Client, ClientConfig};
use kohort_service::Complaint;

/// A person waits: brokers that are not there are said after this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The brokers of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct Brokers {
    /// Brokers, `host:port`, several divided by commas
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    bootstrap_server: Vec<String>,
}

impl Brokers {
    /// A client of these brokers.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn client(&self) -> Result<Client, Complaint> {
        client(&self.bootstrap_server)
    }

    /// The admin of these brokers.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn admin(&self) -> Result<Admin, Complaint> {
        self.client().map(|client| client.admin())
    }
}

/// A client of `servers`.
///
/// # Errors
/// An address that is none.
pub(crate) fn client(servers: &[String]) -> Result<Client, Complaint> {
    let config = ClientConfig::new(servers.iter().cloned()).client_id("kohort").api_timeout(PATIENCE);
    Client::new(config)
        .map_err(|error| Complaint::new(error.to_string()).hint("write `--bootstrap-server 127.0.0.1:9092`"))
}

/// A refusal that the person who asked can mend, with the mend; none where it is not for them to mend.
pub(crate) fn complaint(error: &AdminError) -> Option<Complaint> {
    let AdminError::Refused { code, .. } = error else { return None };
    let hint = match code {
        3 => "`kohort topics list` says which topics there are",
        17 => "a name has 1 to 249 letters, digits, `.`, `_` and `-`",
        24 => "name a group",
        25 | 68 => "end its consumers first; `kohort groups describe GROUP` says who they are",
        36 => "choose another name, or delete it first with `kohort topics delete`",
        37 => "write 1 or more partitions, and not fewer than there are",
        38 => "this cluster has fewer brokers than that",
        40 => "settings of a topic have Kafka's names, such as `retention.ms`",
        69 => "`kohort groups list` says which groups there are",
        86 => "end the consumers that subscribe to the topic first",
        _ => return None,
    };
    Some(Complaint::new(error.to_string()).hint(hint))
}

/// What to look at when no broker answered.
pub(crate) const NO_ANSWER_HINT: &str =
    "see that a broker runs at the address of `--bootstrap-server`; `kohort broker` starts one";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_mend_and_a_broker_that_fails_is_no_wrong_use() {
        let refused = |code| AdminError::Refused { what: "describe topic `x`".into(), code, message: None };
        let told = complaint(&refused(3)).unwrap().to_string();
        assert!(told.contains("UNKNOWN_TOPIC_OR_PARTITION") && told.contains("kohort topics list"), "{told}");
        assert_eq!(complaint(&refused(-1)), None);
        assert_eq!(complaint(&AdminError::Timeout { what: "x".into(), after: PATIENCE, source: None }), None);
    }
}
