//! A service's whole file: its name, its `Kq` blocks, its stores, and what go-zero services carry anyway.

use std::path::Path;

use super::kq::{Kq, read_brokers};
use super::section::{Found, Section};
use super::stores::{self, GroupStore};
use super::yaml;
use crate::complaint::Complaint;

/// A service's file, read and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFile {
    /// The file, as it was named.
    pub path: String,
    /// `Name`; default: the service's own name.
    pub name: String,
    /// `Host` and `Port`, where the file has a port: where the service's HTTP listens unless the command line says.
    pub http: Option<String>,
    /// `Log`.
    pub log: Log,
    /// The `Kq` blocks, in the file's order.
    pub kqs: Vec<Kq>,
    /// `Mysql`, where candles are kept if not in the embedded store.
    pub mysql: Option<Datasource>,
    /// `Redis`, the cache if not memory.
    pub redis: Option<Redis>,
    /// `GroupStores`: the stores of other services that share a group with this one. Its partitions are claimed there too.
    pub group_stores: Vec<GroupStore>,
    /// Passwords that stand in the file as they are: what, and `file:line`.
    pub plain_secrets: Vec<(String, String)>,
    /// What the file says that does not stop the start, one sentence each.
    pub warnings: Vec<String>,
}

/// `Log`: of go-zero's keys we use `Level`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// `debug`, `info`, `warn` or `error`; go-zero's `severe` is `error`.
    pub level: Option<String>,
}

/// `Mysql: DataSource: user:pass@tcp(host:port)/db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datasource {
    /// The text as go-zero writes it.
    pub source: String,
    /// `file:line` of it.
    pub at: String,
}

/// `Redis: Host, Type, Pass`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// `host:port`.
    pub host: String,
    /// `node` or `cluster`; default `node`.
    pub kind: String,
    /// The password, if any.
    pub pass: Option<String>,
    /// `file:line` of it.
    pub at: String,
}

/// Names that go-zero's service, rest and rpc configurations carry, and that nothing here reads.
const NOT_USED: [&str; 24] = [
    "Mode",
    "MetricsUrl",
    "Telemetry",
    "Prometheus",
    "DevServer",
    "Profiling",
    "Shutdown",
    "Verbose",
    "MaxConns",
    "MaxBytes",
    "Timeout",
    "CpuThreshold",
    "Signature",
    "Middlewares",
    "TraceIgnorePaths",
    "CertFile",
    "KeyFile",
    "ListenOn",
    "Etcd",
    "Auth",
    "StrictControl",
    "Health",
    "MethodTimeouts",
    "Cache",
];

const LOG_NOT_USED: [&str; 14] = [
    "ServiceName",
    "Mode",
    "Encoding",
    "TimeFormat",
    "Path",
    "Compress",
    "Stat",
    "KeepDays",
    "StackCooldownMillis",
    "MaxBackups",
    "MaxSize",
    "Rotation",
    "MaxContentLength",
    "FileTimeFormat",
];

const LEVELS: &[(&str, &str)] =
    &[("debug", "debug"), ("info", "info"), ("warn", "warn"), ("error", "error"), ("severe", "error")];

impl ServiceFile {
    /// Reads the file of `service`.
    ///
    /// # Errors
    /// A file that is not there, that is no YAML, or that says something that cannot be: with its place and the mend.
    pub fn read(service: &str, path: &Path) -> Result<ServiceFile, Complaint> {
        ServiceFile::read_with(service, path, |_| Ok(())).map(|(file, ())| file)
    }

    /// As [`ServiceFile::read`]; `own` takes the keys that only this service has.
    ///
    /// # Errors
    /// As [`ServiceFile::read`], and whatever `own` refuses.
    pub fn read_with<T>(
        service: &str,
        path: &Path,
        own: impl FnOnce(&mut Section<'_>) -> Result<T, Complaint>,
    ) -> Result<(ServiceFile, T), Complaint> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Complaint::new(format!("`{service}` cannot start: its file cannot be read: {error}"))
                .at(shown.clone())
                .hint("name an existing YAML file with `-f FILE`")
        })?;
        ServiceFile::parse_with(service, &shown, &text, own)
    }

    /// Reads `text` as the file `shown` of `service`.
    ///
    /// # Errors
    /// As [`ServiceFile::read`].
    pub fn parse(service: &str, shown: &str, text: &str) -> Result<ServiceFile, Complaint> {
        ServiceFile::parse_with(service, shown, text, |_| Ok(())).map(|(file, ())| file)
    }

    /// As [`ServiceFile::parse`]; `own` takes the keys that only this service has.
    ///
    /// # Errors
    /// As [`ServiceFile::read_with`].
    pub fn parse_with<T>(
        service: &str,
        shown: &str,
        text: &str,
        own: impl FnOnce(&mut Section<'_>) -> Result<T, Complaint>,
    ) -> Result<(ServiceFile, T), Complaint> {
        let root = yaml::parse(text).map_err(|error| {
            Complaint::new(format!("`{service}` cannot start: the file is not YAML: {}", error.what))
                .at(format!("{shown}:{}", error.line))
                .hint("check the indentation (spaces, no tabs) and the brackets here and on the line before")
        })?;
        let mut section = Section::file(service, shown, &root)?;
        let mut warnings = Vec::new();
        let name = section.take("Name").map(|found| found.name()).transpose()?;
        let http = read_http(&mut section)?;
        let log =
            section.take("Log").map(|found| read_log(found, &mut warnings)).transpose()?.unwrap_or_default();
        let mut secrets = Vec::new();
        let mysql = section.take("Mysql").map(|found| read_mysql(shown, found, &mut secrets)).transpose()?;
        let redis = section.take("Redis").map(|found| read_redis(shown, found, &mut secrets)).transpose()?;
        let group_stores = section
            .take("GroupStores")
            .map(|found| stores::read(shown, found, &mut secrets))
            .transpose()?
            .unwrap_or_default();
        let brokers = section.take("Brokers").map(read_brokers).transpose()?.unwrap_or_default();
        let own = own(&mut section)?;
        let mut kqs = Vec::new();
        for (name, found) in section.take_prefix("Kq") {
            kqs.push(Kq::read(shown, name, found, &brokers, &mut warnings, &mut secrets)?);
        }
        let not_used = section.not_used(&NOT_USED);
        if !not_used.is_empty() {
            warnings.push(format!("{shown}: not used: {}", not_used.join(", ")));
        }
        section.finish()?;
        let file = ServiceFile {
            path: shown.to_owned(),
            name: name.unwrap_or_else(|| service.to_owned()),
            http,
            log,
            kqs,
            mysql,
            redis,
            group_stores,
            plain_secrets: secrets,
            warnings,
        };
        Ok((file, own))
    }
}

/// The keys at the top of a file, as they are written; none where it is no block of keys.
///
/// # Errors
/// A file that cannot be read.
pub fn top_keys(path: &Path) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let Ok(yaml::Node { value: yaml::Value::Mapping(pairs), .. }) = yaml::parse(&text) else {
        return Ok(vec![]);
    };
    let name = |(key, _): (yaml::Node, _)| match key.value {
        yaml::Value::Scalar { text, .. } => Some(text),
        _ => None,
    };
    Ok(pairs.into_iter().filter_map(name).collect())
}

fn read_http(section: &mut Section<'_>) -> Result<Option<String>, Complaint> {
    let host = section.take("Host").map(|found| found.name()).transpose()?;
    let port = section.take("Port").map(|found| found.integer(0, u16::MAX.into())).transpose()?;
    // Every listener binds to loopback unless told otherwise; go-zero's default would be all addresses.
    Ok(port.map(|port| format!("{}:{port}", host.as_deref().unwrap_or("127.0.0.1"))))
}

fn read_log(found: Found<'_>, warnings: &mut Vec<String>) -> Result<Log, Complaint> {
    let mut section = Section::of(found)?;
    let level = section.take("Level").map(|found| found.one_of(LEVELS)).transpose()?;
    let not_used = section.not_used(&LOG_NOT_USED);
    if !not_used.is_empty() {
        warnings.push(format!("not used in `Log`: {}: logs go to stderr", not_used.join(", ")));
    }
    section.finish()?;
    Ok(Log { level: level.map(str::to_owned) })
}

fn read_mysql(
    shown: &str,
    found: Found<'_>,
    secrets: &mut Vec<(String, String)>,
) -> Result<Datasource, Complaint> {
    let mut section = Section::of(found)?;
    let what_for = "it says where the database is, as `user:pass@tcp(host:port)/db`";
    let source = section.required("DataSource", what_for)?;
    let at = format!("{shown}:{}", source.line());
    // `user:pass@...`: the user alone is no secret.
    let text = source.text()?;
    let password =
        text.rsplit_once('@').and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password);
    if source.is_literal() && password.is_some_and(|password| !password.is_empty()) {
        secrets.push(("the password in `DataSource`".to_owned(), at.clone()));
    }
    let source = source.name()?;
    section.finish()?;
    Ok(Datasource { source, at })
}

fn read_redis(
    shown: &str,
    found: Found<'_>,
    secrets: &mut Vec<(String, String)>,
) -> Result<Redis, Complaint> {
    let at = format!("{shown}:{}", found.line());
    let mut section = Section::of(found)?;
    let host = section.required("Host", "it says where Redis is, as `host:port`")?.name()?;
    let kind = match section.take("Type") {
        Some(found) => found.one_of(&[("node", "node"), ("cluster", "cluster")])?.to_owned(),
        None => "node".to_owned(),
    };
    let pass = match section.take("Pass") {
        Some(found) => found.secret("`Pass` of `Redis`", secrets)?,
        None => None,
    };
    section.not_used(&["Tls", "Key", "User", "NonBlock", "PingTimeout"]);
    section.finish()?;
    Ok(Redis { host, kind, pass, at })
}
