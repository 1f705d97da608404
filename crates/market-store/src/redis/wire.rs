//! A connection of the `redis` crate, as a store needs it: commands out together, their replies in order, an error to one of them a reply
//! like others.
//!
//! After an error of input or output the connection is of no use: what it answers next may belong to a question asked before.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionLike, IntoConnectionInfo, RedisError, ServerError, Value};
use thiserror::Error;

/// Why a command was not answered as hoped.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] RedisError),
    /// It hangs.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// What came is not Redis's protocol, or not what was asked for.
    #[error("an answer that is not Redis's: {0}")]
    Protocol(String),
    /// Redis answered with an error.
    #[error("Redis says `{0}`")]
    Refused(String),
}

impl From<RedisError> for WireError {
    fn from(error: RedisError) -> WireError {
        match error.kind() {
            redis::ErrorKind::Io => WireError::Io(error),
            redis::ErrorKind::Server(_) | redis::ErrorKind::Extension => {
                WireError::Refused(refusal(error.code().unwrap_or("ERR"), error.detail()))
            }
            _ => WireError::Protocol(error.to_string()),
        }
    }
}

impl WireError {
    /// The error of a call that may take so long.
    fn of(error: RedisError, within: Duration) -> WireError {
        if error.is_timeout() { WireError::Silent(within) } else { error.into() }
    }
}

/// An error as Redis writes it.
fn refusal(code: &str, details: Option<&str>) -> String {
    details.map_or_else(|| code.to_owned(), |details| format!("{code} {details}"))
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A word such as `OK`.
    Status(String),
    /// An error, as an answer to one command among several.
    Error(String),
    /// A number.
    Int(i64),
    /// A string; `None` for what is not there.
    Bulk(Option<Vec<u8>>),
    /// A list.
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string, or `None` for what is not there.
    pub(super) fn bulk(self) -> Result<Option<Vec<u8>>, WireError> {
        match self {
            Reply::Bulk(bytes) => Ok(bytes),
            other => Err(other.unexpected("a string")),
        }
    }

    /// A string as text; empty for what is not there.
    pub(super) fn text(self) -> Result<String, WireError> {
        let bytes = match self {
            Reply::Status(text) => return Ok(text),
            other => other.bulk()?.unwrap_or_default(),
        };
        String::from_utf8(bytes).map_err(|_| WireError::Protocol("a text that is not UTF-8".to_owned()))
    }

    /// The items of a list.
    pub(super) fn array(self) -> Result<Vec<Reply>, WireError> {
        match self {
            Reply::Array(items) => Ok(items),
            other => Err(other.unexpected("a list")),
        }
    }

    fn unexpected(self, wanted: &str) -> WireError {
        match self {
            Reply::Error(text) => WireError::Refused(text),
            other => WireError::Protocol(format!("{wanted} was expected, `{other:?}` came")),
        }
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Reply {
        match value {
            Value::Nil => Reply::Bulk(None),
            Value::Int(number) => Reply::Int(number),
            Value::BulkString(bytes) => Reply::Bulk(Some(bytes)),
            Value::Array(items) => Reply::Array(items.into_iter().map(Reply::from).collect()),
            Value::SimpleString(text) => Reply::Status(text),
            Value::Okay => Reply::Status("OK".to_owned()),
            Value::ServerError(error) => Reply::Error(of_server(&error)),
            // Kinds of RESP3, which nobody asks for here.
            other => Reply::Status(format!("{other:?}")),
        }
    }
}

fn of_server(error: &ServerError) -> String {
    refusal(error.code(), error.details())
}

/// Commands that go out together.
#[derive(Debug, Default)]
pub(super) struct Commands {
    count: usize,
    bytes: Vec<u8>,
}

impl Commands {
    pub(super) fn push(&mut self, args: &[&[u8]]) {
        self.begin(args.len());
        args.iter().for_each(|arg| self.arg(arg));
    }

    /// Begins a command of so many arguments, its name among them; each [`Commands::arg`] follows.
    pub(super) fn begin(&mut self, args: usize) {
        self.count += 1;
        self.head(b'*', args);
    }

    pub(super) fn arg(&mut self, arg: impl AsRef<[u8]>) {
        let arg = arg.as_ref();
        self.head(b'$', arg.len());
        self.bytes.extend_from_slice(arg);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn head(&mut self, kind: u8, number: usize) {
        self.bytes.push(kind);
        let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn append(&mut self, more: &Commands) {
        self.count += more.count;
        self.bytes.extend_from_slice(&more.bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A connection.
pub(super) struct Wire {
    connection: redis::Connection,
    /// How long an answer may take.
    answer: Duration,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Connects to `host:port`; who asks and what for is said by commands.
    pub(super) fn connect(address: &str, connect: Duration, answer: Duration) -> Result<Wire, WireError> {
        let wrong = || {
            let error = Error::new(ErrorKind::InvalidInput, format!("`{address}` is not `host:port`"));
            WireError::Io(error.into())
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let info = (host, port).into_connection_info()?;
        let client = redis::Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?;
        // The crate's greeting is answered within the same time.
        let connection =
            client.get_connection_with_timeout(connect).map_err(|error| WireError::of(error, connect))?;
        connection.set_read_timeout(Some(answer))?;
        connection.set_write_timeout(Some(answer))?;
        Ok(Wire { connection, answer })
    }

    /// Sends the commands; their replies, in order. An error among them is a reply like others.
    pub(super) fn call(&mut self, commands: &Commands) -> Result<Vec<Reply>, WireError> {
        let replies = self.connection.req_packed_commands(&commands.bytes, 0, commands.count);
        let replies = replies.map_err(|error| WireError::of(error, self.answer))?;
        Ok(replies.into_iter().map(Reply::from).collect())
    }

    /// Sends one command; an error is an error.
    pub(super) fn ask(&mut self, args: &[&[u8]]) -> Result<Reply, WireError> {
        let mut commands = Commands::default();
        commands.push(args);
        match self.call(&commands)?.into_iter().next() {
            Some(Reply::Error(text)) => Err(WireError::Refused(text)),
            Some(reply) => Ok(reply),
            None => Err(WireError::Protocol("no answer".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A connection to somebody who answers the first thing that is asked after the greeting with `answer`, and hangs up.
    fn told(answer: &'static [u8]) -> Result<Vec<Reply>, WireError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut bytes = [0; 1024];
            while !heard.ends_with(b"\r\nNOW\r\n") {
                let read = stream.read(&mut bytes).unwrap();
                heard.extend_from_slice(&bytes[..read]);
                // The greeting of the crate wants two answers, and takes any.
                if heard.windows(7).filter(|seen| *seen == b"SETINFO").count() == 2
                    && !heard.ends_with(b"NOW\r\n")
                {
                    stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
                }
            }
            // In pieces, so that replies are cut anywhere.
            for piece in answer.chunks(3) {
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
            }
        });
        let mut wire = Wire::connect(&address, Duration::from_secs(60), Duration::from_secs(60))?;
        let mut commands = Commands::default();
        for word in [&b"A"[..], b"B", b"C", b"D", b"E", b"F", b"NOW"] {
            commands.push(&[word]);
        }
        wire.call(&commands)
    }

    #[test]
    fn every_kind_of_reply_is_read_in_whatever_pieces() {
        let replies = told(b"+OK\r\n-NOSCRIPT no\r\n-WRONGPASS bad\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n");
        assert_eq!(
            replies.unwrap(),
            [
                Reply::Status("OK".to_owned()),
                Reply::Error("NOSCRIPT no".to_owned()),
                Reply::Error("WRONGPASS bad".to_owned()),
                Reply::Int(-7),
                Reply::Bulk(Some(b"a\r\nbc".to_vec())),
                Reply::Bulk(None),
                Reply::Array(vec![Reply::Int(1), Reply::Array(vec![Reply::Bulk(Some(Vec::new()))])]),
            ]
        );
    }

    #[test]
    fn who_hangs_up_or_talks_something_else_is_no_redis() {
        assert!(matches!(told(b"+OK\r\n"), Err(WireError::Io(_))));
        let other = told(b"HTTP/1.1 400\r\n");
        assert!(matches!(other, Err(WireError::Protocol(_) | WireError::Io(_))), "{other:?}");
    }

    #[test]
    fn who_does_not_answer_in_time_is_said_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let silent = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut bytes = [0; 1024];
            // The greeting of the crate wants two answers, and takes any.
            stream.write_all(b"+OK\r\n+OK\r\n").unwrap();
            while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        let answer = Duration::from_millis(50);
        let mut wire = Wire::connect(&address, Duration::from_secs(60), answer).unwrap();
        let error = wire.ask(&[b"PING"]).unwrap_err();
        assert_eq!(error.to_string(), "no answer within 50ms");
        drop(wire);
        silent.join().unwrap();
    }

    #[test]
    fn a_command_is_a_list_of_byte_strings() {
        let (mut commands, mut more) = (Commands::default(), Commands::default());
        commands.push(&[b"GET", b"a\r\n"]);
        more.begin(2);
        more.arg("SET");
        more.arg(i64::MIN.to_string());
        commands.append(&more);
        let wanted = "*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n*2\r\n$3\r\nSET\r\n$20\r\n-9223372036854775808\r\n";
        assert_eq!(commands.len(), 2);
        assert_eq!(String::from_utf8(commands.bytes).unwrap(), wanted);
    }
}
