//! A small seeded generator: member ids, and nothing else.

use core::fmt::Write as _;

/// A member id is kept in a classic text, which has no room for more bytes.
const MEMBER_ID_BYTES_MAX: usize = i16::MAX as usize;
/// A UUID, and what stands before it.
const SUFFIX_BYTES: usize = 37;

/// `SplitMix64` (Steele, Lea, Flood 2014): every seed is a good one, and a run can be made twice.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `<name>-<UUID v4>`, as Kafka forms member ids. Of a name as long as a client's may be, what fits: Kafka cannot write the record
    /// of a group with such a member at all.
    pub(super) fn member_id(&mut self, name: &str) -> String {
        // RFC 9562, 5.4: version 4 in the high nibble of byte 6, variant 10 in the high bits of byte 8.
        let high = (self.next() & !0xf000) | 0x4000;
        let low = (self.next() & !(0b11 << 62)) | (0b10 << 62);
        let name = &name[..name.floor_char_boundary(MEMBER_ID_BYTES_MAX - SUFFIX_BYTES)];
        let mut id = String::with_capacity(name.len() + SUFFIX_BYTES);
        write!(
            id,
            "{name}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
        .expect("writing to a string does not fail");
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_a_name_and_a_uuid_of_version_4() {
        let mut random = Random::new(7);
        let long = format!("x{}", "ä".repeat(20_000));
        assert_eq!(
            random.member_id(&long).len(),
            i16::MAX as usize - 1,
            "it fits a record, and no letter is cut"
        );
        for _ in 0..100 {
            let id = random.member_id("app");
            let uuid = id.strip_prefix("app-").unwrap();
            assert_eq!(uuid.len(), 36);
            let parts: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12]);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]));
        }
    }

    #[test]
    fn one_seed_makes_one_run() {
        let (mut a, mut b, mut c) = (Random::new(1), Random::new(1), Random::new(2));
        assert_eq!(a.member_id(""), b.member_id(""));
        assert_ne!(a.member_id(""), c.member_id(""));
    }
}
