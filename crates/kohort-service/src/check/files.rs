//! What files say against each other.

use std::collections::BTreeSet;

use super::{Block, Clusters, Finding, Kind, and, blocks, by, stores};
use crate::complaint::Complaint;
use crate::config::ServiceFile;

pub(super) fn findings(files: &[ServiceFile], clusters: &Clusters) -> Vec<Finding> {
    let blocks = blocks(files);
    let mut findings = Vec::new();
    findings.extend(files.iter().filter_map(reads_nothing));
    findings.extend(files.iter().filter_map(stores::of_no_use));
    for (_, of_cluster) in by(&blocks, |block| clusters.of(block.kq).to_owned()) {
        for (group, members) in by(&of_cluster, |block| block.kq.group.clone()) {
            findings.extend(shared_topics(&group, &members));
            findings.extend(unlike_subscriptions(&group, &members));
            findings.extend(no_common_assignor(&group, &members));
            findings.extend(one_instance_twice(&group, &members));
            findings.extend(unlike_starts(&group, &members));
        }
        findings.extend(names_alike(&of_cluster));
    }
    findings.extend(stores::unclaimed(files, clusters));
    findings.extend(blocks.iter().flat_map(alone));
    findings.extend(files.iter().flat_map(plain_secrets));
    findings
}

/// A file without a block: its service refuses to start.
fn reads_nothing(file: &ServiceFile) -> Option<Finding> {
    let complaint = Complaint::new(format!("`{}` has nothing to consume", file.name))
        .at(file.path.clone())
        .why("a service that reads no topic does not start")
        .hint("add a block such as `KqSol:` with `Group: ...` and `Topic: sol-trades`");
    file.kqs.is_empty().then(|| Finding::error(complaint))
}

/// Two services share a group on one topic: each gets a part of the partitions, and nobody all of them.
fn shared_topics(group: &str, members: &[Block<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (topic, on_topic) in by(members, |block| block.kq.topic.clone()) {
        let services: BTreeSet<&str> = on_topic.iter().map(|block| block.service).collect();
        if services.len() < 2 {
            continue;
        }
        let names = and(services.iter().map(|name| format!("`{name}`")));
        let kinds: BTreeSet<Kind> = on_topic.iter().filter_map(|block| block.kind).collect();
        if kinds.len() > 1 {
            findings.push(unlike_work(group, &topic, &names, &on_topic));
            continue;
        }
        let complaint = Complaint::new(format!("{names} share group `{group}` on topic `{topic}`"))
            .at(places(&on_topic, "Group"))
            .why("the partitions are divided among all members of a group: each of these services sees a part of the topic, and none sees all")
            .hint(format!(
                "if each is to see everything, give each a group of its own, such as `{group}-{}`; if they are to share the work, keep it",
                on_topic[on_topic.len() - 1].service
            ));
        findings.push(Finding::warning(complaint));
    }
    findings
}

/// Services that make different things of one topic, in one group: what one reads is missing in what the others make.
fn unlike_work(group: &str, topic: &str, names: &str, on_topic: &[Block<'_>]) -> Finding {
    let complaint = Complaint::new(format!("{names} share group `{group}` on topic `{topic}`, and do different work"))
        .at(places(on_topic, "Group"))
        .why("each record goes to one member of a group: what one of these services gets is silently missing in what the others make")
        .hint(format!(
            "give each a group of its own, such as `{group}-{}`",
            on_topic[on_topic.len() - 1].service
        ));
    Finding::error(complaint)
}

/// Members of one group that read different topics: every join of one stops all.
fn unlike_subscriptions(group: &str, members: &[Block<'_>]) -> Option<Finding> {
    let topics = by(members, |block| block.kq.topic.clone());
    if topics.len() < 2 {
        return None;
    }
    let who = topics.iter().map(|(topic, blocks)| {
        let names: BTreeSet<&str> = blocks.iter().map(|block| block.service).collect();
        format!("`{topic}` ({})", and(names.into_iter().map(str::to_owned)))
    });
    let complaint = Complaint::new(format!("group `{group}` has members with different subscriptions: {}", and(who)))
        .at(places(members, "Group"))
        .why("a group is balanced as one: whenever a member of one of them starts, stops or crashes, the others are rebalanced too, and lag is reported under one name")
        .hint(format!("give each subscription a group of its own, such as `{group}-{}`", topics[topics.len() - 1].0));
    Some(Finding::warning(complaint))
}

/// Two groups whose names are one slip of the keyboard apart.
fn names_alike(blocks: &[Block<'_>]) -> Vec<Finding> {
    let groups = by(blocks, |block| block.kq.group.clone());
    let mut findings = Vec::new();
    for (at, (one, of_one)) in groups.iter().enumerate() {
        for (other, of_other) in groups.iter().skip(at + 1).filter(|(other, _)| alike(one, other)) {
            let how = if one.eq_ignore_ascii_case(other) { "only in case" } else { "by one character" };
            let complaint = Complaint::new(format!("groups `{one}` and `{other}` differ {how}"))
                .at(format!("{}, {}", places(of_one, "Group"), places(of_other, "Group")))
                .why("if one of them is a slip of the keyboard, both services read everything, or offsets lie under a name that nobody looks at")
                .hint("if they are meant to be one group write the same name; if not, give them names that a tired reader tells apart");
            findings.push(Finding::warning(complaint));
        }
    }
    findings
}

/// In a name shorter than this, one character is no slip of the keyboard but all that tells names apart.
const NAME_MIN: usize = 4;

/// One character more, fewer, other, or in another case; not where only a number counts on: `worker-1`, `worker-2`.
fn alike(one: &str, other: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if a.len().min(b.len()) < NAME_MIN {
        return false;
    }
    let front = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    match (&a[..a.len() - back], &b[..b.len() - back]) {
        ([x], [y]) => !(x.is_ascii_digit() && y.is_ascii_digit()),
        ([x], []) | ([], [x]) => !x.is_ascii_digit(),
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// Members that offer no assignor in common: the second to join is refused.
fn no_common_assignor(group: &str, members: &[Block<'_>]) -> Option<Finding> {
    let offers: Vec<&Block<'_>> = members.iter().filter(|block| !block.kq.assignors.is_empty()).collect();
    let (first, others) = offers.split_first()?;
    let other = others.iter().find(|o| !o.kq.assignors.iter().any(|a| first.kq.assignors.contains(a)))?;
    let complaint = Complaint::new(format!("members of group `{group}` have no assignor in common"))
        .at(format!("{}, {}", first.kq.at("Assignor"), other.kq.at("Assignor")))
        .why("whoever joins second is refused with INCONSISTENT_GROUP_PROTOCOL")
        .hint(format!("let both list one: `Assignor: {}`", first.kq.assignors[0]));
    Some(Finding::error(complaint))
}

/// One `group.instance.id` for two members: each fences the other.
fn one_instance_twice(group: &str, members: &[Block<'_>]) -> Vec<Finding> {
    let named: Vec<Block<'_>> =
        members.iter().copied().filter(|block| block.kq.instance_id.is_some()).collect();
    let twice = by(&named, |block| block.kq.instance_id.clone()).into_iter().filter(|(_, who)| who.len() > 1);
    twice
        .map(|(id, who)| {
            let id = id.unwrap_or_default();
            let complaint = Complaint::new(format!("`InstanceId: {id}` stands in {} blocks of group `{group}`", who.len()))
                .at(places(&who, "InstanceId"))
                .why("a second static member with the same id fences the first, which then fences the second, for ever")
                .hint("give each block an id of its own");
            Finding::error(complaint)
        })
        .collect()
}

/// Members of one group that would begin at different ends of a topic.
fn unlike_starts(group: &str, members: &[Block<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (topic, on_topic) in by(members, |block| block.kq.topic.clone()) {
        let first = on_topic[0];
        let Some(other) = on_topic.iter().find(|other| other.kq.offset != first.kq.offset) else { continue };
        let complaint = Complaint::new(format!("members of group `{group}` disagree where `{topic}` begins"))
            .at(format!("{}, {}", first.kq.at("Offset"), other.kq.at("Offset")))
            .why("for a partition without a committed offset it depends on chance, on which member it falls to, whether older records are read")
            .hint("write the same `Offset` in both");
        findings.push(Finding::error(complaint));
    }
    findings
}

/// What a block says against itself.
fn alone(block: &Block<'_>) -> Vec<Finding> {
    let kq = block.kq;
    let mut findings = Vec::new();
    if kq.dlq_topic == kq.topic {
        let complaint = Complaint::new(format!(
            "{} sends its dead letters into the topic that it reads",
            block.named("DlqTopic")
        ))
        .at(kq.at("DlqTopic"))
        .why("a record that cannot be handled would come back for ever")
        .hint(format!("leave `DlqTopic` out: `{}.{}.dlq`", kq.topic, kq.group));
        findings.push(Finding::error(complaint));
    }
    if !kq.says("Offset") {
        let complaint = Complaint::new(format!("`{}` leaves `Offset` at `last`", kq.name))
            .at(kq.at("Offset"))
            .why("a new group skips what was sent before its first commit, and so does a partition that is added later")
            .hint("write `Offset: first`, or `Offset: last` if that is meant");
        findings.push(Finding::warning(complaint));
    }
    let session = kq.session_timeout;
    if let Some(session) = session.filter(|session| *session < kq.commit_interval) {
        let complaint = Complaint::new(format!(
            "`SessionTimeout` ({session:?}) is shorter than `CommitInterval` ({:?})",
            kq.commit_interval
        ))
        .at(kq.at("SessionTimeout"))
        .why("after a crash everything since the last commit is read again: more than a session's worth")
        .hint("make `CommitInterval` a fraction of `SessionTimeout`");
        findings.push(Finding::warning(complaint));
    }
    findings
}

/// Passwords that stand in a file.
fn plain_secrets(file: &ServiceFile) -> Vec<Finding> {
    let finding = |(what, at): &(String, String)| {
        let complaint = Complaint::new(format!("{what} of `{}` stands in plain text", file.name))
            .at(at.clone())
            .why("whoever can read the file, its backups or its repository has it")
            .hint(
                "write `${NAME}` in its place, and set the environment variable NAME where the service runs",
            );
        Finding::warning(complaint)
    };
    file.plain_secrets.iter().map(finding).collect()
}

fn places(blocks: &[Block<'_>], key: &str) -> String {
    blocks.iter().map(|block| block.kq.at(key)).collect::<Vec<_>>().join(", ")
}
