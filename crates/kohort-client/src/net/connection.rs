//! One connection: frames out in order, answers in the same order, matched by their place.
//!
//! A request is written by whoever makes it, at once and without waiting, as far as the socket takes it; what it does not
//! take is queued for the connection's writer. An answer is handed to its request's function in the task that read it: no
//! hop between the socket and who decides what comes next. Nothing here knows APIs, but the eight bytes
//! of a frame's head.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::pool::{BufferPool, PooledBuffer};

/// Where the correlation id stands in a request's frame: length, API key, version, then it.
const AT_CORRELATION: usize = 8;
/// An answer up to this size is copied out of the reading buffer; a larger one takes the buffer along.
const COPIED_BYTES: usize = 16 << 10;
/// The reading buffer of a connection that gets small answers.
const READ_BYTES: usize = 64 << 10;
/// No answer is larger: Kafka's own limit of a fetch and far beyond what we ask for.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Why a connection is no more, or a request got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection to `{peer}` broke")]
    Broken {
        peer: Arc<str>,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("`{peer}` closed the connection")]
    Closed { peer: Arc<str> },
    #[error("`{peer}` did not answer within {after:?}")]
    Timeout { peer: Arc<str>, after: Duration },
    #[error("`{peer}` sent what is no answer: {what}")]
    Garbage { peer: Arc<str>, what: &'static str },
    #[error("the connection to `{peer}` was closed here")]
    Dropped { peer: Arc<str> },
}

/// What to do with an answer: the bytes after the correlation id.
pub(crate) type OnAnswer = Box<dyn FnOnce(Result<Bytes, Lost>) + Send>;

/// A connection. Dropping the last handle closes it; requests without an answer then get [`Lost::Dropped`].
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Arc<Wire>,
}

/// What frames travel on.
pub(crate) enum Socket {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

struct Wire {
    peer: Arc<str>,
    /// Where senders may write by themselves. With TLS only the connection's writer does: what is written must be encrypted in turn.
    socket: Option<OwnedWriteHalf>,
    out: Mutex<Out>,
    /// Something is left to write.
    more: Notify,
    /// The connection is to end.
    end: Notify,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What waits: bytes for the socket, requests for answers. One lock for both, so that they agree on the order.
struct Out {
    unwritten: VecDeque<Bytes>,
    waiting: VecDeque<Waiting>,
    next_correlation: i32,
    lost: Option<Lost>,
}

struct Waiting {
    correlation: i32,
    sent: Instant,
    timeout: Duration,
    then: OnAnswer,
}

impl Connection {
    /// Takes the socket; spawns its reader and its writer.
    pub(crate) fn start(socket: Socket, peer: Arc<str>, pool: Arc<BufferPool>) -> Arc<Self> {
        let out =
            Out { unwritten: VecDeque::new(), waiting: VecDeque::new(), next_correlation: 0, lost: None };
        let wire = |socket| {
            let (out, more, end) = (Mutex::new(out), Notify::new(), Notify::new());
            Arc::new(Wire { peer, socket, out, more, end })
        };
        let wire = match socket {
            Socket::Plain(socket) => {
                let (read, write) = socket.into_split();
                let wire = wire(Some(write));
                tokio::spawn(read_all(wire.clone(), read, pool));
                tokio::spawn(write_rest(wire.clone()));
                wire
            }
            Socket::Secured(socket) => {
                let (read, write) = tokio::io::split(*socket);
                let wire = wire(None);
                tokio::spawn(read_all(wire.clone(), read, pool));
                tokio::spawn(write_all(wire.clone(), write));
                wire
            }
        };
        Arc::new(Self { wire })
    }

    /// Sends a request: `frame` with its length and head, then `rest`. The correlation id is put in here. `then` gets the
    /// answer, in the reader's task; not at all if this returns an error.
    pub(crate) fn send(
        &self,
        frame: BytesMut,
        rest: &[Bytes],
        timeout: Duration,
        then: OnAnswer,
    ) -> Result<(), Lost> {
        let mut out = self.wire.lock();
        let (correlation, frame) = out.stamp(frame)?;
        out.waiting.push_back(Waiting { correlation, sent: Instant::now(), timeout, then });
        self.wire.write(&mut out, frame, rest);
        Ok(())
    }

    /// Sends a request that has no answer (Produce with `acks=0`).
    pub(crate) fn send_unanswered(&self, frame: BytesMut, rest: &[Bytes]) -> Result<(), Lost> {
        let mut out = self.wire.lock();
        let (_, frame) = out.stamp(frame)?;
        self.wire.write(&mut out, frame, rest);
        Ok(())
    }

    /// Sends, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        frame: BytesMut,
        rest: &[Bytes],
        timeout: Duration,
    ) -> Result<Bytes, Lost> {
        let (answer, asked) = tokio::sync::oneshot::channel();
        let then = Box::new(move |bytes| {
            // Nobody listens any more: the caller was cancelled.
            let _ = answer.send(bytes);
        });
        self.send(frame, rest, timeout, then)?;
        asked.await.unwrap_or_else(|_| Err(Lost::Dropped { peer: self.wire.peer.clone() }))
    }

    /// Ends it now: requests without an answer get [`Lost::Dropped`], from here.
    pub(crate) fn close(&self) {
        self.wire.fail(Lost::Dropped { peer: self.wire.peer.clone() });
        self.wire.end.notify_one();
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.wire.lock().lost.is_none()
    }

    /// `host:port`.
    pub(crate) fn peer(&self) -> &Arc<str> {
        &self.wire.peer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wire.end.notify_one();
    }
}

impl Out {
    fn stamp(&mut self, mut frame: BytesMut) -> Result<(i32, Bytes), Lost> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1) & i32::MAX;
        frame[AT_CORRELATION..AT_CORRELATION + 4].copy_from_slice(&correlation.to_be_bytes());
        Ok((correlation, frame.freeze()))
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes at once what the socket takes, and queues the rest. An error is left to the reader, who sees it too.
    fn write(&self, out: &mut Out, frame: Bytes, rest: &[Bytes]) {
        let idle = out.unwritten.is_empty();
        out.unwritten.push_back(frame);
        out.unwritten.extend(rest.iter().filter(|part| !part.is_empty()).cloned());
        if idle {
            if let Some(socket) = &self.socket {
                let _ = write_some(socket, out);
            }
            if !out.unwritten.is_empty() {
                self.more.notify_one();
            }
        }
    }

    /// Ends it: whoever waits is told, outside the lock.
    fn fail(&self, lost: Lost) {
        let waiting = {
            let mut out = self.lock();
            if out.lost.is_none() {
                out.lost = Some(lost.clone());
            }
            out.unwritten.clear();
            std::mem::take(&mut out.waiting)
        };
        for waiting in waiting {
            (waiting.then)(Err(lost.clone()));
        }
        // The writer ends with it.
        self.more.notify_one();
    }

    /// The first request whose time is over, and how long that was.
    fn overdue(&self, now: Instant) -> Option<Duration> {
        let out = self.lock();
        out.waiting
            .iter()
            .find(|waiting| now >= waiting.sent + waiting.timeout)
            .map(|waiting| waiting.timeout)
    }
}

/// Writes until all is written or the socket is full.
fn write_some(socket: &OwnedWriteHalf, out: &mut Out) -> io::Result<()> {
    while !out.unwritten.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = out.unwritten.len().min(slices.len());
        for (slice, part) in slices.iter_mut().zip(&out.unwritten) {
            *slice = IoSlice::new(part);
        }
        let mut written = match socket.try_write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while let Some(part) = out.unwritten.front_mut() {
            if written < part.len() {
                part.advance(written);
                break;
            }
            written -= part.len();
            out.unwritten.pop_front();
        }
    }
    Ok(())
}

/// Writes what the senders could not.
async fn write_rest(wire: Arc<Wire>) {
    let Some(socket) = &wire.socket else { return };
    loop {
        wire.more.notified().await;
        loop {
            if socket.writable().await.is_err() {
                return;
            }
            let mut out = wire.lock();
            if out.lost.is_some() || write_some(socket, &mut out).is_err() {
                return;
            }
            if out.unwritten.is_empty() {
                break;
            }
        }
    }
}

/// Writes everything, encrypted on the way. Frames that have gathered leave in one flush.
async fn write_all(wire: Arc<Wire>, mut socket: WriteHalf<TlsStream<TcpStream>>) {
    loop {
        wire.more.notified().await;
        loop {
            let parts = {
                let mut out = wire.lock();
                if out.lost.is_some() {
                    return;
                }
                std::mem::take(&mut out.unwritten)
            };
            if parts.is_empty() {
                break;
            }
            for mut part in parts {
                if socket.write_all_buf(&mut part).await.is_err() {
                    return;
                }
            }
            if socket.flush().await.is_err() {
                return;
            }
        }
    }
}

/// Fails the connection when its reader ends, however it ends. A runtime that is shut down drops the reader where it waits; the
/// functions of unanswered requests would then keep the connection alive that keeps them, and its socket open.
struct Ends {
    wire: Arc<Wire>,
    lost: Option<Lost>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let dropped = || Lost::Dropped { peer: self.wire.peer.clone() };
        let lost = self.lost.take().unwrap_or_else(dropped);
        tracing::debug!(peer = %self.wire.peer, %lost, "connection ended");
        self.wire.fail(lost);
    }
}

/// Reads answers until the connection ends, and says why.
async fn read_all(wire: Arc<Wire>, mut socket: impl AsyncRead + Unpin, pool: Arc<BufferPool>) {
    let mut ends = Ends { wire: wire.clone(), lost: None };
    let lost = tokio::select! {
        lost = read_answers(&wire, &mut socket, &pool) => lost,
        lost = watch(&wire) => lost,
        () = wire.end.notified() => Lost::Dropped { peer: wire.peer.clone() },
    };
    ends.lost = Some(lost);
}

/// Ends when a request is overdue. Looking once in a while is precise enough, and no request needs a timer.
async fn watch(wire: &Wire) -> Lost {
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = looks.tick().await;
        if let Some(after) = wire.overdue(now) {
            return Lost::Timeout { peer: wire.peer.clone(), after };
        }
    }
}

async fn read_answers(wire: &Wire, socket: &mut (impl AsyncRead + Unpin), pool: &Arc<BufferPool>) -> Lost {
    let mut buffer = pool.take(READ_BYTES);
    let mut at = 0;
    loop {
        match frame(&buffer.bytes[at..]) {
            Err(what) => return Lost::Garbage { peer: wire.peer.clone(), what },
            Ok(Some(size)) if buffer.bytes.len() - at >= size => {
                let answer = cut(&mut buffer, &mut at, size, pool);
                if let Err(lost) = settle(wire, answer) {
                    return lost;
                }
                continue;
            }
            Ok(Some(size)) => make_room(&mut buffer, &mut at, size, pool),
            Ok(None) => make_room(&mut buffer, &mut at, READ_BYTES, pool),
        }
        // A frame that is being read is read to its end and no further: what follows would have to be copied.
        let whole = frame(&buffer.bytes[at..]).ok().flatten();
        let room = whole.map_or(READ_BYTES, |size| size - (buffer.bytes.len() - at));
        match socket.read_buf(&mut (&mut buffer.bytes).limit(room)).await {
            Ok(0) => return Lost::Closed { peer: wire.peer.clone() },
            Ok(_) => {}
            Err(source) => return Lost::Broken { peer: wire.peer.clone(), source: Arc::new(source) },
        }
    }
}

/// The size of the frame at the front, its length field included, once that is here.
fn frame(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if (4..=FRAME_BYTES_MAX).contains(&length) => Ok(Some(4 + length)),
        _ => Err("a frame of impossible length"),
    }
}

/// Takes the frame of `size` bytes at `at`: a small one as a copy, a large one with its buffer.
fn cut(buffer: &mut PooledBuffer, at: &mut usize, size: usize, pool: &Arc<BufferPool>) -> Bytes {
    let (from, to) = (*at + 4, *at + size);
    if size <= COPIED_BYTES {
        let answer = Bytes::copy_from_slice(&buffer.bytes[from..to]);
        *at = to;
        if *at == buffer.bytes.len() {
            buffer.bytes.clear();
            *at = 0;
        }
        return answer;
    }
    let mut next = pool.take(READ_BYTES);
    next.bytes.extend_from_slice(&buffer.bytes[to..]);
    *at = 0;
    std::mem::replace(buffer, next).share().slice(from..to)
}

/// Makes the buffer hold `size` bytes from `at` on, moving the little that is there if it must.
fn make_room(buffer: &mut PooledBuffer, at: &mut usize, size: usize, pool: &Arc<BufferPool>) {
    if buffer.bytes.capacity() - *at >= size {
        return;
    }
    if buffer.bytes.capacity() >= size {
        buffer.bytes.drain(..*at);
    } else {
        let mut larger = pool.take(size);
        larger.bytes.extend_from_slice(&buffer.bytes[*at..]);
        *buffer = larger;
    }
    *at = 0;
}

/// Hands an answer to the request that waits longest: brokers answer in order.
fn settle(wire: &Wire, mut answer: Bytes) -> Result<(), Lost> {
    let waiting = wire.lock().waiting.pop_front();
    let correlation = answer.get_i32();
    match waiting {
        Some(waiting) if waiting.correlation == correlation => {
            (waiting.then)(Ok(answer));
            Ok(())
        }
        waiting => {
            let lost = Lost::Garbage { peer: wire.peer.clone(), what: "an answer to no question of ours" };
            if let Some(waiting) = waiting {
                (waiting.then)(Err(lost.clone()));
            }
            Err(lost)
        }
    }
}
