//! Opening the compressed records of a batch, with a limit: a kilobyte can claim to be a gigabyte.

use std::io::{self, Read};

use thiserror::Error;
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::compress::{LZ4_STORED, XERIAL_HEADER};
use super::header::Codec;

/// How far a [`Decompressor`] grows unless told otherwise, in bytes. Kafka's clients know no such limit; batches of the
/// largest usual `message.max.bytes` (10 MB) that shrink to a tenth stay well below.
pub const DECOMPRESSED_MAX_BYTES: usize = 128 * 1024 * 1024;

const LZ4_MAGIC: u32 = 0x184d_2204;
/// How far back a linked LZ4 block may reach.
const LZ4_WINDOW_BYTES: usize = 64 * 1024;

/// Why a body does not decompress.
#[derive(Debug, Error)]
pub enum DecompressError {
    /// More than the caller wants to hold.
    #[error("`{}` records decompress to more than {limit} bytes", codec.name())]
    TooLarge {
        /// Which codec.
        codec: Codec,
        /// The limit of the [`Decompressor`].
        limit: usize,
    },
    /// The bytes are not what the codec writes.
    #[error("`{}` records are malformed", codec.name())]
    Malformed {
        /// Which codec.
        codec: Codec,
        /// What is wrong with them.
        source: io::Error,
    },
}

/// A buffer for decompressed records, kept by the caller and used for batch after batch, with the codecs' working memory.
pub struct Decompressor {
    /// Its length is what was ever used of it: growing zeroes new bytes only, so a buffer that has its size costs nothing.
    buf: Vec<u8>,
    limit: usize,
    snappy: snap::raw::Decoder,
    zstd: Option<ZstdDecoder<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// With a limit of [`DECOMPRESSED_MAX_BYTES`] and no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DECOMPRESSED_MAX_BYTES)
    }

    /// Never holds more than `bytes` of decompressed records.
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        Self { buf: Vec::new(), limit: bytes, snappy: snap::raw::Decoder::new(), zstd: None }
    }

    /// Opens `payload`. The result is valid until the next call.
    pub fn decompress(&mut self, codec: Codec, payload: &[u8]) -> Result<&[u8], DecompressError> {
        let mut out = Out { buf: std::mem::take(&mut self.buf), used: 0, limit: self.limit };
        let done = match codec {
            Codec::None => out.extend(payload),
            Codec::Gzip => gzip(payload, &mut out),
            Codec::Snappy => snappy(&mut self.snappy, payload, &mut out),
            Codec::Lz4 => lz4(payload, &mut out),
            Codec::Zstd => zstd(&mut self.zstd, payload, &mut out),
        };
        let used = out.used;
        self.buf = out.buf;
        match done {
            Ok(()) => Ok(&self.buf[..used]),
            Err(Stop::TooLarge) => Err(DecompressError::TooLarge { codec, limit: self.limit }),
            Err(Stop::Malformed(source)) => Err(DecompressError::Malformed { codec, source }),
        }
    }
}

enum Stop {
    TooLarge,
    Malformed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Malformed(error)
    }
}

fn malformed(what: &'static str) -> Stop {
    Stop::Malformed(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// The growing output: `used` bytes of `buf`, never more than `limit`.
struct Out {
    buf: Vec<u8>,
    used: usize,
    limit: usize,
}

impl Out {
    /// Makes room for up to `bytes` more; less only where the limit is in the way. What is there is as it was.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.used.saturating_add(bytes).min(self.limit);
        if self.buf.len() < end {
            self.buf.resize(end, 0);
        }
        &mut self.buf[self.used..end]
    }

    /// Exactly `bytes` more, or too large.
    fn exactly(&mut self, bytes: usize) -> Result<&mut [u8], Stop> {
        let room = self.room(bytes);
        if room.len() < bytes { Err(Stop::TooLarge) } else { Ok(room) }
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.exactly(bytes.len())?.copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }
}

fn gzip(payload: &[u8], out: &mut Out) -> Result<(), Stop> {
    // Java's GZIPInputStream reads members that follow each other; so do we.
    let mut decoder = flate2::bufread::MultiGzDecoder::new(payload);
    loop {
        let room = out.room(payload.len().saturating_mul(2).max(16 * 1024));
        if room.is_empty() {
            // At the limit: fine if this was all of it.
            return if decoder.read(&mut [0])? == 0 { Ok(()) } else { Err(Stop::TooLarge) };
        }
        match decoder.read(room)? {
            0 => return Ok(()),
            bytes => out.used += bytes,
        }
    }
}

fn snappy(decoder: &mut snap::raw::Decoder, payload: &[u8], out: &mut Out) -> Result<(), Stop> {
    // snappy-java frames blocks behind a header of its own; librdkafka and others write one raw block.
    let Some(mut rest) = payload.strip_prefix(&XERIAL_HEADER[..8]) else {
        return snappy_block(decoder, payload, out);
    };
    rest = rest.get(8..).ok_or_else(|| malformed("the stream header is cut"))?; // Versions: there is only one.
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or_else(|| malformed("a block is cut"))?;
        snappy_block(decoder, block, out)?;
        rest = &after[length..];
    }
    if rest.is_empty() { Ok(()) } else { Err(malformed("a block length is cut")) }
}

fn snappy_block(decoder: &mut snap::raw::Decoder, block: &[u8], out: &mut Out) -> Result<(), Stop> {
    let bytes = snap::raw::decompress_len(block).map_err(io::Error::other)?;
    // A block says its size before it proves it; a snappy byte makes at most 64 / 2 (a copy element).
    if bytes > block.len().saturating_mul(64) {
        return Err(malformed("a block claims more than it can hold"));
    }
    out.used += decoder.decompress(block, out.exactly(bytes)?).map_err(io::Error::other)?;
    Ok(())
}

/// Walks LZ4 frames by hand: straight into the kept buffer, where the frame decoders of libraries have buffers of
/// their own. Checksums of frame and blocks are stepped over: the batch's CRC-32C covers these very bytes, and Kafka's
/// own reader does not verify the content checksum either.
fn lz4(mut payload: &[u8], out: &mut Out) -> Result<(), Stop> {
    while !payload.is_empty() {
        payload = lz4_frame(payload, out)?;
    }
    Ok(())
}

fn lz4_frame<'a>(frame: &'a [u8], out: &mut Out) -> Result<&'a [u8], Stop> {
    let cut = || malformed("the frame is cut");
    let (&[a, b, c, d, flags, sizes], _) = frame.split_first_chunk::<6>().ok_or_else(cut)?;
    if u32::from_le_bytes([a, b, c, d]) != LZ4_MAGIC {
        return Err(malformed("the frame has another magic"));
    }
    if flags >> 6 != 1 || flags & 1 != 0 {
        return Err(malformed("the frame has a version or a dictionary that Kafka does not use"));
    }
    let [independent, block_checksum, content_size, content_checksum] =
        [0x20, 0x10, 0x08, 0x04].map(|bit| flags & bit != 0);
    let block_bytes_max = match (sizes >> 4) & 7 {
        n @ 4..=7 => 1_usize << (2 * n + 8),
        _ => return Err(malformed("the frame has an unknown block size")),
    };
    let mut rest = frame.get(6 + if content_size { 8 } else { 0 } + 1..).ok_or_else(cut)?;
    let begin = out.used;
    loop {
        let (word, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let word = u32::from_le_bytes(*word);
        if word == 0 {
            return after.get(if content_checksum { 4 } else { 0 }..).ok_or_else(cut);
        }
        let bytes = (word & !LZ4_STORED) as usize;
        let block = after.get(..bytes).ok_or_else(cut)?;
        rest = after.get(bytes + if block_checksum { 4 } else { 0 }..).ok_or_else(cut)?;
        if word & LZ4_STORED != 0 {
            out.extend(block)?;
            continue;
        }
        let window = if independent { 0 } else { (out.used - begin).min(LZ4_WINDOW_BYTES) };
        let (used, room) = (out.used, out.room(block_bytes_max).len());
        let (done, place) = out.buf.split_at_mut(used);
        let written =
            lz4_flex::block::decompress_into_with_dict(block, &mut place[..room], &done[used - window..]);
        match written {
            Ok(bytes) => out.used += bytes,
            Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < block_bytes_max => {
                return Err(Stop::TooLarge);
            }
            Err(error) => return Err(io::Error::other(error).into()),
        }
    }
}

fn zstd(kept: &mut Option<ZstdDecoder<'static>>, payload: &[u8], out: &mut Out) -> Result<(), Stop> {
    let decoder = match kept {
        Some(decoder) => decoder,
        none => none.insert(ZstdDecoder::new()?),
    };
    decoder.reinit()?;
    let mut input = InBuffer::around(payload);
    loop {
        let room = out.room(payload.len().saturating_mul(2).max(16 * 1024));
        let full = room.is_empty();
        let mut spare = [0_u8; 1];
        let mut output = OutBuffer::around(if full { &mut spare[..] } else { room });
        let hint = decoder.run(&mut input, &mut output)?;
        let (written, capacity) = (output.pos(), output.capacity());
        if full && written > 0 {
            return Err(Stop::TooLarge);
        }
        if !full {
            out.used += written;
        }
        let consumed = input.pos() == payload.len();
        if hint == 0 && consumed {
            return Ok(());
        }
        // All input is in, and the decoder had room left and used none of it: what it waits for is not there.
        if consumed && written < capacity {
            return Err(malformed("the frame is cut"));
        }
    }
}
