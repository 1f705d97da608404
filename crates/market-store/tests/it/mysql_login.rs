//! Who is let in, and what is said of those who are not: MySQL and MariaDB differ in nothing as much.

use ::mysql::prelude::Queryable;
use market_store::{MySqlAddress, MySqlStore, Positions, StoreError};

use crate::support::{GROUP, MySql, partition};

/// Users of one test, gone with this value.
struct Users {
    database: MySql,
    names: Vec<String>,
}

impl Users {
    fn new() -> Users {
        Users { database: MySql::required(), names: Vec::new() }
    }

    /// A user with all grants on the test's database and what else `clause` says; its name.
    fn new_user(&mut self, clause: &str) -> String {
        // A name has 32 characters.
        let name = format!("{}_{}", self.database.name().replace("kohort_test", "kt"), self.names.len());
        self.names.push(name.clone());
        self.database.login().query_drop(format!("CREATE USER {name} {clause}")).unwrap();
        let grant = format!("GRANT ALL ON {}.* TO {name}", self.database.name());
        self.database.login().query_drop(grant).unwrap();
        name
    }

    /// Whether the user, whose password is `a:b@/`, gets in.
    fn log_in(&self, user: &str, parameters: &str) -> Result<(), StoreError> {
        let (port, database) = (self.database.port(), self.database.name());
        let address = format!("{user}:a:b@/@tcp(127.0.0.1:{port})/{database}{parameters}");
        MySqlStore::new(MySqlAddress::parse(&address).unwrap()).claim(GROUP, &[partition(0)]).map(drop)
    }

    fn version(&mut self) -> String {
        self.database.login().query_first("SELECT VERSION()").unwrap().unwrap()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for name in &self.names {
            self.database.login().query_drop(format!("DROP USER {name}")).ok();
        }
    }
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn a_password_is_handed_over_with_encryption_and_without() {
    let mut users = Users::new();
    let clear = users.new_user("IDENTIFIED BY 'a:b@/'");
    // The server has never seen this password (`caching_sha2_password` asks for all of it); then it has.
    users.log_in(&clear, "").unwrap();
    users.log_in(&clear, "?tls=false").unwrap();
    let encrypted = users.new_user("IDENTIFIED BY 'a:b@/' REQUIRE SSL");
    let error = users.log_in(&encrypted, "").unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    // Nobody signed what a server made itself, and one without a certificate offers nothing.
    let error = users.log_in(&encrypted, "?tls=true").unwrap_err();
    assert!(
        matches!(error, StoreError::Unsuitable { .. }) && error.to_string().contains("encrypt"),
        "{error:?}"
    );
    match (users.log_in(&encrypted, "?tls=skip-verify"), users.version()) {
        (Ok(()), _) => users.log_in(&encrypted, "?tls=skip-verify").unwrap(),
        // Its OpenSSL is too old for us.
        (Err(StoreError::Unsuitable { why, .. }), version) if version.starts_with("8.0.12") => {
            assert!(why.contains("ECDHE"), "{why}");
        }
        (Err(StoreError::Unsuitable { why, .. }), version) if version.contains("MariaDB") => {
            assert!(why.contains("offers no encryption"), "{why}");
        }
        (Err(error), version) => panic!("{version}: {error:?}"),
    }
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn users_who_are_not_let_in_are_not_asked_for_again_and_again() {
    let mut users = Users::new();
    let is_mariadb = users.version().contains("MariaDB");
    for clause in ["ACCOUNT LOCK", "PASSWORD EXPIRE", "REQUIRE ISSUER '/CN=nobody'"] {
        let user = users.new_user(&format!("IDENTIFIED BY 'a:b@/' {clause}"));
        let error = users.log_in(&user, "").unwrap_err();
        assert!(matches!(error, StoreError::Denied { .. }) && !error.is_retriable(), "{clause}: {error:?}");
    }
    if is_mariadb {
        return;
    }
    let user = users.new_user("IDENTIFIED WITH sha256_password BY 'a:b@/'");
    let error = users.log_in(&user, "").unwrap_err();
    assert!(matches!(error, StoreError::Unsuitable { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&format!("ALTER USER `{user}` IDENTIFIED WITH caching_sha2_password")),
        "{error}"
    );
    // As an account of `mysql_native_password` is after the server was upgraded to 9.
    let user = users.new_user("IDENTIFIED BY 'a:b@/'");
    let change = format!("UPDATE mysql.user SET plugin = 'no_such_plugin' WHERE user = '{user}'");
    users.database.login().query_drop(change).unwrap();
    users.database.login().query_drop("FLUSH PRIVILEGES").unwrap();
    let error = users.log_in(&user, "").unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
}
