//! All pairs by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use candles::api::Symbol;
use market_data::{Interval, PairKey, Price};
use market_store::{PairSummary, Window};

/// A pair and what it is called.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pair: PairKey,
    pub(super) token_symbol: Option<String>,
    pub(super) base_token_symbol: Option<String>,
    pub(super) last_price: Price,
}

/// All pairs, most active first.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Vec<Arc<Entry>>,
    by_symbol: HashMap<Symbol, Arc<Entry>, foldhash::fast::RandomState>,
}

/// The day whose volume ranks the pairs.
pub(super) fn window(present: i64) -> Window {
    let end = Interval::M15.start_of(present) + Interval::M15.seconds();
    Window { start: end - Interval::D1.seconds(), end }
}

/// The names of chains that people know, by their numbers.
const CHAINS: [(&str, &str); 4] = [("1", "Ethereum"), ("56", "BSC"), ("8453", "Base"), ("100000", "Solana")];

/// What people call a chain; its number, if they do not.
pub(super) fn chain_name(chain_id: &str) -> &str {
    CHAINS.iter().find(|(id, _)| *id == chain_id).map_or(chain_id, |(_, name)| name)
}

/// The chains that are known by name.
pub(super) fn chain_names() -> impl Iterator<Item = &'static str> {
    CHAINS.iter().map(|(_, name)| *name)
}

impl Entry {
    /// What people call the pair: `WETH/USDC`, or its address.
    pub(super) fn name(&self) -> String {
        match (&self.token_symbol, &self.base_token_symbol) {
            (Some(token), Some(base)) => format!("{token}/{base}"),
            (Some(token), None) => token.clone(),
            _ => self.pair.pair.clone(),
        }
    }

    /// Its one name: `<chain_id>:<pair_addr>`, as the trades write it.
    pub(super) fn ticker(&self) -> String {
        format!("{}:{}", self.pair.chain_id, self.pair.pair)
    }
}

impl Directory {
    pub(super) fn of(summaries: Vec<PairSummary>) -> Directory {
        let entry = |summary: PairSummary| {
            Arc::new(Entry {
                pair: summary.pair,
                token_symbol: summary.token_symbol,
                base_token_symbol: summary.base_token_symbol,
                last_price: summary.last_price,
            })
        };
        let entries: Vec<Arc<Entry>> = summaries.into_iter().map(entry).collect();
        let mut by_symbol = HashMap::with_capacity_and_hasher(entries.len(), Default::default());
        for entry in &entries {
            // Should two pairs differ in nothing but case, the more active one is meant.
            if let Slot::Vacant(slot) = by_symbol.entry(Symbol::of(&entry.pair)) {
                slot.insert(Arc::clone(entry));
            }
        }
        Directory { entries, by_symbol }
    }

    /// The pair of a symbol.
    pub(super) fn find(&self, pair: &PairKey) -> Option<&Arc<Entry>> {
        self.by_symbol.get(&Symbol::of(pair))
    }

    /// The most active pair that people call so, on any chain or on the one named ahead (`Ethereum:WETH/USDC`), or that has this
    /// address.
    pub(super) fn called(&self, name: &str) -> Option<&Arc<Entry>> {
        let named = |entry: &&Arc<Entry>| {
            let called = entry.name();
            let chain = chain_name(&entry.pair.chain_id);
            let rest = name.get(chain.len()..).and_then(|rest| rest.strip_prefix(':'));
            let of_chain = rest.filter(|_| name[..chain.len()].eq_ignore_ascii_case(chain));
            called.eq_ignore_ascii_case(name)
                || entry.pair.pair.eq_ignore_ascii_case(name)
                || of_chain.is_some_and(|rest| {
                    called.eq_ignore_ascii_case(rest) || entry.pair.pair.eq_ignore_ascii_case(rest)
                })
        };
        self.entries.iter().find(named)
    }

    /// The pairs with this text in their names or addresses, most active first.
    pub(super) fn search<'a>(
        &'a self,
        text: &str,
        exchange: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let text = text.trim().to_ascii_lowercase();
        let on = move |entry: &&Arc<Entry>| {
            exchange.is_empty() || chain_name(&entry.pair.chain_id).eq_ignore_ascii_case(exchange)
        };
        let has = move |entry: &&Arc<Entry>| {
            let mut names = [entry.name(), entry.ticker()].into_iter();
            text.is_empty() || names.any(|name| name.to_ascii_lowercase().contains(&text))
        };
        self.entries.iter().filter(on).filter(has)
    }
}
