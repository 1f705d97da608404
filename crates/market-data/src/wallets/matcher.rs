//! One lane's search for trades of known wallets.

use std::sync::Arc;

use super::book::{AddressBook, BookReader, Probe};
use super::trade::WalletTrade;
use crate::decode::wallet::{self, Makers, Not, Read};
use crate::{Place, Rejection, Undecodable};

/// What became of the elements of a message, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matched {
    /// Elements of the arrays.
    pub elements: u64,
    /// Elements without a maker: nobody's.
    pub no_maker: u64,
    /// Makers that the filter was asked about.
    pub probes: u64,
    /// Those that it wrongly took for known ones.
    pub false_positives: u64,
    /// Trades of known wallets.
    pub matches: u64,
    /// `add_position` and `remove_position` of known wallets: no trades.
    pub liquidity: u64,
    /// Trades of wallets that are known on another chain only.
    pub other_chain: u64,
    /// Elements that could not be understood: no object, a maker that is no text, or a known wallet's trade with something wrong in it.
    pub rejected: u64,
    /// The first of them, by its index, and why.
    pub first_rejection: Option<(u32, Rejection)>,
}

impl Matched {
    /// Adds the counts of another message.
    pub fn add(&mut self, other: &Matched) {
        self.elements += other.elements;
        self.no_maker += other.no_maker;
        self.probes += other.probes;
        self.false_positives += other.false_positives;
        self.matches += other.matches;
        self.liquidity += other.liquidity;
        self.other_chain += other.other_chain;
        self.rejected += other.rejected;
        self.first_rejection = self.first_rejection.or(other.first_rejection);
    }
}

/// Finds trades of known wallets. One for each lane; nothing in it is shared but the book's snapshot.
///
/// Of each trade the maker is read and asked about; a trade of a known wallet is then read whole. What is wrong with the trades of
/// others is not looked for, but a message that is no array of anything is refused as it is everywhere.
#[derive(Debug, Clone)]
pub struct Matcher {
    book: BookReader,
    makers: Makers,
}

impl Matcher {
    /// A matcher that asks this book.
    pub fn new(book: &AddressBook) -> Matcher {
        Matcher { book: book.reader(), makers: Makers::default() }
    }

    /// Appends the trades of known wallets in one message to `found`, in the order of the message. All are held against one snapshot.
    ///
    /// # Errors
    /// A message that is no JSON array appends nothing: it belongs in the dead-letter topic.
    pub fn read_message(
        &mut self,
        topic: &Arc<str>,
        place: Place,
        value: &[u8],
        found: &mut Vec<WalletTrade>,
    ) -> Result<Matched, Undecodable> {
        self.book.refresh();
        let snapshot = self.book.snapshot();
        let before = found.len();
        let mut counts = Matched::default();
        let searched = self.makers.find(value, |index, element| {
            counts.elements += 1;
            let judged = element.and_then(|(maker, json)| {
                if maker.is_empty() {
                    counts.no_maker += 1;
                    return Ok(());
                }
                counts.probes += 1;
                match snapshot.probe(maker) {
                    Probe::Absent => return Ok(()),
                    Probe::FalsePositive => {
                        counts.false_positives += 1;
                        return Ok(());
                    }
                    Probe::Known => {}
                }
                let label = |maker: &str, chain: &str| snapshot.label(maker, chain).map(Arc::from);
                match wallet::read(json, Read { topic, place, index }, label)? {
                    Ok(trade) => found.push(trade),
                    Err(Not::Liquidity) => counts.liquidity += 1,
                    Err(Not::OtherChain) => counts.other_chain += 1,
                }
                Ok(())
            });
            if let Err(why) = judged {
                counts.rejected += 1;
                counts.first_rejection.get_or_insert((index, why));
            }
        });
        if let Err(why) = searched {
            found.truncate(before);
            return Err(why);
        }
        counts.matches = (found.len() - before) as u64;
        Ok(counts)
    }
}
