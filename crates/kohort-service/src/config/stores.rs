//! `GroupStores`: the stores that other services of our groups write, and what a store's address says of its place.

use super::section::Found;
use crate::complaint::Complaint;

/// A store that members of one of our groups write in other processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStore {
    /// The address as it stands in the file, variables of the environment written out. It may hold a password.
    pub url: String,
    /// [`store_place`] of it: the same for all who name this store, and without secrets.
    pub place: String,
    /// `file:line` of it.
    pub at: String,
}

pub(super) fn read(
    shown: &str,
    found: Found<'_>,
    secrets: &mut Vec<(String, String)>,
) -> Result<Vec<GroupStore>, Complaint> {
    let mut stores: Vec<GroupStore> = Vec::new();
    for item in found.items()? {
        let url = item.name()?;
        let (place, at) = (store_place(&url), format!("{shown}:{}", item.line()));
        if let Some(first) = stores.iter().find(|store| store.place == place) {
            return Err(item
                .complain(format!("`{place}` stands twice in `GroupStores`, first at {}", first.at))
                .why("each store of a group is claimed once")
                .hint("remove one of them"));
        }
        if item.is_literal() && has_password(&url) {
            secrets.push((format!("the password of `{place}` in `GroupStores`"), at.clone()));
        }
        stores.push(GroupStore { url, place, at });
    }
    Ok(stores)
}

/// Where the store of an address is: `mysql://host:port/database`, `redis://host:port/database`, `sqlite:path`. Without user and
/// password, and the same whether written as a URL or as go-zero's `user:pass@tcp(host:port)/database`. What is neither is
/// taken as a path.
#[must_use]
pub fn store_place(url: &str) -> String {
    let url = url.trim();
    if let Some((scheme, rest)) = url.split_once("://") {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mariadb" => "mysql".to_owned(),
            "rediss" => "redis".to_owned(),
            other => other.to_owned(),
        };
        if matches!(scheme.as_str(), "mysql" | "redis") {
            let rest = rest.split(['?', '#']).next().unwrap_or(rest);
            let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
            let (host, database) = server.split_once('/').unwrap_or((server, ""));
            return server_place(&scheme, host, database);
        }
        return format!("{scheme}:{rest}");
    }
    // go-sql-driver: `[user[:password]@][protocol[(address)]]/database[?parameters]`, the last `@` before the last `/`.
    if let Some((login_and_address, database)) = url.rsplit_once('/')
        && let Some((_, address)) = login_and_address.rsplit_once('@').or(Some(("", login_and_address)))
        && let Some(host) = address.strip_prefix("tcp(").and_then(|host| host.strip_suffix(')'))
    {
        return server_place("mysql", host, database.split('?').next().unwrap_or(database));
    }
    match url.split_once(':') {
        Some((scheme, path)) if scheme.eq_ignore_ascii_case("sqlite") => format!("sqlite:{path}"),
        _ => format!("sqlite:{url}"),
    }
}

fn server_place(scheme: &str, host: &str, database: &str) -> String {
    let host = host.to_ascii_lowercase();
    // `[::1]:3306` has its port behind the bracket.
    let port_behind = host.rsplit_once(']').map_or(host.as_str(), |(_, behind)| behind);
    let (port, database) = match scheme {
        "redis" => ("6379", if database.is_empty() { "0" } else { database }),
        _ => ("3306", database),
    };
    match port_behind.contains(':') {
        true => format!("{scheme}://{host}/{database}"),
        false => format!("{scheme}://{host}:{port}/{database}"),
    }
}

/// `user:pass@...` and `:pass@...`: the user alone is no secret.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let login = rest.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
    login.is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_store_has_one_place_however_it_is_written() {
        for same in [
            "mysql://root:s3cret@127.0.0.1:3306/candles",
            "mariadb://root@127.0.0.1/candles?charset=utf8mb4",
            "root:s3cr/t@1@tcp(127.0.0.1:3306)/candles?parseTime=true",
            "tcp(127.0.0.1)/candles",
        ] {
            assert_eq!(store_place(same), "mysql://127.0.0.1:3306/candles", "{same}");
        }
        for same in ["redis://:pass@Cache:6379", "redis://cache/0", "rediss://u:p@cache:6379/0"] {
            assert_eq!(store_place(same), "redis://cache:6379/0", "{same}");
        }
        for same in ["sqlite:/data/candles.db", "/data/candles.db", "sqlite:///data/candles.db"] {
            assert_eq!(store_place(same), "sqlite:/data/candles.db", "{same}");
        }
        assert_eq!(store_place("mysql://[::1]/d"), "mysql://[::1]:3306/d");
    }

    #[test]
    fn a_user_alone_is_no_secret() {
        for url in ["mysql://root:s3cret@h/d", "redis://:p@h", "root:s3cret@tcp(h)/d"] {
            assert!(has_password(url), "{url}");
        }
        for url in ["mysql://root@h:3306/d", "redis://h:6379", "root@tcp(h:3306)/d", "sqlite:/a:b/c.db"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
