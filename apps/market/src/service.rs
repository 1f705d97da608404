//! The service: the road over its cache, and its interface.

use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use candles::{Road, Settings};
use kohort_service::Complaint;
use kohort_service::config::store_place;
use market_store::{CachedStore, CandleStore, MemoryStore, RedisAddress, RedisStore, Retention};

use crate::api::Api;

/// The name of the file in the data folder that the cache in memory stands in front of.
pub const STORE_FILE: &str = "market.db";

/// The service, running. [`Market::stop`] drains it; dropped, it ends as a crash would, and loses nothing either.
#[derive(Debug)]
pub struct Market {
    road: Road,
    api: Api,
}

/// Opens the cache and starts everything. Waits for no broker: one that is away is asked again for ever.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be, and a cache that cannot be opened. Needs a tokio runtime.
pub fn start(settings: &Settings) -> anyhow::Result<Market> {
    let (name, store) = open_store(settings)?;
    start_on(settings, &name, store)
}

/// Starts everything over a cache that is open already, by the name that other services have for it.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be. Needs a tokio runtime.
pub fn start_on(settings: &Settings, name: &str, store: Box<dyn CandleStore>) -> anyhow::Result<Market> {
    let road = Road::start(settings, name, store)?;
    let api = Api::new(road.readers().clone(), road.groups().to_vec());
    Ok(Market { road, api })
}

/// The file of the embedded cache.
pub fn store_file(settings: &Settings) -> PathBuf {
    settings.data.join(STORE_FILE)
}

/// The cache, and the name that other services have for it. A Redis that is away is no error: it is asked again with every call.
fn open_store(settings: &Settings) -> anyhow::Result<(String, Box<dyn CandleStore>)> {
    if let Some(redis) = &settings.file.redis {
        if redis.kind == "cluster" {
            return Err(Complaint::new("`Type: cluster` of `Redis` is not available")
                .at(redis.at.clone())
                .why("candles and positions are written in one step, and a cluster keeps them on different servers")
                .hint("write `Type: node`, or leave it out")
                .into());
        }
        let name = store_place(&format!("redis://{}", redis.host));
        let address = RedisAddress { pass: redis.pass.clone(), ..RedisAddress::new(with_port(&redis.host)) };
        return Ok((name, Box::new(RedisStore::new(address))));
    }
    let file = store_file(settings);
    let store = CachedStore::open(&file, || MemoryStore::new().retention(Retention::ORIGINAL))
        .with_context(|| format!("open the cache `{}`", file.display()))?;
    let name = candles::file_name(&file);
    let store = store.shared_groups(candles::shared_groups(settings, &name)?);
    Ok((name, Box::new(store)))
}

/// Redis' own port where a host names none.
fn with_port(host: &str) -> String {
    if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return host.to_owned();
    }
    format!("{host}:6379")
}

impl Market {
    /// What Market alone answers, to stand beside Dataflow's routes.
    pub fn api(&self) -> Router {
        self.api.clone().own_router()
    }

    /// Everything that the service serves where it is alone: `/api/candles`, `/api/pairs`, `/api/input`, `/metrics` and `/healthz` too.
    pub fn router(&self) -> Router {
        self.road.router(self.api.clone().router())
    }

    /// What runs: its topics, its members' numbers, its readers.
    pub fn road(&self) -> &Road {
        &self.road
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        self.road.failed().await
    }

    /// Finishes what is in hand, flushes, commits and leaves the groups: `true` if nothing is left to be read again.
    pub async fn stop(self) -> bool {
        self.road.stop().await
    }
}
