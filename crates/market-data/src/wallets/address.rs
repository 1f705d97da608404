//! Addresses: one form for each, and as few bytes as it takes.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use thiserror::Error;

/// The longest address: far beyond any chain's.
pub const ADDRESS_BYTES_MAX: usize = 127;
/// The longest label of an address.
pub const LABEL_BYTES_MAX: usize = 100;
/// The longest `chain_id` of an address.
pub const CHAIN_BYTES_MAX: usize = 32;

/// An address that somebody wants to be known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Known {
    /// The address, in its [`canonical`] form once it comes out of a book.
    pub address: String,
    /// The chain that it is known on, by its number as text (`1`, `100000`); empty: on any.
    pub chain_id: String,
    /// What people call it; may be empty.
    pub label: String,
}

impl Known {
    /// Takes an address as a person or a file gives it: without spaces around, canonical, a chain's name as its number.
    ///
    /// # Errors
    /// [`BadAddress`] where it is none, or where a text is too long.
    pub fn new(address: &str, label: &str, chain: &str) -> Result<Known, BadAddress> {
        let (address, label, chain) = (address.trim(), label.trim(), chain.trim());
        check(address, label, chain)?;
        Ok(Known {
            address: canonical(address).into_owned(),
            chain_id: chain_id(chain).to_owned(),
            label: label.to_owned(),
        })
    }
}

/// Why an address cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadAddress {
    /// Nothing stands there.
    #[error("no address")]
    Empty,
    /// Longer than any address.
    #[error("an address has at most {ADDRESS_BYTES_MAX} characters")]
    TooLong,
    /// Something that stands in no address.
    #[error("an address is made of letters, digits and `_ - . :`, and `{0}` is none of these")]
    Character(char),
    /// The label is too long.
    #[error("a label has at most {LABEL_BYTES_MAX} bytes")]
    LabelTooLong,
    /// A label that would break lines.
    #[error("a label is one line")]
    LabelNotALine,
    /// No chain's number or name.
    #[error(
        "a chain is a number such as `1` or `100000`, or one of `eth`, `bsc`, `base`, `sol`, `polygon`, `arbitrum`, `optimism`"
    )]
    Chain,
}

pub(super) fn check(address: &str, label: &str, chain: &str) -> Result<(), BadAddress> {
    if address.is_empty() {
        return Err(BadAddress::Empty);
    }
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    let stray = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'));
    if let Some(stray) = address.chars().find(stray) {
        return Err(BadAddress::Character(stray));
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(BadAddress::LabelTooLong);
    }
    if label.chars().any(char::is_control) {
        return Err(BadAddress::LabelNotALine);
    }
    let id = chain_id(chain);
    if id.len() > CHAIN_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAddress::Chain);
    }
    Ok(())
}

/// The number of a chain that is given by its name; anything else is left as it is.
pub fn chain_id(chain: &str) -> &str {
    let names = [
        ("eth", "1"),
        ("ethereum", "1"),
        ("optimism", "10"),
        ("bsc", "56"),
        ("polygon", "137"),
        ("base", "8453"),
        ("arbitrum", "42161"),
        ("sol", "100000"),
        ("solana", "100000"),
    ];
    names.iter().find(|(name, _)| chain.eq_ignore_ascii_case(name)).map_or(chain, |(_, id)| id)
}

/// The one form of an address or a hash: hexadecimal after `0x` in lower case (EVM writes checksums in the case), all else as it stands
/// (base58 tells `A` from `a`).
pub fn canonical(text: &str) -> Cow<'_, str> {
    let Some(hex) = hexadecimal(text.as_bytes()) else { return Cow::Borrowed(text) };
    if !hex.iter().all(u8::is_ascii_hexdigit) {
        return Cow::Borrowed(text);
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// What follows `0x`.
fn hexadecimal(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"))
}

/// An address packed: two hexadecimal digits a byte, or its text. Ahead of it its length, with the top bit set where it was hexadecimal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    run: [u8; ADDRESS_BYTES_MAX + 1],
}

/// In a head: hexadecimal digits, packed.
const HEX: u8 = 0x80;

impl Packed {
    /// Packs an address; `None` if it is too long or nothing at all, and so known to nobody.
    #[inline]
    pub(super) fn new(address: &[u8]) -> Option<Packed> {
        let mut packed = Packed { run: [0; ADDRESS_BYTES_MAX + 1] };
        if address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let hex = hexadecimal(address);
        if hex.is_some_and(|hex| !hex.is_empty() && packed.pack(hex)) {
            return Some(packed);
        }
        packed.run[0] = address.len() as u8;
        packed.run[1..=address.len()].copy_from_slice(address);
        // An odd number of digits, which no chain has: still one address in either case.
        if hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            packed.run[1..].make_ascii_lowercase();
        }
        Some(packed)
    }

    #[inline]
    fn pack(&mut self, hex: &[u8]) -> bool {
        let (pairs, []) = hex.as_chunks::<2>() else { return false };
        let mut wrong = 0;
        for (byte, [high, low]) in self.run[1..].iter_mut().zip(pairs) {
            let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
            wrong |= high | low;
            *byte = high << 4 | low & 0xf;
        }
        self.run[0] = HEX | pairs.len() as u8;
        wrong & 0xf0 == 0
    }

    pub(super) fn head(&self) -> u8 {
        self.run[0]
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.run[1..=length(self.run[0])]
    }

    /// The whole of it: no two addresses have one.
    pub(super) fn key(&self) -> &[u8] {
        &self.run[..=length(self.run[0])]
    }

    /// A hash that is good in all its bits.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        hash(self.head(), self.bytes())
    }
}

/// The length of the bytes of a head.
pub(super) fn length(head: u8) -> usize {
    usize::from(head & !HEX)
}

#[inline]
pub(super) fn hash(head: u8, bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0x6b6f_686f_7274).build_hasher();
    hasher.write(bytes);
    hasher.write_u8(head);
    hasher.finish()
}

/// The address that was packed, in its canonical form.
pub(super) fn unpack(head: u8, bytes: &[u8]) -> String {
    if head & HEX == 0 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    bytes.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 0xf)]));
    text
}

/// The value of each hexadecimal digit; 0xff for all else.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut i = 0u8;
    while i < 16 {
        digits[b"0123456789abcdef"[i as usize] as usize] = i;
        digits[b"0123456789ABCDEF"[i as usize] as usize] = i;
        i += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_one_form_and_base58_keeps_its_case() {
        assert_eq!(
            canonical("0xDEF171Fe48CF0115B1d80b88dc8eAB59176FEe57"),
            "0xdef171fe48cf0115b1d80b88dc8eab59176fee57"
        );
        assert_eq!(canonical("0XAB"), "0xab");
        assert_eq!(canonical("0xZZ"), "0xZZ");
        let solana = "EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm";
        assert_eq!(canonical(solana), solana);
        assert!(matches!(canonical("0xab12"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_packed_is_unpacked_to_its_canonical_form() {
        for text in [
            "0xDEF171Fe48CF0115B1d80b88dc8eAB59176FEe57",
            "0XAB",
            "0xABC",
            "0x",
            "0xZZ",
            "EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm",
            "cosmos1abc",
        ] {
            let packed = Packed::new(text.as_bytes()).unwrap();
            assert_eq!(unpack(packed.head(), packed.bytes()), canonical(text), "{text}");
            let again = Packed::new(canonical(text).as_bytes()).unwrap();
            assert_eq!(again.key(), packed.key(), "{text}");
        }
        assert!(Packed::new(b"").is_none());
        assert!(Packed::new(&[b'a'; 128]).is_none());
        // Packed digits are not the text of the same bytes.
        assert_ne!(Packed::new(b"0x6162").unwrap().hash(), Packed::new(b"ab").unwrap().hash());
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        assert_eq!(Known::new(" ", "", ""), Err(BadAddress::Empty));
        assert_eq!(Known::new(&"a".repeat(128), "", ""), Err(BadAddress::TooLong));
        assert_eq!(Known::new("0xab cd", "", ""), Err(BadAddress::Character(' ')));
        assert_eq!(Known::new("0xab", "", "mars"), Err(BadAddress::Chain));
        assert_eq!(Known::new("0xab", &"a".repeat(101), ""), Err(BadAddress::LabelTooLong));
        assert_eq!(Known::new("0xab", "a\nb", ""), Err(BadAddress::LabelNotALine));
        let known = Known::new(" 0xAB ", " Whale, the first ", "Sol").unwrap();
        assert_eq!(
            (&*known.address, &*known.label, &*known.chain_id),
            ("0xab", "Whale, the first", "100000")
        );
    }
}
