//! The service: the road over its store, and its interface.

use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use candles::{Road, Settings};
use kohort_service::Complaint;
use kohort_service::config::store_place;
use market_store::{CandleStore, MySqlAddress, MySqlStore, SqliteStore};

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
    let name = store_name(settings);
    let road = Road::start(settings, &name, open_store(settings)?)?;
    let api = Api::new(road.readers().clone(), road.hub().clone(), road.groups().to_vec());
    Ok(Dataflow { road, api })
}

/// What other services of its groups call the store: one that is named twice is claimed once.
fn store_name(settings: &Settings) -> String {
    match &settings.file.mysql {
        Some(mysql) => store_place(&mysql.source),
        None => candles::file_name(&store_file(settings)),
    }
}

/// The file of the embedded store.
pub fn store_file(settings: &Settings) -> PathBuf {
    settings.data.join(STORE_FILE)
}

/// Opens the store that the file names: the MySQL database of `Mysql`, or the embedded file.
///
/// # Errors
/// A [`Complaint`] where `Mysql` cannot be meant, a store that cannot be opened. A database server that is away is no error.
pub fn open_store(settings: &Settings) -> anyhow::Result<Box<dyn CandleStore>> {
    if let Some(mysql) = &settings.file.mysql {
        return open_mysql(&mysql.source).map_err(|complaint| complaint.at(mysql.at.clone()).into());
    }
    let file = store_file(settings);
    let store = SqliteStore::open(&file).with_context(|| format!("open the store `{}`", file.display()))?;
    Ok(Box::new(store))
}

fn open_mysql(source: &str) -> Result<Box<dyn CandleStore>, Complaint> {
    let address = MySqlAddress::parse(source).map_err(|error| {
        Complaint::new("`DataSource` of `Mysql` cannot be understood")
            .why(error.to_string())
            .hint("write `user:password@tcp(host:port)/database`, as for Go's driver, or `mysql://user:password@host:port/database`")
    })?;
    match MySqlStore::open(address) {
        Ok(store) => Ok(Box::new(store)),
        Err(error) => {
            let said = std::error::Error::source(&error).map(ToString::to_string);
            let complaint = Complaint::new(error.to_string());
            Err(said.into_iter().fold(complaint, Complaint::why))
        }
    }
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
