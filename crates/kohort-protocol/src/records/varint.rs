//! Zigzag variable-length integers, read fast in place (Kafka's `ByteUtils`; the encoding is protobuf's `sint`).

/// Reads a zigzag varint of up to 32 bits at `*at` and moves past it; `None` if it is cut or too long.
#[inline]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    // Lengths and deltas of small records take one or two bytes; those two exits carry nearly all calls.
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag32(u32::from(first)));
    }
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(unzigzag32(u32::from(first & 0x7f) | u32::from(second) << 7));
    }
    let value = read_long(bytes, at, 5)?;
    // The fifth byte has room for bits that an int does not have; Java drops them in the shift, so do we.
    Some(unzigzag32((value & u64::from(u32::MAX)) as u32))
}

/// Reads a zigzag varint of up to 64 bits at `*at` and moves past it; `None` if it is cut or too long.
#[inline]
pub(super) fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag64(u64::from(first)));
    }
    Some(unzigzag64(read_long(bytes, at, 10)?))
}

fn read_long(bytes: &[u8], at: &mut usize, bytes_max: usize) -> Option<u64> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.get(*at..)?.iter().take(bytes_max).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *at += i + 1;
            return Some(value);
        }
    }
    None
}

const fn unzigzag32(n: u32) -> i32 {
    (n >> 1) as i32 ^ -((n & 1) as i32)
}

const fn unzigzag64(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// How many bytes `n` takes. An int takes the same as the long of equal value, so this serves both.
#[inline]
pub(super) const fn size(n: i64) -> usize {
    // Seven bits a byte; zero takes one. (bits * 9 + 64) / 64 is ceil(bits / 7) for 1..=64 bits.
    let bits = 64 - (zigzag(n) | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Writes `n` at `at` in `out` and returns the place after it. `out` must have room for [`size`] bytes.
#[inline]
pub(super) fn write(n: i64, out: &mut [u8], mut at: usize) -> usize {
    let mut n = zigzag(n);
    while n >= 0x80 {
        out[at] = n as u8 | 0x80;
        n >>= 7;
        at += 1;
    }
    out[at] = n as u8;
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_round_trip_and_have_their_size() {
        let mut edges = vec![0_i64, -1, 1, i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN)];
        edges.extend((0..63).flat_map(|s| [1_i64 << s, (1_i64 << s) - 1, -(1_i64 << s), -(1_i64 << s) - 1]));
        for n in edges {
            let mut out = [0_u8; 10];
            let end = write(n, &mut out, 0);
            assert_eq!(end, size(n), "{n}");
            let mut at = 0;
            assert_eq!(read_i64(&out, &mut at), Some(n));
            assert_eq!(at, end);
            if let Ok(small) = i32::try_from(n) {
                at = 0;
                assert_eq!(read_i32(&out, &mut at), Some(small));
                assert_eq!(at, end);
            }
            for cut in 0..end {
                assert_eq!(read_i64(&out[..cut], &mut 0), None);
            }
        }
    }

    #[test]
    fn a_varint_that_never_ends_is_refused() {
        assert_eq!(read_i32(&[0xff; 20], &mut 0), None);
        assert_eq!(read_i64(&[0xff; 20], &mut 0), None);
    }
}
