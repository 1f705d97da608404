//! What is told about a trade that is new in the log.
//!
//! All rules see only trades of at least their [`Rule::usd`]. Everything goes by the time of the event (`block_time`); trades arrive in
//! another order, because partitions interleave, and late.
//!
//! - **trade**: each trade, of one side or both.
//! - **first buy**: a buy is told if the log has no other buy of that token by that wallet: once for each wallet and token, whatever the
//!   order of arrival. Where a later buy arrived first, that one is told, and the earlier one, when it arrives, is not.
//! - **cluster**: N distinct wallets buy one token within M. Precisely: where buys of at least N wallets lie within M seconds of each
//!   other (ends included), the time from the first to the last of them is *dense*; dense times that share a second are one cluster. So
//!   the clusters of a token are a function of its buys, in whatever order they arrive. A cluster is told when its Nth wallet makes it
//!   one, and again when a wallet that is new in it joins; of one wallet and cluster it is told once. A late trade may bring several
//!   wallets in at once (told once, together), or show that two clusters are one: whoever was told in both stays told in both, and
//!   nobody of them is told again.
//!
//! What is told about one subject has one key ([`Told::key`]), and the outbox takes each key once for each channel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use market_data::wallets::WalletTrade;
use market_data::{Side, Sum};

use super::{Buy, Direction, Event, History, Joined, Piece, Span, Token, What};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it looks for.
    pub kind: RuleKind,
    /// The least size of a trade, in USD, that it looks at.
    pub usd: Sum,
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Any trade, of one side if it is named.
    Trade {
        /// `Buy` or `Sell`, both if `None`.
        side: Option<Side>,
    },
    /// The first buy of a token by a wallet.
    FirstBuy,
    /// Several wallets that buy one token.
    Cluster {
        /// How many, at least 2.
        wallets: u32,
        /// Within how many seconds, positive.
        within_s: i64,
    },
}

impl fmt::Display for Rule {
    /// The rule in words, which are also its identity: two channels with one rule share what it has seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RuleKind::Trade { side: None } => f.write_str("trade")?,
            RuleKind::Trade { side: Some(Side::Buy) } => f.write_str("buy")?,
            RuleKind::Trade { side: Some(Side::Sell) } => f.write_str("sell")?,
            RuleKind::Trade { side: Some(Side::Unknown) } => f.write_str("trade without a side")?,
            RuleKind::FirstBuy => f.write_str("first buy")?,
            RuleKind::Cluster { wallets, within_s } => {
                write!(f, "{wallets} wallets in {}", Within(*within_s))?;
            }
        }
        if self.usd.is_zero() { Ok(()) } else { write!(f, ", from {} USD", self.usd) }
    }
}

/// Seconds as a person writes them.
struct Within(i64);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// All rules, and the channels that each is told to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<(Rule, Vec<String>)>,
    max_ages_s: BTreeMap<String, i64>,
}

impl Rules {
    /// No rule: trades are logged, nobody is told.
    pub fn new() -> Rules {
        Rules::default()
    }

    /// Tells `channel` what `rule` finds.
    pub fn add(&mut self, channel: &str, rule: Rule) {
        let at = self.rules.iter().position(|(known, _)| *known == rule).unwrap_or_else(|| {
            self.rules.push((rule, Vec::new()));
            self.rules.len() - 1
        });
        let channels = &mut self.rules[at].1;
        if !channels.iter().any(|known| known == channel) {
            channels.push(channel.to_owned());
        }
    }

    /// What happened longer ago than so many seconds is logged and not told to `channel`: the past, read again from a topic's beginning,
    /// is no news. Where it is not set, everything is told.
    pub fn set_max_age(&mut self, channel: &str, max_age_s: i64) {
        self.max_ages_s.insert(channel.to_owned(), max_age_s);
    }

    /// Whether a channel is not told of a trade any more.
    pub fn is_too_old(&self, channel: &str, trade: &WalletTrade, now: i64) -> bool {
        self.max_ages_s
            .get(channel)
            .is_some_and(|max_age_s| trade.block_time < now.saturating_sub(*max_age_s))
    }

    /// Each rule once, with its channels.
    pub fn iter(&self) -> impl Iterator<Item = (&Rule, &[String])> {
        self.rules.iter().map(|(rule, channels)| (rule, channels.as_slice()))
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is about: one key, one notification for each channel.
    pub key: String,
    /// What to say.
    pub event: Event,
}

/// What `rule` tells about a trade that has just come into the log, if anything.
///
/// Trades of one flush are judged one after another in the order of their events, each once it is in the log: then it makes no
/// difference how trades are divided into flushes.
pub fn evaluate<H: History>(
    rule: &Rule,
    trade: &WalletTrade,
    history: &mut H,
) -> Result<Option<Told>, H::Error> {
    if trade.total_usd < rule.usd {
        return Ok(None);
    }
    let token = Token { chain_id: &trade.id.chain_id, token: trade.token_or_pair() };
    let name = rule.to_string();
    let (subject, what) = match &rule.kind {
        RuleKind::Trade { side } if side.is_none_or(|side| side == trade.side) => {
            (trade.id.to_string(), What::Trade)
        }
        RuleKind::FirstBuy if trade.side == Side::Buy => {
            if history.has_other_buy(token, &trade.maker, &rule.usd)? {
                return Ok(None);
            }
            (format!("{}/{}/{}", token.chain_id, token.token, trade.maker), What::FirstBuy)
        }
        RuleKind::Cluster { wallets, within_s } if trade.side == Side::Buy => {
            let seen = Seen { rule, name: &name, token, wallets: *wallets as usize, within_s: *within_s };
            match seen.cluster(trade, history)? {
                Some(what) => (trade.id.to_string(), what),
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(Told { key: format!("{name}|{subject}"), event: Event::new(name, what, trade) }))
}

/// A rule about clusters and the token that was bought.
struct Seen<'a> {
    rule: &'a Rule,
    name: &'a str,
    token: Token<'a>,
    wallets: usize,
    within_s: i64,
}

impl Seen<'_> {
    /// What a buy changes in the clusters, if there is anything to tell.
    fn cluster<H: History>(&self, trade: &WalletTrade, history: &mut H) -> Result<Option<What>, H::Error> {
        // Every window that the buy can have made dense holds its time.
        let Some(first_at) = self.dense_end(trade.block_time, Direction::Oldest, history)? else {
            return Ok(None);
        };
        let last_at = self.dense_end(trade.block_time, Direction::Newest, history)?.unwrap_or(first_at);
        let known = history.clusters(self.name, self.token, first_at, last_at)?;
        let span = match known.first() {
            None => {
                let id = history.open_cluster(self.name, self.token, first_at, last_at)?;
                Span { id, first_at, last_at }
            }
            Some(oldest) => {
                let span = Span {
                    id: oldest.id,
                    first_at: known.iter().map(|span| span.first_at).fold(first_at, i64::min),
                    last_at: known.iter().map(|span| span.last_at).fold(last_at, i64::max),
                };
                let others: Vec<i64> = known[1..].iter().map(|span| span.id).collect();
                if span != *oldest || !others.is_empty() {
                    history.merge_clusters(span, &others)?;
                }
                span
            }
        };
        let mut joined = Vec::new();
        let mut asked = BTreeSet::new();
        for buy in self.strangers(trade, first_at, last_at, &known, history)? {
            if asked.insert(buy.wallet.clone()) && history.join_cluster(span.id, &buy.wallet)? {
                joined.push(Joined {
                    wallet: buy.wallet,
                    label: buy.label,
                    at: buy.time,
                    total_usd: buy.total_usd.to_string(),
                });
            }
        }
        if joined.is_empty() {
            return Ok(None);
        }
        let more = joined.len().saturating_sub(Event::JOINED_MAX) as u64;
        joined.truncate(Event::JOINED_MAX);
        Ok(Some(What::Cluster {
            wallets: history.cluster_wallets(span.id)?,
            within_s: self.within_s,
            first_at: span.first_at,
            last_at: span.last_at,
            opened: known.is_empty(),
            joined,
            more,
        }))
    }

    /// The first or last time of all dense windows that hold `time`; `None` if none does.
    ///
    /// Read from the far end in growing pieces: of a token that everybody buys, the first few buys say it.
    fn dense_end<H: History>(
        &self,
        time: i64,
        from: Direction,
        history: &mut H,
    ) -> Result<Option<i64>, H::Error> {
        let (oldest, newest) = (time.saturating_sub(self.within_s), time.saturating_add(self.within_s));
        let mut limit = PIECE;
        loop {
            let piece = Piece { from: oldest, until: newest, direction: from, limit };
            let near = history.buys(self.token, piece, &self.rule.usd)?;
            match edge(&near.buys, time, self.within_s, self.wallets, from) {
                Some(edge) => return Ok(Some(edge)),
                None if near.whole => return Ok(None),
                None => limit = limit.saturating_mul(PIECE_GROWS),
            }
        }
    }

    /// The buys of a dense time whose wallets may be new in it: those outside the clusters that are known, and the one that is judged.
    fn strangers<H: History>(
        &self,
        trade: &WalletTrade,
        first_at: i64,
        last_at: i64,
        known: &[Span],
        history: &mut H,
    ) -> Result<Vec<Buy>, H::Error> {
        let mut spans: Vec<&Span> = known.iter().collect();
        spans.sort_by_key(|span| span.first_at);
        let mut buys = Vec::new();
        if known.iter().any(|span| (span.first_at..=span.last_at).contains(&trade.block_time)) {
            buys.push(Buy {
                time: trade.block_time,
                wallet: trade.maker.to_string(),
                label: trade.label.to_string(),
                total_usd: trade.total_usd,
            });
        }
        let mut from = first_at;
        let beyond = Span { id: 0, first_at: last_at.saturating_add(1), last_at };
        for span in spans.into_iter().chain([&beyond]) {
            if from < span.first_at {
                let until = span.first_at - 1;
                let piece = Piece { from, until, direction: Direction::Oldest, limit: usize::MAX };
                buys.extend(history.buys(self.token, piece, &self.rule.usd)?.buys);
            }
            from = from.max(span.last_at.saturating_add(1));
        }
        buys.sort_by_key(|buy| buy.time);
        Ok(buys)
    }
}

/// Buys that are asked for at first, and how much more each time that they do not say enough.
const PIECE: usize = 64;
const PIECE_GROWS: usize = 8;

/// The time of the first of `buys` with which a window begins that holds `time` and buys of enough wallets. The buys come from one end of
/// the time around `time`, oldest or newest first, and may break off before the other.
fn edge(buys: &[Buy], time: i64, within_s: i64, wallets: usize, from: Direction) -> Option<i64> {
    let mut inside: BTreeMap<&str, usize> = BTreeMap::new();
    let mut end = 0;
    for first in buys {
        let beyond = match from {
            Direction::Oldest => first.time > time,
            Direction::Newest => first.time < time,
        };
        if beyond {
            return None;
        }
        while let Some(next) = buys.get(end)
            && next.time.abs_diff(first.time) <= within_s.unsigned_abs()
        {
            *inside.entry(next.wallet.as_str()).or_default() += 1;
            end += 1;
            if inside.len() >= wallets {
                return Some(first.time);
            }
        }
        if let Some(count) = inside.get_mut(first.wallet.as_str()) {
            *count -= 1;
            if *count == 0 {
                inside.remove(first.wallet.as_str());
            }
        }
    }
    None
}
