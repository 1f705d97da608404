//! Connections between hosts and the broker: in order, delayed, cut, reset, closed once or reported closed twice.
//!
//! A connection is TCP: bytes arrive in order or not at all. What a host sent on a connection it gave up still arrives
//! before its end does, and before anything on the host's next connection: an older commit that overtakes a
//! newer one on another connection turns offsets back in Kafka as well, and no coordinator could know.

use std::collections::BTreeMap;

use kohort_group::coordinator::ConnectionId;
use kohort_group::member::{Request, RequestId, Response};

use crate::world::{Happening, Local, World};

/// All connections of a run.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    last: u64,
}

#[derive(Debug)]
struct Connection {
    host: usize,
    process: u32,
    /// Each side's end.
    host_open: bool,
    broker_open: bool,
    /// Nothing passes any more.
    broken: bool,
    /// When the last message on its way arrives, in each direction.
    to_broker: u64,
    to_host: u64,
}

impl Network {
    pub(crate) fn open_at_broker(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|it| it.broker_open && !it.broken)
    }

    pub(crate) fn owner(&self, connection: ConnectionId) -> Option<(usize, u32)> {
        self.connections.get(&connection).map(|it| (it.host, it.process))
    }
}

impl World {
    fn delay(&mut self) -> u64 {
        let (low, high) = self.drawn.delay;
        self.random.network.between(low, high)
    }

    /// When something sent by or to `host` now arrives: not before the end of a cut.
    fn passage(&mut self, host: usize) -> u64 {
        let start = self.hosts[host].cut_until.max(self.now);
        start + self.delay()
    }

    /// The host opens a connection. If the broker is down it will hear so.
    pub(crate) fn connect(&mut self, host: usize) -> ConnectionId {
        self.network.last += 1;
        let connection = ConnectionId(self.network.last);
        let process = self.hosts[host].process;
        let up = self.broker.up();
        self.network.connections.insert(
            connection,
            Connection {
                host,
                process,
                host_open: true,
                broker_open: up,
                broken: false,
                to_broker: self.hosts[host].sent_until,
                to_host: 0,
            },
        );
        if !up {
            self.close_from_broker(connection);
        }
        connection
    }

    pub(crate) fn send_request(&mut self, connection: ConnectionId, id: RequestId, request: Request) {
        let Some(it) = self.network.connections.get(&connection) else { return };
        let (host, floor) = (it.host, it.to_broker);
        let at = self.passage(host).max(floor);
        if let Some(it) = self.network.connections.get_mut(&connection) {
            it.to_broker = at;
        }
        self.hosts[host].sent_until = at;
        self.at(at, Happening::Arrives(connection, id, Box::new(request)));
    }

    pub(crate) fn send_response(&mut self, connection: ConnectionId, id: RequestId, response: Response) {
        let Some(it) = self.network.connections.get(&connection) else { return };
        if it.broken || !it.host_open {
            return;
        }
        let (host, process, floor) = (it.host, it.process, it.to_host);
        let at = self.passage(host).max(floor);
        if let Some(it) = self.network.connections.get_mut(&connection) {
            it.to_host = at;
        }
        let local = Local::Answer(connection, id, Box::new(response));
        self.at(at, Happening::At(host, process, local));
    }

    /// The host closes its end; the broker hears of it after all that was sent.
    pub(crate) fn close_from_host(&mut self, connection: ConnectionId) {
        let Some(it) = self.network.connections.get_mut(&connection) else { return };
        if !core::mem::take(&mut it.host_open) || it.broken {
            return;
        }
        let (host, floor) = (it.host, it.to_broker);
        let at = self.passage(host).max(floor);
        self.hosts[host].sent_until = at;
        self.at(at, Happening::BrokerHearsClose(connection));
        if self.random.network.chance(5) {
            // Shells do report an end twice: a failed read, and a failed write behind it.
            self.at(at + 1, Happening::BrokerHearsClose(connection));
        }
    }

    /// The broker's end is closed; the host hears of it after all that was sent.
    pub(crate) fn close_from_broker(&mut self, connection: ConnectionId) {
        let Some(it) = self.network.connections.get_mut(&connection) else { return };
        it.broker_open = false;
        if !it.host_open || it.broken {
            return;
        }
        let (host, process, floor) = (it.host, it.process, it.to_host);
        let at = self.passage(host).max(floor);
        self.at(at, Happening::At(host, process, Local::HearsClose(connection)));
        if self.random.network.chance(5) {
            self.at(at + 1, Happening::At(host, process, Local::HearsClose(connection)));
        }
    }

    /// The connection breaks: what is on its way is lost, and both ends hear of it sooner or later.
    pub(crate) fn break_connection(&mut self, connection: ConnectionId, heard: bool) {
        let Some(it) = self.network.connections.get_mut(&connection) else { return };
        if core::mem::replace(&mut it.broken, true) {
            return;
        }
        let (host, process) = (it.host, it.process);
        if !heard {
            return;
        }
        let to_host = self.passage(host);
        let to_broker = self.passage(host);
        self.at(to_host, Happening::At(host, process, Local::HearsClose(connection)));
        self.at(to_broker, Happening::BrokerHearsClose(connection));
    }

    /// Whether an answer on this connection still reaches the host's process.
    pub(crate) fn reaches_host(&self, connection: ConnectionId) -> bool {
        self.network.connections.get(&connection).is_some_and(|it| it.host_open && !it.broken)
    }

    /// The broker heard the end: nothing needs to be known of the connection any more.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        if let Some(it) = self.network.connections.get_mut(&connection) {
            it.broker_open = false;
            if !it.host_open {
                self.network.connections.remove(&connection);
            }
        }
    }
}
