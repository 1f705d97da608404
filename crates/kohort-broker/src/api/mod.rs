//! The APIs, one file each. [`SPOKEN`] is what ApiVersions advertises: only what is handled here.

mod acls;
mod api_versions;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_producers;
mod describe_topic_partitions;
mod elect_leaders;
pub(crate) mod fetch;
mod find_coordinator;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod log_dirs;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod reassignments;
mod recompress;
mod update_features;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kohort_group::coordinator::Client;
use kohort_protocol::frame::{self, RequestError, RequestHeader};
use kohort_protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::broker::Shared;
use crate::connection::{HangUp, Peer};
use crate::groups;

/// API key, oldest and newest version. Produce says 0 because librdkafka looks for the old versions before it trusts a broker with
/// compression (KAFKA-18659); below 3 it is refused all the same.
pub(crate) static SPOKEN: &[(i16, i16, i16)] = &[
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (8, 2, 10),
    (9, 1, 10),
    (10, 0, 6),
    (11, 0, 9),
    (12, 0, 4),
    (13, 0, 5),
    (14, 0, 5),
    (15, 0, 6),
    (16, 0, 5),
    (18, 0, 4),
    (19, 2, 7),
    (20, 1, 6),
    (21, 0, 2),
    (22, 0, 5),
    (23, 2, 4),
    (29, 1, 3),
    (30, 1, 3),
    (31, 1, 3),
    (32, 1, 4),
    (33, 0, 2),
    (34, 1, 2),
    (35, 1, 4),
    (37, 0, 3),
    (42, 0, 2),
    (43, 0, 2),
    (44, 0, 1),
    (45, 0, 1),
    (46, 0, 0),
    (47, 0, 0),
    (57, 0, 2),
    (60, 0, 2),
    (61, 0, 0),
    (68, 0, 1),
    (74, 0, 1),
    (75, 0, 0),
    (76, 1, 1),
];

/// One request and where its answer goes.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) header: RequestHeader,
    pub(crate) peer: &'a Peer,
    /// The bytes after the header.
    pub(crate) body: Bytes,
    /// An empty buffer for the answer's frame.
    pub(crate) out: &'a mut BytesMut,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The answer stands in `out`.
    Answered,
    /// The answer is these pieces, one after the other.
    Pieces(Vec<Bytes>),
    /// There is none: a produce with acks=0, or a call that its own member repeated.
    Silent,
}

impl Call<'_> {
    pub(crate) fn version(&self) -> i16 {
        self.header.api_version
    }

    /// Who asks, as the groups know it.
    pub(crate) fn client(&self) -> Client {
        Client { id: self.header.client_id.to_string(), host: self.peer.host.clone() }
    }

    /// The request's body.
    pub(crate) fn request<T: Decodable>(&self) -> Result<T, HangUp> {
        Ok(frame::decode_request(&self.header, self.body.clone())?)
    }

    /// Writes the answer.
    pub(crate) fn answer<T: Encodable + HeaderVersion>(self, message: &T) -> Result<Outcome, HangUp> {
        let version = self.version();
        self.answer_as(version, message)
    }

    /// Writes the answer in the layout of another version, where the codec does not know that both are the same.
    pub(crate) fn answer_as<T: Encodable + HeaderVersion>(
        self,
        version: i16,
        message: &T,
    ) -> Result<Outcome, HangUp> {
        frame::encode_response(self.out, version, self.header.correlation_id, message)?;
        Ok(Outcome::Answered)
    }
}

/// Handles one request.
pub(crate) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let (key, version) = (call.header.api_key, call.header.api_version);
    if key == frame::API_VERSIONS {
        return api_versions::handle(call);
    }
    if !SPOKEN.iter().any(|(k, low, high)| *k == key && (*low..=*high).contains(&version)) {
        return Err(RequestError::Unsupported { key, version }.into());
    }
    match key {
        0 => produce::handle(call),
        1 => fetch::handle(call).await,
        2 => list_offsets::handle(call),
        3 => metadata::handle(call),
        10 => find_coordinator::handle(call),
        19 => create_topics::handle(call),
        20 => delete_topics::handle(call),
        21 => delete_records::handle(call),
        22 => init_producer_id::handle(call),
        23 => offset_for_leader_epoch::handle(call),
        29 => acls::describe(call),
        30 => acls::create(call),
        31 => acls::delete(call),
        32 => describe_configs::handle(call),
        33 => configs::alter(call),
        34 => log_dirs::alter(call),
        35 => log_dirs::describe(call),
        37 => create_partitions::handle(call),
        43 => elect_leaders::handle(call),
        44 => configs::alter_incrementally(call),
        45 => reassignments::alter(call),
        46 => reassignments::list(call),
        57 => update_features::handle(call),
        60 => describe_cluster::handle(call),
        61 => describe_producers::handle(call),
        74 => list_config_resources::handle(call),
        75 => describe_topic_partitions::handle(call),
        _ => groups::api::handle(call).await,
    }
}

/// What a client may do, as a set of bits (KIP-430): everything there is to do, because nothing is forbidden here.
pub(crate) mod operations {
    const fn bits(operations: &[u32]) -> i32 {
        let (mut all, mut i) = (0, 0);
        while i < operations.len() {
            all |= 1 << operations[i];
            i += 1;
        }
        all
    }

    /// With a topic: read, write, create, delete, alter, describe, and describe and alter its configuration.
    pub(crate) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
    /// With the cluster: create, alter, describe, act as it, describe and alter its configuration, write idempotently.
    pub(crate) const CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
    /// With a group: read, delete, describe, and describe and alter its configuration.
    pub(crate) const GROUP: i32 = bits(&[3, 6, 8, 10, 11]);
}

/// Why whatever belongs to a transaction is refused, in the places of the protocol that have room for words.
const NO_TRANSACTIONS: &str =
    "this broker has no transactions: leave the transactional id out, or use Apache Kafka";

/// An owned text for a message.
pub(crate) fn text(s: impl Into<String>) -> StrBytes {
    StrBytes::from_string(s.into())
}
