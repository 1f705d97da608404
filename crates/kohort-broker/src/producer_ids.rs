//! Producer ids: each is given out once, over restarts too.
//!
//! Kafka's controller hands out blocks of a thousand (KIP-730); so does this file. The end of the block is durable before its
//! first id leaves, so a crash wastes ids and repeats none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

const BLOCK: i64 = 1000;

/// Gives out producer ids.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    path: PathBuf,
    block: Mutex<Block>,
}

#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let path = data.join("producer.ids");
        let end = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("`{}` does not hold a number", path.display()),
                )
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        Ok(Self { path, block: Mutex::new(Block { next: end, end }) })
    }

    /// A producer id that nobody had before.
    pub(crate) fn next(&self) -> io::Result<i64> {
        let mut block = self.block.lock();
        if block.next == block.end {
            let end = block.end + BLOCK;
            let beside = self.path.with_extension("ids.new");
            let mut file = fs::File::create(&beside)?;
            writeln!(file, "{end}")?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            block.end = end;
        }
        block.next += 1;
        Ok(block.next - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_out_twice_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let ids = ProducerIds::open(folder.path()).unwrap();
            for _ in 0..1500 {
                assert!(seen.insert(ids.next().unwrap()));
            }
        }
    }
}
