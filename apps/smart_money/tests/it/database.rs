//! A database of a test's own, on the server that `KOHORT_TEST_MYSQL` names: `tests/peers/mariadb`.

use std::sync::atomic::{AtomicU32, Ordering};

use ::mysql::prelude::Queryable as _;
use ::mysql::{Conn, Opts};
use market_store::MySqlAddress;
use market_store::wallets::MySqlWallets;

/// The database, and a login to do things to the server with. Gone with this value.
pub(crate) struct Database {
    pub(crate) login: Conn,
    pub(crate) name: String,
    url: String,
}

impl Database {
    pub(crate) fn new() -> Database {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var("KOHORT_TEST_MYSQL")
            .expect("KOHORT_TEST_MYSQL names no server: see tests/peers/mariadb");
        let name = format!("kohort_wallets_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let mut login = Conn::new(Opts::from_url(&url).unwrap()).unwrap();
        login.query_drop(format!("CREATE DATABASE {name}")).unwrap();
        login.query_drop(format!("USE {name}")).unwrap();
        Database { login, name, url }
    }

    /// A log in it.
    pub(crate) fn store(&self) -> MySqlWallets {
        MySqlWallets::new(MySqlAddress::parse(&self.url).unwrap().with_database(&self.name))
    }

    /// Ends every other connection to the database: how many.
    pub(crate) fn cut(&mut self) -> usize {
        let others =
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        let all: Vec<u64> = self.login.query(others).unwrap();
        // One that ended by itself meanwhile is gone as well.
        all.iter().filter(|id| self.login.query_drop(format!("KILL CONNECTION {id}")).is_ok()).count()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.login.query_drop(format!("DROP DATABASE {}", self.name)).ok();
    }
}
