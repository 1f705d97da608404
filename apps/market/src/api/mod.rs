//! The HTTP interface to candles: `docs/http.md`, what is marked *market*.

mod binance;
mod cached;
mod directory;
mod movers;
mod udf;
mod windows;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use candles::api::{Kept, Readers};
use market_data::{Interval, PairKey};
use market_store::{CandleQuery, CandleReader, StoreError};

use self::cached::Cached;
use self::directory::{Directory, Entry};
use crate::movers::{Mover, Movers};

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    readers: Arc<Readers>,
    groups: Arc<[String]>,
    present: Arc<Cached<Option<i64>>>,
    directory: Kept<Directory>,
    movers: Kept<movers::Tables>,
}

/// So long names wait for the volumes that rank them. Of a store where those take longer, the first answers are ranked by the last trade.
const RANKS_WAIT: Duration = Duration::from_millis(500);

impl Api {
    /// The interface of a store, for the candles of these groups.
    pub fn new(readers: Arc<Readers>, groups: Vec<String>) -> Api {
        let groups: Arc<[String]> = groups.into();
        let kept = Arc::new(Mutex::new(Movers::new(&groups)));
        let (asked, of) = (Arc::clone(&readers), Arc::clone(&groups));
        let movers = Kept::new(move || {
            let (kept, groups) = (Arc::clone(&kept), Arc::clone(&of));
            Arc::clone(&asked).ask(move |reader| {
                let end =
                    windows::end(candles::api::present(candles::api::now(), reader.newest_trade(&groups)?));
                // What is kept between two tables is kept whole or not at all, so a panic elsewhere leaves nothing half done.
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(movers::Tables { end, of: kept.find(reader, end)? })
            })
        });
        let (asked, of, tables) = (Arc::clone(&readers), Arc::clone(&groups), movers.clone());
        let directory = Kept::new(move || directory(Arc::clone(&asked), Arc::clone(&of), tables.clone()));
        Api { readers, groups, present: Arc::default(), directory, movers }
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

    /// All pairs and their names; a few seconds old at most.
    async fn directory(&self) -> Result<Arc<Directory>, StoreError> {
        self.directory.get().await
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

/// Makes the directory. Names alone are read; what ranks them the movers know.
async fn directory(
    readers: Arc<Readers>,
    groups: Arc<[String]>,
    movers: Kept<movers::Tables>,
) -> Result<Directory, StoreError> {
    let tables = match tokio::time::timeout(RANKS_WAIT, movers.get()).await {
        Ok(tables) => Some(tables?),
        Err(_) => None,
    };
    let made = readers.ask(move |reader| {
        let day = tables.iter().flat_map(|tables| tables.of.last().into_iter().flatten());
        let of = |mover: &'_ Mover| (Arc::clone(&mover.pair), mover.volume_usd);
        let volumes: HashMap<Arc<PairKey>, f64, foldhash::fast::RandomState> = day.map(of).collect();
        Ok(Directory::of(reader.names(&groups)?, |pair| volumes.get(pair).copied().unwrap_or(0.0)))
    });
    made.await
}
