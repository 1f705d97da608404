//! Record batches of magic 2: what a log keeps and what Produce and Fetch carry.
//!
//! The batch is the unit that travels; a record is *lent* from it. Nothing here allocates per record, copies a
//! key or a value, or panics on bytes from outside.
//!
//! - Reading: [`Batches`] walks the batches of a buffer, [`Batch`] is one of them (checked by [`Batch::parse`]
//!   and [`Batch::check_crc`]), [`Batch::records`] lends its records. Compressed bodies are opened into the
//!   buffer of a [`Decompressor`], which the caller keeps; it refuses to grow past its limit.
//! - Rewriting what a broker must: [`BatchMut`].
//! - Writing: [`BatchBuilder`] with a [`Compressor`], both kept by the caller.
//!
//! It does not know requests, topics, or files. Older formats (magic 0 and 1) are refused: Kafka 4 neither writes
//! nor accepts them (KIP-724).
//!
//! Source: Kafka's `DefaultRecordBatch` and `DefaultRecord`; KIP-98 (the format), KIP-110 (zstd), KIP-534 (delete
//! horizon). RFC 3385 (CRC-32C).
//!
//! ```
//! use kohort_protocol::records::*;
//!
//! let mut builder = BatchBuilder::new();
//! builder.append(1_000, Some(b"key"), Some(b"value"), &[])?;
//! let bytes = builder.finish(&BatchOptions { codec: Codec::Lz4, ..BatchOptions::default() }, &mut Compressor::new())?;
//!
//! let mut decompressor = Decompressor::new();
//! for batch in Batches::new(&bytes) {
//!     let batch = batch?;
//!     batch.check_crc()?;
//!     for record in batch.records(&mut decompressor)? {
//!         assert_eq!(record?.value, Some(&b"value"[..]));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod compress;
mod decompress;
mod header;
mod record;
mod varint;

pub use builder::{AppendError, BatchBuilder, BatchOptions, FinishError, Header, record_size};
pub use compress::{CompressError, Compressor};
pub use decompress::{DECOMPRESSED_MAX_BYTES, DecompressError, Decompressor};
pub use header::{
    Attributes, Batch, BatchError, BatchHeader, BatchMut, Batches, Codec, HEADER_BYTES, LENGTH_OVERHEAD,
    MAGIC,
};
pub use record::{Headers, Record, RecordError, Records, RecordsError};

/// The producer id of batches that no idempotent producer made.
pub const NO_PRODUCER_ID: i64 = -1;
/// The producer epoch that goes with [`NO_PRODUCER_ID`].
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// The sequence that goes with [`NO_PRODUCER_ID`].
pub const NO_SEQUENCE: i32 = -1;
/// A timestamp that is not known.
pub const NO_TIMESTAMP: i64 = -1;

/// The sequence number `increment` records after `sequence`: sequences run from 0 to `i32::MAX` and then start
/// at 0 again (Kafka's `DefaultRecordBatch.incrementSequence`).
#[must_use]
pub const fn next_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX - increment { increment - (i32::MAX - sequence) - 1 } else { sequence + increment }
}
