//! A producer's settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::records::Codec;

use super::Delivery;
use crate::Client;

/// `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Acks {
    /// -1, `all`: every in-sync replica has it.
    #[default]
    All,
    /// 1: the leader has it.
    Leader,
    /// 0: it was written to the socket; offsets are unknown.
    None,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::All => -1,
            Self::Leader => 1,
            Self::None => 0,
        }
    }
}

/// A function that is called once for each batch.
pub(crate) type OnDelivery = Arc<dyn Fn(&Delivery) + Send + Sync>;

/// Settings of a [`Producer`](super::Producer), with Kafka's defaults. Made by [`Client::producer`].
#[derive(Clone)]
pub struct ProducerBuilder {
    pub(crate) client: Client,
    pub(crate) acks: Acks,
    pub(crate) idempotence: bool,
    pub(crate) compression: Codec,
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
    pub(crate) buffer_memory: usize,
    pub(crate) max_request_size: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_block: Duration,
    pub(crate) delivery_timeout: Duration,
    pub(crate) on_delivery: Option<OnDelivery>,
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder").field("acks", &self.acks).finish_non_exhaustive()
    }
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            acks: Acks::All,
            idempotence: true,
            compression: Codec::None,
            batch_size: 64 << 10,
            linger: Duration::ZERO,
            buffer_memory: 32 << 20,
            max_request_size: 1 << 20,
            max_in_flight: 5,
            max_block: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            on_delivery: None,
        }
    }

    /// `acks`. Default all. Anything less turns idempotence off.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// `enable.idempotence`: no retry writes a record twice or out of order (KIP-98). Default true.
    #[must_use]
    pub fn idempotence(mut self, on: bool) -> Self {
        self.idempotence = on;
        self
    }

    /// `compression.type`. Default none.
    #[must_use]
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression = codec;
        self
    }

    /// `batch.size`: a batch of this many bytes leaves at once. Default 64 KiB (Kafka: 16 KiB).
    #[must_use]
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.batch_size = bytes;
        self
    }

    /// `linger.ms`: how long an open batch waits for more. Default 0: it leaves as soon as a request can.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// `buffer.memory`: of all records not acknowledged; `send` waits beyond it. Default 32 MiB.
    #[must_use]
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.buffer_memory = bytes;
        self
    }

    /// `max.request.size`: of one record, and of the batches of one request. Default 1 MiB.
    #[must_use]
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    /// `max.in.flight.requests.per.connection`: 1 to 5. Default 5.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests.clamp(1, 5);
        self
    }

    /// `max.block.ms`: how long `send` may wait. Default 60 s.
    #[must_use]
    pub fn max_block(mut self, limit: Duration) -> Self {
        self.max_block = limit;
        self
    }

    /// `delivery.timeout.ms`: from `send` to giving up. Default 2 min; `Duration::MAX` never gives up.
    #[must_use]
    pub fn delivery_timeout(mut self, limit: Duration) -> Self {
        self.delivery_timeout = limit;
        self
    }

    /// Calls `f` once for each batch that is acknowledged or given up, in the task that read the answer: be brief.
    #[must_use]
    pub fn on_delivery(mut self, f: impl Fn(&Delivery) + Send + Sync + 'static) -> Self {
        self.on_delivery = Some(Arc::new(f));
        self
    }
}
