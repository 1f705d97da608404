//! The service: its groups, its log, its address book, its interface.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kohort_runtime::{Group, GroupConfig, Groups, Running, Stats};
use kohort_service::complaint::chain;
use kohort_service::health::Part;
use kohort_service::metrics::Registry;
use kohort_service::{Complaint, Health, Kq, ServiceFile};
use market_store::wallets::{MySqlWallets, SqliteWallets, WalletStore};
use market_store::{MySqlAddress, StoreError};
use tokio::task::JoinHandle;

use crate::api::{Api, Topic};
use crate::book::{Keeper, Source};
use crate::config::{Own, SERVICE};
use crate::counters::{BookGauges, Counters};
use crate::lane::Lane;
use crate::notify::{self, Notifier};
use crate::sink::LogSink;

/// The name of the log's file in the data folder.
pub const LOG_FILE: &str = "smart_money.db";
/// How often the table of addresses is asked what other processes changed.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// What the service starts with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's file, read.
    pub file: ServiceFile,
    /// What it says to this service alone.
    pub own: Own,
    /// The folder that holds everything.
    pub data: PathBuf,
    /// The brokers of all blocks, whatever they name: `up` has its own.
    pub brokers: Option<Vec<String>>,
    /// Who is known from the start where the file names no file of addresses.
    pub known: &'static [&'static str],
    /// Where the service counts.
    pub registry: Registry,
}

impl Settings {
    /// The service as its file says.
    pub fn new((file, own): (ServiceFile, Own), data: impl Into<PathBuf>) -> Settings {
        let registry = Registry::default();
        Settings { file, own, data: data.into(), brokers: None, known: &[], registry }
    }

    /// The file that the embedded log is kept in.
    pub fn log_file(&self) -> PathBuf {
        self.data.join(LOG_FILE)
    }
}

/// Opens the log once more: for each thread that shall not wait for another.
pub(crate) type Opener = Arc<dyn Fn() -> Result<Box<dyn WalletStore>, StoreError> + Send + Sync>;

/// The service, running. [`SmartMoney::stop`] drains it; dropped, it ends as a crash would, and loses nothing either.
#[derive(Debug)]
pub struct SmartMoney {
    groups: Groups,
    keeper: Keeper,
    router: Router,
    registry: Registry,
    health: Health,
    following: JoinHandle<()>,
    notifier: Option<Notifier>,
}

/// Opens the log, reads who is known, starts all groups. Waits for no broker and no database server: one that is away is asked again for
/// ever, and members claim nothing until both are there.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be, and a log of which waiting would make nothing better. Needs a tokio runtime;
/// blocks until the log was asked once.
pub fn start(settings: &Settings) -> anyhow::Result<SmartMoney> {
    if settings.file.kqs.is_empty() {
        return Err(Complaint::new("`smart_money` has nothing to consume")
            .at(settings.file.path.clone())
            .hint("add a block such as `Kq:` with `Group: ...` and `Topic: sol-trades`")
            .into());
    }
    if let Some(store) = settings.file.group_stores.first() {
        return Err(Complaint::new("`smart_money` cannot start: it has no use for `GroupStores`")
            .at(store.at.clone())
            .why("a log is whole only where nobody else reads its topic in its group, so nothing is to be claimed elsewhere")
            .hint("remove `GroupStores`; if another service reads this topic in this group, give this one its own `Group`")
            .into());
    }
    let open = opener(settings)?;
    let again = || open().context("open the log");
    let log = Arc::new(Mutex::new(again()?));
    let source = match &settings.own.addresses.file {
        Some((path, at)) => Source::File(path.clone(), at.clone()),
        None => Source::Texts(settings.known),
    };
    let store_at = settings
        .file
        .mysql
        .as_ref()
        .map_or_else(|| settings.log_file().display().to_string(), |mysql| mysql.at.clone());
    let (keeper, away) = Keeper::open(source.clone(), settings.own.addresses.rate, again()?)
        .map_err(|error| Keeper::complaint(&source, &store_at, error))?;
    if let Some(away) = &away {
        tracing::warn!("waiting for the log, nothing is read until it is there: {}", chain(away));
    }
    let health = Health::new(&settings.registry, SERVICE);
    let log_health = health.part("the log");
    let channels = &settings.own.notify.channels;
    let notifier =
        Notifier::start(channels, again()?, &settings.registry).context("start the channels of `Notify`")?;
    let rules = Arc::new(settings.own.notify.rules.clone());
    let mut groups = Groups::default();
    let mut topics = Vec::new();
    for kq in &settings.file.kqs {
        let topic = Topic {
            group: kq.group.clone(),
            topic: kq.topic.clone(),
            dead_letter_topic: kq.dlq_topic.clone(),
            counters: Counters::new(&settings.registry, &kq.group, &kq.topic),
        };
        let sink = LogSink {
            log: Arc::clone(&log),
            group: kq.group.clone(),
            rules: Arc::clone(&rules),
            counters: topic.counters.clone(),
            wake: notifier.wake(),
            keeper: keeper.clone(),
            health: log_health.clone(),
        };
        let running = start_group(settings, kq, &keeper, &sink)
            .with_context(|| format!("start `{}` of {}", kq.name, kq.at))?;
        groups.add(&kq.name, running);
        topics.push(topic);
    }
    let counters: Vec<Counters> = topics.iter().map(|topic| topic.counters.clone()).collect();
    let gauges = BookGauges::new(&settings.registry);
    let table = health.part("the table of addresses");
    let following = tokio::spawn(follow(keeper.clone(), gauges, counters, table, away.is_some()));
    let told = notify::router(channels, again()?, notifier.wake());
    let router = Api::new(keeper.clone(), Mutex::new(again()?), topics).router().merge(told);
    let registry = settings.registry.clone();
    Ok(SmartMoney { groups, keeper, router, registry, health, following, notifier: Some(notifier) })
}

/// The log that the file names: in the MySQL database of `Mysql`, or the embedded file.
fn opener(settings: &Settings) -> anyhow::Result<Opener> {
    if let Some(mysql) = &settings.file.mysql {
        let address = MySqlAddress::parse(&mysql.source).map_err(|error| {
            Complaint::new("`DataSource` of `Mysql` cannot be understood")
                .at(mysql.at.clone())
                .why(error.to_string())
                .hint("write `user:password@tcp(host:port)/database`, as for Go's driver")
        })?;
        return Ok(Arc::new(move || Ok(Box::new(MySqlWallets::new(address.clone())))));
    }
    let file = settings.log_file();
    Ok(Arc::new(move || SqliteWallets::open(&file).map(|log| Box::new(log) as Box<dyn WalletStore>)))
}

fn start_group(settings: &Settings, kq: &Kq, keeper: &Keeper, sink: &LogSink) -> anyhow::Result<Running> {
    let client = kohort_runtime::kq::client(kq, &settings.file.name, settings.brokers.as_deref())?;
    let topic: Arc<str> = kq.topic.as_str().into();
    let worker = |_member, _lane| Lane::new(keeper.book(), Arc::clone(&topic), sink.counters.clone());
    Group::start(&client, GroupConfig::of(kq), worker, |_member| sink.clone()).context("start its members")
}

/// Takes what other processes change in the address book, and tells its numbers.
async fn follow(keeper: Keeper, gauges: BookGauges, counters: Vec<Counters>, table: Part, mut away: bool) {
    loop {
        gauges.update(keeper.book(), &counters);
        tokio::time::sleep(FOLLOW_EVERY).await;
        let again = keeper.clone();
        match tokio::task::spawn_blocking(move || again.follow()).await {
            Ok(Ok(())) => {
                if std::mem::replace(&mut away, false) {
                    let known = keeper.book().snapshot().len();
                    tracing::info!("the table of addresses is there: {known} are known");
                }
                table.works();
            }
            Ok(Err(error)) => {
                if !error.is_retriable() {
                    table.refused(&error);
                } else if !std::mem::replace(&mut away, true) {
                    let why = chain(&error);
                    tracing::warn!(
                        "the table of addresses cannot be read: {why}; those that are known stay known"
                    );
                }
            }
            // Our own mistake, or the runtime is ending.
            Err(error) => return tracing::error!("the address book follows its table no more: {error}"),
        }
    }
}

impl SmartMoney {
    /// `/api/wallets`, `/api/smart-money/...` and `/api/notifications`, to be merged with other routes.
    pub fn api(&self) -> Router {
        self.router.clone()
    }

    /// [`SmartMoney::api`] with `/metrics` and `/healthz`: everything that the service alone serves.
    pub fn router(&self) -> Router {
        let (registry, health) = (self.registry.clone(), self.health.clone());
        let metrics = move || std::future::ready(registry.render());
        let healthz = move || {
            std::future::ready(match health.refusal() {
                None => (StatusCode::OK, "ok".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            })
        };
        self.api().route("/metrics", get(metrics)).route("/healthz", get(healthz))
    }

    /// The address book.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The numbers of each block's members, by the block's name.
    pub fn stats(&self) -> Vec<(String, Arc<Stats>)> {
        self.groups.stats()
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        self.groups.failed().await
    }

    /// Finishes what is in hand, flushes, commits and leaves the groups: `true` if nothing is left to be read again. What is not told by
    /// then waits in the outbox.
    pub async fn stop(mut self) -> bool {
        let told = self.notifier.take();
        let drained = std::mem::take(&mut self.groups).stop();
        let (drained, ()) = tokio::join!(drained, async {
            if let Some(notifier) = told {
                notifier.stop().await;
            }
        });
        drained
    }
}

impl Drop for SmartMoney {
    fn drop(&mut self) {
        self.following.abort();
    }
}
