//! Configurations that change while the broker runs: of this broker, of the cluster, of groups, of subscriptions to clients'
//! metrics. Durable in one file, `configs.json`, replaced by rename. Those of topics stand with the topics.
//!
//! Of what is in force the nearest wins: this broker's, the cluster's, what was given at the start, the default.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// What was set, by name.
pub(crate) type Configs = BTreeMap<String, String>;

/// What can be configured here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// This broker.
    Broker,
    /// Every broker of the cluster that does not say otherwise.
    Cluster,
    /// A group.
    Group(String),
    /// A subscription to clients' metrics.
    ClientMetrics(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    broker: Configs,
    cluster: Configs,
    #[serde(default)]
    groups: BTreeMap<String, Configs>,
    #[serde(default)]
    client_metrics: BTreeMap<String, Configs>,
}

impl Default for Kept {
    fn default() -> Self {
        // A new cluster of Kafka has it set, because its eligible leader replicas count with it (KIP-966).
        let cluster = BTreeMap::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
        Self { broker: Configs::new(), cluster, groups: BTreeMap::new(), client_metrics: BTreeMap::new() }
    }
}

impl Kept {
    fn of(&self, resource: &Resource) -> Option<&Configs> {
        match resource {
            Resource::Broker => Some(&self.broker),
            Resource::Cluster => Some(&self.cluster),
            Resource::Group(id) => self.groups.get(id),
            Resource::ClientMetrics(name) => self.client_metrics.get(name),
        }
    }

    fn set(&mut self, resource: &Resource, configs: Configs) {
        let (map, key) = match resource {
            Resource::Broker => return self.broker = configs,
            Resource::Cluster => return self.cluster = configs,
            Resource::Group(id) => (&mut self.groups, id),
            Resource::ClientMetrics(name) => (&mut self.client_metrics, name),
        };
        if configs.is_empty() {
            map.remove(key);
        } else {
            map.insert(key.clone(), configs);
        }
    }
}

/// One moment's configurations.
#[derive(Debug)]
pub(crate) struct InForce {
    /// All of it together.
    pub(crate) settings: Settings,
    at_start: Settings,
    kept: Kept,
}

impl InForce {
    fn new(given: &Settings, kept: Kept) -> Arc<Self> {
        let settings = given.with(&kept.cluster).with(&kept.broker);
        Arc::new(Self { settings, at_start: given.clone(), kept })
    }

    /// What the broker was started with under this name.
    pub(crate) fn at_start(&self, name: &str) -> Option<&str> {
        self.at_start.given(name)
    }

    /// What was set for a resource.
    pub(crate) fn of(&self, resource: &Resource) -> Configs {
        self.kept.of(resource).cloned().unwrap_or_default()
    }

    /// What was set for a resource under this name.
    pub(crate) fn given(&self, resource: &Resource, name: &str) -> Option<&str> {
        self.kept.of(resource)?.get(name).map(String::as_str)
    }

    /// The groups that something was set for.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &String> {
        self.kept.groups.keys()
    }

    /// The subscriptions to clients' metrics.
    pub(crate) fn client_metrics(&self) -> impl Iterator<Item = &String> {
        self.kept.client_metrics.keys()
    }
}

/// The configurations of now, and how they change.
#[derive(Debug)]
pub(crate) struct Dynamic {
    folder: PathBuf,
    given: Settings,
    now: RwLock<Arc<InForce>>,
    changing: Mutex<()>,
}

impl Dynamic {
    /// Reads what is in `folder`; `given` is what the broker was started with.
    ///
    /// # Errors
    /// When the file cannot be read, or is not one that we wrote.
    pub(crate) fn open(folder: &Path, given: Settings) -> io::Result<Self> {
        let path = folder.join("configs.json");
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                let why = format!("`{}` is damaged: {e}; restore it, or move it away", path.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(e) => return Err(e),
        };
        let now = RwLock::new(InForce::new(&given, kept));
        Ok(Self { folder: folder.to_owned(), given, now, changing: Mutex::default() })
    }

    /// What is in force now.
    pub(crate) fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.now.read())
    }

    /// Sets a resource's configuration as a whole. When this returns it is in force, and after a crash.
    ///
    /// # Errors
    /// When the disk refuses: then nothing is changed.
    pub(crate) fn configure(&self, resource: &Resource, configs: Configs) -> io::Result<()> {
        let _one_at_a_time = self.changing.lock();
        let mut kept = self.now().kept.clone();
        kept.set(resource, configs);
        let (path, beside) = (self.folder.join("configs.json"), self.folder.join("configs.json.new"));
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        fs::File::open(&self.folder)?.sync_all()?;
        *self.now.write() = InForce::new(&self.given, kept);
        Ok(())
    }
}
