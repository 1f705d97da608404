//! `kohort groups`: list and describe consumer groups of any Kafka-protocol broker, with lag.

use std::collections::BTreeMap;

use clap::Subcommand;
use kohort_client::admin::{Admin, AdminError, GroupDescription, GroupListing};
use kohort_client::{Offset, SeekTo, TopicPartition};
use kohort_service::Complaint;
use serde_json::{Value, json};

use crate::replay;
use crate::{Outcome, output};

/// Consumer groups of a broker: list, describe with lag
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort groups list
  kohort groups describe data-flow-default-group-1888
  kohort groups describe data-flow-default-group-1888 --json
")]
pub(crate) struct Args {
    /// Brokers, `host:port`, several divided by commas
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    bootstrap_server: Vec<String>,
    /// JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All groups and their states
    List,
    /// One group: who owns which partition, what is committed, the lag
    Describe {
        /// The group
        group: String,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let admin = replay::admin(&args.bootstrap_server)?;
    match args.action {
        Action::List => list(&admin.list_groups().await?, args.json)?,
        Action::Describe { group } => {
            let description = admin.describe_group(&group).await?;
            if description.state == "Dead" {
                let complaint = Complaint::new(format!("there is no group `{group}`"));
                return Err(complaint.hint("`kohort groups list` says which there are").into());
            }
            let positions = positions(&admin, &description).await?;
            describe(&description, &positions, args.json)?;
        }
    }
    Ok(Outcome::Done)
}

/// Where a group stands on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    partition: TopicPartition,
    committed: Option<Offset>,
    end: Option<Offset>,
    /// The index of the member that owns it.
    owner: Option<usize>,
}

impl Position {
    /// Records between the committed offset and the end; none where nothing is committed: that is no number.
    fn lag(&self) -> Option<Offset> {
        Some((self.end? - self.committed?).max(0))
    }
}

async fn positions(admin: &Admin, group: &GroupDescription) -> Result<Vec<Position>, AdminError> {
    let committed: BTreeMap<TopicPartition, Offset> =
        admin.group_offsets(&group.group).await?.into_iter().collect();
    let mut owners = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assignment.iter().map(|partition| (partition.clone(), index)));
    }
    let mut partitions: Vec<TopicPartition> = committed.keys().chain(owners.keys()).cloned().collect();
    partitions.sort();
    partitions.dedup();
    let ends: BTreeMap<_, _> = admin.list_offsets(&partitions, SeekTo::Latest).await?.into_iter().collect();
    let position = |partition: TopicPartition| Position {
        committed: committed.get(&partition).copied(),
        end: ends.get(&partition).copied(),
        owner: owners.get(&partition).copied(),
        partition,
    };
    Ok(partitions.into_iter().map(position).collect())
}

fn list(groups: &[GroupListing], json: bool) -> anyhow::Result<()> {
    if json {
        let value = |group: &GroupListing| json!({"group": group.group, "state": group.state, "protocol_type": group.protocol_type});
        return output::json(&groups.iter().map(value).collect::<Vec<Value>>());
    }
    let row = |group: &GroupListing| vec![group.group.clone(), group.state.clone()];
    output::table(&["GROUP", "STATE"], &groups.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn describe(group: &GroupDescription, positions: &[Position], json: bool) -> anyhow::Result<()> {
    if json {
        let members = group.members.iter().map(|member| {
            json!({"member_id": member.member_id, "instance_id": member.instance_id, "client_id": member.client_id,
                   "client_host": member.client_host})
        });
        let partitions = positions.iter().map(|at| {
            json!({"topic": at.partition.topic, "partition": at.partition.partition, "committed": at.committed,
                   "end": at.end, "lag": at.lag(),
                   "member_id": at.owner.map(|owner| &group.members[owner].member_id)})
        });
        return output::json(&json!({
            "group": group.group, "state": group.state, "assignor": group.assignor,
            "members": members.collect::<Vec<Value>>(), "partitions": partitions.collect::<Vec<Value>>(),
        }));
    }
    let number = |offset: Option<Offset>| offset.map_or("-".to_owned(), |offset| offset.to_string());
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    output::line(format!(
        "group {}: {}, assignor {}, {} members",
        group.group,
        group.state,
        text(&group.assignor),
        group.members.len()
    ));
    let rows = positions.iter().map(|at| {
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
    });
    let head = ["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST"];
    output::table(&head, &rows.collect::<Vec<_>>());
    Ok(())
}
