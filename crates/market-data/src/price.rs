//! A price: kept as written, compared exactly, never added.

use std::fmt;
use std::str::FromStr;

use crate::decimal::{BadNumber, DIGITS_MAX, Decimal, INTEGER_DIGITS_MAX};
use crate::digits::{CHUNK_DIGITS, divide, push_digits, write_chunk};
use crate::packed::{Bytes, push_bytes, push_signed};

/// The smallest magnitude that is kept: a float64 goes down to 5e-324.
const MAGNITUDE_MIN: i32 = -340;

/// A positive decimal number with up to 38 significant digits, `0.MANTISSA x 10^magnitude`.
///
/// The mantissa is aligned to the left (38 digits, the first is not zero), so the order of the two fields is the order of
/// the numbers, and two texts of one number (`5.80`, `5.8`, `58e-1`) are one value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    magnitude: i16,
    // Two halves instead of a u128: alignment to 8 keeps a candle smaller. The high half comes first, for the order.
    high: u64,
    low: u64,
}

/// 10^0 ..= 10^38.
const POWERS: [u128; 39] = {
    let mut powers = [1u128; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

impl Price {
    /// A price for a candle without trades; nothing reads it.
    pub(crate) const NONE: Price = Price { magnitude: 0, high: 0, low: 0 };

    /// Takes a number as it was read. `Ok(None)` for zero, which is no price.
    #[inline]
    pub(crate) fn from_decimal(number: Decimal) -> Result<Option<Price>, BadNumber> {
        if number.mantissa == 0 {
            return Ok(None);
        }
        if number.negative {
            return Err(BadNumber::Negative);
        }
        let magnitude = number.digits.cast_signed() + number.exponent;
        if magnitude > INTEGER_DIGITS_MAX {
            return Err(BadNumber::TooLarge);
        }
        if magnitude < MAGNITUDE_MIN {
            return Err(BadNumber::TooFine);
        }
        let mantissa = number.mantissa * POWERS[(DIGITS_MAX - number.digits) as usize];
        // Both casts are within bounds: the magnitude was just checked, and the halves are cut to 64 bits.
        Ok(Some(Price { magnitude: magnitude as i16, high: (mantissa >> 64) as u64, low: mantissa as u64 }))
    }

    /// Where the first digit that is not 0 stands: 1 for ones, 2 for tens, 0 for tenths, -1 for hundredths.
    pub fn magnitude(self) -> i32 {
        i32::from(self.magnitude)
    }

    fn mantissa(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    /// Appends the packed form: the exponent of the last digit that is not 0, and the digits as a number.
    pub(crate) fn pack(self, out: &mut Vec<u8>) {
        let (mut mantissa, mut zeros) = (self.mantissa(), 0);
        if mantissa != 0 {
            // Up to 37 zeros, most of them at once. A multiple of 10^n is one of 2^n, which is seen without dividing.
            for power in [16u8, 16, 8, 4, 2, 1] {
                let divisor = POWERS[usize::from(power)];
                if mantissa.trailing_zeros() >= u32::from(power) && mantissa.is_multiple_of(divisor) {
                    mantissa /= divisor;
                    zeros += i64::from(power);
                }
            }
        }
        push_signed(i64::from(self.magnitude) + zeros, out);
        push_bytes(&mantissa.to_le_bytes(), out);
    }

    /// Reads what [`Price::pack`] wrote.
    pub(crate) fn unpack(bytes: &mut Bytes<'_>) -> Option<Price> {
        let exponent = bytes.signed()?;
        let mantissa = u128::from_le_bytes(bytes.bytes()?);
        let digits = mantissa.checked_ilog10().map_or(DIGITS_MAX, |last| last + 1);
        let zeros = DIGITS_MAX.checked_sub(digits)?;
        let magnitude = i16::try_from(exponent.checked_sub(i64::from(zeros))?).ok()?;
        let mantissa = mantissa * POWERS[zeros as usize];
        Some(Price { magnitude, high: (mantissa >> 64) as u64, low: mantissa as u64 })
    }

    /// Writes the price in the reference's form: no exponent, no zeros that say nothing.
    pub fn write_to(self, out: &mut String) {
        if self.mantissa() == 0 {
            out.push('0');
            return;
        }
        // 38 digits are two chunks, so the high half is below one chunk, as `divide` wants it.
        let (high, low) = divide(self.high, self.low);
        let mut text = [[b'0'; CHUNK_DIGITS]; 2];
        write_chunk(high, &mut text[0]);
        write_chunk(low, &mut text[1]);
        let text = text.as_flattened();
        let digits = &text[..text.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1)];
        let magnitude = i32::from(self.magnitude);
        if magnitude <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', magnitude.unsigned_abs() as usize));
            push_digits(digits, out);
        } else if digits.len() <= magnitude as usize {
            push_digits(digits, out);
            out.extend(std::iter::repeat_n('0', magnitude as usize - digits.len()));
        } else {
            let (integer, fraction) = digits.split_at(magnitude as usize);
            push_digits(integer, out);
            out.push('.');
            push_digits(fraction, out);
        }
    }

    /// The nearest float64, for charts and ratios on a page; nothing that is stored is made from it.
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(0.0)
    }
}

impl FromStr for Price {
    type Err = BadNumber;

    /// Reads a price; zero is `NotANumber` here, because it is no price.
    fn from_str(text: &str) -> Result<Price, BadNumber> {
        Price::from_decimal(Decimal::parse(text.as_bytes())?)?.ok_or(BadNumber::NotANumber)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(48);
        self.write_to(&mut out);
        f.write_str(&out)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn a_price_is_written_without_exponent_and_without_idle_zeros() {
        for (from, to) in [
            ("5.80", "5.8"),
            ("61839.0", "61839"),
            ("1e-9", "0.000000001"),
            ("100", "100"),
            ("1.1884193617721735e-08", "0.000000011884193617721735"),
            ("12e3", "12000"),
            ("99999999999999999999999999999999999", "99999999999999999999999999999999999"),
            ("4.9e-324", &format!("0.{}49", "0".repeat(323))),
        ] {
            assert_eq!(price(from).to_string(), to);
            assert_eq!(price(to), price(from));
        }
    }

    #[test]
    fn a_magnitude_says_where_a_number_begins() {
        for (text, magnitude) in [("1", 1), ("99.5", 2), ("0.1", 0), ("0.09", -1), ("1e-9", -8)] {
            assert_eq!(price(text).magnitude(), magnitude);
        }
    }

    #[test]
    fn prices_are_compared_as_numbers_and_not_as_floats() {
        assert!(price("0.30000000000000000001") > price("0.3"));
        assert!(price("9.99") < price("10"));
        assert!(price("1e-10") < price("1.1e-10"));
        assert_eq!(price("1.50"), price("15e-1"));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_reason() {
        assert_eq!("1e400".parse::<Price>(), Err(BadNumber::TooLarge));
        assert_eq!("1e35".parse::<Price>(), Err(BadNumber::TooLarge));
        assert_eq!("-1".parse::<Price>(), Err(BadNumber::Negative));
        assert_eq!("1e-400".parse::<Price>(), Err(BadNumber::TooFine));
        assert_eq!("NaN".parse::<Price>(), Err(BadNumber::NotANumber));
        assert_eq!(Price::from_decimal(Decimal::parse(b"0.000").unwrap()), Ok(None));
    }
}
