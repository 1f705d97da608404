//! Trade files: `.jsonl`, `.jsonl.zst`, one trade a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use kohort_service::Complaint;

use super::messages::{Keying, Message, Messages, NotATrade};
use crate::progress::{Counted, Progress};

/// Why a stream of lines is no trades.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A line is none.
    #[error(transparent)]
    Line(#[from] NotATrade),
    /// The stream ends or breaks in the middle.
    #[error(transparent)]
    Stream(#[from] io::Error),
}

/// The messages of one file. All of it is read before anything is sent: a file that is damaged at its end leaves no half of it
/// in a topic.
///
/// # Errors
/// A file that is not there, that is damaged, or whose lines are no trades, with the place and the mend.
pub(crate) fn read(path: &Path, keying: Keying) -> Result<Vec<Message>, Complaint> {
    let shown = path.display();
    let opened = open(path).map_err(|error| {
        Complaint::new(format!("the trade file cannot be read: {error}"))
            .at(shown.to_string())
            .hint("name an existing `.jsonl` or `.jsonl.zst` file")
    })?;
    let zstd = path.extension().is_some_and(|end| end == "zst");
    from_reader(opened, zstd, keying).map_err(|error| match error {
        ReadError::Line(error) => Complaint::new(error.to_string())
            .at(format!("{shown}:{}", error.line))
            .why("nothing of the file was sent: what is missing would be missing in every candle")
            .hint("write one JSON object a line, or remove the line"),
        ReadError::Stream(error) if zstd => {
            Complaint::new(format!("the trade file is cut off or damaged: {error}"))
                .at(shown.to_string())
                .hint("get it again; `zstd -t FILE` tells whether it is whole")
        }
        ReadError::Stream(error) => Complaint::new(format!("the trade file cannot be read: {error}"))
            .at(shown.to_string())
            .hint("it must be UTF-8 text; if it is compressed, let its name end in `.zst`"),
    })
}

fn open(path: &Path) -> io::Result<Counted<File>> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Counted::new(file, Progress::bytes("reading", about.len())))
}

/// The messages of a stream of lines, compressed with zstd or plain.
///
/// # Errors
/// See [`ReadError`].
pub(crate) fn from_reader(reader: impl Read, zstd: bool, keying: Keying) -> Result<Vec<Message>, ReadError> {
    if zstd {
        let decoder = zstd::Decoder::new(reader)?;
        return from_lines(BufReader::with_capacity(1 << 16, decoder), keying);
    }
    from_lines(BufReader::with_capacity(1 << 16, reader), keying)
}

fn from_lines(mut lines: impl BufRead, keying: Keying) -> Result<Vec<Message>, ReadError> {
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
