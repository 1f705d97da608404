//! The scanner for our one schema: one pass, nothing allocated, nothing unescaped.
//!
//! It accepts what JSON accepts and gives up, never guesses, where it cannot lend a value in place; `fallback` then decides.
//! What it skips it still checks, byte for byte as `serde_json` does, so that a broken message is broken for both.

use super::like::{Member, Patterns};
use super::memo::Memo;
use super::{Element, Field, Fields, Value};
use crate::Place;
use crate::decimal::{Decimal, count_digits};

/// Nesting that the scanner follows; deeper values are left to the fallback.
const DEPTH_MAX: u32 = 32;

/// The scanner gives up: broken, or not for it.
pub(super) struct GiveUp;

/// Decodes a whole message. `Err(n)`: it gave up after `n` elements were handed out.
pub(super) fn decode(
    value: &[u8],
    place: Place,
    memo: &mut Memo,
    patterns: &mut Patterns,
    sink: &mut impl FnMut(u32, Element<'_>),
) -> Result<(), u32> {
    elements(value, |scanner, index| {
        match scanner.peek() {
            Some(b'{') => {
                let start = scanner.at;
                if !scanner.like(patterns, memo, place, index, sink) {
                    scanner.at = start;
                    let fields = scanner.trade(memo, patterns.members())?;
                    fields.judge(place, index, |element| {
                        patterns.note(&value[start..scanner.at], &fields, &element);
                        sink(index, element);
                    });
                }
            }
            _ => {
                scanner.skip(DEPTH_MAX)?;
                sink(index, Element::Rejected(crate::Rejection::NotAnObject));
            }
        }
        Ok(())
    })
}

/// Finds the maker of each element, and the element as it stands: `None` where it is no object. Errors as [`decode`].
pub(super) fn makers<'a>(
    value: &'a [u8],
    memo: &mut Memo<Maker>,
    sink: &mut impl FnMut(u32, Option<(Value<'a>, &'a [u8])>),
) -> Result<(), u32> {
    elements(value, |scanner, index| {
        if scanner.peek() == Some(b'{') {
            let start = scanner.at;
            let maker = scanner.maker(memo)?;
            sink(index, Some((maker, &value[start..scanner.at])));
        } else {
            scanner.skip(DEPTH_MAX)?;
            sink(index, None);
        }
        Ok(())
    })
}

/// A whole message: `[` elements `]`, each read by `element`. `Err(n)`: it gave up after `n` of them.
#[inline]
fn elements<'a>(
    value: &'a [u8],
    mut element: impl FnMut(&mut Scanner<'a>, u32) -> Result<(), GiveUp>,
) -> Result<(), u32> {
    let mut scanner = Scanner { bytes: value, at: 0 };
    let mut index = 0u32;
    let whole = scanner.array(|scanner| {
        element(scanner, index)?;
        index += 1;
        Ok(())
    });
    // Only then is it known that nothing follows the array.
    match whole {
        Ok(()) => {
            scanner.space();
            if scanner.at == value.len() { Ok(()) } else { Err(index) }
        }
        Err(GiveUp) => Err(index),
    }
}

/// The member that says whose trade it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker;

impl Maker {
    #[inline]
    fn named(name: &[u8]) -> Option<Maker> {
        (name == b"maker").then_some(Maker)
    }
}

pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), GiveUp> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(GiveUp)
    }

    /// `[` elements `]`, each read by `element`.
    #[inline]
    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), GiveUp>) -> Result<(), GiveUp> {
        self.space();
        self.expect(b'[')?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            element(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(GiveUp),
            }
        }
    }

    /// `{` members `}`, each value read by `member`, which gets the key.
    #[inline]
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), GiveUp>,
    ) -> Result<(), GiveUp> {
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let key = self.plain_string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            member(self, key)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(GiveUp),
            }
        }
    }

    /// The fields of one trade, and where its members stand.
    #[inline]
    fn trade(&mut self, memo: &mut Memo, members: &mut Vec<Member>) -> Result<Fields<'a>, GiveUp> {
        members.clear();
        let begin = self.at;
        let mut fields = Fields::default();
        self.members(|scanner, place| {
            let field = scanner.head(place, memo, Field::named)?;
            let start = scanner.at;
            match field {
                Some(field) => *fields.of(field) = scanner.value(memo)?,
                None => scanner.skip(DEPTH_MAX)?,
            }
            let text = &scanner.bytes[start..scanner.at];
            let plain = text.first() == Some(&b'"') && !text.contains(&b'\\');
            members.push(Member { field, start: start - begin, end: scanner.at - begin, plain });
            Ok(())
        })?;
        Ok(fields)
    }

    /// The maker of one trade.
    #[inline]
    fn maker(&mut self, memo: &mut Memo<Maker>) -> Result<Value<'a>, GiveUp> {
        let mut maker = Value::Zero;
        self.members(|scanner, place| {
            if scanner.head(place, memo, Maker::named)?.is_some() {
                maker = scanner.value(memo)?;
            } else if scanner.peek() == Some(b'{') {
                // A `pair_info`, like that of the trade before.
                scanner.value(memo)?;
            } else {
                scanner.skip(DEPTH_MAX)?;
            }
            Ok(())
        })?;
        Ok(maker)
    }

    /// `{` members `}` of a trade, each read by `member` from its name on, which gets its place among them.
    #[inline]
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, usize) -> Result<(), GiveUp>,
    ) -> Result<(), GiveUp> {
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        for place in 0.. {
            self.space();
            member(self, place)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(GiveUp),
            }
        }
        Ok(())
    }

    /// The name of a trade's member and all up to its value: the field, if it is one that is read.
    #[inline]
    fn head<F: Copy>(
        &mut self,
        place: usize,
        memo: &mut Memo<F>,
        named: impl Fn(&[u8]) -> Option<F>,
    ) -> Result<Option<F>, GiveUp> {
        if let Some((field, len)) = memo.head(place, &self.bytes[self.at..]) {
            self.at += len;
            self.space();
            return Ok(field);
        }
        let start = self.at;
        let name = self.plain_string()?;
        self.space();
        self.expect(b':')?;
        let field = named(name);
        memo.note_head(place, &self.bytes[start..self.at], field);
        self.space();
        Ok(field)
    }

    /// A value that we read.
    #[inline]
    pub(super) fn value<F: Copy>(&mut self, memo: &mut Memo<F>) -> Result<Value<'a>, GiveUp> {
        match self.peek() {
            Some(b'"') => self.plain_string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => {
                let (number, used) = Decimal::scan(&self.bytes[self.at..]).ok_or(GiveUp)?;
                self.at += used;
                Ok(Value::Number(number))
            }
            Some(b't') => self.literal(b"true").map(|()| Value::Bool(true)),
            Some(b'f') => self.literal(b"false").map(|()| Value::Bool(false)),
            Some(b'n') => self.literal(b"null").map(|()| Value::Zero),
            Some(b'{') => {
                let start = self.at;
                if let Some(len) = memo.object(&self.bytes[start..]) {
                    self.at += len;
                } else {
                    self.skip(DEPTH_MAX)?;
                    memo.note_object(&self.bytes[start..self.at]);
                }
                Ok(Value::Other(&self.bytes[start..self.at]))
            }
            _ => {
                let start = self.at;
                self.skip(DEPTH_MAX)?;
                Ok(Value::Other(&self.bytes[start..self.at]))
            }
        }
    }

    /// A string whose bytes can be lent as they stand.
    #[inline]
    fn plain_string(&mut self) -> Result<&'a [u8], GiveUp> {
        self.expect(b'"')?;
        let start = self.at;
        self.at = special(self.bytes, start);
        let text = &self.bytes[start..self.at];
        self.expect(b'"')?;
        Ok(text)
    }

    /// The same, for where numbers are expected: without a call for them.
    #[inline]
    pub(super) fn value_mostly_number(&mut self, memo: &mut Memo) -> Result<Value<'a>, GiveUp> {
        if let Some(b'0'..=b'9') = self.peek() {
            let (number, used) = Decimal::scan(&self.bytes[self.at..]).ok_or(GiveUp)?;
            self.at += used;
            return Ok(Value::Number(number));
        }
        self.value(memo)
    }

    /// A trade's member that nobody reads; checked all the same.
    pub(super) fn skip_value(&mut self) -> Result<(), GiveUp> {
        self.skip(DEPTH_MAX)
    }

    /// A value that nobody reads.
    fn skip(&mut self, depth: u32) -> Result<(), GiveUp> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'{') if depth > 0 => self.skip_object(depth - 1),
            Some(b'[') if depth > 0 => self.array(|scanner| scanner.skip(depth - 1)),
            _ => Err(GiveUp),
        }
    }

    fn skip_object(&mut self, depth: u32) -> Result<(), GiveUp> {
        self.object(|scanner, _| scanner.skip(depth))
    }

    #[inline]
    fn skip_string(&mut self) -> Result<(), GiveUp> {
        self.at += 1;
        self.skip_rest_of_string()
    }

    /// The rest of a string, from between two of its characters on.
    #[inline]
    pub(super) fn skip_rest_of_string(&mut self) -> Result<(), GiveUp> {
        loop {
            self.at = special(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(GiveUp),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), GiveUp> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let hex = self.bytes.get(self.at + 2..self.at + 6).ok_or(GiveUp)?;
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return Err(GiveUp);
                }
                self.at += 6;
            }
            _ => return Err(GiveUp),
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let count = count_digits(&self.bytes[self.at..]);
        self.at += count;
        count
    }

    #[inline]
    fn skip_number(&mut self) -> Result<(), GiveUp> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.peek();
        let integer = self.digits();
        if integer == 0 || (integer > 1 && first == Some(b'0')) {
            return Err(GiveUp);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(GiveUp);
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(GiveUp);
            }
        }
        Ok(())
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), GiveUp> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(GiveUp)
    }
}

/// Where the first byte at or after `at` is that ends or interrupts a string: a quote, a backslash, a control character, or
/// the end of the bytes. Eight bytes at a time.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        // The classic zero-byte test; a borrow can only raise a false hit above a true one, and the lowest hit is taken.
        let hit = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hit = hit & HIGH;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}
