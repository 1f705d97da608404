//! Trade files: `.jsonl`, `.jsonl.zst`, one trade a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use kohort_service::Complaint;

use super::messages::{Keying, Message, Messages};

/// The messages of one file.
///
/// # Errors
/// A file that is not there (a [`Complaint`]), that cannot be read, or whose lines are no trades.
pub(crate) fn read(path: &Path, keying: Keying) -> anyhow::Result<Vec<Message>> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| {
        Complaint::new(format!("the trade file cannot be read: {error}"))
            .at(shown.to_string())
            .hint("name an existing `.jsonl` or `.jsonl.zst` file")
    })?;
    from_reader(file, path.extension().is_some_and(|end| end == "zst"), keying)
        .with_context(|| format!("read {shown}"))
}

/// The messages of a stream of lines, compressed with zstd or plain.
///
/// # Errors
/// As [`read`].
pub(crate) fn from_reader(reader: impl Read, zstd: bool, keying: Keying) -> anyhow::Result<Vec<Message>> {
    if zstd {
        let decoder = zstd::Decoder::new(reader).context("begin a zstd stream")?;
        return from_lines(BufReader::with_capacity(1 << 16, decoder), keying);
    }
    from_lines(BufReader::with_capacity(1 << 16, reader), keying)
}

fn from_lines(mut lines: impl BufRead, keying: Keying) -> anyhow::Result<Vec<Message>> {
    let mut messages = Messages::new(keying);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(messages.finish());
        }
        messages.add(&line)?;
    }
}
