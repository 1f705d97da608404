//! The service: its groups, what watches them, its interface.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use kohort_runtime::{GroupConfig, Groups, HandlerGroup, Retries, kq};
use kohort_service::metrics::Registry;
use kohort_service::{Complaint, Kq, ServiceFile};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::behaviour::{Behaviour, Told};
use crate::handler::Member;
use crate::report::Report;
use crate::watch::{Block, Watch};

/// What the service starts with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's file, read.
    pub file: ServiceFile,
    /// `Behave` of the file.
    pub told: Option<Told>,
    /// The brokers of all blocks, whatever they name.
    pub brokers: Option<Vec<String>>,
    /// Where the service counts.
    pub registry: Registry,
    /// How often a report is made.
    pub every: Duration,
}

impl Settings {
    /// The service as its file says.
    #[must_use]
    pub fn new(file: ServiceFile, told: Option<Told>) -> Settings {
        Settings { file, told, brokers: None, registry: Registry::default(), every: Duration::from_secs(1) }
    }

    /// Reads the service's file, with what only this service has in it: `Behave`.
    ///
    /// # Errors
    /// As [`ServiceFile::read`], and a `Behave` that concerns nobody.
    pub fn read(path: &Path) -> Result<Settings, Complaint> {
        let (file, told) = ServiceFile::read_with("consumer", path, |section| {
            section.take("Behave").map(Told::read).transpose()
        })?;
        Settings::checked(file, told)
    }

    /// As [`Settings::read`], of a text.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn parse(shown: &str, text: &str) -> Result<Settings, Complaint> {
        let (file, told) = ServiceFile::parse_with("consumer", shown, text, |section| {
            section.take("Behave").map(Told::read).transpose()
        })?;
        Settings::checked(file, told)
    }

    fn checked(file: ServiceFile, told: Option<Told>) -> Result<Settings, Complaint> {
        let concerns = |told: &Told, kq: &Kq| (0..kq.consumers as usize).any(|n| told.concerns(&kq.topic, n));
        if let Some(told) = &told
            && !file.kqs.iter().any(|kq| concerns(told, kq))
        {
            return Err(Complaint::new("`consumer` cannot start: `Behave` concerns no member of any block")
                .at(file.path.clone())
                .why("it would look as if members misbehaved as told")
                .hint("name a `Topic` that a block reads, and a `Member` from 0 and below its `Consumers`"));
        }
        Ok(Settings::new(file, told))
    }
}

/// The service, running. [`Consumer::stop`] drains it; dropped, it ends as a crash would.
#[derive(Debug)]
pub struct Consumer {
    groups: Groups,
    router: Router,
    registry: Registry,
    reports: watch::Receiver<Arc<Report>>,
    _watching: JoinSet<()>,
}

/// Starts all groups. Waits for no broker: one that is away is asked again for ever.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be. Needs a tokio runtime.
pub fn start(settings: &Settings) -> anyhow::Result<Consumer> {
    let file = &settings.file;
    if file.kqs.is_empty() {
        return Err(Complaint::new("`consumer` has nothing to consume")
            .at(file.path.clone())
            .hint("add a block such as `KqEthTrades:` with `Group: ...` and `Topic: eth-trades`")
            .into());
    }
    let mut groups = Groups::default();
    let mut blocks = Vec::new();
    for kq in &file.kqs {
        let client = kq::client(kq, &file.name, settings.brokers.as_deref())?;
        let told = |number| settings.told.as_ref().filter(|told| told.concerns(&kq.topic, number));
        let behaviour = |number| told(number).map_or_else(Behaviour::default, |told| told.behaviour);
        let members: Vec<Arc<Member>> =
            (0..kq.consumers as usize).map(|number| Arc::new(Member::new(behaviour(number)))).collect();
        let running = HandlerGroup::start_each(&client, GroupConfig::of(kq), Retries::of(kq), |number| {
            Arc::clone(&members[number])
        })
        .with_context(|| format!("start `{}` of {}", kq.name, kq.at))?;
        blocks.push(Block::new(kq, members, running.stats(), client.admin()));
        groups.add(&kq.name, running);
    }
    let blocks: Arc<[Arc<Block>]> = blocks.into();
    let mut watching = JoinSet::new();
    let reports = Watch::start(Arc::clone(&blocks), settings.registry.clone(), settings.every, &mut watching);
    let router = api::router(blocks, reports.clone());
    Ok(Consumer { groups, router, registry: settings.registry.clone(), reports, _watching: watching })
}

impl Consumer {
    /// The reports as they are made.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.reports.clone()
    }

    /// `/api/flow` and `/api/behave`, to be merged with other routes.
    pub fn api(&self) -> Router {
        self.router.clone()
    }

    /// [`Consumer::api`] with `/metrics` and `/healthz`: everything that the service alone serves.
    pub fn router(&self) -> Router {
        let registry = self.registry.clone();
        let metrics = move || std::future::ready(registry.render());
        self.api().route("/metrics", get(metrics)).route("/healthz", get(|| std::future::ready("ok")))
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        self.groups.failed().await
    }

    /// Finishes what is in hand, commits and leaves the groups: `true` if nothing is left to be read again.
    pub async fn stop(self) -> bool {
        self.groups.stop().await
    }
}
