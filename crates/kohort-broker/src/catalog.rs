//! The topics of this node: names, ids, partitions, configurations. Durable, and never half changed.
//!
//! The truth is one file, `topics.json`, replaced by rename. A topic exists once the file with it is in place and is gone
//! once the file without it is; folders that no topic in the file owns are left-overs of a change that a crash cut short, and are
//! removed at start. A partition's folder carries a part of the topic's id, so that a topic that is deleted and made anew never
//! meets its old records.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::Uuid;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::broker::now_ms;
use crate::log::{LogConfig, OpenError};
use crate::partition::Partition;

/// The topic of committed offsets and groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// So much of a topic's name is in the names of its folders. Names are ASCII.
const FOLDER_NAME_BYTES: usize = 180;

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: String,
    /// Its id (KIP-516).
    pub(crate) id: Uuid,
    /// What was set for it over the broker's settings.
    pub(crate) configs: BTreeMap<String, String>,
    /// Its partitions, by number.
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition with this number.
    #[must_use]
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// Whether it is the broker's own.
    #[must_use]
    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Why a topic could not be made, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A topic with that name is there.
    #[error("topic `{0}` already exists")]
    Exists(String),
    /// A topic is there whose name differs in `.` and `_` only: its metrics would be the same.
    #[error("topic `{name}` collides with existing topic `{other}`")]
    Collides {
        /// The new name.
        name: String,
        /// The name that is there.
        other: String,
    },
    /// No such topic.
    #[error("there is no topic `{0}`")]
    Missing(String),
    /// The disk refused.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A partition's log could not be opened.
    #[error("cannot open the log of `{topic}-{partition}`")]
    Log {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What the log said.
        #[source]
        source: OpenError,
    },
    /// `topics.json` is not what we wrote.
    #[error("`{}` is damaged: {reason}; restore it from a copy; to start without topics, move it and the folder `logs` beside it away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    #[serde(with = "id_text")]
    id: Uuid,
    partitions: i32,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

/// A topic's id as text in the file.
mod id_text {
    use kohort_protocol::Uuid;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&id.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        Uuid::parse_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[derive(Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: BTreeMap<Uuid, Arc<Topic>>,
}

/// Makes a log's settings from a topic's own.
type LogConfigOf = dyn Fn(&BTreeMap<String, String>) -> LogConfig + Send + Sync;

/// All topics. Readers take a snapshot of one topic; changes go one at a time.
pub(crate) struct Catalog {
    folder: PathBuf,
    config: Box<LogConfigOf>,
    topics: RwLock<Topics>,
    changing: Mutex<()>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CatalogError + 'a {
    move |source| CatalogError::Io { what, path: path.to_owned(), source }
}

impl Catalog {
    /// Opens the topics in `folder` and their logs; `config` makes a log's settings from a topic's.
    ///
    /// # Errors
    /// When the disk refuses, or the file of topics is damaged.
    pub(crate) fn open(
        folder: &Path,
        config: impl Fn(&BTreeMap<String, String>) -> LogConfig + Send + Sync + 'static,
    ) -> Result<Self, CatalogError> {
        let catalog = Self {
            folder: folder.to_owned(),
            config: Box::new(config),
            topics: RwLock::default(),
            changing: Mutex::default(),
        };
        let logs = catalog.logs();
        fs::create_dir_all(&logs).map_err(io_error("make the folder", &logs))?;
        let path = catalog.file();
        let entries: Vec<Entry> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| CatalogError::Damaged { path: path.clone(), reason: e.to_string() })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => catalog.first_start()?,
            Err(e) => return Err(io_error("read", &path)(e)),
        };
        catalog.remove_leftovers(&entries)?;
        let mut topics = Topics::default();
        for entry in entries {
            let topic = Arc::new(catalog.open_topic(entry, &[])?);
            topics.by_id.insert(topic.id, Arc::clone(&topic));
            topics.by_name.insert(topic.name.clone(), topic);
        }
        *catalog.topics.write() = topics;
        Ok(catalog)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("topics.json")
    }

    /// The folder of all logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn partition_folder(&self, name: &str, id: Uuid, partition: i32) -> PathBuf {
        // File systems take 255 bytes; a name may have 249, and a log that is being deleted puts more around it.
        let shown = &name[..name.len().min(FOLDER_NAME_BYTES)];
        self.logs().join(format!("{shown}-{partition}.{}", &id.simple().to_string()[..16]))
    }

    fn open_topic(&self, entry: Entry, kept: &[Arc<Partition>]) -> Result<Topic, CatalogError> {
        let mut partitions = kept.to_vec();
        for index in i32::try_from(kept.len()).unwrap_or(i32::MAX)..entry.partitions {
            let folder = self.partition_folder(&entry.name, entry.id, index);
            let partition =
                Partition::open(index, &folder, (self.config)(&entry.configs), now_ms()).map_err(
                    |source| CatalogError::Log { topic: entry.name.clone(), partition: index, source },
                )?;
            partitions.push(Arc::new(partition));
        }
        Ok(Topic { name: entry.name, id: entry.id, configs: entry.configs, partitions })
    }

    /// No topics, unless the file of them was lost: then nothing says whose the records are, and they must not be taken for
    /// leftovers. (A first start that was cut short leaves empty logs.)
    fn first_start(&self) -> Result<Vec<Entry>, CatalogError> {
        let logs = self.logs();
        for found in fs::read_dir(&logs).map_err(io_error("read the folder", &logs))? {
            let path = found.map_err(io_error("read the folder", &logs))?.path();
            if path.is_dir() && has_records(&path).map_err(io_error("read the folder", &path))? {
                let reason = format!("it is missing, and `{}` holds records", path.display());
                return Err(CatalogError::Damaged { path: self.file(), reason });
            }
        }
        Ok(Vec::new())
    }

    fn remove_leftovers(&self, entries: &[Entry]) -> Result<(), CatalogError> {
        let logs = self.logs();
        let owned: std::collections::BTreeSet<PathBuf> = entries
            .iter()
            .flat_map(|e| (0..e.partitions).map(|p| self.partition_folder(&e.name, e.id, p)))
            .collect();
        for found in fs::read_dir(&logs).map_err(io_error("read the folder", &logs))? {
            let path = found.map_err(io_error("read the folder", &logs))?.path();
            // A file is not ours: only folders are ever made here.
            if path.is_dir() && !owned.contains(&path) {
                fs::remove_dir_all(&path).map_err(io_error("remove the left-over folder", &path))?;
            }
        }
        Ok(())
    }

    /// Writes the file of topics as `topics` has it: beside the old one, forced to disk, then in its place.
    fn write(&self, topics: &BTreeMap<String, Arc<Topic>>) -> Result<(), CatalogError> {
        let entries: Vec<Entry> = topics
            .values()
            .map(|t| Entry {
                name: t.name.clone(),
                id: t.id,
                partitions: i32::try_from(t.partitions.len()).unwrap_or(i32::MAX),
                configs: t.configs.clone(),
            })
            .collect();
        let (path, beside) = (self.file(), self.folder.join("topics.json.new"));
        let text = serde_json::to_vec_pretty(&entries)
            .map_err(|e| CatalogError::Damaged { path: path.clone(), reason: e.to_string() })?;
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(io_error("write", &path))
    }

    /// The topic with this name.
    #[must_use]
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().by_name.get(name).cloned()
    }

    /// The topic with this id.
    #[must_use]
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    /// Every topic, by name.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.read().by_name.values().cloned().collect()
    }

    /// Whether a topic of this name could be made.
    ///
    /// # Errors
    /// When one is there, or one whose name differs in `.` and `_` only.
    pub(crate) fn check_new(&self, name: &str) -> Result<(), CatalogError> {
        let topics = self.topics.read();
        if topics.by_name.contains_key(name) {
            return Err(CatalogError::Exists(name.to_owned()));
        }
        let plain = name.replace('.', "_");
        match topics.by_name.keys().find(|other| other.replace('.', "_") == plain) {
            Some(other) => Err(CatalogError::Collides { name: name.to_owned(), other: other.clone() }),
            None => Ok(()),
        }
    }

    /// Makes a topic. When this returns, it is there for everybody, and after a crash.
    ///
    /// # Errors
    /// When it exists, or the disk refuses: then nothing is changed.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, CatalogError> {
        let _one_at_a_time = self.changing.lock();
        self.check_new(name)?;
        let entry = Entry { name: name.to_owned(), id: Uuid::new_v4(), partitions, configs };
        let topic = Arc::new(self.open_topic(entry, &[])?);
        self.replace(&topic)?;
        Ok(topic)
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// When there is no such topic, or the disk refuses.
    pub(crate) fn grow(&self, name: &str, partitions: i32) -> Result<Arc<Topic>, CatalogError> {
        let _one_at_a_time = self.changing.lock();
        let old = self.topic(name).ok_or_else(|| CatalogError::Missing(name.to_owned()))?;
        let entry = Entry { name: old.name.clone(), id: old.id, partitions, configs: old.configs.clone() };
        let topic = Arc::new(self.open_topic(entry, &old.partitions)?);
        self.replace(&topic)?;
        Ok(topic)
    }

    /// Sets a topic's configuration as a whole.
    ///
    /// # Errors
    /// When there is no such topic, or the disk refuses.
    pub(crate) fn configure(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        let _one_at_a_time = self.changing.lock();
        let old = self.topic(name).ok_or_else(|| CatalogError::Missing(name.to_owned()))?;
        let log = (self.config)(&configs);
        let topic = Arc::new(Topic {
            name: old.name.clone(),
            id: old.id,
            configs,
            partitions: old.partitions.clone(),
        });
        self.replace(&topic)?;
        for partition in &topic.partitions {
            partition.configure(log.clone());
        }
        Ok(())
    }

    /// The broker's settings changed, and with them those of every log.
    pub(crate) fn configure_logs(&self) {
        let _one_at_a_time = self.changing.lock();
        for topic in self.all() {
            let log = (self.config)(&topic.configs);
            topic.partitions.iter().for_each(|partition| partition.configure(log.clone()));
        }
    }

    fn replace(&self, topic: &Arc<Topic>) -> Result<(), CatalogError> {
        let mut by_name = self.topics.read().by_name.clone();
        by_name.insert(topic.name.clone(), Arc::clone(topic));
        self.write(&by_name)?;
        let mut topics = self.topics.write();
        topics.by_name = by_name;
        topics.by_id.insert(topic.id, Arc::clone(topic));
        Ok(())
    }

    /// Deletes a topic. When this returns, nobody sees it any more; its files go at once too, and a reader that still has one
    /// open finishes.
    ///
    /// # Errors
    /// When there is no such topic, or the disk refuses.
    pub(crate) fn delete(&self, name: &str) -> Result<Arc<Topic>, CatalogError> {
        let _one_at_a_time = self.changing.lock();
        let mut by_name = self.topics.read().by_name.clone();
        let topic = by_name.remove(name).ok_or_else(|| CatalogError::Missing(name.to_owned()))?;
        self.write(&by_name)?;
        {
            let mut topics = self.topics.write();
            topics.by_name = by_name;
            topics.by_id.remove(&topic.id);
        }
        for partition in &topic.partitions {
            if let Err(e) = partition.delete() {
                let index = partition.index();
                tracing::warn!(
                    "files of the deleted `{}-{index}` stay until the next start: {e}",
                    topic.name
                );
            }
        }
        Ok(topic)
    }
}

/// Whether a topic of that name is the broker's own, here or in a Kafka.
#[must_use]
pub(crate) fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | "__transaction_state" | "__share_group_state")
}

/// Whether a log's folder has a segment that is not empty.
fn has_records(folder: &Path) -> io::Result<bool> {
    for found in fs::read_dir(folder)? {
        let found = found?;
        if found.path().extension().is_some_and(|kind| kind == "log") && found.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why a name cannot be a topic's (Kafka's `Topic.validate`).
#[must_use]
pub(crate) fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("Topic name is invalid: the empty string is not allowed".to_owned())
    } else if name == "." || name == ".." {
        Some(format!("Topic name is invalid: '{name}' is not allowed"))
    } else if name.len() > 249 {
        Some(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length 249"
        ))
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Some(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ))
    } else {
        None
    }
}
