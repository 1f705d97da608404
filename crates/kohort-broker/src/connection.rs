//! One connection: a frame in, an answer out, in order, one at a time.
//!
//! A request is handled in the connection's own task: no hop, no queue. A handler that waits (a fetch for records, a join for the
//! other members) blocks its connection only, but the task goes on watching the socket: the coordinator wants to know that another
//! request arrived behind a parked heartbeat, and that a connection is gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kohort_protocol::frame::{self, RequestError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::api::{self, Call, Outcome};
use crate::broker::Shared;
use kohort_group::coordinator::ConnectionId;

/// The reading buffer starts with this, and grows to the frame at hand.
const READ_BYTES: usize = 64 << 10;
/// Room for so much of an announced frame is made at once; the rest as the bytes come. Pages that nothing was read into cost nothing.
const RESERVED_BYTES: usize = 2 << 20;
/// An answer's buffer larger than this is given back after its use.
const KEPT_ANSWER_BYTES: usize = 8 << 20;
/// Pieces of an answer that one system call writes.
const PIECES_AT_ONCE: usize = 32;
/// While a request is handled, so much of what follows it is read ahead.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// Longer than any connection lives.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// What every request of a connection shares.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) connection: ConnectionId,
    /// The address as Java writes it: `/127.0.0.1`.
    pub(crate) host: String,
    /// It ends nothing before its heartbeat is answered: none is held.
    pub(crate) waits_for_beats: AtomicBool,
}

/// Why a connection ends from our side. Kafka closes without an answer in all of these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HangUp {
    #[error("a frame of {0} bytes")]
    FrameSize(i32),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Answer(#[from] kohort_protocol::frame::CodecError),
    #[error("a produce with acks=0 failed")]
    UnacknowledgedProduce,
    #[error("the socket failed")]
    Socket(#[from] std::io::Error),
}

/// Serves a connection until one side ends it.
pub(crate) async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: Peer) {
    let connection = peer.connection;
    let idle_max = match shared.settings.int("connections.max.idle.ms") {
        -1 => NEVER,
        _ => shared.settings.millis("connections.max.idle.ms").min(NEVER),
    };
    let serving = Serving {
        shared: &shared,
        socket,
        peer,
        input: BytesMut::with_capacity(READ_BYTES),
        idle_max,
        used: Instant::now(),
        idle: Box::pin(tokio::time::sleep(idle_max)),
    };
    let outcome = serving.run().await;
    if let Err(e) = outcome {
        tracing::debug!("connection {} ended: {e}", connection.0);
    }
    shared.groups.closed(connection);
}

struct Serving<'a> {
    shared: &'a Arc<Shared>,
    socket: TcpStream,
    peer: Peer,
    input: BytesMut,
    /// `connections.max.idle.ms`, and when something last came.
    idle_max: Duration,
    used: Instant,
    idle: Pin<Box<Sleep>>,
}

impl Serving<'_> {
    async fn run(mut self) -> Result<(), HangUp> {
        self.socket.set_nodelay(true)?;
        let mut out = BytesMut::new();
        loop {
            let Some(frame) = self.next_frame().await? else { return Ok(()) };
            let outcome = match self.answer(frame, &mut out).await? {
                Some(outcome) => outcome,
                None => return Ok(()),
            };
            match outcome {
                Outcome::Answered => self.socket.write_all(&out).await?,
                Outcome::Pieces(pieces) => self.write_pieces(pieces).await?,
                Outcome::Silent => {}
            }
            if out.capacity() > KEPT_ANSWER_BYTES {
                out = BytesMut::new();
            }
            out.clear();
        }
    }

    /// The length of the frame at the head of what was read, if its four bytes are there.
    fn frame_length(&self) -> Result<Option<usize>, HangUp> {
        let Some(head) = self.input.first_chunk::<4>() else { return Ok(None) };
        let n = i32::from_be_bytes(*head);
        match usize::try_from(n) {
            Ok(length) if length <= self.shared.request_bytes_max => Ok(Some(length)),
            _ => Err(HangUp::FrameSize(n)),
        }
    }

    fn has_frame(&self) -> bool {
        matches!(self.frame_length(), Ok(Some(n)) if self.input.len() >= 4 + n)
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>, HangUp> {
        loop {
            if let Some(n) = self.frame_length()? {
                if self.input.len() >= 4 + n {
                    self.used = Instant::now();
                    self.input.advance(4);
                    return Ok(Some(self.input.split_to(n).freeze()));
                }
                // Room for what is announced, but not before it comes: a length alone costs nobody memory.
                let missing = 4 + n - self.input.len();
                self.input.reserve(missing.min(self.input.len().max(RESERVED_BYTES)));
            } else {
                self.input.reserve(READ_BYTES);
            }
            let read = tokio::select! {
                biased;
                n = self.socket.read_buf(&mut self.input) => n?,
                // The timer is not moved with every frame: it looks at the clock when it rings.
                () = self.idle.as_mut() => match self.used + self.idle_max {
                    until if until > Instant::now() => {
                        self.idle.as_mut().reset(until);
                        continue;
                    }
                    _ => 0,
                },
            };
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// Writes pieces one after the other, as many at once as the system takes.
    async fn write_pieces(&mut self, mut pieces: Vec<Bytes>) -> Result<(), HangUp> {
        let mut first = 0;
        while first < pieces.len() {
            let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
            let n = slices
                .iter_mut()
                .zip(&pieces[first..])
                .map(|(slice, piece)| *slice = IoSlice::new(piece))
                .count();
            let mut written = self.socket.write_vectored(&slices[..n]).await?;
            if written == 0 {
                return Err(HangUp::Socket(io::ErrorKind::WriteZero.into()));
            }
            while written > 0 {
                let piece = &mut pieces[first];
                let step = written.min(piece.len());
                piece.advance(step);
                written -= step;
                if piece.is_empty() {
                    // Given back at once: its buffer is wanted for the next read.
                    *piece = Bytes::new();
                    first += 1;
                }
            }
            while first < pieces.len() && pieces[first].is_empty() {
                first += 1;
            }
        }
        Ok(())
    }

    /// Handles one request; `None` when the peer went away meanwhile.
    async fn answer(&mut self, mut frame: Bytes, out: &mut BytesMut) -> Result<Option<Outcome>, HangUp> {
        let header = match frame::take_header(&mut frame) {
            Ok(header) => header,
            Err(e) => return Err(e.into()),
        };
        let call = Call { shared: self.shared, header, peer: &self.peer, body: frame, out };
        let mut handling = std::pin::pin!(api::handle(call));
        // Most requests are answered at once: they need no watch over the socket.
        let at_once = std::future::poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await;
        if let Poll::Ready(outcome) = at_once {
            return outcome.map(Some);
        }
        let mut told = false;
        loop {
            let waiting = self.has_frame() || self.peer.waits_for_beats.load(Ordering::Relaxed);
            if told && self.input.len() >= READ_AHEAD_BYTES {
                // Enough is read ahead; whether the peer goes away shows at the next write.
                return handling.await.map(Some);
            }
            self.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                outcome = &mut handling => return outcome.map(Some),
                // Behind the handler on purpose: it has parked by now what is to be parked.
                () = std::future::ready(()), if waiting && !told => {
                    self.shared.groups.busy(self.peer.connection);
                    told = true;
                }
                n = self.socket.read_buf(&mut self.input) => {
                    if n? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
