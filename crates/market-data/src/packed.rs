//! A candle at rest: some dozens of bytes instead of three hundred, for memories that hold millions. Nothing is lost: what is read back
//! is the candle to the last digit, with the orders of the trades that opened and closed, so that late parts merge into it as before.
//!
//! Of this process alone: the form is no format of a file, and may change.
//!
//! What makes it small: numbers without the zeros that say nothing, prices that equal another of the same candle left out, times from the
//! start of the candle, the order that closed as its distance from the one that opened.

use crate::candle::{Candle, NO_ORDER, Rank};
use crate::{Order, Price, Sum};

const RANK: u8 = 0b11;
const HIGH_IS_OPEN: u8 = 1 << 2;
const LOW_IS_OPEN: u8 = 1 << 3;
const CLOSE_IS_OPEN: u8 = 1 << 4;
const HIGH_IS_CLOSE: u8 = 1 << 5;
const LOW_IS_CLOSE: u8 = 1 << 6;
const ONE_ORDER: u8 = 1 << 7;

impl Candle {
    /// Appends the packed form; `start` is the candle's start, unix seconds. [`Candle::unpack`] reads it back.
    pub fn pack(&self, start: i64, out: &mut Vec<u8>) {
        let mut head = self.rank as u8;
        for (same, bit) in [
            (self.high == self.open, HIGH_IS_OPEN),
            (self.low == self.open, LOW_IS_OPEN),
            (self.close == self.open, CLOSE_IS_OPEN),
            (self.high == self.close, HIGH_IS_CLOSE),
            (self.low == self.close, LOW_IS_CLOSE),
            (self.open_order == self.close_order, ONE_ORDER),
        ] {
            if same {
                head |= bit;
            }
        }
        out.push(head);
        self.volume_usd.pack(out);
        self.token_volume.pack(out);
        push_unsigned(self.count, out);
        push_unsigned(self.buy_count, out);
        // Most trades are one or the other.
        let rest = self.count.wrapping_sub(self.buy_count).wrapping_sub(self.sell_count);
        push_signed(rest.cast_signed(), out);
        if self.rank == Rank::Empty {
            return;
        }
        self.open.pack(out);
        if head & CLOSE_IS_OPEN == 0 {
            self.close.pack(out);
        }
        if head & (HIGH_IS_OPEN | HIGH_IS_CLOSE) == 0 {
            self.high.pack(out);
        }
        if head & (LOW_IS_OPEN | LOW_IS_CLOSE) == 0 {
            self.low.pack(out);
        }
        let base = Order { block_time: start, ..NO_ORDER };
        pack_order(&self.open_order, &base, out);
        if head & ONE_ORDER == 0 {
            pack_order(&self.close_order, &self.open_order, out);
        }
    }

    /// Reads what [`Candle::pack`] wrote for the same start; `None` if it is anything else.
    pub fn unpack(start: i64, bytes: &[u8]) -> Option<Candle> {
        let mut bytes = Bytes(bytes);
        let head = bytes.byte()?;
        let mut candle = Candle::EMPTY;
        candle.volume_usd = Sum::unpack(&mut bytes)?;
        candle.token_volume = Sum::unpack(&mut bytes)?;
        candle.count = bytes.unsigned()?;
        candle.buy_count = bytes.unsigned()?;
        let rest = bytes.signed()?.cast_unsigned();
        candle.sell_count = candle.count.wrapping_sub(candle.buy_count).wrapping_sub(rest);
        candle.rank = match head & RANK {
            0 => return bytes.0.is_empty().then_some(candle),
            1 => Rank::Clamped,
            2 => Rank::Real,
            _ => return None,
        };
        candle.open = Price::unpack(&mut bytes)?;
        candle.close = if head & CLOSE_IS_OPEN == 0 { Price::unpack(&mut bytes)? } else { candle.open };
        let mut bound = |is_open: u8, is_close: u8| match head {
            _ if head & is_open != 0 => Some(candle.open),
            _ if head & is_close != 0 => Some(candle.close),
            _ => Price::unpack(&mut bytes),
        };
        candle.high = bound(HIGH_IS_OPEN, HIGH_IS_CLOSE)?;
        candle.low = bound(LOW_IS_OPEN, LOW_IS_CLOSE)?;
        candle.open_order = unpack_order(&Order { block_time: start, ..NO_ORDER }, &mut bytes)?;
        candle.close_order = if head & ONE_ORDER == 0 {
            unpack_order(&candle.open_order, &mut bytes)?
        } else {
            candle.open_order
        };
        bytes.0.is_empty().then_some(candle)
    }
}

/// An order as its distance from another. The distances wrap, so every order has one.
fn pack_order(order: &Order, base: &Order, out: &mut Vec<u8>) {
    let parts = |o: &Order| {
        [
            o.block_time,
            o.block_num,
            o.slot,
            o.transaction_index,
            o.log_index,
            o.offset,
            i64::from(o.index),
            i64::from(o.partition),
        ]
    };
    for (part, base) in parts(order).into_iter().zip(parts(base)) {
        push_signed(part.wrapping_sub(base), out);
    }
}

fn unpack_order(base: &Order, bytes: &mut Bytes<'_>) -> Option<Order> {
    let mut next = |base: i64| Some(base.wrapping_add(bytes.signed()?));
    Some(Order {
        block_time: next(base.block_time)?,
        block_num: next(base.block_num)?,
        slot: next(base.slot)?,
        transaction_index: next(base.transaction_index)?,
        log_index: next(base.log_index)?,
        offset: next(base.offset)?,
        index: u32::try_from(next(i64::from(base.index))?).ok()?,
        partition: i32::try_from(next(i64::from(base.partition))?).ok()?,
    })
}

/// Appends a number in groups of seven bits, the lowest first.
pub(crate) fn push_unsigned(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The same, so that small numbers of either sign are short.
pub(crate) fn push_signed(value: i64, out: &mut Vec<u8>) {
    push_unsigned(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

/// Appends the bytes of a large number, lowest first, without the zeros at its end; their number ahead.
pub(crate) fn push_bytes(little_endian: &[u8], out: &mut Vec<u8>) {
    let used = little_endian.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    out.push(used as u8);
    out.extend_from_slice(&little_endian[..used]);
}

/// Bytes that are read from their beginning.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// What [`push_bytes`] wrote, filled up with zeros.
    #[inline]
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let used = usize::from(self.byte()?);
        let (found, rest) = self.0.split_at_checked(used)?;
        self.0 = rest;
        let mut bytes = [0; N];
        bytes.get_mut(..used)?.copy_from_slice(found);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_of_one_trade_takes_some_thirty_bytes() {
        let order = Order {
            block_time: 1_704_412_823,
            block_num: 18_937_382,
            log_index: 212,
            offset: 90_000,
            ..NO_ORDER
        };
        let price: Price = "0.0374215".parse().unwrap();
        let prices = crate::Prices {
            open: price,
            high: price,
            low: price,
            close: price,
            open_order: order,
            close_order: order,
            clamped_only: false,
        };
        let candle = Candle::from_parts(&prices, "12.5".parse().unwrap(), "2".parse().unwrap(), [1, 1, 0]);
        let mut bytes = Vec::new();
        candle.pack(1_704_412_800, &mut bytes);
        assert!(bytes.len() < 36, "{}", bytes.len());
        assert_eq!(Candle::unpack(1_704_412_800, &bytes), Some(candle));
        for cut in 0..bytes.len() {
            assert_eq!(Candle::unpack(1_704_412_800, &bytes[..cut]), None);
        }
        bytes.push(0);
        assert_eq!(Candle::unpack(1_704_412_800, &bytes), None);
    }

    #[test]
    fn the_edges_of_numbers_are_read_back() {
        for text in [
            "1e-340",
            "99999999999999999999999999999999999",
            "1e34",
            "4.9e-324",
            "1.2345678901234567890123456789012345678",
        ] {
            let price: Price = text.parse().unwrap();
            let mut bytes = Vec::new();
            price.pack(&mut bytes);
            assert_eq!(Price::unpack(&mut Bytes(&bytes)), Some(price), "{text}");
        }
        let max = Sum::MAX.to_string();
        for text in [
            "0",
            "1e-40",
            "1",
            "100",
            "1e34",
            max.as_str(),
            "12345678901234567890123456789012345.1234567890123456789012345678901234567891",
        ] {
            let sum: Sum = text.parse().unwrap();
            let mut bytes = Vec::new();
            sum.pack(&mut bytes);
            assert_eq!(Sum::unpack(&mut Bytes(&bytes)), Some(sum), "{text}");
        }
    }
}
