//! Redis's protocol (RESP2), as far as a store needs it: commands out, replies in, one connection, in order.
//!
//! Written here and not taken from a crate because so little of it is needed: a command is a list of byte strings, and there are five
//! kinds of replies. It refuses what no Redis sends (an unknown kind, a length beyond Redis's own limits).
//!
//! After an error of input or output the connection is of no use: what it answers next may belong to a question asked before.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;

/// Redis's own limit of a string (`proto-max-bulk-len`).
const BULK_BYTES_MAX: i64 = 512 << 20;
/// Arrays within arrays: what is asked here has two levels.
const DEPTH_MAX: u32 = 8;
/// Bytes that are used up and still kept, at most, give or take a read.
const USED_BYTES_MAX: usize = 1 << 20;
/// A read from the socket.
const READ_BYTES: usize = 64 << 10;

/// Why a command was not answered as hoped.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// What came is not Redis's protocol.
    #[error("an answer that is not Redis's: {0}")]
    Protocol(String),
    /// Redis answered with an error.
    #[error("Redis says `{0}`")]
    Refused(String),
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

/// The arguments of one command, gathered until their number is known.
#[derive(Debug, Default)]
pub(super) struct Args {
    count: usize,
    bytes: Vec<u8>,
}

impl Args {
    pub(super) fn push(&mut self, arg: impl AsRef<[u8]>) {
        let arg = arg.as_ref();
        self.count += 1;
        header(&mut self.bytes, b'$', arg.len());
        self.bytes.extend_from_slice(arg);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn push_int(&mut self, value: i64) {
        // Written aside first: the length stands ahead of the digits.
        let mut digits = [0u8; 20];
        let mut rest = &mut digits[..];
        // 20 bytes hold any i64.
        let _ = write!(rest, "{value}");
        let left = rest.len();
        let used = digits.len() - left;
        self.push(&digits[..used]);
    }

    pub(super) fn append(&mut self, more: &Args) {
        self.count += more.count;
        self.bytes.extend_from_slice(&more.bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

fn header(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    // Writing to a vector cannot fail.
    let _ = write!(out, "{length}");
    out.extend_from_slice(b"\r\n");
}

/// Commands that go out together.
#[derive(Debug, Default)]
pub(super) struct Commands {
    count: usize,
    bytes: Vec<u8>,
}

impl Commands {
    pub(super) fn push(&mut self, args: &[&[u8]]) {
        self.count += 1;
        header(&mut self.bytes, b'*', args.len());
        for arg in args {
            header(&mut self.bytes, b'$', arg.len());
            self.bytes.extend_from_slice(arg);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn push_args(&mut self, args: &Args) {
        self.count += 1;
        header(&mut self.bytes, b'*', args.count);
        self.bytes.extend_from_slice(&args.bytes);
    }

    pub(super) fn append(&mut self, more: &Commands) {
        self.count += more.count;
        self.bytes.extend_from_slice(&more.bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    at: usize,
}

impl Wire {
    pub(super) fn connect(address: &str, connect: Duration, answer: Duration) -> std::io::Result<Wire> {
        let mut failed = None;
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, connect) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(answer))?;
                    stream.set_write_timeout(Some(answer))?;
                    return Ok(Wire { stream, input: Vec::new(), at: 0 });
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| std::io::Error::other("the name has no address")))
    }

    /// Sends the commands; their replies, in order. An error among them is a reply like others.
    pub(super) fn call(&mut self, commands: &Commands) -> Result<Vec<Reply>, WireError> {
        self.stream.write_all(&commands.bytes)?;
        (0..commands.count).map(|_| self.reply(0)).collect()
    }

    /// Sends one command; an error is an error.
    pub(super) fn ask(&mut self, args: &[&[u8]]) -> Result<Reply, WireError> {
        let mut commands = Commands::default();
        commands.push(args);
        self.stream.write_all(&commands.bytes)?;
        match self.reply(0)? {
            Reply::Error(text) => Err(WireError::Refused(text)),
            reply => Ok(reply),
        }
    }

    fn reply(&mut self, depth: u32) -> Result<Reply, WireError> {
        let line = self.line()?;
        let Some((kind, rest)) = line.split_first() else {
            return Err(WireError::Protocol("an empty line".to_owned()));
        };
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().map_err(|_| WireError::Protocol(format!("the number `{text}`")));
        match kind {
            b'+' => Ok(Reply::Status(text)),
            b'-' => Ok(Reply::Error(text)),
            b':' => Ok(Reply::Int(number()?)),
            b'$' => match number()? {
                -1 => Ok(Reply::Bulk(None)),
                length @ 0..=BULK_BYTES_MAX => Ok(Reply::Bulk(Some(self.bulk(length as usize)?))),
                length => Err(WireError::Protocol(format!("a string of {length} bytes"))),
            },
            b'*' if depth < DEPTH_MAX => match number()? {
                -1 => Ok(Reply::Array(Vec::new())),
                length if length >= 0 => {
                    (0..length).map(|_| self.reply(depth + 1)).collect::<Result<_, _>>().map(Reply::Array)
                }
                length => Err(WireError::Protocol(format!("a list of {length}"))),
            },
            other => Err(WireError::Protocol(format!("a reply of kind `{}`", other.escape_ascii()))),
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, WireError> {
        let mut seen = self.at;
        loop {
            if let Some(end) = self.input[seen..].iter().position(|byte| *byte == b'\n') {
                let line = self.input[self.at..seen + end].strip_suffix(b"\r").unwrap_or_default().to_vec();
                self.at = seen + end + 1;
                return Ok(line);
            }
            let read = self.fill()?;
            seen = self.input.len() - read;
        }
    }

    fn bulk(&mut self, length: usize) -> Result<Vec<u8>, WireError> {
        while self.input.len() - self.at < length + 2 {
            self.fill()?;
        }
        let bytes = self.input[self.at..self.at + length].to_vec();
        self.at += length + 2;
        Ok(bytes)
    }

    /// Reads more; says how much. What was used up is let go of first.
    fn fill(&mut self) -> Result<usize, WireError> {
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        } else if self.at > USED_BYTES_MAX {
            self.input.drain(..self.at);
            self.at = 0;
        }
        let old = self.input.len();
        self.input.resize(old + READ_BYTES, 0);
        let read = self.stream.read(&mut self.input[old..]);
        self.input.truncate(old + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A connection to somebody who says `answer` and hangs up.
    fn told(answer: &'static [u8]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // In pieces, so that replies are cut anywhere.
            for piece in answer.chunks(3) {
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
            }
        });
        Wire::connect(&address, Duration::from_secs(60), Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn every_kind_of_reply_is_read_in_whatever_pieces() {
        let mut wire =
            told(b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n*-1\r\n");
        let replies: Vec<Reply> = (0..7).map(|_| wire.reply(0).unwrap()).collect();
        assert_eq!(
            replies,
            [
                Reply::Status("OK".to_owned()),
                Reply::Error("ERR no".to_owned()),
                Reply::Int(-7),
                Reply::Bulk(Some(b"a\r\nbc".to_vec())),
                Reply::Bulk(None),
                Reply::Array(vec![Reply::Int(1), Reply::Array(vec![Reply::Bulk(Some(Vec::new()))])]),
                Reply::Array(Vec::new()),
            ]
        );
        assert!(matches!(wire.reply(0), Err(WireError::Io(_))));
    }

    #[test]
    fn garbage_is_refused() {
        for answer in [
            &b"HTTP/1.1 400\r\n"[..],
            b"$99999999999\r\n",
            b":x\r\n",
            b"\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ] {
            assert!(
                matches!(told(answer).reply(0), Err(WireError::Protocol(_))),
                "{}",
                answer.escape_ascii()
            );
        }
    }

    #[test]
    fn a_command_is_a_list_of_byte_strings() {
        let (mut commands, mut args) = (Commands::default(), Args::default());
        commands.push(&[b"GET", b"a\r\n"]);
        args.push("SET");
        args.push_int(i64::MIN);
        commands.push_args(&args);
        let wanted = "*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n*2\r\n$3\r\nSET\r\n$20\r\n-9223372036854775808\r\n";
        assert_eq!(String::from_utf8(commands.bytes).unwrap(), wanted);
    }
}
