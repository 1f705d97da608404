//! Which lane a record goes to. Pure.

/// What keeps its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Records with one key, over all partitions of the member. Records without a key keep the order of their partition.
    #[default]
    Key,
    /// Records of one partition.
    Partition,
    /// Nothing: records go to the lanes in turn.
    None,
}

/// Maps records to lanes. The same key always goes to the same lane of a member.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    order: Order,
    count: u32,
}

impl Lanes {
    /// `count` lanes; zero counts as one.
    #[must_use]
    pub fn new(order: Order, count: usize) -> Self {
        Self { order, count: u32::try_from(count).unwrap_or(u32::MAX).max(1) }
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.count as usize
    }

    /// The lane of a record.
    #[must_use]
    pub fn of(self, partition: i32, offset: i64, key: Option<&[u8]>) -> usize {
        if self.count == 1 {
            return 0;
        }
        let hash = match (self.order, key) {
            (Order::Key, Some(key)) => fnv(key),
            (Order::Key | Order::Partition, _) => mix(u64::from(partition.cast_unsigned())),
            (Order::None, _) => mix(offset.cast_unsigned() ^ (u64::from(partition.cast_unsigned()) << 48)),
        };
        // The high bits of a product spread better than a remainder of the low ones.
        (((hash >> 32) * u64::from(self.count)) >> 32) as usize
    }
}

/// FNV-1a, then mixed: keys are short (block numbers), and the lane must not depend on a seed of the process.
fn fnv(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finaliser of MurmurHash3.
fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_always_goes_to_one_lane() {
        let lanes = Lanes::new(Order::Key, 8);
        for key in [&b"1"[..], b"18937382", b""] {
            let lane = lanes.of(0, 0, Some(key));
            assert!((0..100).all(|i| lanes.of(i, i64::from(i) * 7, Some(key)) == lane));
        }
    }

    #[test]
    fn block_numbers_spread_over_the_lanes() {
        let lanes = Lanes::new(Order::Key, 4);
        let mut seen = [0u32; 4];
        for block in 18_937_382..18_938_382u64 {
            seen[lanes.of(0, 0, Some(block.to_string().as_bytes()))] += 1;
        }
        assert!(seen.iter().all(|n| (150..350).contains(n)), "{seen:?}");
    }

    #[test]
    fn without_a_key_the_partition_keeps_its_order() {
        let lanes = Lanes::new(Order::Key, 8);
        assert!((0..100).all(|offset| lanes.of(3, offset, None) == lanes.of(3, 0, None)));
        let turn = Lanes::new(Order::None, 8);
        assert!((0..100).any(|offset| turn.of(3, offset, Some(b"k")) != turn.of(3, 0, Some(b"k"))));
    }
}
