//! Kept buffers. Big blocks that are given back to the allocator come back as page faults, which cost a fetch more than
//! reading its records; so they are kept, up to a limit.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers grow in steps of this.
const STEP_BYTES: usize = 64 << 10;

/// Buffers that nobody uses now.
#[derive(Debug)]
pub(crate) struct BufferPool {
    kept: Mutex<Kept>,
    keep_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledBuffer {
    pub(crate) bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A pool that keeps at most `keep_bytes` of unused capacity.
    pub(crate) fn new(keep_bytes: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), keep_bytes })
    }

    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn take(self: &Arc<Self>, capacity: usize) -> PooledBuffer {
        let mut bytes = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            // The tightest that fits; if none does, a new one: growing a kept one would copy nothing but fault as much.
            let fit = kept
                .buffers
                .iter()
                .enumerate()
                .filter(|(_, buffer)| buffer.capacity() >= capacity)
                .min_by_key(|(_, buffer)| buffer.capacity())
                .map(|(index, _)| index);
            let buffer = fit.map(|index| kept.buffers.swap_remove(index)).unwrap_or_default();
            kept.bytes -= buffer.capacity();
            buffer
        };
        if bytes.capacity() < capacity {
            bytes.reserve_exact(capacity.div_ceil(STEP_BYTES) * STEP_BYTES);
        }
        PooledBuffer { bytes, pool: self.clone() }
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What does not fit pushes out the smallest: a pool full of small buffers would never serve again.
        while kept.bytes + buffer.capacity() > self.keep_bytes {
            let smallest = kept.buffers.iter().enumerate().min_by_key(|(_, kept)| kept.capacity());
            match smallest {
                Some((index, smallest)) if smallest.capacity() < buffer.capacity() => {
                    kept.bytes -= smallest.capacity();
                    kept.buffers.swap_remove(index);
                }
                _ => return,
            }
        }
        kept.bytes += buffer.capacity();
        kept.buffers.push(buffer);
    }
}

impl PooledBuffer {
    /// Its bytes, shared; the buffer returns when the last share is dropped.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_serves_again() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(100_000);
        buffer.bytes.extend_from_slice(b"frame");
        let address = buffer.bytes.as_ptr();
        let shared = buffer.share();
        let slice = shared.slice(1..3);
        drop(shared);
        assert_ne!(pool.take(10).bytes.as_ptr(), address, "a slice still holds it");
        drop(slice);
        let again = pool.take(100_000);
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (address, 0));
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_limit_and_prefers_big_buffers() {
        let pool = BufferPool::new(3 * STEP_BYTES);
        let (small, big, bigger) = (pool.take(1), pool.take(2 * STEP_BYTES), pool.take(3 * STEP_BYTES));
        drop(small);
        drop(big);
        assert_eq!(pool.kept.lock().unwrap().bytes, 3 * STEP_BYTES);
        drop(bigger);
        let kept = pool.kept.lock().unwrap();
        assert_eq!((kept.bytes, kept.buffers.len()), (3 * STEP_BYTES, 1));
    }
}
