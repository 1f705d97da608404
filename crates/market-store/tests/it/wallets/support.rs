//! Trades to try a log with.

use std::sync::Arc;

use market_data::wallets::{TradeId, WalletTrade};
use market_data::{Place, Side, Sum};
use market_store::wallets::{LogFlush, Logged, Rule, RuleKind, Rules, WalletStore};
use market_store::{Advance, FlushError, TopicPartition};

pub(crate) const GROUP: &str = "wallets";
pub(crate) const NOW: i64 = 1_700_000_000;

pub(crate) fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("sol-trades", index)
}

/// A trade of number `n`: wallet, token, time and size as given.
pub(crate) fn trade(n: i64, wallet: &str, token: &str, time: i64, usd: &str, side: Side) -> WalletTrade {
    WalletTrade {
        id: TradeId {
            chain_id: "1".into(),
            pair: format!("pair of {token}"),
            tx: format!("tx{n}"),
            index: 7,
        },
        maker: Arc::from(wallet),
        label: Arc::from(format!("label of {wallet}")),
        side,
        tx_hash: format!("tx{n}"),
        token: token.into(),
        token_symbol: token.to_uppercase(),
        base_token: "base".into(),
        base_token_symbol: "USDC".into(),
        token_amount: "12.000000000000000000000000000001".parse().unwrap(),
        base_token_amount: "0.5".parse().unwrap(),
        total_usd: usd.parse().unwrap(),
        price: Some("0.000000000123".parse().unwrap()),
        block_time: time,
        block_num: 0,
        slot: time * 2,
        transaction_index: 3,
        log_index: n,
        swap_name: "raydium".into(),
        clamp: n % 2 == 0,
        topic: Arc::from("sol-trades"),
        place: Place { partition: 0, offset: n },
        index: 4,
    }
}

pub(crate) fn buy(n: i64, wallet: &str, token: &str, time: i64) -> WalletTrade {
    trade(n, wallet, token, time, "100", Side::Buy)
}

pub(crate) fn rule(kind: RuleKind, usd: &str) -> Rule {
    Rule { kind, usd: usd.parse().unwrap() }
}

pub(crate) fn cluster(wallets: u32, within_s: i64) -> Rule {
    Rule { kind: RuleKind::Cluster { wallets, within_s }, usd: Sum::ZERO }
}

pub(crate) fn rules(rules: &[(&str, Rule)]) -> Rules {
    let mut all = Rules::new();
    for (channel, rule) in rules {
        all.add(channel, rule.clone());
    }
    all
}

/// Logs trades as the owner of partition 0, which is claimed anew.
pub(crate) fn log(store: &mut dyn WalletStore, trades: &[WalletTrade], rules: &Rules) -> Logged {
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let to = claim.position.unwrap_or(0) + 1;
    log_as(
        store,
        &[Advance { partition: claim.partition, epoch: claim.epoch, from: claim.position, to }],
        trades,
        rules,
    )
    .unwrap()
}

pub(crate) fn log_as(
    store: &mut dyn WalletStore,
    advances: &[Advance],
    trades: &[WalletTrade],
    rules: &Rules,
) -> Result<Logged, FlushError> {
    store.log(&LogFlush { group: GROUP, advances, trades, now: NOW, rules })
}
