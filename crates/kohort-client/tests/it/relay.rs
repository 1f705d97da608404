//! A relay that a client takes for its broker: it reads every frame, and a test decides what becomes of it. Several of them
//! before one broker are a cluster whose leaders and coordinator move when the test says so.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kohort_client::{Client, ClientConfig};
use kohort_protocol::messages::api_versions_response::ApiVersion;
use kohort_protocol::messages::{
    ApiVersionsResponse, FetchRequest, FetchResponse, FindCoordinatorResponse, HeartbeatResponse,
    JoinGroupResponse, LeaveGroupResponse, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchResponse, ProduceRequest, ProduceResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, SyncGroupResponse, fetch_response, metadata_response,
    offset_commit_response, offset_fetch_response, produce_response,
};
use kohort_protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
pub(crate) const METADATA: i16 = 3;
pub(crate) const OFFSET_COMMIT: i16 = 8;
pub(crate) const OFFSET_FETCH: i16 = 9;
pub(crate) const FIND_COORDINATOR: i16 = 10;
pub(crate) const JOIN_GROUP: i16 = 11;
pub(crate) const HEARTBEAT: i16 = 12;
pub(crate) const LEAVE_GROUP: i16 = 13;
pub(crate) const SYNC_GROUP: i16 = 14;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;

/// The node id of the first relay.
const FIRST_NODE: i32 = 101;
/// Kafka's words for "ask somebody else".
const NOT_LEADER: i16 = 6;
const NOT_COORDINATOR: i16 = 16;
const NO_SUCH_SESSION: i16 = 70;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// A frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the broker.
    Request(i16),
    /// From the broker to the client: the answer to this API.
    Answer(i16),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// Half of it arrives, and the connection ends.
    Half,
    /// Nothing of it arrives, and the connection ends.
    Lost,
    /// It arrives later.
    Late(Duration),
}

type Rule = Box<dyn FnMut(Way) -> Fate + Send>;

/// Speaks SASL in the broker's place, for one connection: takes the mechanism and what the client says, and gives what it is told;
/// `None` refuses.
pub(crate) type Guard = Box<dyn FnMut(&str, &[u8]) -> Option<Vec<u8>> + Send>;

/// Makes a guard for each connection.
type Guards = Box<dyn Fn() -> Guard + Send + Sync>;

/// Before one connection: its guard, and the mechanism that the client chose.
struct Door {
    guard: Guard,
    mechanism: String,
}

/// Relays before one broker.
pub(crate) struct Relays {
    addresses: Vec<String>,
    shared: Arc<Shared>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    broker: String,
    rule: Mutex<Rule>,
    ports: Mutex<Vec<u16>>,
    guards: Mutex<Option<Guards>>,
    /// Which relay leads all partitions, and which one coordinates all groups.
    leader: AtomicUsize,
    coordinator: AtomicUsize,
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.accepting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Relays {
    /// `count` relays before the broker at `bootstrap`; the first leads and coordinates.
    pub(crate) async fn before(bootstrap: &str, count: usize) -> Self {
        Self::listening(bootstrap, count, None).await
    }

    /// One relay that speaks TLS.
    pub(crate) async fn secured(bootstrap: &str, acceptor: TlsAcceptor) -> Self {
        Self::listening(bootstrap, 1, Some(acceptor)).await
    }

    async fn listening(bootstrap: &str, count: usize, acceptor: Option<TlsAcceptor>) -> Self {
        let shared = Arc::new(Shared {
            broker: bootstrap.to_owned(),
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            ports: Mutex::default(),
            guards: Mutex::default(),
            leader: AtomicUsize::new(0),
            coordinator: AtomicUsize::new(0),
        });
        let (mut addresses, mut accepting) = (vec![], vec![]);
        for index in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            addresses.push(address.to_string());
            shared.ports.lock().unwrap().push(address.port());
            let (shared, acceptor) = (shared.clone(), acceptor.clone());
            accepting.push(tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    client.set_nodelay(true).unwrap();
                    let (shared, acceptor) = (shared.clone(), acceptor.clone());
                    tokio::spawn(async move {
                        match acceptor {
                            None => carry(client, shared, index).await,
                            Some(acceptor) => carry(acceptor.accept(client).await?, shared, index).await,
                        }
                    });
                }
            }));
        }
        Self { addresses, shared, accepting }
    }

    /// Where the first one listens.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// From now on `rule` decides.
    pub(crate) fn rule(&self, rule: impl FnMut(Way) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on nothing passes before a guard is content.
    pub(crate) fn guard(&self, guards: impl Fn() -> Guard + Send + Sync + 'static) {
        *self.shared.guards.lock().unwrap() = Some(Box::new(guards));
    }

    /// Another relay leads.
    pub(crate) fn lead(&self, index: usize) {
        self.shared.leader.store(index, Ordering::SeqCst);
    }

    /// Another relay coordinates.
    pub(crate) fn coordinate(&self, index: usize) {
        self.shared.coordinator.store(index, Ordering::SeqCst);
    }

    /// A client that knows the relays alone.
    pub(crate) fn client(&self) -> Client {
        self.client_with(|config| config)
    }

    pub(crate) fn client_with(&self, settings: impl FnOnce(ClientConfig) -> ClientConfig) -> Client {
        let config = ClientConfig::new(self.addresses.clone()).client_id("it");
        Client::new(settings(config)).unwrap()
    }
}

/// A rule that treats every `nth` frame that goes this way so.
pub(crate) fn every(nth: usize, way: Way, fate: Fate) -> impl FnMut(Way) -> Fate + Send {
    let mut seen = 0;
    move |frame| {
        if frame != way {
            return Fate::Pass;
        }
        seen += 1;
        if seen % nth == 0 { fate } else { Fate::Pass }
    }
}

/// Carries one connection's frames: requests as they come, answers in the order of their requests.
async fn carry(client: impl AsyncRead + AsyncWrite, shared: Arc<Shared>, index: usize) -> io::Result<()> {
    let broker = TcpStream::connect(&shared.broker).await?;
    broker.set_nodelay(true)?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = tokio::io::split(broker);
    let (asked, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let (asking, answering) = (&*shared, &*shared);
    let mut door = shared
        .guards
        .lock()
        .unwrap()
        .as_ref()
        .map(|guards| Door { guard: guards(), mechanism: String::new() });
    let requests = async move {
        loop {
            let request = read(&mut from_client).await?;
            let mut head = &request[..];
            let (key, version, correlation) = (head.get_i16(), head.get_i16(), head.get_i32());
            let fate = asking.fate(Way::Request(key));
            let refusal = match (key, &mut door) {
                (SASL_HANDSHAKE | SASL_AUTHENTICATE, Some(door)) => Some(door.answer(key, version, &request)),
                _ => asking.refusal(key, version, &request, index),
            };
            let refusal = refusal.map(|body| answer(key, version, correlation, body));
            let refused = refusal.is_some();
            let _ = asked.send((key, version, refusal));
            if !refused && !pass(&mut to_broker, &request, fate).await? {
                return to_broker.shutdown().await;
            }
        }
    };
    let answers = async move {
        while let Some((key, version, refusal)) = waiting.recv().await {
            let bytes = match refusal {
                Some(refusal) => refusal,
                None => answering.rewritten(key, version, read(&mut from_broker).await?, index),
            };
            if !pass(&mut to_client, &bytes, answering.fate(Way::Answer(key))).await? {
                break;
            }
        }
        io::Result::Ok(())
    };
    tokio::pin!(requests, answers);
    // Whichever ends first, both sockets close; what was asked before a request that is cut is answered.
    tokio::select! {
        ended = &mut requests => ended?,
        ended = &mut answers => return ended,
    }
    answers.await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = from.read_u32().await?;
    let mut frame = vec![0; length as usize];
    from.read_exact(&mut frame).await?;
    Ok(frame.into())
}

/// Passes a frame on as its fate is; `false` if the connection is to end.
async fn pass(to: &mut (impl AsyncWrite + Unpin), frame: &[u8], fate: Fate) -> io::Result<bool> {
    let mut whole = BytesMut::with_capacity(frame.len() + 4);
    whole.put_u32(frame.len() as u32);
    whole.put_slice(frame);
    match fate {
        Fate::Pass => {}
        Fate::Late(by) => tokio::time::sleep(by).await,
        Fate::Lost => return Ok(false),
        Fate::Half => {
            to.write_all(&whole[..whole.len() / 2]).await?;
            to.flush().await?;
            return Ok(false);
        }
    }
    to.write_all(&whole).await?;
    to.flush().await?;
    Ok(true)
}

/// The frame of an answer with this body.
fn answer(key: i16, version: i16, correlation: i32, body: BytesMut) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(correlation);
    if is_flexible(key, version) {
        frame.put_u8(0);
    }
    frame.put_slice(&body);
    frame.freeze()
}

/// Whether answers of this version have tagged fields in their header.
fn is_flexible(key: i16, version: i16) -> bool {
    let header = match key {
        PRODUCE => ProduceResponse::header_version(version),
        FETCH => FetchResponse::header_version(version),
        METADATA => MetadataResponse::header_version(version),
        OFFSET_COMMIT => OffsetCommitResponse::header_version(version),
        OFFSET_FETCH => OffsetFetchResponse::header_version(version),
        FIND_COORDINATOR => FindCoordinatorResponse::header_version(version),
        JOIN_GROUP => JoinGroupResponse::header_version(version),
        HEARTBEAT => HeartbeatResponse::header_version(version),
        LEAVE_GROUP => LeaveGroupResponse::header_version(version),
        SYNC_GROUP => SyncGroupResponse::header_version(version),
        SASL_HANDSHAKE => SaslHandshakeResponse::header_version(version),
        SASL_AUTHENTICATE => SaslAuthenticateResponse::header_version(version),
        API_VERSIONS => ApiVersionsResponse::header_version(version),
        _ => panic!("API {key} is not looked into"),
    };
    header >= 1
}

/// The body of a request of ours: behind key, version, correlation, client id and, in flexible versions, no tags.
fn body<R: Decodable + HeaderVersion>(request: &Bytes, version: i16) -> R {
    let mut bytes = request.slice(8..);
    let client_id = bytes.get_i16();
    bytes.advance(usize::try_from(client_id).unwrap_or(0));
    if R::header_version(version) >= 2 {
        assert_eq!(bytes.get_u8(), 0, "no tagged fields");
    }
    R::decode(&mut bytes, version).unwrap()
}

fn encoded(message: &impl Encodable, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes
}

impl Door {
    /// What a broker with SASL answers.
    fn answer(&mut self, key: i16, version: i16, request: &Bytes) -> BytesMut {
        if key == SASL_HANDSHAKE {
            self.mechanism = body::<SaslHandshakeRequest>(request, version).mechanism.to_string();
            return encoded(&SaslHandshakeResponse::default(), version);
        }
        let said = body::<SaslAuthenticateRequest>(request, version).auth_bytes;
        let told = match (self.guard)(&self.mechanism, &said) {
            Some(bytes) => SaslAuthenticateResponse::default().with_auth_bytes(bytes.into()),
            None => SaslAuthenticateResponse::default()
                .with_error_code(SASL_AUTHENTICATION_FAILED)
                .with_error_message(Some(StrBytes::from_static_str("who are you?"))),
        };
        encoded(&told, version)
    }
}

impl Shared {
    fn fate(&self, way: Way) -> Fate {
        (self.rule.lock().unwrap())(way)
    }

    fn leads(&self, index: usize) -> bool {
        self.leader.load(Ordering::SeqCst) == index
    }

    /// What a broker answers to a request that is another's.
    fn refusal(&self, key: i16, version: i16, request: &Bytes, index: usize) -> Option<BytesMut> {
        let leads = self.leads(index);
        let coordinates = self.coordinator.load(Ordering::SeqCst) == index;
        Some(match key {
            PRODUCE if !leads => refused_produce(&body(request, version), version),
            FETCH if !leads => refused_fetch(&body(request, version), version),
            JOIN_GROUP if !coordinates => {
                encoded(&JoinGroupResponse::default().with_error_code(NOT_COORDINATOR), version)
            }
            SYNC_GROUP if !coordinates => {
                encoded(&SyncGroupResponse::default().with_error_code(NOT_COORDINATOR), version)
            }
            HEARTBEAT if !coordinates => {
                encoded(&HeartbeatResponse::default().with_error_code(NOT_COORDINATOR), version)
            }
            LEAVE_GROUP if !coordinates => {
                encoded(&LeaveGroupResponse::default().with_error_code(NOT_COORDINATOR), version)
            }
            OFFSET_FETCH if !coordinates => {
                let group = offset_fetch_response::OffsetFetchResponseGroup::default()
                    .with_error_code(NOT_COORDINATOR);
                let refused = match version {
                    8.. => OffsetFetchResponse::default().with_groups(vec![group]),
                    _ => OffsetFetchResponse::default().with_error_code(NOT_COORDINATOR),
                };
                encoded(&refused, version)
            }
            OFFSET_COMMIT if !coordinates => refused_commit(&body(request, version), version),
            _ => return None,
        })
    }

    /// The answer, with the relays in place of the broker.
    fn rewritten(&self, key: i16, version: i16, bytes: Bytes, index: usize) -> Bytes {
        let guarded = self.guards.lock().unwrap().is_some();
        if !(matches!(key, METADATA | FIND_COORDINATOR | FETCH) || guarded && key == API_VERSIONS) {
            return bytes;
        }
        let mut rest = bytes.clone();
        let correlation = rest.get_i32();
        if is_flexible(key, version) {
            assert_eq!(rest.get_u8(), 0, "no tagged fields");
        }
        let ports = self.ports.lock().unwrap().clone();
        let host = StrBytes::from_static_str("127.0.0.1");
        let node = |index: usize| FIRST_NODE + index as i32;
        let body = match key {
            METADATA => {
                let mut told = MetadataResponse::decode(&mut rest, version).unwrap();
                let brokers = ports.iter().enumerate().map(|(index, port)| {
                    metadata_response::MetadataResponseBroker::default()
                        .with_node_id(node(index).into())
                        .with_host(host.clone())
                        .with_port((*port).into())
                });
                told.brokers = brokers.collect();
                told.controller_id = FIRST_NODE.into();
                let leader = node(self.leader.load(Ordering::SeqCst));
                for partition in told.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.leader_id = leader.into();
                }
                encoded(&told, version)
            }
            FIND_COORDINATOR => {
                let mut told = FindCoordinatorResponse::decode(&mut rest, version).unwrap();
                let coordinator = self.coordinator.load(Ordering::SeqCst);
                told.node_id = node(coordinator).into();
                (told.host, told.port) = (host, ports[coordinator].into());
                encoded(&told, version)
            }
            API_VERSIONS => {
                let mut told = ApiVersionsResponse::decode(&mut rest, version).unwrap();
                told.api_keys.retain(|api| api.api_key != SASL_HANDSHAKE && api.api_key != SASL_AUTHENTICATE);
                told.api_keys.extend(
                    [SASL_HANDSHAKE, SASL_AUTHENTICATE]
                        .map(|key| ApiVersion::default().with_api_key(key).with_max_version(1)),
                );
                encoded(&told, version)
            }
            _ if self.leads(index) => return bytes,
            // A long poll that the leadership left behind.
            _ => {
                let mut told = FetchResponse::decode(&mut rest, version).unwrap();
                for partition in told.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = NOT_LEADER;
                    partition.records = None;
                }
                encoded(&told, version)
            }
        };
        answer(key, version, correlation, body)
    }
}

fn refused_produce(request: &ProduceRequest, version: i16) -> BytesMut {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            produce_response::PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_error_code(NOT_LEADER)
                .with_base_offset(-1)
        });
        produce_response::TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(partitions.collect())
    });
    encoded(&ProduceResponse::default().with_responses(topics.collect()), version)
}

/// A session is not known here; without one, the partitions are another's.
fn refused_fetch(request: &FetchRequest, version: i16) -> BytesMut {
    if request.session_epoch > 0 {
        return encoded(&FetchResponse::default().with_error_code(NO_SUCH_SESSION), version);
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            fetch_response::PartitionData::default()
                .with_partition_index(partition.partition)
                .with_error_code(NOT_LEADER)
        });
        fetch_response::FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    encoded(&FetchResponse::default().with_responses(topics.collect()), version)
}

fn refused_commit(request: &OffsetCommitRequest, version: i16) -> BytesMut {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            offset_commit_response::OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(NOT_COORDINATOR)
        });
        offset_commit_response::OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    encoded(&OffsetCommitResponse::default().with_topics(topics.collect()), version)
}
