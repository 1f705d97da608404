//! A log with trades to tell, and a notifier that tells them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort_service::ServiceFile;
use kohort_service::metrics::Registry;
use market_data::wallets::{TradeId, WalletTrade};
use market_data::{Place, Side};
use market_store::wallets::{ChannelSummary, LogFlush, Logged, SqliteWallets, WalletStore};
use market_store::{Advance, FlushError, TopicPartition};
use smart_money::notify::{Notifier, NotifyConfig};

pub(crate) fn config(yaml: &str) -> NotifyConfig {
    let mut plain = Vec::new();
    let read = ServiceFile::parse_with("smart-money", "test.yaml", yaml, |section| {
        NotifyConfig::read(section, &mut plain)
    });
    read.unwrap().1
}

/// A webhook that is told every trade.
pub(crate) fn webhook(address: std::net::SocketAddr) -> NotifyConfig {
    config(&format!(
        "Notify:\n  - {{Kind: webhook, Url: 'http://{address}/in', Secret: s3cret, RatePerSecond: 1000, Rules: [{{Kind: trade}}]}}\n"
    ))
}

pub(crate) fn open(folder: &Path) -> SqliteWallets {
    SqliteWallets::open(&folder.join("smart_money.db")).unwrap()
}

pub(crate) fn notifier(folder: &Path, config: &NotifyConfig) -> Notifier {
    Notifier::start(&config.channels, Box::new(open(folder)), &Registry::default()).unwrap()
}

/// Trade number `n`, a buy of 12,345.67 USD.
pub(crate) fn trade(n: i64) -> WalletTrade {
    WalletTrade {
        id: TradeId { chain_id: "100000".into(), pair: "pair".into(), tx: format!("tx{n}"), index: 0 },
        maker: Arc::from("EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm"),
        label: Arc::from("whale <1>"),
        side: Side::Buy,
        tx_hash: format!("tx{n}"),
        token: "So11111111111111111111111111111111111111112".into(),
        token_symbol: "PEPE".into(),
        base_token: String::new(),
        base_token_symbol: String::new(),
        token_amount: "1000".parse().unwrap(),
        base_token_amount: "1".parse().unwrap(),
        total_usd: "12345.678".parse().unwrap(),
        price: Some("12.345".parse().unwrap()),
        block_time: 1_704_456_023,
        block_num: 0,
        slot: n,
        transaction_index: 0,
        log_index: 0,
        swap_name: String::new(),
        clamp: false,
        topic: Arc::from("sol-trades"),
        place: Place { partition: 0, offset: n },
        index: 0,
    }
}

pub(crate) fn key(n: i64) -> String {
    format!("trade|100000/pair/tx{n}/0")
}

pub(crate) fn log(store: &mut dyn WalletStore, config: &NotifyConfig, trades: &[WalletTrade]) -> Logged {
    try_log(store, config, trades).unwrap()
}

pub(crate) fn try_log(
    store: &mut dyn WalletStore,
    config: &NotifyConfig,
    trades: &[WalletTrade],
) -> Result<Logged, FlushError> {
    let claim = store.claim("g", &[TopicPartition::new("sol-trades", 0)])?.remove(0);
    let to = claim.position.unwrap_or(0) + 1;
    let advance = Advance { partition: claim.partition, epoch: claim.epoch, from: claim.position, to };
    let flush =
        LogFlush { group: "g", advances: &[advance], trades, now: 1_704_456_030, rules: &config.rules };
    store.log(&flush)
}

pub(crate) fn summary(store: &mut dyn WalletStore, channel: &str) -> ChannelSummary {
    let all = store.outbox().unwrap();
    all.into_iter().find(|one| one.channel == channel).unwrap_or_default()
}

/// Waits until a channel's rows are as they should be.
pub(crate) async fn settled(
    store: &mut dyn WalletStore,
    channel: &str,
    enough: impl Fn(&ChannelSummary) -> bool,
) -> ChannelSummary {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let now = summary(store, channel);
        if enough(&now) {
            return now;
        }
        assert!(Instant::now() < until, "{now:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
