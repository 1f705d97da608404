//! The names of a log's files, and the few ways it touches them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Records.
pub(super) const LOG: &str = "log";
/// Offset index.
pub(super) const INDEX: &str = "index";
/// Time index.
pub(super) const TIME_INDEX: &str = "timeindex";
/// Producer states as of an offset.
pub(super) const SNAPSHOT: &str = "snapshot";
/// A file that is being written and does not count yet.
pub(super) const PART: &str = "part";
/// A compacted segment that is about to take the place of others.
pub(super) const SWAP: &str = "swap";
/// What a clean shutdown leaves.
pub(super) const CLEAN: &str = "clean-shutdown";
/// Log start offset and recovery point.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Which leader epoch began where.
pub(super) const EPOCHS: &str = "leader-epochs";

/// `00000000000000000042.log` and the like.
pub(super) fn path(dir: &Path, offset: i64, kind: &str) -> PathBuf {
    dir.join(format!("{offset:020}.{kind}"))
}

/// The offset and the kind that a file is named by; `None` for other files.
pub(super) fn parse_name(name: &str) -> Option<(i64, &str)> {
    let (digits, kind) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, kind))
}

/// Every file of `dir` that is named by an offset, with its kind, in the order of offsets.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(i64, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some((offset, kind)) = entry?.file_name().to_str().and_then(parse_name) {
            found.push((offset, kind.to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

/// Replaces a small file so that a crash leaves the old one or the new one, whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(PART);
    let part = PathBuf::from(name);
    let mut file = File::create(&part)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&part, path)
}

/// Removes a file that may already be gone.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a small file; `None` if it is not there.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fills `buf` from `at`, without moving the file's own position: readers share the handle.
pub(super) fn read_exact_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buf, at)
    }
    #[cfg(windows)]
    {
        let (mut buf, mut at) = (buf, at);
        while !buf.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, buf, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => {
                    buf = &mut buf[bytes..];
                    at += bytes as u64;
                }
            }
        }
        Ok(())
    }
}

/// The file that is appended to. All writes of records pass through here, so that a test can fill the disk.
#[derive(Debug)]
pub(super) struct AppendFile {
    pub(super) file: std::sync::Arc<File>,
    /// Bytes that the disk of a test still has.
    #[cfg(test)]
    pub(super) room: Option<u64>,
}

impl AppendFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        Ok(Self {
            file: std::sync::Arc::new(file),
            #[cfg(test)]
            room: None,
        })
    }

    /// Appends `bytes`, in one write unless the system takes fewer.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = &mut self.room {
            let fits = usize::try_from(*room).unwrap_or(usize::MAX).min(bytes.len());
            *room -= fits as u64;
            (&*self.file).write_all(&bytes[..fits])?;
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return Ok(());
        }
        (&*self.file).write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let path = path(Path::new("/x"), 42, LOG);
        assert_eq!(path, Path::new("/x/00000000000000000042.log"));
        assert_eq!(parse_name("00000000000000000042.log"), Some((42, "log")));
        for other in ["42.log", "0000000000000000004x.log", "checkpoint", "+0000000000000000042.log"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
