//! `/api/wallets`: who is known, and changes of that.

use std::collections::BinaryHeap;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Json;
use market_data::wallets::{Change, Known};
use serde::{Deserialize, Serialize};

use super::{Api, Refusal};
use crate::book::CHANGES_MAX;

/// Addresses in one answer.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    offset: Option<usize>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    total: usize,
    wallets: Vec<Wallet>,
    next: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Wallet {
    address: String,
    label: String,
    /// The chain's number; null where the address is known on any.
    chain_id: Option<u64>,
}

impl Wallet {
    fn of(known: Known) -> Wallet {
        Wallet { chain_id: known.chain_id.parse().ok(), address: known.address, label: known.label }
    }
}

/// `GET /api/wallets?q=TEXT&offset=N&limit=N`, or with `after=KEY` for `offset`.
pub(super) async fn list(
    State(api): State<Api>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    let Query(asked) = asked.map_err(Refusal::question)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::question(format!("`limit` is from 1 to {LIMIT_MAX}")));
    }
    if asked.offset.is_some() && asked.after.is_some() {
        return Err(Refusal::question("`offset` and `after` are two ways to page: use one"));
    }
    let wanted = asked.q.to_lowercase();
    let page = move |keeper: &crate::book::Keeper| {
        let snapshot = keeper.known()?;
        let fits = |known: &Known| {
            wanted.is_empty()
                || known.address.to_lowercase().contains(&wanted)
                || known.label.to_lowercase().contains(&wanted)
        };
        let (total, found) = (snapshot.len(), snapshot.iter().filter(fits));
        if let Some(after) = &asked.after {
            let (page, next_after) = page_after(found, after, limit);
            return Ok(Page {
                total,
                wallets: page.into_iter().map(Wallet::of).collect(),
                next: None,
                next_after,
            });
        }
        let offset = asked.offset.unwrap_or(0);
        let mut found = found.skip(offset);
        let wallets: Vec<Wallet> = found.by_ref().take(limit).map(Wallet::of).collect();
        let next = found.next().map(|_| offset + limit);
        Ok(Page { total, wallets, next, next_after: None })
    };
    api.book(page).await.map(Json)
}

/// The `limit` that come next behind the key `after`, by address and chain, and the key of the last if there are more. Whatever changes
/// between two pages moves nobody to another one.
fn page_after(all: impl Iterator<Item = Known>, after: &str, limit: usize) -> (Vec<Known>, Option<String>) {
    let (address, chain_id) = after.split_once('/').unwrap_or((after, ""));
    let mut page = BinaryHeap::new();
    for known in
        all.filter(|known| (&*known.address, &*known.chain_id) > (address, chain_id) || after.is_empty())
    {
        page.push(known);
        // One more than asked for tells whether there are more.
        if page.len() > limit + 1 {
            page.pop();
        }
    }
    let mut page = page.into_sorted_vec();
    let more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().filter(|_| more).map(|last| format!("{}/{}", last.address, last.chain_id));
    (page, last)
}

/// A chain as JSON has it: a number, or a text with a number or a name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Chain {
    Number(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    address: String,
    label: Option<String>,
    chain: Option<Chain>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Additions {
    Many(Vec<Added>),
    One(Added),
}

#[derive(Debug, Serialize)]
pub(super) struct Changed {
    changed: usize,
    total: usize,
}

/// `POST /api/wallets` with one `{"address", "label", "chain"}` or an array of them.
pub(super) async fn add(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Changed>, Refusal> {
    // A form of another site's page may send plain text to us, but not JSON.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(Refusal::question("send JSON, with `Content-Type: application/json`"));
    }
    let body = body.map_err(Refusal::question)?;
    let added = match serde_json::from_slice(&body) {
        Ok(Additions::Many(many)) => many,
        Ok(Additions::One(one)) => vec![one],
        Err(_) => {
            let form = r#"{"address": "0x…", "label": "…", "chain": 1}"#;
            return Err(Refusal::question(format!(
                "send {form} or an array of such; label and chain may be left out"
            )));
        }
    };
    if added.len() > CHANGES_MAX {
        return Err(Refusal::question(format!("at most {CHANGES_MAX} addresses at once")));
    }
    let known = |added: &Added| {
        let chain = match &added.chain {
            None => String::new(),
            Some(Chain::Number(number)) => number.to_string(),
            Some(Chain::Text(text)) => text.clone(),
        };
        Known::new(&added.address, added.label.as_deref().unwrap_or_default(), &chain)
            .map_err(|why| Refusal::question(format!("`{}`: {why}", added.address)))
    };
    let changes = added.iter().map(|added| known(added).map(Change::Add)).collect::<Result<Vec<_>, _>>()?;
    change(&api, changes).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    #[serde(default)]
    chain: String,
}

/// `DELETE /api/wallets/{address}?chain=CHAIN`.
pub(super) async fn remove(
    State(api): State<Api>,
    Path(address): Path<String>,
    asked: Result<Query<Where>, QueryRejection>,
) -> Result<Json<Changed>, Refusal> {
    let Query(Where { chain }) = asked.map_err(Refusal::question)?;
    let Known { address, chain_id, .. } = Known::new(&address, "", &chain).map_err(Refusal::question)?;
    if !api.keeper.known()?.has(&address, &chain_id) {
        let on = if chain_id.is_empty() { "any chain".to_owned() } else { format!("chain {chain_id}") };
        return Err(Refusal::nothing(format!("`{address}` is not known on {on}")));
    }
    change(&api, vec![Change::Remove { address, chain_id }]).await
}

/// `POST /api/wallets/reload`: the file of addresses is read anew.
pub(super) async fn reload(State(api): State<Api>) -> Result<Json<serde_json::Value>, Refusal> {
    let total = api.book(crate::book::Keeper::reload).await?;
    Ok(Json(serde_json::json!({ "total": total })))
}

async fn change(api: &Api, changes: Vec<Change>) -> Result<Json<Changed>, Refusal> {
    let work = move |keeper: &crate::book::Keeper| {
        let changed = keeper.change(&changes)?;
        Ok(Changed { changed, total: keeper.book().snapshot().len() })
    };
    api.book(work).await.map(Json)
}
