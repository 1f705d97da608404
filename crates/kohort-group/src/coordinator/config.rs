//! The coordinator's settings: Kafka's, with Kafka's defaults, and two of our own.

use core::time::Duration;

/// Kafka's `GroupCoordinatorConfig` for classic groups, and the settings of parked heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.initial.rebalance.delay.ms` (KIP-134): how long the first rebalance of an Empty group waits for
    /// more members.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`, inclusive.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`, inclusive.
    pub max_session_timeout: Duration,
    /// `group.max.size` (KIP-389): members a group may have.
    pub max_size: usize,
    /// How long a member that never completed a rebalance may stay parked in JoinGroup; a constant in Kafka.
    pub new_member_join_timeout: Duration,
    /// `offset.metadata.max.bytes`; compared with the length in UTF-16 units, as Kafka does.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// Hold a heartbeat that has no news until there is some: rebalances at the speed of the network. Off: every
    /// heartbeat is answered at once, as Kafka does.
    pub park_heartbeats: bool,
    /// A dynamic member whose connection closed under its parked heartbeat is removed as if its session had ended,
    /// if within this time it does not speak on any connection and its client does not look for the coordinator. If
    /// no heartbeat was parked when it closed, the time begins when the next one is due. Zero: never, as in Kafka.
    ///
    /// The default, 500 ms, is several times what clients wait before they connect again
    /// (`reconnect.backoff.ms`: 50 ms in Java and kafka-python, 100 to 150 ms in librdkafka), and far below any
    /// session timeout that a client may ask for.
    pub lost_connection_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            max_size: 0x7fff_ffff,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offset_metadata_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            park_heartbeats: true,
            lost_connection_grace: Duration::from_millis(500),
        }
    }
}
