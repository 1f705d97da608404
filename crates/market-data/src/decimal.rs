//! Reading a decimal number as it is written, without ever passing through a float.
//!
//! The grammar is JSON's number grammar, and the same inside a JSON string (the EVM form of amounts).

use thiserror::Error;

/// Why a number cannot be kept exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadNumber {
    /// Not a decimal number at all: `NaN`, `abc`, an empty string.
    #[error("not a decimal number")]
    NotANumber,
    /// Below zero: no price and no amount is.
    #[error("a negative number")]
    Negative,
    /// More than 35 digits before the point: more than DECIMAL(65,30) holds.
    #[error("more than 35 digits before the point")]
    TooLarge,
    /// More decimal places or significant digits than are kept: rounding it would make sums depend on who added them.
    #[error("more decimal places than are kept exactly")]
    TooFine,
}

/// `mantissa x 10^exponent`, exactly as written; `digits` is the number of decimal digits of `mantissa` (0 for zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) mantissa: u128,
    pub(crate) digits: u32,
    pub(crate) exponent: i32,
}

/// The most significant digits that a number may have: what a `u128` holds whatever the digits are.
pub(crate) const DIGITS_MAX: u32 = 38;
/// The most digits before the point: what DECIMAL(65,30) holds.
pub(crate) const INTEGER_DIGITS_MAX: i32 = 35;
/// Exponents are clamped here: far outside anything that is kept, far inside `i32`.
const EXPONENT_CLAMP: i32 = 100_000;

impl Decimal {
    /// Reads a whole text as a JSON number.
    pub(crate) fn parse(text: &[u8]) -> Result<Decimal, BadNumber> {
        match Self::scan(text) {
            Some((number, used)) if used == text.len() => number,
            _ => Err(BadNumber::NotANumber),
        }
    }

    /// Reads the JSON number at the start of `text`: its value and its length. `None` if none stands there.
    ///
    /// The grammar is checked even where the value is refused, so that a caller can skip a number too large to keep.
    #[inline]
    pub(crate) fn scan(text: &[u8]) -> Option<(Result<Decimal, BadNumber>, usize)> {
        let negative = text.first() == Some(&b'-');
        let digits_start = usize::from(negative);
        let mut mantissa = 0u64;
        let integer_len = read_digits(&text[digits_start..], &mut mantissa);
        if integer_len == 0 || (integer_len > 1 && text[digits_start] == b'0') {
            return None;
        }
        let mut at = digits_start + integer_len;
        let mut fraction_len = 0;
        let mut exponent = 0i32;
        if text.get(at) == Some(&b'.') {
            at += 1;
            fraction_len = read_digits(&text[at..], &mut mantissa);
            if fraction_len == 0 {
                return None;
            }
            at += fraction_len;
            exponent = -i32::try_from(fraction_len).unwrap_or(EXPONENT_CLAMP).min(EXPONENT_CLAMP);
        }
        let digits_end = at;
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let (value, used) = scan_exponent(&text[at + 1..])?;
            exponent = (exponent + value).clamp(-2 * EXPONENT_CLAMP, 2 * EXPONENT_CLAMP);
            at += 1 + used;
        }
        // Up to 19 digits fit a u64 whatever they are.
        let number = if integer_len + fraction_len <= 19 {
            let digits = mantissa.checked_ilog10().map_or(0, |last| last + 1);
            Ok(Decimal { negative, mantissa: u128::from(mantissa), digits, exponent })
        } else {
            long(&text[digits_start..digits_end], negative, exponent)
        };
        Some((number, at))
    }

    /// The number as an integer, if it is one and fits.
    #[inline]
    pub(crate) fn to_i64(self) -> Option<i64> {
        let mut mantissa = self.mantissa;
        if mantissa == 0 {
            return Some(0);
        }
        if self.exponent > 0 {
            mantissa = mantissa.checked_mul(10u128.checked_pow(self.exponent.unsigned_abs())?)?;
        } else if self.exponent < 0 {
            let divisor = 10u128.checked_pow(self.exponent.unsigned_abs())?;
            if !mantissa.is_multiple_of(divisor) {
                return None;
            }
            mantissa /= divisor;
        }
        let value = i64::try_from(mantissa).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// The exponent after `e`: its value, clamped, and its length.
fn scan_exponent(text: &[u8]) -> Option<(i32, usize)> {
    let mut at = 0;
    let negative = text.first() == Some(&b'-');
    if matches!(text.first(), Some(b'+' | b'-')) {
        at += 1;
    }
    let start = at;
    let mut value = 0i32;
    while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
        value = (value * 10 + i32::from(digit - b'0')).min(EXPONENT_CLAMP);
        at += 1;
    }
    (at > start).then_some((if negative { -value } else { value }, at))
}

/// How many digits `text` begins with; `mantissa` is extended by them, and wraps.
#[inline]
fn read_digits(text: &[u8], mantissa: &mut u64) -> usize {
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let count = leading_digits(word);
        if count == 8 {
            *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight_digits(word));
            at += 8;
            continue;
        }
        if count > 0 {
            // Zeros ahead of them: the first digit is the lowest byte.
            let padded = (word << (64 - 8 * count)) | (ASCII_ZEROS >> (8 * count));
            *mantissa = mantissa.wrapping_mul(TENS[count]).wrapping_add(eight_digits(padded));
        }
        return at + count;
    }
    while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d <= 9) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// How many digits `text` begins with.
#[inline]
pub(crate) fn count_digits(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk::<8>() {
        let count = leading_digits(u64::from_le_bytes(*chunk));
        at += count;
        if count < 8 {
            return at;
        }
    }
    at + text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;
const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// How many of the eight bytes are digits before the first that is none.
#[inline]
fn leading_digits(word: u64) -> usize {
    // The first adds to a set top bit from `:` on, the second borrows one below `0`; what is carried into higher bytes comes after the
    // first byte that is no digit, which is the one that is taken. Bytes from 0x80 on have their top bit in the word itself.
    let none = (word.wrapping_add(0x4646_4646_4646_4646) | word.wrapping_sub(ASCII_ZEROS) | word)
        & 0x8080_8080_8080_8080;
    (none.trailing_zeros() / 8) as usize
}

/// The number that eight digits say, the first in the lowest byte: neighbours are joined three times.
#[inline]
fn eight_digits(word: u64) -> u64 {
    let ones = word & 0x0f0f_0f0f_0f0f_0f0f;
    let tens = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let hundreds = (tens.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    hundreds.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// More than 19 digits: trailing zeros say nothing and are dropped first.
#[cold]
fn long(text: &[u8], negative: bool, exponent: i32) -> Result<Decimal, BadNumber> {
    let zeros = text.iter().rev().filter(|b| **b != b'.').take_while(|b| **b == b'0').count();
    let all = text.iter().filter(|b| **b != b'.').count();
    let mut mantissa = 0u128;
    let mut digits = 0u32;
    for byte in text.iter().filter(|b| **b != b'.').take(all - zeros) {
        let digit = byte - b'0';
        digits += u32::from(digits > 0 || digit > 0);
        if digits > DIGITS_MAX {
            return Err(BadNumber::TooFine);
        }
        mantissa = mantissa * 10 + u128::from(digit);
    }
    let zeros = i32::try_from(zeros).unwrap_or(EXPONENT_CLAMP).min(EXPONENT_CLAMP);
    Ok(Decimal { negative, mantissa, digits, exponent: exponent + zeros })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (u128, u32, i32) {
        let d = Decimal::parse(text.as_bytes()).unwrap();
        (d.mantissa, d.digits, d.exponent)
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        assert_eq!(parts("0"), (0, 0, 0));
        assert_eq!(parts("0.0"), (0, 0, -1));
        assert_eq!(parts("61837.63"), (6_183_763, 7, -2));
        assert_eq!(parts("0.00374"), (374, 3, -5));
        assert_eq!(parts("1e-9"), (1, 1, -9));
        assert_eq!(parts("4.714840618528861e-11"), (4_714_840_618_528_861, 16, -26));
        assert_eq!(parts("1.5E+3"), (15, 2, 2));
        assert_eq!(
            parts("12345678901234567890123456789012345678"),
            (12_345_678_901_234_567_890_123_456_789_012_345_678, 38, 0)
        );
        assert_eq!(parts("0.10000000000000000000000000000000000000000000000000000"), (1, 1, -1));
        assert_eq!(parts("100000000000000000000000000000000000000000"), (1, 1, 41));
    }

    #[test]
    fn what_json_does_not_call_a_number_is_none() {
        for text in
            ["", "-", "01", ".5", "1.", "1e", "1e+", "NaN", "Infinity", "+1", "0x1", "1 ", " 1", "1,5", "1_0"]
        {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(BadNumber::NotANumber), "{text}");
        }
        assert_eq!(Decimal::parse(b"123456789012345678901234567890123456789"), Err(BadNumber::TooFine));
    }

    #[test]
    fn eight_digits_at_a_time_are_read_as_one_at_a_time() {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..200_000 {
            // Mostly digits, now and then any byte.
            let text: Vec<u8> = (0..next() % 24)
                .map(|_| if next() % 12 == 0 { next() as u8 } else { b'0' + (next() % 10) as u8 })
                .collect();
            let wanted = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = text[..wanted]
                .iter()
                .fold(3u64, |n, byte| n.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')));
            let mut mantissa = 3;
            assert_eq!((read_digits(&text, &mut mantissa), mantissa), (wanted, number), "{text:?}");
            assert_eq!(count_digits(&text), wanted, "{text:?}");
        }
        for byte in 0..=u8::MAX {
            let text = [b'1', byte, b'2', b'3', byte, b'4', b'5', b'6'];
            assert_eq!(count_digits(&text), if byte.is_ascii_digit() { 8 } else { 1 }, "{byte}");
        }
    }

    #[test]
    fn an_endless_exponent_is_clamped_and_not_wrapped() {
        assert_eq!(parts("1e99999999999999999999").2, EXPONENT_CLAMP);
        assert_eq!(parts("1e-99999999999999999999").2, -EXPONENT_CLAMP);
    }

    #[test]
    fn integers_may_be_written_with_a_fraction_of_zero() {
        let int = |text: &str| Decimal::parse(text.as_bytes()).unwrap().to_i64();
        assert_eq!(int("1704412823"), Some(1_704_412_823));
        assert_eq!(int("-7"), Some(-7));
        assert_eq!(int("12.0"), Some(12));
        assert_eq!(int("1.7e3"), Some(1700));
        assert_eq!(int("1.5"), None);
        assert_eq!(int("1e400"), None);
        assert_eq!(int("9223372036854775808"), None);
    }
}
