//! `kohort check`: the services' files read together, and held against the broker that they name, where one answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kohort_client::admin::{Admin, ConfigResource};
use kohort_service::check::{self, Finding, Live, LiveMember, LiveTopic, Severity};
use kohort_service::{Complaint, ServiceFile};
use serde_json::json;

use crate::{Outcome, brokers, output};

/// Read the services' files together and report what is wrong between them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort check apps/dataflow/etc/dataflow.yaml apps/market/etc/market.yaml
  kohort check etc/*.yaml --offline
  kohort check etc/*.yaml --json

Each finding says where, why it matters and what to write instead. Where a broker of the files answers, its topics and live groups are
held against them too. The last line is `N errors, M warnings`; exit 1 if there is any, with --allow-warnings only for errors.
")]
pub(crate) struct Args {
    /// The services' YAML files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Ask no broker
    #[arg(long)]
    offline: bool,
    /// Ask this broker instead of those that the files name
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", conflicts_with = "offline")]
    bootstrap_server: Vec<String>,
    /// Exit 0 where there are only warnings
    #[arg(long)]
    allow_warnings: bool,
    /// JSON instead of blocks
    #[arg(long)]
    json: bool,
}

/// A broker that does not answer for so long counts as away: what the files say against each other is said all the same.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let (mut files, mut findings) = (Vec::new(), Vec::new());
    for path in &args.files {
        match read(path) {
            Ok(file) => files.push(file),
            Err(complaint) => findings.push(Finding::error(complaint)),
        }
    }
    findings.extend(check::files(&files));
    if !args.offline {
        for (servers, of) in by_broker(&files, &args.bootstrap_server) {
            match tokio::time::timeout(ANSWER_MAX, ask(&servers, &of)).await {
                Ok(Ok(live)) => findings.extend(check::live(&of, &live)),
                Ok(Err(error)) => not_asked(&servers, &format!("{error:#}")),
                Err(_) => not_asked(&servers, "no answer"),
            }
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    report(&findings, args.json)?;
    let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    let fails = errors || (!findings.is_empty() && !args.allow_warnings);
    Ok(if fails { Outcome::Finding } else { Outcome::Done })
}

/// Reads a service's file.
type Reader = fn(&Path) -> Result<ServiceFile, Complaint>;

/// The services whose files have keys that only they have.
const OWN_KEYS: [(&str, Reader); 2] = [
    ("consumer", |path| ::consumer::Settings::read(path).map(|settings| settings.file)),
    ("smartmoney", |path| ::smart_money::config::Own::read(path).map(|(file, _)| file)),
];

/// Reads a file as whichever service understands it; what nobody does is said in the words of the service that it is named after.
fn read(path: &Path) -> Result<ServiceFile, Complaint> {
    let mut told = match ServiceFile::read(&service(path), path) {
        Ok(file) => return Ok(file),
        Err(complaint) => complaint,
    };
    for (name, read) in OWN_KEYS {
        match read(path) {
            Ok(file) => return Ok(file),
            Err(complaint) if service(path) == name => told = complaint,
            Err(_) => {}
        }
    }
    Err(told)
}

/// What a service is called whose file names none: as the file.
fn service(path: &Path) -> String {
    path.file_stem().map_or_else(|| "service".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn not_asked(servers: &[String], why: &str) {
    tracing::warn!("topics and live groups are not checked: {} does not answer: {why}", servers.join(","));
}

/// The blocks of the files, by the brokers that they name: a block is held against its own broker only.
fn by_broker(files: &[ServiceFile], instead: &[String]) -> Vec<(Vec<String>, Vec<ServiceFile>)> {
    if !instead.is_empty() {
        return vec![(instead.to_vec(), files.to_vec())];
    }
    let servers: BTreeSet<Vec<String>> = files.iter().flat_map(|file| &file.kqs).map(servers_of).collect();
    let of = |servers: Vec<String>| {
        let own = |file: &ServiceFile| {
            let mut file = file.clone();
            file.kqs.retain(|kq| servers_of(kq) == servers);
            file
        };
        let files = files.iter().map(own).filter(|file| !file.kqs.is_empty()).collect();
        (servers, files)
    };
    servers.into_iter().map(of).collect()
}

fn servers_of(kq: &kohort_service::Kq) -> Vec<String> {
    match kq.brokers.is_empty() {
        true => vec![kohort_runtime::kq::DEFAULT_BROKER.to_owned()],
        false => kq.brokers.clone(),
    }
}

/// What the broker says of everything that the files name.
async fn ask(servers: &[String], files: &[ServiceFile]) -> anyhow::Result<Live> {
    let admin = brokers::client(servers)?.admin();
    let cluster = admin.describe_cluster().await.context("describe the cluster")?;
    let wanted: BTreeSet<&str> = files.iter().flat_map(|f| &f.kqs).map(|kq| kq.topic.as_str()).collect();
    let mut topics = BTreeMap::new();
    for topic in admin.list_topics().await.context("list the topics")? {
        if wanted.contains(topic.name.as_str()) {
            let resource = ConfigResource::Topic(topic.name.clone());
            let message_bytes_max = number(&admin, &resource, &["max.message.bytes"]).await?[0];
            topics.insert(topic.name, LiveTopic { partitions: topic.partitions.len(), message_bytes_max });
        }
    }
    let mut live = Live { topics, ..Live::default() };
    if let Some((id, ..)) = cluster.brokers.first() {
        let keys = ["group.min.session.timeout.ms", "group.max.session.timeout.ms"];
        let limits = number(&admin, &ConfigResource::Broker(*id), &keys).await?;
        (live.session_min_ms, live.session_max_ms) = (limits[0], limits[1]);
    }
    let groups: BTreeSet<&str> = files.iter().flat_map(|f| &f.kqs).map(|kq| kq.group.as_str()).collect();
    for listed in admin.list_groups().await.context("list the groups")? {
        if groups.contains(listed.group.as_str()) {
            live.groups.insert(listed.group.clone(), members(&admin, &listed.group).await?);
        }
    }
    Ok(live)
}

async fn members(admin: &Admin, group: &str) -> anyhow::Result<Vec<LiveMember>> {
    let described = admin.describe_group(group).await.with_context(|| format!("describe group `{group}`"))?;
    let member = |member: kohort_client::admin::MemberDescription| {
        let topics: BTreeSet<String> = member.assignment.iter().map(|tp| tp.topic.to_string()).collect();
        LiveMember { client_id: member.client_id, topics: topics.into_iter().collect() }
    };
    Ok(described.members.into_iter().map(member).collect())
}

/// Settings that are whole numbers; `None` for one that the server does not tell.
async fn number(admin: &Admin, resource: &ConfigResource, keys: &[&str]) -> anyhow::Result<Vec<Option<u64>>> {
    let entries = admin.describe_config(resource).await.context("describe the settings")?;
    let value = |key: &&str| entries.iter().find(|e| e.name == *key)?.value.as_deref()?.parse().ok();
    Ok(keys.iter().map(value).collect())
}

fn report(findings: &[Finding], as_json: bool) -> anyhow::Result<()> {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if as_json {
        let one = |finding: &Finding| {
            let Complaint { what, at, why, hint } = &finding.complaint;
            json!({ "severity": finding.severity.word(), "what": what, "at": at, "why": why, "hint": hint })
        };
        let all: Vec<_> = findings.iter().map(one).collect();
        return output::json(&json!({ "errors": errors, "warnings": warnings, "findings": all }));
    }
    for finding in findings {
        output::line(format!("{finding}\n"));
    }
    output::line(format!("{errors} errors, {warnings} warnings"));
    Ok(())
}
