//! What rules ask the log, and where they keep what they have told.

use market_data::Sum;

/// A token on a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token<'a> {
    /// The chain's number.
    pub chain_id: &'a str,
    /// The token's address, or its pair's where trades do not tell it.
    pub token: &'a str,
}

/// A buy as rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buy {
    /// When, unix seconds.
    pub time: i64,
    /// Who.
    pub wallet: String,
    /// The wallet's label.
    pub label: String,
    /// For how much.
    pub total_usd: Sum,
}

/// Which buys of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// From this time, inclusive.
    pub from: i64,
    /// To this time, inclusive.
    pub until: i64,
    /// In which order.
    pub direction: Direction,
    /// So many are read at most, of whatever size.
    pub limit: usize,
}

/// An order in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Oldest,
    /// Newest first.
    Newest,
}

/// The answer to a [`Piece`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buys {
    /// The buys, in the order that was asked for.
    pub buys: Vec<Buy>,
    /// Whether the limit cut nothing off.
    pub whole: bool,
}

impl Buys {
    /// Of what a store has read, those of enough size.
    pub(crate) fn of(mut read: Vec<Buy>, limit: usize, at_least: &Sum) -> Buys {
        let whole = read.len() < limit;
        read.retain(|buy| buy.total_usd >= *at_least);
        Buys { buys: read, whole }
    }
}

/// A cluster's number and extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub id: i64,
    /// Its first buy, unix seconds.
    pub first_at: i64,
    /// Its last buy, unix seconds.
    pub last_at: i64,
}

/// The log as rules see it, with the trade that is judged *in* it already; and the clusters of each rule.
pub trait History {
    /// Why it could not answer.
    type Error;

    /// Whether the log has a buy of the token by the wallet of at least so many USD, beside the trade that is judged.
    fn has_other_buy(&mut self, token: Token<'_>, wallet: &str, at_least: &Sum) -> Result<bool, Self::Error>;

    /// Buys of the token of at least so many USD.
    fn buys(&mut self, token: Token<'_>, piece: Piece, at_least: &Sum) -> Result<Buys, Self::Error>;

    /// The clusters of a rule and token that share a second with `from..=until`, by their number.
    fn clusters(
        &mut self,
        rule: &str,
        token: Token<'_>,
        from: i64,
        until: i64,
    ) -> Result<Vec<Span>, Self::Error>;

    /// Makes a cluster: its number.
    fn open_cluster(
        &mut self,
        rule: &str,
        token: Token<'_>,
        first_at: i64,
        last_at: i64,
    ) -> Result<i64, Self::Error>;

    /// Changes a cluster's extent, and gives it the wallets of others, which are no more.
    fn merge_clusters(&mut self, into: Span, others: &[i64]) -> Result<(), Self::Error>;

    /// Takes a wallet into a cluster: whether it was not in it.
    fn join_cluster(&mut self, cluster: i64, wallet: &str) -> Result<bool, Self::Error>;

    /// How many wallets are in a cluster.
    fn cluster_wallets(&mut self, cluster: i64) -> Result<u64, Self::Error>;
}
