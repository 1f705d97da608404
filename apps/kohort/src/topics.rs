//! `kohort topics`: list, describe, create and delete topics of any Kafka-protocol broker.

use clap::Subcommand;
use kohort_client::admin::{NewTopic, TopicDescription};
use kohort_service::Complaint;
use serde_json::{Value, json};

use crate::brokers::Brokers;
use crate::{Outcome, output};

/// Topics of a broker: list, describe, create, delete
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort topics list
  kohort topics describe eth-trades
  kohort topics create eth-trades --partitions 12 --config max.message.bytes=10485760
  kohort topics delete eth-trades
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
    /// All topics and their partitions
    #[command(after_help = "\
Examples:
  kohort topics list
  kohort topics list --json
")]
    List,
    /// One topic, partition by partition
    #[command(after_help = "\
Examples:
  kohort topics describe eth-trades
  kohort topics describe eth-trades --json
")]
    Describe {
        /// The topic
        topic: String,
    },
    /// Make a topic
    #[command(after_help = "\
Examples:
  kohort topics create eth-trades
  kohort topics create eth-trades --partitions 12 --config max.message.bytes=10485760
")]
    Create {
        /// The topic
        topic: String,
        /// How many partitions; -1 is the broker's `num.partitions`
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        partitions: i32,
        /// A setting of the topic in Kafka's words, several times
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
    },
    /// Delete topics and all that is in them
    #[command(after_help = "\
Examples:
  kohort topics delete eth-trades
  kohort topics delete a b c
")]
    Delete {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

/// `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write `KEY=VALUE`".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let admin = args.brokers.admin()?;
    match args.action {
        Action::List => list(&admin.list_topics().await?, args.json)?,
        Action::Describe { topic } => describe(&admin.describe_topic(&topic).await?, args.json)?,
        Action::Create { topic, partitions, configs } => {
            if partitions == 0 || partitions < -1 {
                let complaint = Complaint::new(format!("a topic cannot have {partitions} partitions"));
                return Err(complaint.hint("write 1 or more, or -1 for the broker's default").into());
            }
            let mut new = NewTopic::new(topic, partitions);
            new.configs.extend(configs);
            for (topic, outcome) in admin.create_topics(&[new]).await? {
                outcome?;
                output::line(format!("topic `{topic}` created"));
            }
        }
        Action::Delete { topics } => {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            for (topic, outcome) in admin.delete_topics(&names).await? {
                outcome?;
                output::line(format!("topic `{topic}` deleted"));
            }
        }
    }
    Ok(Outcome::Done)
}

fn list(topics: &[TopicDescription], json: bool) -> anyhow::Result<()> {
    if json {
        let value = |topic: &TopicDescription| json!({"topic": topic.name, "partitions": topic.partitions.len(), "internal": topic.internal});
        return output::json(&topics.iter().map(value).collect::<Vec<Value>>());
    }
    let row = |topic: &TopicDescription| vec![topic.name.clone(), topic.partitions.len().to_string()];
    output::table(&["TOPIC", "PARTITIONS"], &topics.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn describe(topic: &TopicDescription, json: bool) -> anyhow::Result<()> {
    if json {
        let partitions = topic.partitions.iter().map(|partition| {
            json!({"partition": partition.partition, "leader": partition.leader, "replicas": partition.replicas,
                   "in_sync_replicas": partition.in_sync_replicas})
        });
        return output::json(&json!({"topic": topic.name, "partitions": partitions.collect::<Vec<Value>>()}));
    }
    let rows = topic.partitions.iter().map(|partition| {
        let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        vec![
            topic.name.clone(),
            partition.partition.to_string(),
            partition.leader.to_string(),
            ids(&partition.replicas),
            ids(&partition.in_sync_replicas),
        ]
    });
    output::table(&["TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR"], &rows.collect::<Vec<_>>());
    Ok(())
}
