//! `kohort groups`: list, describe, move and delete consumer groups of any Kafka-protocol broker, with lag.

mod positions;
mod reset;
mod show;

use clap::Subcommand;
use kohort_client::Admin;
use kohort_client::admin::GroupDescription;
use kohort_service::Complaint;

pub(crate) use self::positions::{Position, positions};
pub(crate) use self::reset::{Target, Topics, reset};
pub(crate) use self::show::{assignment, number};

use crate::brokers::Brokers;
use crate::{Outcome, output};

/// Consumer groups of a broker: list, describe with lag, move, delete
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort groups list
  kohort groups describe data-flow-default-group-1888
  kohort groups describe --members data-flow-default-group-1888 --json
  kohort groups reset g --topic eth-trades --to first            shows what would change
  kohort groups reset g --topic eth-trades:0,1 --to -100 --execute
  kohort groups delete g
")]
pub(crate) struct Args {
    #[command(flatten)]
    brokers: Brokers,
    /// JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All groups, their states, members and lag
    #[command(after_help = "\
Examples:
  kohort groups list
  kohort groups list --json --bootstrap-server kafka-1:9092,kafka-2:9092
")]
    List,
    /// Groups: who owns which partition, what is committed, the lag
    #[command(after_help = "\
Examples:
  kohort groups describe g
  kohort groups describe g h --members
  kohort groups describe g --json
")]
    Describe {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// The members and what each owns, instead of the partitions
        #[arg(long)]
        members: bool,
    },
    /// Move what a group without members has committed; without `--execute` it only shows
    #[command(after_help = "\
Examples:
  kohort groups reset g --topic t --to first               shows what would change
  kohort groups reset g --topic t:0,1 --to -100 --execute
  kohort groups reset g --all-topics --to 2024-01-05T12:00:00Z --execute

A service that keeps its own positions (dataflow) goes on at the larger of both: moving its group back reads nothing again.
")]
    Reset {
        /// The group
        group: String,
        /// A topic, or some of its partitions: `t` or `t:0,2`; several times
        #[arg(long = "topic", value_name = "TOPIC[:N,...]", required_unless_present = "all_topics")]
        topics: Vec<String>,
        /// All topics that the group has committed
        #[arg(long, conflicts_with = "topics")]
        all_topics: bool,
        /// `first`, `last`, an offset, `+N` or `-N` from where it is, or a time such as 2024-01-05T00:00:00Z
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
        to: Target,
        /// Do it
        #[arg(long)]
        execute: bool,
    },
    /// Delete groups without members, and what they committed
    #[command(after_help = "\
Examples:
  kohort groups delete g
  kohort groups delete g h
")]
    Delete {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let admin = args.brokers.admin()?;
    match args.action {
        Action::List => show::list(&admin, args.json).await?,
        Action::Describe { groups, members } => {
            let mut all = Vec::new();
            for group in &groups {
                all.push(known(&admin, group).await?);
            }
            match members {
                true => show::members(&all, args.json)?,
                false => show::partitions(&admin, &all, args.json).await?,
            }
        }
        Action::Reset { group, topics, all_topics, to, execute } => {
            let topics = if all_topics { Topics::All } else { Topics::parse(&topics)? };
            let moves = reset(&admin, &group, &topics, to, execute).await?;
            show::moves(&group, &moves, execute, args.json)?;
        }
        Action::Delete { groups } => {
            for group in groups {
                admin.delete_group(&group).await?;
                output::line(format!("group `{group}` deleted"));
            }
        }
    }
    Ok(Outcome::Done)
}

/// A group that is there.
///
/// # Errors
/// A group that is not, or a broker that does not answer.
pub(crate) async fn known(admin: &Admin, group: &str) -> anyhow::Result<GroupDescription> {
    let description = admin.describe_group(group).await?;
    if description.state == "Dead" {
        let complaint = Complaint::new(format!("there is no group `{group}`"));
        return Err(complaint.hint("`kohort groups list` says which there are").into());
    }
    Ok(description)
}
