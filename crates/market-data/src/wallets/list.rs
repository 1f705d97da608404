//! The file of addresses: one a line, `address[,label][,chain]`; `#` begins a comment.

use thiserror::Error;

use super::address::{BadAddress, Known};
use super::book::BookList;

/// A line that is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: LineError,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// The address, the label or the chain.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// More than two commas.
    #[error("a line is `address`, `address,label` or `address,label,chain`, and this has more commas")]
    TooManyCommas,
}

/// Adds the addresses of a file to a list. A label cannot hold a comma or a `#`.
///
/// # Errors
/// The first line that is none, by its number.
pub fn read_list(text: &str, list: &mut BookList) -> Result<(), BadLine> {
    for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let text = text.split('#').next().unwrap_or_default().trim();
        if !text.is_empty() {
            list.push(&read_line(text).map_err(|why| BadLine { line, why })?);
        }
    }
    Ok(())
}

fn read_line(text: &str) -> Result<Known, LineError> {
    let mut parts = text.split(',');
    let mut next = || parts.next().unwrap_or_default();
    let (address, label, chain) = (next(), next(), next());
    if parts.next().is_some() {
        return Err(LineError::TooManyCommas);
    }
    Ok(Known::new(address, label, chain)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallets::{AddressBook, FalsePositiveRate};

    fn read(text: &str) -> Result<Vec<(String, String, String)>, BadLine> {
        let mut list = BookList::default();
        read_list(text, &mut list)?;
        let book = AddressBook::new(FalsePositiveRate::DEFAULT);
        book.replace(list, []).unwrap();
        Ok(book.snapshot().iter().map(|known| (known.address, known.label, known.chain_id)).collect())
    }

    #[test]
    fn a_line_is_an_address_and_perhaps_a_label_and_a_chain() {
        let text = "\u{feff}# known wallets\n\n0xAB\r\n  0xcd , a whale ,eth\nSoL,, 100000 # since May\n0xab,again\n";
        let line = |address: &str, label: &str, chain: &str| (address.into(), label.into(), chain.into());
        assert_eq!(
            read(text),
            Ok(vec![line("0xcd", "a whale", "1"), line("SoL", "", "100000"), line("0xab", "again", "")])
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        assert_eq!(read("0xab\n0x ab"), Err(BadLine { line: 2, why: BadAddress::Character(' ').into() }));
        assert_eq!(read("\n\na,b,c,d"), Err(BadLine { line: 3, why: LineError::TooManyCommas }));
        let error = read("0xab,x,mars").unwrap_err().to_string();
        assert!(error.starts_with("line 1: a chain is a number"), "{error}");
    }
}
