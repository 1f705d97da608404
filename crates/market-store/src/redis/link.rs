//! A connection that is made when it is needed, and made again after it failed.

use std::fmt;
use std::time::Duration;

use super::wire::{Commands, Reply, Wire, WireError};
use crate::StoreError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take. A flush takes milliseconds; a background save of a large Redis may hold it up for seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for questions, behind which somebody waits who may ask again.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

const CLAIM: &str = concat!(include_str!("restarted.lua"), include_str!("claim.lua"));

/// Where Redis is, and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// `host:port`.
    pub host: String,
    /// The user, where Redis has several (`ACL`).
    pub user: Option<String>,
    /// The password.
    pub pass: Option<String>,
    /// The number of the database.
    pub database: u32,
}

impl RedisAddress {
    /// A server without a password, database 0.
    pub fn new(host: impl Into<String>) -> RedisAddress {
        RedisAddress { host: host.into(), user: None, pass: None, database: 0 }
    }

    /// Reads `redis://[[user]:password@]host[:port][/database]`; what is wrong with it otherwise.
    pub fn parse(url: &str) -> Result<RedisAddress, String> {
        let rest = url.strip_prefix("redis://").ok_or("it must begin with `redis://`")?;
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host, database) = match place.split_once('/') {
            Some((host, "")) => (host, 0),
            Some((host, number)) => {
                (host, number.parse().map_err(|_| format!("`{number}` is no number of a database"))?)
            }
            None => (place, 0),
        };
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:6379") };
        let (user, pass) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, pass)) => (Some(decoded(user)?), Some(decoded(pass)?)),
            None => (None, None),
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(RedisAddress { host, user: some(user), pass: some(pass), database })
    }
}

/// Without the password.
impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}/{}", self.host, self.database)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Undoes a URL's `%40`.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a `%` that no two hexadecimal digits follow: write `%25`")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "a name or password that is not UTF-8".to_owned())
}

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: RedisAddress,
    open: Option<Open>,
    /// A writer's connection is looked at more closely than a reader's, and knows the script.
    writes: bool,
    /// What was last said about Redis's settings: said once, and again when it changes.
    said: Vec<String>,
}

#[derive(Debug)]
struct Open {
    wire: Wire,
    /// The server's own id of this run: another after each restart.
    run: String,
    /// The hash of the script of claims.
    claim: String,
    fresh: bool,
}

impl Link {
    pub(super) fn new(address: RedisAddress, writes: bool) -> Link {
        Link { address, open: None, writes, said: Vec::new() }
    }

    /// The run id of the server that is connected.
    pub(super) fn run(&mut self) -> Result<String, StoreError> {
        self.open().map(|open| open.run.clone())
    }

    /// Asks what changes nothing; an error among the replies is an error. A connection that was idle may have been closed meanwhile:
    /// then a new one is asked. (A server that hangs would not answer that one either.)
    pub(super) fn ask(&mut self, commands: &Commands) -> Result<Vec<Reply>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let open = self.open()?;
        let was_idle = !std::mem::take(&mut open.fresh);
        let mut replies = open.wire.call(commands);
        if was_idle && matches!(replies, Err(WireError::Io(_))) {
            self.open = None;
            replies = self.open()?.wire.call(commands);
        }
        let replies = replies.and_then(|replies| {
            replies
                .into_iter()
                .map(|reply| match reply {
                    Reply::Error(text) => Err(WireError::Refused(text)),
                    reply => Ok(reply),
                })
                .collect()
        });
        self.settle(replies)
    }

    /// Runs the script of claims (`claim.lua`).
    pub(super) fn claim(&mut self, keys: [&str; 2], args: &[String]) -> Result<Reply, StoreError> {
        let open = self.open()?;
        let mut called = open.claim(keys, args);
        if matches!(&called, Err(WireError::Refused(text)) if text.starts_with("NOSCRIPT")) {
            // Somebody threw the scripts away.
            called = load_script(&mut open.wire).and_then(|script| {
                open.claim = script;
                open.claim(keys, args)
            });
        }
        self.settle(called)
    }

    /// Sends a transaction on the connection on which [`Link::ask`] has just sent its `WATCH`: never on another, which watches nothing.
    /// Errors among the replies are as they are.
    pub(super) fn execute(&mut self, commands: &Commands) -> Result<Vec<Reply>, StoreError> {
        let Some(open) = &mut self.open else {
            return Err(StoreError::Away { store: self.address.to_string(), source: "not connected".into() });
        };
        open.fresh = false;
        let replies = open.wire.call(commands);
        self.settle(replies)
    }

    /// The connection goes if it can no longer be relied on.
    fn settle<T>(&mut self, result: Result<T, WireError>) -> Result<T, StoreError> {
        if matches!(result, Err(WireError::Io(_) | WireError::Silent(_) | WireError::Protocol(_))) {
            self.open = None;
        }
        result.map_err(|source| self.failure(source))
    }

    /// An error, by what a person can do about it.
    pub(super) fn failure(&self, source: WireError) -> StoreError {
        let store = self.address.to_string();
        let denied = ["NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password", "ERR AUTH"];
        match &source {
            WireError::Io(_) | WireError::Silent(_) | WireError::Protocol(_) => {
                StoreError::Away { store, source: Box::new(source) }
            }
            WireError::Refused(text) if denied.iter().any(|word| text.starts_with(word)) => {
                StoreError::Denied { store, source: Box::new(source) }
            }
            WireError::Refused(_) => StoreError::Refused { store, source: Box::new(source) },
        }
    }

    fn open(&mut self) -> Result<&mut Open, StoreError> {
        if self.open.is_none() {
            let opened = self.connect()?;
            self.open = Some(opened);
        }
        // Just made if it was not there.
        self.open.as_mut().ok_or_else(|| StoreError::Away {
            store: self.address.to_string(),
            source: "not connected".into(),
        })
    }

    fn connect(&mut self) -> Result<Open, StoreError> {
        let answer = if self.writes { ANSWER_TIMEOUT } else { QUESTION_TIMEOUT };
        let connected = Wire::connect(&self.address.host, CONNECT_TIMEOUT, answer);
        let mut wire = connected.map_err(|error| self.failure(error))?;
        let (run, claim) = self.greet(&mut wire).map_err(|error| match error {
            Greeting::Failed(source) => self.failure(source),
            Greeting::Unsuitable(why) => StoreError::Unsuitable { store: self.address.to_string(), why },
        })?;
        Ok(Open { wire, run, claim, fresh: true })
    }

    fn greet(&mut self, wire: &mut Wire) -> Result<(String, String), Greeting> {
        if let Some(pass) = &self.address.pass {
            match &self.address.user {
                Some(user) => wire.ask(&[b"AUTH", user.as_bytes(), pass.as_bytes()])?,
                None => wire.ask(&[b"AUTH", pass.as_bytes()])?,
            };
        }
        if self.address.database > 0 {
            wire.ask(&[b"SELECT", self.address.database.to_string().as_bytes()])?;
        }
        let info = wire.ask(&[b"INFO", b"server"])?.text()?;
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
        };
        if field("redis_mode") == "cluster" {
            return Err(Greeting::Unsuitable(
                "it is a Redis Cluster. Candles and positions must change in one step, and a cluster keeps the keys \
                 `kline:{chain}:{pair}:{interval}` on different nodes, where no step spans them. Use one Redis (with a replica, if it \
                 is to survive its machine)"
                    .to_owned(),
            ));
        }
        if !self.writes {
            return Ok(Default::default());
        }
        let run = field("run_id").to_owned();
        if run.is_empty() {
            return Err(Greeting::Unsuitable(
                "it does not say its `run_id` (`INFO server`), by which a restart is known".to_owned(),
            ));
        }
        let cautions = cautions(wire)?;
        if cautions != self.said {
            for caution in &cautions {
                tracing::warn!("{}: {caution}", self.address);
            }
            self.said = cautions;
        }
        Ok((run, load_script(wire)?))
    }
}

enum Greeting {
    Failed(WireError),
    Unsuitable(String),
}

impl From<WireError> for Greeting {
    fn from(error: WireError) -> Greeting {
        Greeting::Failed(error)
    }
}

/// What of Redis's settings endangers the candles, one sentence each with the mend; what cannot be borne is an error.
fn cautions(wire: &mut Wire) -> Result<Vec<String>, Greeting> {
    let mut settings = [const { None }; 4];
    for (setting, name) in
        settings.iter_mut().zip(["appendonly", "appendfsync", "maxmemory", "maxmemory-policy"])
    {
        *setting = match wire.ask(&[b"CONFIG", b"GET", name.as_bytes()]) {
            Ok(reply) => reply.array()?.into_iter().nth(1).map(Reply::text).transpose()?,
            // Hosted servers keep the command for themselves.
            Err(WireError::Refused(_)) => None,
            Err(error) => return Err(error.into()),
        };
    }
    let [append_only, fsync, memory, policy] = settings;
    let limited = memory.as_deref().is_some_and(|bytes| bytes != "0");
    if limited && policy.as_deref().is_some_and(|policy| policy != "noeviction") {
        return Err(Greeting::Unsuitable(format!(
            "it throws keys away when its memory is full (`maxmemory-policy {}`), and a candle that is thrown away would be begun anew with a \
             part of its trades. `CONFIG SET maxmemory-policy noeviction`, and give it enough memory: then a full Redis refuses, and \
             nothing is lost",
            policy.unwrap_or_default()
        )));
    }
    let mut cautions = Vec::new();
    match (append_only.as_deref(), fsync.as_deref()) {
        (Some("yes"), Some("always")) => {}
        (None, _) | (_, None) => cautions.push(
            "it does not tell how it writes to disk (`CONFIG GET appendonly`). With less than `appendonly yes` and `appendfsync always`, a \
             crash takes flushes back, and their trades have to be read again"
                .to_owned(),
        ),
        (Some("yes"), Some(fsync)) => cautions.push(format!(
            "`appendfsync {fsync}` lets a crash take back the last flushes; their trades have to be read again. \
             `CONFIG SET appendfsync always` writes each flush to disk before it counts"
        )),
        (Some(_), Some(_)) => cautions.push(
            "`appendonly no`: a crash takes back everything since the last snapshot; its trades have to be read again. \
             `CONFIG SET appendonly yes` and `CONFIG SET appendfsync always` write each flush to disk before it counts"
                .to_owned(),
        ),
    }
    Ok(cautions)
}

fn load_script(wire: &mut Wire) -> Result<String, WireError> {
    wire.ask(&[b"SCRIPT", b"LOAD", CLAIM.as_bytes()])?.text()
}

impl Open {
    fn claim(&mut self, keys: [&str; 2], args: &[String]) -> Result<Reply, WireError> {
        self.fresh = false;
        let mut command: Vec<&[u8]> = vec![b"EVALSHA", self.claim.as_bytes(), b"2"];
        command.extend(keys.map(str::as_bytes));
        command.extend(args.iter().map(String::as_bytes));
        self.wire.ask(&command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_passwords_never_shown() {
        let address = RedisAddress::parse("redis://user:p%40ss@cache.example:7000/3").unwrap();
        assert_eq!((address.user.as_deref(), address.pass.as_deref()), (Some("user"), Some("p@ss")));
        assert_eq!(
            format!("{address} {address:?}"),
            "redis://cache.example:7000/3 redis://cache.example:7000/3"
        );
        let address = RedisAddress::parse("redis://:secret@127.0.0.1").unwrap();
        assert_eq!(
            (address.user, address.pass.as_deref(), address.host.as_str()),
            (None, Some("secret"), "127.0.0.1:6379")
        );
        assert_eq!(RedisAddress::parse("redis://[::1]:6380/"), Ok(RedisAddress::new("[::1]:6380")));
        for (wrong, why) in [
            ("rediss://a", "begin"),
            ("redis://", "host"),
            ("redis://a/x", "database"),
            ("redis://a:%4@b", "%25"),
        ] {
            let said = RedisAddress::parse(wrong).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
