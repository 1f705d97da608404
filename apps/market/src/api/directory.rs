//! All pairs by their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use candles::api::Symbol;
use market_data::PairKey;
use market_store::PairName;

/// A pair and what it is called.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pair: PairKey,
    pub(super) token_symbol: Option<String>,
    pub(super) base_token_symbol: Option<String>,
    /// Its names in lower case, which are searched.
    searched: String,
}

/// All pairs, most active first.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Vec<Arc<Entry>>,
    by_symbol: HashMap<Symbol, Arc<Entry>, foldhash::fast::RandomState>,
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
    pub(super) fn new(
        pair: PairKey,
        token_symbol: Option<String>,
        base_token_symbol: Option<String>,
    ) -> Entry {
        let mut entry = Entry { pair, token_symbol, base_token_symbol, searched: String::new() };
        entry.searched = format!("{}\n{}", entry.name(), entry.ticker()).to_ascii_lowercase();
        entry
    }

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
    /// `volume`: of the last day, by which the pairs are ranked; then by their last trade.
    pub(super) fn of(names: Vec<PairName>, volume: impl Fn(&PairKey) -> f64) -> Directory {
        let mut ranked: Vec<(f64, PairName)> =
            names.into_iter().map(|name| (volume(&name.pair), name)).collect();
        // A pair that several groups or stores have comes several times: what any of them calls it counts.
        ranked.sort_unstable_by(|(_, a), (_, b)| a.pair.cmp(&b.pair));
        ranked.dedup_by(|(_, other), (_, name)| {
            let same = name.pair == other.pair;
            if same {
                name.last_trade_at = name.last_trade_at.max(other.last_trade_at);
                name.token_symbol = name.token_symbol.take().or_else(|| other.token_symbol.take());
                name.base_token_symbol =
                    name.base_token_symbol.take().or_else(|| other.base_token_symbol.take());
            }
            same
        });
        // Equals stay in the order of their pairs.
        ranked
            .sort_by(|(a, one), (b, other)| b.total_cmp(a).then(other.last_trade_at.cmp(&one.last_trade_at)));
        let entry = |(_, name): (f64, PairName)| {
            Arc::new(Entry::new(name.pair, name.token_symbol, name.base_token_symbol))
        };
        let entries: Vec<Arc<Entry>> = ranked.into_iter().map(entry).collect();
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
        let has = move |entry: &&Arc<Entry>| entry.searched.contains(&text);
        self.entries.iter().filter(on).filter(has)
    }
}
