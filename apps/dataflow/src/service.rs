//! The service: the road over its store, and its interface.

use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use candles::{Road, Settings};
use kohort_service::Complaint;
use market_store::{CandleStore, SqliteStore};

use crate::api::Api;

/// The name of the embedded store's file in the data folder.
pub const STORE_FILE: &str = "candles.db";

/// The service, running. [`Dataflow::stop`] drains it; dropped, it ends as a crash would, and loses nothing either.
#[derive(Debug)]
pub struct Dataflow {
    road: Road,
    api: Api,
}

/// Opens the store and starts everything. Waits for no broker: one that is away is asked again for ever.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be, and a store that cannot be opened. Needs a tokio runtime.
pub fn start(settings: &Settings) -> anyhow::Result<Dataflow> {
    let name = candles::file_name(&store_file(settings));
    let road = Road::start(settings, &name, open_store(settings)?)?;
    let api = Api::new(road.readers().clone(), road.hub().clone(), road.groups().to_vec());
    Ok(Dataflow { road, api })
}

/// The file of the embedded store.
pub fn store_file(settings: &Settings) -> PathBuf {
    settings.data.join(STORE_FILE)
}

fn open_store(settings: &Settings) -> anyhow::Result<Box<dyn CandleStore>> {
    if let Some(mysql) = &settings.file.mysql {
        return Err(Complaint::new("`Mysql` is not available yet")
            .at(mysql.at.clone())
            .why("candles would silently go to another store than the file names")
            .hint("remove `Mysql`: candles are then kept in SQLite in the data folder")
            .into());
    }
    let file = store_file(settings);
    let store = SqliteStore::open(&file).with_context(|| format!("open the store `{}`", file.display()))?;
    Ok(Box::new(store))
}

impl Dataflow {
    /// `/api/pairs`, `/api/candles` and the WebSockets, to be merged with other routes.
    pub fn api(&self) -> Router {
        self.api.clone().router()
    }

    /// [`Dataflow::api`] with `/api/input`, `/metrics` and `/healthz`: everything that the service alone serves.
    pub fn router(&self) -> Router {
        self.road.router(self.api())
    }

    /// What runs: its topics, its members' numbers.
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
