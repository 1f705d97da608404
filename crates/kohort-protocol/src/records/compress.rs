//! Compressing the records of a batch, in the forms that every Kafka client reads.

use std::io;

use bytes::BytesMut;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use thiserror::Error;

use super::header::Codec;

/// snappy-java's stream header: its magic, version 1, readable by version 1.
pub(super) const XERIAL_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes of one snappy block; snappy-java's default.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Magic, version 1, blocks independent (Java refuses others), no checksums, blocks of at most 64 KiB, header checksum.
const LZ4_HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const LZ4_BLOCK_BYTES: usize = 64 * 1024;
/// In a block's length: its bytes are stored as they are.
pub(super) const LZ4_STORED: u32 = 1 << 31;
/// RFC 1952: magic, deflate, no flags, no time, no extra flags, system unknown.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// `compression.gzip.level` and `compression.zstd.level`, Kafka's defaults.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Why records cannot be compressed: a codec's library failed.
#[derive(Debug, Error)]
#[error("`{}` failed", codec.name())]
pub struct CompressError {
    /// Which codec.
    pub codec: Codec,
    /// What its library said.
    pub source: io::Error,
}

/// The codecs' working memory, made when a codec is first used and kept. One per thread that closes batches.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<Compress>,
    snappy: Option<snap::raw::Encoder>,
    lz4: Option<CompressTable>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Without any memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `body`, compressed, to `out`.
    pub fn compress(&mut self, codec: Codec, body: &[u8], out: &mut BytesMut) -> Result<(), CompressError> {
        match codec {
            Codec::None => {
                out.extend_from_slice(body);
                Ok(())
            }
            Codec::Gzip => self.gzip(body, out),
            Codec::Snappy => self.snappy(body, out),
            Codec::Lz4 => self.lz4(body, out),
            Codec::Zstd => self.zstd(body, out),
        }
        .map_err(|source| CompressError { codec, source })
    }

    fn gzip(&mut self, body: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let deflate = self.gzip.get_or_insert_with(|| Compress::new(Compression::new(GZIP_LEVEL), false));
        deflate.reset();
        out.extend_from_slice(&GZIP_HEADER);
        loop {
            let (from, read) = (out.len(), deflate.total_in() as usize);
            out.resize(from + (body.len() - read) / 2 + 1024, 0);
            let before = deflate.total_out();
            let status = deflate.compress(&body[read..], &mut out[from..], FlushCompress::Finish);
            out.truncate(from + (deflate.total_out() - before) as usize);
            if status.map_err(io::Error::other)? == Status::StreamEnd {
                break;
            }
        }
        let mut crc = Crc::new();
        crc.update(body);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(())
    }

    fn snappy(&mut self, body: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let encoder = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
        out.extend_from_slice(&XERIAL_HEADER);
        for block in body.chunks(XERIAL_BLOCK_BYTES) {
            let from = out.len();
            out.resize(from + 4 + snap::raw::max_compress_len(block.len()), 0);
            let bytes = encoder.compress(block, &mut out[from + 4..]).map_err(io::Error::other)?;
            out[from..from + 4].copy_from_slice(&(bytes as u32).to_be_bytes());
            out.truncate(from + 4 + bytes);
        }
        Ok(())
    }

    fn lz4(&mut self, body: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let table = self.lz4.get_or_insert_with(CompressTable::large);
        out.extend_from_slice(&LZ4_HEADER);
        for block in body.chunks(LZ4_BLOCK_BYTES) {
            let from = out.len();
            out.resize(from + 4 + get_maximum_output_size(block.len()), 0);
            let bytes =
                compress_into_with_table(block, &mut out[from + 4..], table).map_err(io::Error::other)?;
            let (bytes, flag) = if bytes < block.len() {
                (bytes, 0)
            } else {
                out[from + 4..from + 4 + block.len()].copy_from_slice(block);
                (block.len(), LZ4_STORED)
            };
            out[from..from + 4].copy_from_slice(&(bytes as u32 | flag).to_le_bytes());
            out.truncate(from + 4 + bytes);
        }
        out.extend_from_slice(&[0; 4]);
        Ok(())
    }

    fn zstd(&mut self, body: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        let from = out.len();
        out.resize(from + zstd::zstd_safe::compress_bound(body.len()), 0);
        let bytes = zstd.compress_to_buffer(body, &mut out[from..])?;
        out.truncate(from + bytes);
        Ok(())
    }
}
