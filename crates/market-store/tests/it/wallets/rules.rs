//! Rules as properties: whatever the order in which trades arrive and however often.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use market_data::wallets::WalletTrade;
use market_data::{Side, Sum};
use market_store::wallets::{
    Buy, Buys, Direction, Event, History, Piece, Rule, RuleKind, Span, SqliteWallets, Token, WalletLog, What,
    evaluate,
};
use market_store::{Advance, Positions};
use proptest::prelude::*;

use super::support::{GROUP, cluster, partition, rule, trade};

/// The log in memory, as simple as can be.
#[derive(Default)]
struct Memory {
    trades: Vec<WalletTrade>,
    clusters: BTreeMap<i64, (String, i64, i64, BTreeSet<String>)>,
    next: i64,
}

impl Memory {
    fn buys_of<'a>(&'a self, token: Token<'a>, least: &'a Sum) -> impl Iterator<Item = &'a WalletTrade> {
        self.trades.iter().filter(move |trade| {
            trade.side == Side::Buy
                && (trade.id.chain_id.as_str(), trade.token_or_pair()) == (token.chain_id, token.token)
                && trade.total_usd >= *least
        })
    }
}

impl History for Memory {
    type Error = Infallible;

    fn has_other_buy(&mut self, token: Token<'_>, wallet: &str, least: &Sum) -> Result<bool, Infallible> {
        let judged = &self.trades.last().unwrap().id;
        Ok(self.buys_of(token, least).any(|buy| &*buy.maker == wallet && buy.id != *judged))
    }

    fn buys(&mut self, token: Token<'_>, piece: Piece, least: &Sum) -> Result<Buys, Infallible> {
        let mut found: Vec<Buy> = self
            .buys_of(token, least)
            .filter(|buy| (piece.from..=piece.until).contains(&buy.block_time))
            .map(|buy| Buy {
                time: buy.block_time,
                wallet: buy.maker.to_string(),
                label: buy.label.to_string(),
                total_usd: buy.total_usd,
            })
            .collect();
        found.sort_by_key(|buy| buy.time);
        if piece.direction == Direction::Newest {
            found.reverse();
        }
        // As if rows came a few at a time, so that rules ask again.
        let limit = if piece.limit == usize::MAX { usize::MAX } else { piece.limit / 32 };
        let whole = found.len() < limit;
        found.truncate(limit);
        Ok(Buys { buys: found, whole })
    }

    fn clusters(
        &mut self,
        rule: &str,
        token: Token<'_>,
        from: i64,
        until: i64,
    ) -> Result<Vec<Span>, Infallible> {
        let of = format!("{rule}|{}", token.token);
        let found = self
            .clusters
            .iter()
            .filter(|(_, (name, first, last, _))| *name == of && *last >= from && *first <= until);
        Ok(found
            .map(|(id, (_, first_at, last_at, _))| Span { id: *id, first_at: *first_at, last_at: *last_at })
            .collect())
    }

    fn open_cluster(
        &mut self,
        rule: &str,
        token: Token<'_>,
        first: i64,
        last: i64,
    ) -> Result<i64, Infallible> {
        self.next += 1;
        self.clusters.insert(self.next, (format!("{rule}|{}", token.token), first, last, BTreeSet::new()));
        Ok(self.next)
    }

    fn merge_clusters(&mut self, into: Span, others: &[i64]) -> Result<(), Infallible> {
        let gained: Vec<String> =
            others.iter().flat_map(|other| self.clusters.remove(other).unwrap().3).collect();
        let cluster = self.clusters.get_mut(&into.id).unwrap();
        (cluster.1, cluster.2) = (into.first_at, into.last_at);
        cluster.3.extend(gained);
        Ok(())
    }

    fn join_cluster(&mut self, cluster: i64, wallet: &str) -> Result<bool, Infallible> {
        Ok(self.clusters.get_mut(&cluster).unwrap().3.insert(wallet.to_owned()))
    }

    fn cluster_wallets(&mut self, cluster: i64) -> Result<u64, Infallible> {
        Ok(self.clusters[&cluster].3.len() as u64)
    }
}

/// Takes trades in their order of arrival; returns what was told, with its key.
fn arrive(memory: &mut Memory, rule: &Rule, trades: &[WalletTrade]) -> Vec<(String, Event)> {
    let mut told = Vec::new();
    for trade in trades {
        if memory.trades.iter().any(|known| known.id == trade.id) {
            continue;
        }
        memory.trades.push(trade.clone());
        let Ok(found) = evaluate(rule, trade, memory);
        told.extend(found.map(|found| (found.key, found.event)));
    }
    told
}

type Extent = (i64, i64, BTreeSet<String>);

/// The clusters of one token by their definition, worked out from all its buys at once.
fn clusters_of(trades: &[WalletTrade], token: &str, wallets: usize, within_s: i64) -> Vec<Extent> {
    let buys: Vec<&WalletTrade> =
        trades.iter().filter(|trade| trade.side == Side::Buy && trade.token == token).collect();
    let mut found: Vec<Extent> = Vec::new();
    for first in &buys {
        let inside: Vec<_> = buys
            .iter()
            .filter(|buy| (first.block_time..=first.block_time + within_s).contains(&buy.block_time))
            .collect();
        let who: BTreeSet<String> = inside.iter().map(|buy| buy.maker.to_string()).collect();
        if who.len() >= wallets {
            let last = inside.iter().map(|buy| buy.block_time).max().unwrap();
            found.push((first.block_time, last, who));
        }
    }
    found.sort();
    let mut whole: Vec<Extent> = Vec::new();
    for (first, last, who) in found {
        match whole.last_mut() {
            Some(before) if first <= before.1 => {
                before.1 = before.1.max(last);
                before.2.extend(who);
            }
            _ => whole.push((first, last, who)),
        }
    }
    whole
}

fn some_trades() -> impl Strategy<Value = Vec<WalletTrade>> {
    let one = (0..6u8, 0..2u8, 1..400i64, 0..3u8, 0..4u8);
    prop::collection::vec(one, 1..40).prop_map(|trades| {
        (0..)
            .zip(trades)
            .map(|(n, (wallet, token, time, size, side))| {
                let side = if side == 0 { Side::Sell } else { Side::Buy };
                let size = ["1", "50", "1000"][usize::from(size)];
                trade(n, &format!("w{wallet}"), &format!("t{token}"), time, size, side)
            })
            .collect()
    })
}

/// Trades in an order of arrival that is not theirs, some of them more than once.
fn shuffled() -> impl Strategy<Value = (Vec<WalletTrade>, Vec<WalletTrade>)> {
    some_trades().prop_flat_map(|trades| {
        let again = prop::sample::subsequence(trades.clone(), 0..=trades.len());
        let all = again.prop_map({
            let trades = trades.clone();
            move |again| [trades.clone(), again].concat()
        });
        (Just(trades), all.prop_shuffle())
    })
}

fn keys(told: &[(String, Event)]) -> BTreeSet<&String> {
    told.iter().map(|(key, _)| key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trade_of_size_is_told_once((trades, arrival) in shuffled()) {
        let rule = rule(RuleKind::Trade { side: None }, "50");
        let told = arrive(&mut Memory::default(), &rule, &arrival);
        let wanted: BTreeSet<String> =
            trades.iter().filter(|trade| trade.total_usd >= rule.usd).map(|trade| trade.id.to_string()).collect();
        let found: Vec<String> = told.iter().map(|(_, event)| event.trade_id.clone()).collect();
        prop_assert_eq!(found.len(), wanted.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
        prop_assert_eq!(keys(&told).len(), told.len());
    }

    #[test]
    fn a_first_buy_is_told_once_for_each_wallet_and_token((trades, arrival) in shuffled()) {
        let rule = rule(RuleKind::FirstBuy, "50");
        let told = arrive(&mut Memory::default(), &rule, &arrival);
        let wanted: BTreeSet<(String, String)> = trades
            .iter()
            .filter(|trade| trade.side == Side::Buy && trade.total_usd >= rule.usd)
            .map(|trade| (trade.maker.to_string(), trade.token.clone()))
            .collect();
        let found: Vec<_> = told.iter().map(|(_, event)| (event.wallet.clone(), event.token.clone())).collect();
        prop_assert_eq!(found.len(), wanted.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
        prop_assert_eq!(keys(&told).len(), told.len());
    }

    #[test]
    fn the_clusters_are_the_same_whatever_the_order_of_arrival((trades, arrival) in shuffled(), wallets in 2..4u32) {
        let rule = cluster(wallets, 40);
        let mut memory = Memory::default();
        let told = arrive(&mut memory, &rule, &arrival);
        prop_assert_eq!(keys(&told).len(), told.len());
        for token in ["t0", "t1"] {
            let wanted = clusters_of(&trades, token, wallets as usize, 40);
            let mut kept: Vec<Extent> = memory
                .clusters
                .values()
                .filter(|(name, ..)| name.ends_with(token))
                .map(|(_, first, last, who)| (*first, *last, who.clone()))
                .collect();
            kept.sort();
            prop_assert_eq!(&kept, &wanted);
            // Whoever is in a cluster was told, and nobody who is in none.
            let mut announced: BTreeSet<(i64, String)> = BTreeSet::new();
            for (_, event) in told.iter().filter(|(_, event)| event.token == token) {
                let What::Cluster { joined, .. } = &event.what else { panic!("{event:?}") };
                for joined in joined {
                    let of = wanted.iter().find(|(first, last, _)| (*first..=*last).contains(&joined.at)).unwrap();
                    prop_assert!(of.2.contains(&joined.wallet));
                    announced.insert((of.0, joined.wallet.clone()));
                }
            }
            let members: usize = wanted.iter().map(|(.., who)| who.len()).sum();
            prop_assert_eq!(announced.len(), members);
        }
    }

    #[test]
    fn in_order_each_wallet_of_a_cluster_is_told_exactly_once(mut trades in some_trades(), wallets in 2..4u32) {
        trades.sort_by_key(|trade| trade.block_time);
        let told = arrive(&mut Memory::default(), &cluster(wallets, 40), &trades);
        for token in ["t0", "t1"] {
            let wanted = clusters_of(&trades, token, wallets as usize, 40);
            let announced: usize = told
                .iter()
                .filter(|(_, event)| event.token == token)
                .map(|(_, event)| match &event.what {
                    What::Cluster { joined, .. } => joined.len(),
                    other => panic!("{other:?}"),
                })
                .sum();
            prop_assert_eq!(announced, wanted.iter().map(|(.., who)| who.len()).sum::<usize>());
            let opened = told.iter().filter(|(_, event)| {
                event.token == token && matches!(event.what, What::Cluster { opened: true, .. })
            });
            prop_assert_eq!(opened.count(), wanted.len());
        }
    }
}

/// Twenty thousand buys of one token within a day: what a rule reads of them must not grow with them.
#[test]
fn a_token_that_everybody_buys_is_judged_as_fast_as_any() {
    struct Counted(Memory, usize);
    let rule = cluster(3, 86_400);
    let mut memory = Counted(Memory::default(), 0);
    impl History for Counted {
        type Error = Infallible;
        fn has_other_buy(&mut self, token: Token<'_>, wallet: &str, least: &Sum) -> Result<bool, Infallible> {
            self.0.has_other_buy(token, wallet, least)
        }
        fn buys(&mut self, _: Token<'_>, piece: Piece, _: &Sum) -> Result<Buys, Infallible> {
            // In order of time here, as they come.
            let trades = &self.0.trades;
            let from = trades.partition_point(|trade| trade.block_time < piece.from);
            let until = trades.partition_point(|trade| trade.block_time <= piece.until);
            let of = |trade: &WalletTrade| Buy {
                time: trade.block_time,
                wallet: trade.maker.to_string(),
                label: String::new(),
                total_usd: trade.total_usd,
            };
            let all = &trades[from..until];
            let buys: Vec<Buy> = match piece.direction {
                Direction::Oldest => all.iter().take(piece.limit).map(of).collect(),
                Direction::Newest => all.iter().rev().take(piece.limit).map(of).collect(),
            };
            self.1 += buys.len();
            Ok(Buys { whole: buys.len() < piece.limit, buys })
        }
        fn clusters(
            &mut self,
            rule: &str,
            token: Token<'_>,
            from: i64,
            until: i64,
        ) -> Result<Vec<Span>, Infallible> {
            self.0.clusters(rule, token, from, until)
        }
        fn open_cluster(
            &mut self,
            rule: &str,
            token: Token<'_>,
            first: i64,
            last: i64,
        ) -> Result<i64, Infallible> {
            self.0.open_cluster(rule, token, first, last)
        }
        fn merge_clusters(&mut self, into: Span, others: &[i64]) -> Result<(), Infallible> {
            self.0.merge_clusters(into, others)
        }
        fn join_cluster(&mut self, cluster: i64, wallet: &str) -> Result<bool, Infallible> {
            self.0.join_cluster(cluster, wallet)
        }
        fn cluster_wallets(&mut self, cluster: i64) -> Result<u64, Infallible> {
            self.0.cluster_wallets(cluster)
        }
    }
    const BUYS: i64 = 20_000;
    let mut told = 0;
    for n in 0..BUYS {
        let buy = trade(n, &format!("w{}", n % 5000), "t", 1 + n * 4, "1", Side::Buy);
        memory.0.trades.push(buy.clone());
        let Ok(found) = evaluate(&rule, &buy, &mut memory);
        told += usize::from(found.is_some());
    }
    // The third opens it with three; each wallet once.
    assert_eq!(told, 5000 - 2);
    assert!(memory.1 < BUYS as usize * 200, "{} buys were read", memory.1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The store asks and keeps as the simple log in memory does, however trades are divided into flushes.
    #[test]
    fn the_store_tells_what_the_rules_say((trades, arrival) in shuffled(), flush in 1..7usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteWallets::open(&folder.path().join("smart_money.db")).unwrap();
        let every = [cluster(2, 40), rule(RuleKind::FirstBuy, "50"), rule(RuleKind::Trade { side: None }, "1000")];
        let told = super::support::rules(&every.clone().map(|rule| ("a", rule)));
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        let (mut from, mut notifications) = (claim.position, 0);
        let mut in_flush_order = Vec::new();
        for (to, part) in (1..).zip(arrival.chunks(flush)) {
            let advance = Advance { partition: partition(0), epoch: claim.epoch, from, to };
            let logged = super::support::log_as(&mut store, &[advance], part, &told).unwrap();
            from = Some(to);
            notifications += logged.notifications;
            in_flush_order.extend(logged.new.iter().map(|at| part[*at].clone()));
        }
        prop_assert_eq!(store.logged_count().unwrap() as usize, trades.len());
        let wanted: usize =
            every.iter().map(|rule| arrive(&mut Memory::default(), rule, &in_flush_order).len()).sum();
        prop_assert_eq!(notifications, wanted);
    }
}
