//! Exact sums: unsigned fixed point in 256 bits.

use std::fmt;
use std::str::FromStr;

use crate::decimal::{BadNumber, Decimal, INTEGER_DIGITS_MAX};
use crate::digits::{CHUNK, CHUNK_DIGITS, divide, write_chunk, write_fixed};
use crate::packed::{Bytes, push_bytes};

/// Decimal places that are kept. DECIMAL(65,30) keeps 30; real amounts of tiny tokens, being float64 texts with 17 digits,
/// go beyond that, and ten more are free in 256 bits.
const PLACES: i32 = 40;

/// A non-negative decimal number with 35 digits before the point and 40 after it: everything that DECIMAL(65,30) holds,
/// and ten places more.
///
/// Addition is exact; at the top, 10^35, it saturates. `min(a + b, MAX)` of numbers that are not negative is still
/// associative and commutative, so even an absurd sum is the same in every order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sum {
    // In units of 10^-40, little endian.
    limbs: [u64; 4],
}

/// 10^0 ..= 10^75 in 256 bits.
const POWERS: [[u64; 4]; 76] = {
    let mut powers = [[1u64, 0, 0, 0]; 76];
    let mut i = 1;
    while i < 76 {
        powers[i] = mul_add_small(powers[i - 1], 10, 0);
        i += 1;
    }
    powers
};

/// `a x factor + carry`; wraps beyond 256 bits, which callers rule out.
const fn mul_add_small(a: [u64; 4], factor: u64, carry: u64) -> [u64; 4] {
    let mut out = [0u64; 4];
    let mut carry = carry as u128;
    let mut i = 0;
    while i < 4 {
        let wide = a[i] as u128 * factor as u128 + carry;
        out[i] = wide as u64;
        carry = wide >> 64;
        i += 1;
    }
    out
}

/// Quotient and rest.
fn divide_small(mut a: [u64; 4], divisor: u64) -> ([u64; 4], u64) {
    let mut rest = 0u64;
    for limb in a.iter_mut().rev() {
        let wide = u128::from(rest) << 64 | u128::from(*limb);
        // The rest is below the divisor, so the quotient fits.
        *limb = (wide / u128::from(divisor)) as u64;
        rest = (wide % u128::from(divisor)) as u64;
    }
    (a, rest)
}

#[inline]
fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    let (l0, c) = a[0].overflowing_add(b[0]);
    let (l1, c) = a[1].carrying(b[1], c);
    let (l2, c) = a[2].carrying(b[2], c);
    let (l3, _) = a[3].carrying(b[3], c);
    [l0, l1, l2, l3]
}

/// `carrying_add`, which the standard library does not have yet.
trait Carrying: Sized {
    fn carrying(self, other: Self, carry: bool) -> (Self, bool);
}

impl Carrying for u64 {
    #[inline]
    fn carrying(self, other: u64, carry: bool) -> (u64, bool) {
        let (sum, a) = self.overflowing_add(other);
        let (sum, b) = sum.overflowing_add(u64::from(carry));
        (sum, a | b)
    }
}

impl Sum {
    /// Zero, the identity of addition.
    pub const ZERO: Sum = Sum { limbs: [0; 4] };
    /// Where sums saturate: 10^35.
    pub const MAX: Sum = Sum { limbs: POWERS[(INTEGER_DIGITS_MAX + PLACES) as usize] };

    /// Takes a number as it was read, exactly or not at all.
    #[inline]
    pub(crate) fn from_decimal(number: Decimal) -> Result<Sum, BadNumber> {
        let Decimal { negative, mut mantissa, digits, exponent } = number;
        if mantissa == 0 {
            return Ok(Sum::ZERO);
        }
        if negative {
            return Err(BadNumber::Negative);
        }
        if digits.cast_signed() + exponent > INTEGER_DIGITS_MAX {
            return Err(BadNumber::TooLarge);
        }
        let mut shift = exponent + PLACES;
        if shift < 0 {
            // `1.000e-38` is fine: the zeros say nothing. A digit beyond the last place is not.
            let divisor = 10u128.checked_pow(shift.unsigned_abs()).ok_or(BadNumber::TooFine)?;
            if !mantissa.is_multiple_of(divisor) {
                return Err(BadNumber::TooFine);
            }
            mantissa /= divisor;
            shift = 0;
        }
        let power = POWERS[shift.unsigned_abs() as usize];
        let limbs = mul_add_small(power, mantissa as u64, 0);
        let high = (mantissa >> 64) as u64;
        if high == 0 {
            return Ok(Sum { limbs });
        }
        let upper = mul_add_small(power, high, 0);
        Ok(Sum { limbs: add(limbs, [0, upper[0], upper[1], upper[2]]) })
    }

    /// Adds `other`, exactly, saturating at [`Sum::MAX`].
    #[inline]
    pub fn add(&mut self, other: &Sum) {
        // Both are at most 10^75 < 2^250: nothing is carried out of the top limb.
        self.limbs = add(self.limbs, other.limbs);
        if self.limbs[3] >= Sum::MAX.limbs[3] && *self > Sum::MAX {
            *self = Sum::MAX;
        }
    }

    /// Whether nothing but zeros was added.
    pub fn is_zero(&self) -> bool {
        self.limbs == [0; 4]
    }

    /// Appends the packed form: how many zeros stand at the end, and the number without them.
    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        let (mut limbs, mut zeros) = (self.limbs, 0);
        if !self.is_zero() {
            // Up to 75 zeros, most of them at once. A multiple of 10^n is one of 2^n, which is seen without dividing.
            for power in [16u8, 16, 16, 16, 8, 4, 2, 1] {
                if limbs[0].trailing_zeros() < u32::from(power) {
                    continue;
                }
                let (quotient, rest) = divide_small(limbs, POWERS[usize::from(power)][0]);
                if rest == 0 {
                    limbs = quotient;
                    zeros += power;
                }
            }
        }
        out.push(zeros);
        let mut bytes = [0; 32];
        for (limb, bytes) in limbs.iter().zip(bytes.as_chunks_mut::<8>().0) {
            *bytes = limb.to_le_bytes();
        }
        push_bytes(&bytes, out);
    }

    /// Reads what [`Sum::pack`] wrote.
    pub(crate) fn unpack(bytes: &mut Bytes<'_>) -> Option<Sum> {
        let mut zeros = usize::from(bytes.byte()?);
        if zeros >= POWERS.len() {
            return None;
        }
        let packed: [u8; 32] = bytes.bytes()?;
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(packed.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        while zeros > 0 {
            let step = zeros.min(CHUNK_DIGITS);
            limbs = mul_add_small(limbs, POWERS[step][0], 0);
            zeros -= step;
        }
        Some(Sum { limbs })
    }

    /// Writes the sum in the reference's form: no exponent, no zeros that say nothing.
    pub fn write_to(&self, out: &mut String) {
        let mut limbs = self.limbs;
        let mut digits = [[b'0'; CHUNK_DIGITS]; 4];
        for chunk in digits.iter_mut().rev() {
            let mut rest = 0;
            for limb in limbs.iter_mut().rev() {
                (*limb, rest) = divide(rest, *limb);
            }
            write_chunk(rest, chunk);
        }
        write_fixed(digits.as_flattened(), PLACES.unsigned_abs() as usize, out);
    }

    /// The nearest float64, for charts on a page; nothing that is stored is made from it.
    pub fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(0.0)
    }
}

impl PartialOrd for Sum {
    fn partial_cmp(&self, other: &Sum) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sum {
    fn cmp(&self, other: &Sum) -> std::cmp::Ordering {
        self.limbs.iter().rev().cmp(other.limbs.iter().rev())
    }
}

impl FromStr for Sum {
    type Err = BadNumber;

    /// Reads what [`Sum::write_to`] writes, and any JSON number that can be kept.
    fn from_str(text: &str) -> Result<Sum, BadNumber> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && text.bytes().filter(|b| *b == b'.').count() <= 1;
        if !plain || text.is_empty() || text == "." {
            return Sum::from_decimal(Decimal::parse(text.as_bytes())?);
        }
        // A sum may have up to 75 digits, more than a `Decimal` holds: read in chunks.
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        let integer = integer.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if integer.len() > INTEGER_DIGITS_MAX.unsigned_abs() as usize {
            return if text == Sum::MAX.to_string() { Ok(Sum::MAX) } else { Err(BadNumber::TooLarge) };
        }
        if fraction.len() > PLACES.unsigned_abs() as usize {
            return Err(BadNumber::TooFine);
        }
        let zeros = PLACES.unsigned_abs() as usize - fraction.len();
        let mut limbs = [0u64; 4];
        let (mut chunk, mut factor) = (0u64, 1u64);
        for byte in integer.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros)) {
            chunk = chunk * 10 + u64::from(byte - b'0');
            factor *= 10;
            if factor == CHUNK {
                limbs = mul_add_small(limbs, factor, chunk);
                (chunk, factor) = (0, 1);
            }
        }
        Ok(Sum { limbs: mul_add_small(limbs, factor, chunk) })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(4 * CHUNK_DIGITS);
        self.write_to(&mut out);
        f.write_str(&out)
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(text: &str) -> Sum {
        text.parse().unwrap()
    }

    fn read(text: &str) -> Result<Sum, BadNumber> {
        Sum::from_decimal(Decimal::parse(text.as_bytes())?)
    }

    #[test]
    fn what_a_float_gets_wrong_is_exact() {
        let mut total = sum("0.1");
        total.add(&sum("0.2"));
        assert_eq!(total.to_string(), "0.3");
        let mut total = sum("12345678901234567890123456789012345.1");
        total.add(&sum("0.0000000000000000000000000000000000000001"));
        assert_eq!(
            total.to_string(),
            "12345678901234567890123456789012345.1000000000000000000000000000000000000001"
        );
    }

    #[test]
    fn a_number_and_its_text_are_one_sum() {
        for text in [
            "0",
            "1",
            "0.5",
            "1.0525299739984012e-11",
            "99999999999999999999999999999999999",
            "123456789012345678901234567890.12345678",
        ] {
            let number = read(text).unwrap();
            assert_eq!(sum(&number.to_string()), number, "{text}");
            assert_eq!(sum(text), number, "{text}");
        }
        assert_eq!(read("1.0525299739984012e-11").unwrap().to_string(), "0.000000000010525299739984012");
        assert_eq!(read("370400.0").unwrap().to_string(), "370400");
    }

    #[test]
    fn the_edges_are_refused_with_their_reason() {
        assert_eq!(read("1e35"), Err(BadNumber::TooLarge));
        assert_eq!(read("1e400"), Err(BadNumber::TooLarge));
        assert_eq!(read("1e-41"), Err(BadNumber::TooFine));
        assert_eq!(read("1e-40").unwrap().to_string(), format!("0.{}1", "0".repeat(39)));
        assert_eq!(read("10e-41"), read("1e-40"));
        assert_eq!(read("-0.1"), Err(BadNumber::Negative));
        assert_eq!(read("-0"), Ok(Sum::ZERO));
    }

    #[test]
    fn at_the_top_a_sum_saturates_in_every_order() {
        let big = sum("99999999999999999999999999999999999.9");
        let mut total = big;
        total.add(&big);
        assert_eq!(total, Sum::MAX);
        total.add(&big);
        assert_eq!(total, Sum::MAX);
        assert_eq!(sum(&total.to_string()), Sum::MAX);
    }
}
