//! A receiver of webhooks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// It counts how often it took each `Idempotency-Key`.
pub(crate) struct Receiver {
    /// `host:port`.
    pub(crate) address: String,
    taken: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Receiver {
    pub(crate) fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let taken: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let keys = Arc::clone(&taken);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(socket), keys) = (socket, Arc::clone(&keys)) else { return };
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(socket);
                    // A sender that is killed leaves half a request behind: nothing was taken then.
                    while let Some(key) = request(&mut reader) {
                        *keys.lock().unwrap().entry(key).or_default() += 1;
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Receiver { address, taken }
    }

    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.taken.lock().unwrap().clone()
    }

    /// How many different keys it took.
    pub(crate) fn keys(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

/// One whole request: its key.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => key = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().ok()?,
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    key
}
