//! Services that share a group and keep what they read in different stores.

use std::collections::BTreeSet;

use super::{Clusters, Finding, Kind};
use crate::complaint::Complaint;
use crate::config::{Kq, ServiceFile, store_place};

/// A service of a group whose file does not name the store of another.
pub(super) fn unclaimed(files: &[ServiceFile], clusters: &Clusters) -> Vec<Finding> {
    // A service that only looks has no store; a log of wallets is shared with nobody, and to claim there would not help.
    let shares = |file: &&ServiceFile| !matches!(Kind::of(file), Some(Kind::Looks | Kind::Wallets));
    let files: Vec<&ServiceFile> = files.iter().filter(shares).collect();
    let mut findings = Vec::new();
    for file in &files {
        let mut said = BTreeSet::new();
        for kq in &file.kqs {
            let others = files.iter().filter(|other| other.name != file.name && reads(other, kq, clusters));
            for other in others {
                if said.insert(other.name.as_str()) && !claims(file, other) {
                    findings.push(finding(file, kq, other));
                }
            }
        }
    }
    findings
}

/// `GroupStores` of a service that refuses them.
pub(super) fn of_no_use(file: &ServiceFile) -> Option<Finding> {
    let store = file.group_stores.first().filter(|_| Kind::of(file) == Some(Kind::Wallets))?;
    let complaint = Complaint::new(format!("`{}` has no use for `GroupStores`", file.name))
        .at(store.at.clone())
        .why("a log of wallets is whole only where nobody else reads its topic in its group, so its service refuses to start")
        .hint("remove `GroupStores`; if another service reads this topic in this group, give this one its own `Group`");
    Some(Finding::error(complaint))
}

fn reads(file: &ServiceFile, kq: &Kq, clusters: &Clusters) -> bool {
    let same =
        |own: &&Kq| own.group == kq.group && own.topic == kq.topic && clusters.of(own) == clusters.of(kq);
    file.kqs.iter().any(|own| same(&own))
}

/// Where a service keeps what it reads, as far as its file says; nothing: in its data folder.
fn places(file: &ServiceFile) -> Vec<String> {
    let mysql = file.mysql.iter().map(|mysql| store_place(&mysql.source));
    let redis = file.redis.iter().map(|redis| store_place(&format!("redis://{}", redis.host)));
    mysql.chain(redis).collect()
}

/// Whether a member of `file` claims in the store of `other`.
fn claims(file: &ServiceFile, other: &ServiceFile) -> bool {
    let (own, theirs) = (places(file), places(other));
    if !theirs.is_empty() && own == theirs {
        return true;
    }
    let named = |store: &crate::config::GroupStore| match theirs.is_empty() {
        // A file of its data folder, which its YAML does not name.
        true => !own.contains(&store.place),
        false => theirs.contains(&store.place),
    };
    file.group_stores.iter().any(named)
}

fn finding(file: &ServiceFile, kq: &Kq, other: &ServiceFile) -> Finding {
    let (name, whose) = (&file.name, &other.name);
    let theirs = match places(other).first() {
        Some(place) => place.replacen("://", "://USER:PASS@", 1),
        None => "sqlite:FILE".to_owned(),
    };
    let at = file.group_stores.first().map_or_else(|| kq.at("Group"), |store| store.at.clone());
    let complaint = Complaint::new(format!(
        "`{name}` shares group `{}` on `{}` with `{whose}` and does not name its store",
        kq.group, kq.topic
    ))
    .at(at)
    .why(format!(
        "each keeps what it reads in a store of its own; when a partition of `{whose}` falls to `{name}` and only one store is claimed, \
         a member that was frozen or cut off can still write into the other, and its trades are counted twice"
    ))
    .hint(format!(
        "write `GroupStores: [{theirs}]` in {}, the store of `{whose}`; in `kohort up` every service knows the others' stores",
        file.path
    ));
    Finding::warning(complaint)
}
