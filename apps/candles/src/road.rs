//! The groups of a service's file, running over its store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kohort_runtime::{Group, GroupConfig, Groups, Running, Stats, kq};
use kohort_service::health::{Health, Part};
use kohort_service::metrics::Registry;
use kohort_service::{Complaint, Kq, ServiceFile};
use market_store::{CandleStore, GroupStores};

use crate::api::input::Source;
use crate::api::{Readers, input};
use crate::counters::Counters;
use crate::group_stores::{OtherStore, claims, reader};
use crate::hub::Hub;
use crate::lane::Lane;
use crate::sink::{SharedStore, StoreSink};
use crate::stages::{LaneWatch, Stages};

/// What a service starts with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's file, read. The service's name there stands before the names of its metrics and its clients.
    pub file: ServiceFile,
    /// The folder that holds everything.
    pub data: PathBuf,
    /// The brokers of all blocks, whatever they name: `up` has its own.
    pub brokers: Option<Vec<String>>,
    /// Stores of other services that share a group with this one, beside those that its file names: `up` knows them.
    pub others: Vec<OtherStore>,
    /// Where the service counts.
    pub registry: Registry,
    /// Who watches where the processor time goes; usually nobody.
    pub stages: Option<Arc<Stages>>,
}

impl Settings {
    /// The service as its file says.
    pub fn new(file: ServiceFile, data: impl Into<PathBuf>) -> Settings {
        Settings {
            file,
            data: data.into(),
            brokers: None,
            others: Vec::new(),
            registry: Registry::default(),
            stages: None,
        }
    }
}

/// The groups of a file, each once, sorted.
pub fn groups_of(file: &ServiceFile) -> Vec<String> {
    let mut names: Vec<String> = file.kqs.iter().map(|kq| kq.group.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// The groups of a service, running. [`Road::stop`] drains them; dropped, they end as a crash would, and lose nothing either.
#[derive(Debug)]
pub struct Road {
    running: Groups,
    groups: Vec<String>,
    sources: Vec<Source>,
    hub: Hub,
    readers: Arc<Readers>,
    registry: Registry,
    health: Health,
}

/// The groups of a service of which other stores may have a part, too.
///
/// # Errors
/// A store of `GroupStores` that cannot be understood.
pub fn shared_groups(settings: &Settings, name: &str) -> anyhow::Result<Vec<String>> {
    let others = others(settings, name)?;
    let mut groups = groups_of(&settings.file);
    groups.retain(|group| others.iter().any(|other| other.has(group)));
    Ok(groups)
}

/// The stores of other services.
fn others(settings: &Settings, name: &str) -> anyhow::Result<Vec<OtherStore>> {
    let mut others = settings.others.clone();
    for named in &settings.file.group_stores {
        others.push(OtherStore::open(named)?);
    }
    // A list that does for all services of a group names our own store too; and what is read twice would count twice.
    let mut names = BTreeSet::from([name.to_owned()]);
    others.retain(|other| names.insert(other.name().to_owned()));
    Ok(others)
}

impl Road {
    /// Starts the hub and all groups over a store, by the name that other services have for it. Waits for no broker: one that is
    /// away is asked again for ever. Needs a tokio runtime.
    ///
    /// # Errors
    /// A [`Complaint`] where the file asks for what cannot be, and a store that gives no reader.
    pub fn start(settings: &Settings, name: &str, store: Box<dyn CandleStore>) -> anyhow::Result<Road> {
        let file = &settings.file;
        if file.kqs.is_empty() {
            return Err(Complaint::new(format!("`{}` has nothing to consume", file.name))
                .at(file.path.clone())
                .hint("add a block such as `KqEth:` with `Group: ...` and `Topic: eth-trades`")
                .into());
        }
        let groups = groups_of(file);
        let others = others(settings, name)?;
        let store: SharedStore = Arc::new(Mutex::new(store));
        let first = reader(&store, &others, &groups).context("open a reader of the store")?;
        let hub = Hub::start(first, groups.clone()).context("start the thread of the hub")?;
        let (opened, read, wanted) = (Arc::clone(&store), others.clone(), groups.clone());
        let readers = Readers::new(move || reader(&opened, &read, &wanted));
        let mut road = Road {
            running: Groups::default(),
            groups,
            sources: Vec::new(),
            hub,
            readers: Arc::new(readers),
            registry: settings.registry.clone(),
            health: Health::new(&settings.registry, &file.name),
        };
        let store_health = road.health.part("the store");
        let mut first_member = 0;
        for kq in &file.kqs {
            let running = road
                .start_group(
                    settings,
                    kq,
                    first_member,
                    &store,
                    &|| claims(name, &store, &others, &kq.group),
                    &store_health,
                )
                .with_context(|| format!("start `{}` of {}", kq.name, kq.at))?;
            first_member += kq.consumers;
            road.running.add(&kq.name, running);
        }
        Ok(road)
    }

    fn start_group(
        &mut self,
        settings: &Settings,
        kq: &Kq,
        first_member: u32,
        store: &SharedStore,
        claims: &dyn Fn() -> GroupStores,
        health: &Part,
    ) -> anyhow::Result<Running> {
        let service = &settings.file.name;
        let client = kq::client(kq, service, settings.brokers.as_deref())?;
        let counters = Counters::new(&settings.registry, service, &kq.group, &kq.topic);
        self.sources.push(Source {
            service: service.clone(),
            group: kq.group.clone(),
            topic: kq.topic.clone(),
            dead_letter_topic: kq.dlq_topic.clone(),
            counters: counters.clone(),
        });
        let worker = |member: usize, _lane: usize| {
            let watch = settings.stages.clone().map(LaneWatch::new);
            Lane::new(number(first_member, member), self.hub.clone(), counters.clone(), watch)
        };
        let sink = |_member: usize| {
            let stages = settings.stages.clone();
            StoreSink::new(
                Arc::clone(store),
                claims(),
                self.hub.clone(),
                kq.group.clone(),
                counters.clone(),
                stages,
                health.clone(),
            )
        };
        Group::start(&client, GroupConfig::of(kq), worker, sink).context("start its members")
    }

    /// The groups whose candles the store has, sorted.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// The topics of the groups, as this process reads them.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The live candles.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Readers of what is stored.
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// `api` with `/api/input`, `/metrics` and `/healthz`: everything that a service alone serves.
    pub fn router(&self, api: Router) -> Router {
        let (registry, health) = (self.registry.clone(), self.health.clone());
        let metrics = move || std::future::ready(registry.render());
        let healthz = move || {
            std::future::ready(match health.refusal() {
                None => (StatusCode::OK, "ok".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            })
        };
        api.merge(input::router(self.sources.clone()))
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
    }

    /// The numbers of each block's members, by the block's name.
    pub fn stats(&self) -> Vec<(String, Arc<Stats>)> {
        self.running.stats()
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        self.running.failed().await
    }

    /// Finishes what is in hand, flushes, commits and leaves the groups: `true` if nothing is left to be read again.
    pub async fn stop(self) -> bool {
        self.running.stop().await
    }
}

/// The number of a member in the process, by which the hub tells them apart.
fn number(first: u32, member: usize) -> u32 {
    first + u32::try_from(member).unwrap_or(u32::MAX)
}
