//! Groups as tables for people and JSON for machines.

use kohort_client::admin::{GroupDescription, MemberDescription};
use kohort_client::{Admin, Offset, TopicPartition};
use serde_json::{Value, json};

use super::reset::Move;
use super::{Position, positions};
use crate::output;

pub(super) async fn list(admin: &Admin, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for listing in admin.list_groups().await? {
        let group = admin.describe_group(&listing.group).await?;
        let lag = lag_of(&positions(admin, &group).await?);
        values.push(
            json!({"group": listing.group, "state": listing.state, "protocol_type": listing.protocol_type,
                           "members": group.members.len(), "lag": lag}),
        );
        rows.push(vec![listing.group, listing.state, group.members.len().to_string(), number(lag)]);
    }
    if json {
        return output::json(&values);
    }
    output::table(&["GROUP", "STATE", "MEMBERS", "LAG"], &rows);
    Ok(())
}

pub(super) async fn partitions(admin: &Admin, groups: &[GroupDescription], json: bool) -> anyhow::Result<()> {
    let mut values = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let positions = positions(admin, group).await?;
        if json {
            values.push(value(group, &positions));
            continue;
        }
        if index > 0 {
            output::line("");
        }
        output::line(headline(group, lag_of(&positions)));
        let rows: Vec<_> = positions.iter().map(|at| row(group, at)).collect();
        let head = ["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST"];
        output::table(&head, &rows);
    }
    match json {
        true => one_or_all(values),
        false => Ok(()),
    }
}

pub(super) fn members(groups: &[GroupDescription], json: bool) -> anyhow::Result<()> {
    if json {
        return one_or_all(groups.iter().map(|group| value(group, &[])).collect());
    }
    let rows = groups.iter().flat_map(|group| {
        group.members.iter().map(|member| {
            vec![
                group.group.clone(),
                member.member_id.clone(),
                member.instance_id.clone().unwrap_or_else(|| "-".to_owned()),
                member.client_host.clone(),
                member.client_id.clone(),
                member.assignment.len().to_string(),
                assignment(&member.assignment),
            ]
        })
    });
    let head =
        ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"];
    output::table(&head, &rows.collect::<Vec<_>>());
    Ok(())
}

/// What a reset did, or would do.
pub(super) fn moves(group: &str, moves: &[Move], done: bool, json: bool) -> anyhow::Result<()> {
    if json {
        let value = |step: &Move| json!({"topic": step.partition.topic, "partition": step.partition.partition, "from": step.from, "to": step.to});
        return output::json(
            &json!({"group": group, "done": done, "moves": moves.iter().map(value).collect::<Vec<_>>()}),
        );
    }
    let row = |step: &Move| {
        vec![
            step.partition.topic.clone(),
            step.partition.partition.to_string(),
            number(step.from),
            step.to.to_string(),
        ]
    };
    output::table(&["TOPIC", "PARTITION", "FROM", "TO"], &moves.iter().map(row).collect::<Vec<_>>());
    output::line(match (moves.is_empty(), done) {
        (true, _) => format!("group `{group}` has nothing to move there"),
        (false, true) => format!("group `{group}` moved"),
        (false, false) => "nothing is changed yet: add `--execute`".to_owned(),
    });
    Ok(())
}

/// One group is an object, several are an array: what was asked for decides.
fn one_or_all(mut values: Vec<Value>) -> anyhow::Result<()> {
    match values.len() {
        1 => output::json(&values.remove(0)),
        _ => output::json(&values),
    }
}

fn value(group: &GroupDescription, positions: &[Position]) -> Value {
    let member = |member: &MemberDescription| {
        let owned = member.assignment.iter().map(|at| json!({"topic": at.topic, "partition": at.partition}));
        json!({"member_id": member.member_id, "instance_id": member.instance_id, "client_id": member.client_id,
               "client_host": member.client_host, "partitions": owned.collect::<Vec<_>>()})
    };
    let position = |at: &Position| {
        json!({"topic": at.partition.topic, "partition": at.partition.partition, "committed": at.committed,
               "end": at.end, "lag": at.lag(),
               "member_id": at.owner.map(|owner| &group.members[owner].member_id)})
    };
    json!({
        "group": group.group, "state": group.state, "assignor": group.assignor, "lag": lag_of(positions),
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "partitions": positions.iter().map(position).collect::<Vec<_>>(),
    })
}

fn headline(group: &GroupDescription, lag: Option<Offset>) -> String {
    let members = match group.members.len() {
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    };
    let assignor = match group.assignor.as_str() {
        "" => String::new(),
        name => format!(", assignor {name}"),
    };
    let lag = lag.map(|lag| format!(", lag {lag}")).unwrap_or_default();
    format!("group {}: {}, {members}{assignor}{lag}", group.group, group.state)
}

fn row(group: &GroupDescription, at: &Position) -> Vec<String> {
    let owner = at.owner.map(|owner| &group.members[owner]);
    vec![
        at.partition.topic.clone(),
        at.partition.partition.to_string(),
        number(at.committed),
        number(at.end),
        number(at.lag()),
        owner.map_or("-".to_owned(), |member| member.member_id.clone()),
        owner.map_or("-".to_owned(), |member| member.client_host.clone()),
    ]
}

/// The sum over what is committed; none where nothing is.
fn lag_of(positions: &[Position]) -> Option<Offset> {
    positions.iter().filter_map(Position::lag).reduce(|sum, lag| sum + lag)
}

/// `t(0,1), u(0)`, as Kafka's tool writes it.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> String {
    let mut topics: Vec<(&str, Vec<String>)> = Vec::new();
    for at in partitions {
        match topics.last_mut() {
            Some((topic, numbers)) if *topic == at.topic => numbers.push(at.partition.to_string()),
            _ => topics.push((&at.topic, vec![at.partition.to_string()])),
        }
    }
    let topics: Vec<_> =
        topics.into_iter().map(|(topic, numbers)| format!("{topic}({})", numbers.join(","))).collect();
    if topics.is_empty() { "-".to_owned() } else { topics.join(", ") }
}

pub(crate) fn number(offset: Option<Offset>) -> String {
    offset.map_or("-".to_owned(), |offset| offset.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_written_by_topic() {
        let at = TopicPartition::new;
        assert_eq!(assignment(&[at("t", 0), at("t", 1), at("u", 0)]), "t(0,1), u(0)");
        assert_eq!(assignment(&[]), "-");
    }
}
