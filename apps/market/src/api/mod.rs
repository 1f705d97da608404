//! The HTTP interface to candles: `docs/http.md`, what is marked *market*.

mod binance;
mod cached;
mod directory;
mod movers;
mod udf;
mod windows;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use candles::api::Readers;
use market_data::{Interval, PairKey};
use market_store::{CandleQuery, CandleReader, StoreError};

use self::cached::Cached;
use self::directory::{Directory, Entry};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    readers: Arc<Readers>,
    groups: Arc<[String]>,
    present: Arc<Cached<Option<i64>>>,
    directory: Arc<Cached<Directory>>,
    movers: Arc<movers::Tables>,
}

impl Api {
    /// The interface of a store, for the candles of these groups.
    pub fn new(readers: Arc<Readers>, groups: Vec<String>) -> Api {
        let movers = Arc::new(movers::Tables::new(&groups));
        Api { readers, groups: groups.into(), present: Arc::default(), directory: Arc::default(), movers }
    }

    /// Everything: what Dataflow answers about candles too (`/api/candles`, `/api/pairs`), and what Market alone does.
    pub fn router(self) -> Router {
        let charts = candles::api::charts(Arc::clone(&self.readers), self.groups.to_vec());
        self.own_router().merge(charts)
    }

    /// What Market alone answers, to stand beside Dataflow's routes on one address: Binance's K-lines, the TradingView data feed (under
    /// `/udf` and at the root), windows and movers.
    pub fn own_router(self) -> Router {
        let udf = udf::router();
        Router::new()
            .route("/api/v3/ping", get(binance::ping))
            .route("/api/v3/time", get(binance::time))
            .route("/api/v3/klines", get(binance::klines))
            .route("/api/v3/uiKlines", get(binance::klines))
            .route("/api/windows", get(windows::windows))
            .route("/api/movers", get(movers::movers))
            .merge(udf.clone())
            .nest("/udf", udf)
            .with_state(self)
    }

    /// Asks the store.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn CandleReader, &[String]) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let groups = Arc::clone(&self.groups);
        Arc::clone(&self.readers).ask(move |reader| question(reader, &groups)).await
    }

    /// The present of the market, unix seconds; a second old at most.
    async fn present(&self) -> Result<i64, StoreError> {
        let newest = self.present.get(|| self.ask(|reader, groups| reader.newest_trade(groups))).await?;
        Ok(candles::api::present(candles::api::now(), *newest))
    }

    /// All pairs and their names; as old as the time that it takes to list them allows.
    async fn directory(&self) -> Result<Arc<Directory>, StoreError> {
        let read = |present| {
            self.ask(move |reader, groups| {
                Ok(Directory::of(reader.pairs(groups, directory::window(present))?))
            })
        };
        let present = self.present().await?;
        self.directory.get(|| read(present)).await
    }

    /// The pair that is written with exactly these letters; where there is none, in any case.
    async fn pair(&self, asked: PairKey) -> Result<Option<PairKey>, StoreError> {
        let exact = asked.clone();
        let found = self.ask(move |reader, groups| {
            let (pair, interval) = (&exact, Interval::D1);
            reader.candles(&CandleQuery { groups, pair, interval, from: None, before: None, limit: 1 })
        });
        if !found.await?.is_empty() {
            return Ok(Some(asked));
        }
        Ok(self.directory().await?.find(&asked).map(|entry| entry.pair.clone()))
    }

    /// What is known of a pair that exists.
    async fn entry(&self, pair: &PairKey) -> Result<Option<Arc<Entry>>, StoreError> {
        Ok(self.directory().await?.find(pair).filter(|entry| entry.pair == *pair).map(Arc::clone))
    }
}
