//! `kohort check`: the services' files read together, and held against the broker that they name, where one answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kohort_client::Client;
use kohort_client::admin::{Admin, ConfigResource};
use kohort_runtime::kq;
use kohort_service::check::{self, Clusters, Finding, Live, LiveMember, LiveTopic, Severity};
use kohort_service::config::top_keys;
use kohort_service::{Complaint, Kq, ServiceFile};
use market_store::MySqlAddress;
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
    findings.extend(files.iter().flat_map(refused_at_the_start));
    let instead = Some(&args.bootstrap_server[..]).filter(|servers| !servers.is_empty());
    let answers = if args.offline { Vec::new() } else { ask_all(&files, instead).await };
    let mut clusters = Clusters::default();
    for answer in &answers {
        answer.lists.iter().for_each(|brokers| clusters.insert(brokers, &answer.cluster_id));
    }
    findings.extend(check::files(&files, &clusters));
    findings.extend(answers.iter().flat_map(|a| check::live(&of_brokers(&files, &a.lists), &a.live)));
    findings.sort_by_key(|finding| finding.severity);
    report(&findings, args.json)?;
    let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    let fails = errors || (!findings.is_empty() && !args.allow_warnings);
    Ok(if fails { Outcome::Finding } else { Outcome::Done })
}

/// Reads a service's file.
type Reader = fn(&Path) -> Result<ServiceFile, Complaint>;

/// The services whose files have keys that only they have, and these keys.
const OWN_KEYS: [(&str, &[&str], Reader); 2] = [
    ("consumer", &["Behave"], |path| ::consumer::Settings::read(path).map(|settings| settings.file)),
    ("smartmoney", &["Addresses", "Notify"], |path| {
        ::smart_money::config::Own::read(path).map(|(file, _)| file)
    }),
];

/// Reads a file as whichever service understands it; what nobody does is said in the words of the service whose own keys it has, or that
/// it is named after.
fn read(path: &Path) -> Result<ServiceFile, Complaint> {
    let mut told = match ServiceFile::read(&service(path), path) {
        Ok(file) => return Ok(file),
        Err(complaint) => complaint,
    };
    let written = top_keys(path).unwrap_or_default();
    for (name, keys, read) in OWN_KEYS {
        let has_its_keys = written.iter().any(|key| keys.iter().any(|own| own.eq_ignore_ascii_case(key)));
        match read(path) {
            Ok(file) => return Ok(file),
            Err(complaint) if has_its_keys || service(path).replace(['-', '_'], "") == name => {
                told = complaint;
            }
            Err(_) => {}
        }
    }
    Err(told)
}

/// What a service is called whose file names none: as the file.
fn service(path: &Path) -> String {
    path.file_stem().map_or_else(|| "service".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// What a file may say and a service refuses when it starts.
fn refused_at_the_start(file: &ServiceFile) -> Vec<Finding> {
    let unavailable = file.kqs.iter().filter_map(|kq| kq::unavailable(kq, &file.name));
    let mysql = file.mysql.as_ref().and_then(|mysql| {
        let why = MySqlAddress::parse(&mysql.source).err()?;
        let complaint = Complaint::new(format!("`DataSource` of `{}` cannot be understood", file.name))
            .at(mysql.at.clone())
            .why(why.to_string())
            .hint("write `user:password@tcp(host:port)/database`, as for Go's driver");
        Some(complaint)
    });
    unavailable.chain(mysql).map(Finding::error).collect()
}

/// What a cluster said.
struct Answer {
    /// Its id; a cluster that tells none goes by its brokers.
    cluster_id: String,
    /// The lists of brokers in the files that led to it.
    lists: BTreeSet<Vec<String>>,
    live: Live,
}

/// Asks the brokers that the files name, or others instead of them; several lists may lead to one cluster.
async fn ask_all(files: &[ServiceFile], instead: Option<&[String]>) -> Vec<Answer> {
    let lists: BTreeSet<Vec<String>> =
        files.iter().flat_map(|file| &file.kqs).map(|kq| kq.brokers.clone()).collect();
    let asked: Vec<BTreeSet<Vec<String>>> = match instead {
        Some(_) => vec![lists],
        None => lists.into_iter().map(|list| BTreeSet::from([list])).collect(),
    };
    let mut answers: Vec<Answer> = Vec::new();
    for lists in asked {
        let of = of_brokers(files, &lists);
        // The blocks of one list have one login: they are of one cluster.
        let Some(kq) = of.iter().flat_map(|file| &file.kqs).next() else { continue };
        let answer = match tokio::time::timeout(ANSWER_MAX, ask(kq, instead, &of)).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow::anyhow!("no answer")),
        };
        match answer {
            Err(error) => not_asked(kq, instead, &format!("{error:#}")),
            Ok((cluster_id, live)) => match answers.iter_mut().find(|known| known.cluster_id == cluster_id) {
                None => answers.push(Answer { cluster_id, lists, live }),
                Some(known) => {
                    known.lists.extend(lists);
                    known.live.topics.extend(live.topics);
                    known.live.groups.extend(live.groups);
                }
            },
        }
    }
    answers
}

fn not_asked(kq: &Kq, instead: Option<&[String]>, why: &str) {
    let servers = instead.unwrap_or(&kq.brokers);
    let servers = if servers.is_empty() { kq::DEFAULT_BROKER.to_owned() } else { servers.join(",") };
    tracing::warn!("topics and live groups are not checked: {servers} does not answer: {why}");
}

/// The blocks of the files that name one of these lists of brokers.
fn of_brokers(files: &[ServiceFile], lists: &BTreeSet<Vec<String>>) -> Vec<ServiceFile> {
    let own = |file: &ServiceFile| {
        let mut file = file.clone();
        file.kqs.retain(|kq| lists.contains(&kq.brokers));
        file
    };
    files.iter().map(own).filter(|file| !file.kqs.is_empty()).collect()
}

/// The id of the cluster that `kq` names, and what it says of everything that the files name.
async fn ask(kq: &Kq, instead: Option<&[String]>, files: &[ServiceFile]) -> anyhow::Result<(String, Live)> {
    let config = kq::config(kq, instead)?.client_id("kohort").api_timeout(brokers::PATIENCE);
    let admin = Client::new(config).context("make a client")?.admin();
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
    let names = || cluster.brokers.iter().map(|(_, host, port)| format!("{host}:{port}"));
    Ok((cluster.cluster_id.unwrap_or_else(|| names().collect::<Vec<_>>().join(",")), live))
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
