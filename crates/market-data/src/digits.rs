//! Writing decimal digits fast: a flush writes some hundred thousand numbers a second, and `format!` was a third of its time.

/// The chunk in which long numbers are read and written: the largest power of ten that a u64 holds.
pub(crate) const CHUNK: u64 = 10_000_000_000_000_000_000;
/// Digits of a chunk.
pub(crate) const CHUNK_DIGITS: usize = 19;

/// `floor((2^128 - 1) / CHUNK) - 2^64`.
const RECIPROCAL: u64 = (u128::MAX / CHUNK as u128 - (1 << 64)) as u64;

/// `high x 2^64 + low` divided by [`CHUNK`]: quotient and rest. `high` must be below `CHUNK`.
///
/// Two multiplications instead of a library call (Möller and Granlund, "Improved division by invariant integers", algorithm 4):
/// `CHUNK` has its top bit set, as that asks for.
#[inline]
pub(crate) fn divide(high: u64, low: u64) -> (u64, u64) {
    let guess = u128::from(RECIPROCAL) * u128::from(high) + (u128::from(high) << 64 | u128::from(low));
    let mut quotient = ((guess >> 64) as u64).wrapping_add(1);
    let mut rest = low.wrapping_sub(quotient.wrapping_mul(CHUNK));
    if rest > guess as u64 {
        quotient = quotient.wrapping_sub(1);
        rest = rest.wrapping_add(CHUNK);
    }
    if rest >= CHUNK {
        quotient += 1;
        rest -= CHUNK;
    }
    (quotient, rest)
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// The digits of a chunk, with zeros ahead. `chunk` must be below [`CHUNK`].
#[inline]
pub(crate) fn write_chunk(mut chunk: u64, out: &mut [u8; CHUNK_DIGITS]) {
    if chunk == 0 {
        *out = [b'0'; CHUNK_DIGITS];
        return;
    }
    let (first, pairs) = out.split_at_mut(1);
    for pair in pairs.as_chunks_mut::<2>().0.iter_mut().rev() {
        *pair = PAIRS[(chunk % 100) as usize];
        chunk /= 100;
    }
    first[0] = b'0' + chunk as u8;
}

/// Appends digits with a point before the last `places` of them: no zeros that say nothing, `0` before a bare point.
#[inline]
pub(crate) fn write_fixed(digits: &[u8], places: usize, out: &mut String) {
    let (integer, fraction) = digits.split_at(digits.len() - places);
    let leading = integer.iter().position(|digit| *digit != b'0');
    let integer = leading.map_or(&b"0"[..], |from| &integer[from..]);
    push_digits(integer, out);
    if let Some(last) = fraction.iter().rposition(|digit| *digit != b'0') {
        out.push('.');
        push_digits(&fraction[..=last], out);
    }
}

/// Appends digits, which are ASCII.
#[inline]
pub(crate) fn push_digits(digits: &[u8], out: &mut String) {
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reciprocal_divides_as_the_library_does() {
        let mut seed = 11u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed.rotate_left(29)
        };
        let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, u64::MAX - 1, u64::MAX];
        let pairs = edges.iter().flat_map(|high| edges.map(|low| (*high, low))).collect::<Vec<_>>();
        let random = (0..200_000).map(|_| (next(), next()));
        for (high, low) in pairs.into_iter().chain(random).map(|(high, low)| (high % CHUNK, low)) {
            let wide = u128::from(high) << 64 | u128::from(low);
            let wanted = ((wide / u128::from(CHUNK)) as u64, (wide % u128::from(CHUNK)) as u64);
            assert_eq!(divide(high, low), wanted, "{high} {low}");
        }
    }

    #[test]
    fn a_chunk_has_nineteen_digits() {
        for chunk in [0, 1, 9, 10, 99, 1234567890, CHUNK / 10, CHUNK - 1] {
            let mut out = [0; CHUNK_DIGITS];
            write_chunk(chunk, &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), format!("{chunk:019}"));
        }
    }
}
