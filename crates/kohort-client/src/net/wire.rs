//! Requests into frames, answers out of them, and which version of an API to speak.
//!
//! The newest version that both sides know is used, up to a limit of our own where a newer one changes what a message
//! means (topics by id instead of by name, several groups in one question).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kohort_protocol::messages::ApiVersionsResponse;
pub(crate) use kohort_protocol::messages::{self, BrokerId, GroupId, RequestHeader, TopicName};
pub(crate) use kohort_protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};

use super::connection::{Connection, Lost, OnAnswer};

/// The newest version that we speak of an API whose codec knows newer ones.
fn limit(key: i16) -> i16 {
    match key {
        0 | 1 | 3 => 12, // Produce, Fetch: 13 names topics by id; Metadata: 13 only adds an error.
        2 => 7,          // ListOffsets
        8 | 9 => 9,      // OffsetCommit, OffsetFetch: 10 names topics by id
        10 => 3,         // FindCoordinator: 4 asks for several
        15 | 20 => 5, // DescribeGroups: 6 has an error for groups that are not there; DeleteTopics: 6 names by id
        18 => 3,      // ApiVersions
        _ => i16::MAX,
    }
}

/// A request: its number, and what answers it.
pub(crate) trait Request: Message + Encodable + HeaderVersion {
    /// Kafka's API key.
    const KEY: i16;
    /// The answer.
    type Response: Decodable + HeaderVersion;
}

macro_rules! requests {
    ($($key:literal $request:ident $response:ident;)*) => {
        $(impl Request for messages::$request {
            const KEY: i16 = $key;
            type Response = messages::$response;
        })*
    };
}

requests! {
    0 ProduceRequest ProduceResponse;
    1 FetchRequest FetchResponse;
    2 ListOffsetsRequest ListOffsetsResponse;
    3 MetadataRequest MetadataResponse;
    8 OffsetCommitRequest OffsetCommitResponse;
    9 OffsetFetchRequest OffsetFetchResponse;
    10 FindCoordinatorRequest FindCoordinatorResponse;
    11 JoinGroupRequest JoinGroupResponse;
    12 HeartbeatRequest HeartbeatResponse;
    13 LeaveGroupRequest LeaveGroupResponse;
    14 SyncGroupRequest SyncGroupResponse;
    15 DescribeGroupsRequest DescribeGroupsResponse;
    16 ListGroupsRequest ListGroupsResponse;
    17 SaslHandshakeRequest SaslHandshakeResponse;
    18 ApiVersionsRequest ApiVersionsResponse;
    19 CreateTopicsRequest CreateTopicsResponse;
    20 DeleteTopicsRequest DeleteTopicsResponse;
    22 InitProducerIdRequest InitProducerIdResponse;
    32 DescribeConfigsRequest DescribeConfigsResponse;
    36 SaslAuthenticateRequest SaslAuthenticateResponse;
    37 CreatePartitionsRequest CreatePartitionsResponse;
    42 DeleteGroupsRequest DeleteGroupsResponse;
    47 OffsetDeleteRequest OffsetDeleteResponse;
}

/// What a broker speaks: the lowest and highest version by API key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions(BTreeMap<i16, (i16, i16)>);

impl Versions {
    pub(crate) fn of(answer: &ApiVersionsResponse) -> Self {
        Self(answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    /// The version to send; `None` if there is none in common.
    pub(crate) fn pick<R: Request>(&self) -> Option<i16> {
        let (low, high) = *self.0.get(&R::KEY)?;
        let version = high.min(R::VERSIONS.max).min(limit(R::KEY));
        (version >= low && version >= R::VERSIONS.min).then_some(version)
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("`{peer}` speaks no version of API {key} that this client does")]
    Unsupported { peer: Arc<str>, key: i16 },
    #[error("the answer of `{peer}` to API {key} cannot be read")]
    Unreadable { peer: Arc<str>, key: i16 },
}

/// A connection and what its broker speaks.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Arc<Connection>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) client_id: Arc<str>,
}

impl Link {
    /// The version of `R` to send here.
    pub(crate) fn version<R: Request>(&self) -> Result<i16, AskError> {
        let peer = || self.connection.peer().clone();
        self.versions.pick::<R>().ok_or_else(|| AskError::Unsupported { peer: peer(), key: R::KEY })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, AskError> {
        let version = self.version::<R>()?;
        let frame = self.frame(request, version)?;
        let answer = self.connection.ask(frame, &[], timeout).await?;
        self.read::<R>(answer, version)
    }

    /// Sends; `then` gets the answer in the reader's task.
    pub(crate) fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
        then: OnAnswer,
    ) -> Result<(), AskError> {
        Ok(self.connection.send(self.frame(request, version)?, &[], timeout, then)?)
    }

    /// The frame of a request.
    pub(crate) fn frame<R: Request>(&self, request: &R, version: i16) -> Result<BytesMut, AskError> {
        let mut frame = head::<R>(version, &self.client_id);
        let peer = || self.connection.peer().clone();
        request
            .encode(&mut frame, version)
            .map_err(|_| AskError::Unsupported { peer: peer(), key: R::KEY })?;
        seal(&mut frame, 0);
        Ok(frame)
    }

    /// Reads an answer of `version`.
    pub(crate) fn read<R: Request>(&self, answer: Bytes, version: i16) -> Result<R::Response, AskError> {
        read::<R>(answer, version)
            .ok_or_else(|| AskError::Unreadable { peer: self.connection.peer().clone(), key: R::KEY })
    }
}

/// The front of a frame: room for the length, and the header with room for the correlation id.
pub(crate) fn head<R: Request>(version: i16, client_id: &str) -> BytesMut {
    let mut frame = BytesMut::with_capacity(256);
    frame.extend_from_slice(&[0; 4]);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(text(client_id)));
    // A header of ours always fits its format: the client id is bounded where it is set.
    let encoded = header.encode(&mut frame, R::header_version(version));
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    frame
}

/// Writes the length of the frame, of which `rest` bytes follow elsewhere.
pub(crate) fn seal(frame: &mut [u8], rest: usize) {
    let length = u32::try_from(frame.len() - 4 + rest).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
}

/// Reads the rest of the header and the body.
pub(crate) fn read<R: Request>(mut answer: Bytes, version: i16) -> Option<R::Response> {
    // The correlation id is gone already; of the header, only tagged fields can follow.
    if R::Response::header_version(version) >= 1 {
        skip_tags(&mut answer)?;
    }
    R::Response::decode(&mut answer, version).ok()
}

/// Passes over the tagged fields of a header.
fn skip_tags(bytes: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(bytes)? {
        unsigned_varint(bytes)?;
        let size = unsigned_varint(bytes)? as usize;
        if bytes.len() < size {
            return None;
        }
        let _ = bytes.split_to(size);
    }
    Some(())
}

fn unsigned_varint(bytes: &mut Bytes) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.first()?;
        let _ = bytes.split_to(1);
        value |= u32::from(byte & 127).checked_shl(shift)?;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

/// A string for a message.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name for a message.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Milliseconds for a message.
pub(crate) fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
