//! `kohort kafka-consumer-groups`: the flags and the columns of Kafka's own tool, for scripts and hands that know them.

use clap::ArgGroup;
use kohort_client::Admin;
use kohort_client::admin::GroupDescription;
use kohort_service::Complaint;

use crate::brokers::Brokers;
use crate::groups::{self, Target, Topics};
use crate::{Outcome, output, time};

/// What Kafka's tool of this name does, with its flags and columns
#[derive(Debug, clap::Args)]
#[command(
    group(ArgGroup::new("action").required(true).args(["list", "describe", "reset_offsets", "delete", "delete_offsets"])),
    group(ArgGroup::new("to").args(["to_earliest", "to_latest", "to_current", "to_offset", "shift_by", "to_datetime"])),
    after_help = "\
Examples:
  kohort kafka-consumer-groups --bootstrap-server 127.0.0.1:9092 --list
  kohort kafka-consumer-groups --describe --group g
  kohort kafka-consumer-groups --describe --all-groups --members --verbose
  kohort kafka-consumer-groups --reset-offsets --group g --topic t:0,1 --to-earliest --execute
  kohort kafka-consumer-groups --delete --group g

`kohort groups` does the same with shorter words, and JSON.
"
)]
pub(crate) struct Args {
    #[command(flatten)]
    brokers: Brokers,
    /// List the groups
    #[arg(long)]
    list: bool,
    /// Describe groups: offsets and lag, or `--members`, or `--state`
    #[arg(long)]
    describe: bool,
    /// Move committed offsets of a group without members; shows only, without `--execute`
    #[arg(long, requires = "to")]
    reset_offsets: bool,
    /// Delete groups without members
    #[arg(long)]
    delete: bool,
    /// Delete what a group committed for topics that nobody in it subscribes to
    #[arg(long, requires = "topic")]
    delete_offsets: bool,
    /// A group, several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// All groups
    #[arg(long, conflicts_with = "group")]
    all_groups: bool,
    /// The members instead of the offsets
    #[arg(long, requires = "describe")]
    members: bool,
    /// With `--members`: what each owns
    #[arg(long, requires = "members")]
    verbose: bool,
    /// The state; with `--list` a column, with `--describe` instead of the offsets
    #[arg(long, conflicts_with = "members")]
    state: bool,
    /// The offsets: what `--describe` shows anyway
    #[arg(long, conflicts_with_all = ["members", "state"])]
    offsets: bool,
    /// A topic, or some of its partitions: `t` or `t:0,2`; several times
    #[arg(long, value_name = "TOPIC[:N,...]")]
    topic: Vec<String>,
    /// All topics that the group has committed
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    /// To the first record that is there
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To where it is
    #[arg(long)]
    to_current: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many records, forward or back
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record of this time or later: `2024-01-05T00:00:00.000`, UTC
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
    /// Only show what would change: what happens anyway without `--execute`
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it
    #[arg(long, requires = "reset_offsets")]
    execute: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let admin = args.brokers.admin()?;
    if args.list {
        list(&admin, args.state).await?;
        return Ok(Outcome::Done);
    }
    let groups = named(&admin, &args).await?;
    if args.describe {
        describe(&admin, &groups, &args).await?;
    } else if args.reset_offsets {
        reset(&admin, &groups, &args).await?;
    } else if args.delete {
        for group in &groups {
            admin.delete_group(group).await?;
        }
        let names: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        output::line(format!("Deletion of requested consumer groups ({}) was successful.", names.join(", ")));
    } else {
        for group in &groups {
            delete_offsets(&admin, group, &args.topic).await?;
        }
    }
    Ok(Outcome::Done)
}

async fn named(admin: &Admin, args: &Args) -> anyhow::Result<Vec<String>> {
    if args.all_groups {
        return Ok(admin.list_groups().await?.into_iter().map(|listing| listing.group).collect());
    }
    if args.group.is_empty() {
        return Err(Complaint::new("no group is named")
            .hint("write `--group GROUP`, several times for several, or `--all-groups`")
            .into());
    }
    Ok(args.group.clone())
}

async fn list(admin: &Admin, state: bool) -> anyhow::Result<()> {
    let groups = admin.list_groups().await?;
    if state {
        let rows: Vec<_> = groups.into_iter().map(|listing| vec![listing.group, listing.state]).collect();
        output::table(&["GROUP", "STATE"], &rows);
        return Ok(());
    }
    for listing in groups {
        output::line(listing.group);
    }
    Ok(())
}

async fn describe(admin: &Admin, groups: &[String], args: &Args) -> anyhow::Result<()> {
    for group in groups {
        let group = groups::known(admin, group).await?;
        output::line("");
        if args.state {
            let count = group.members.len().to_string();
            let row = vec![group.group, group.assignor, group.state, count];
            output::table(&["GROUP", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"], &[row]);
            continue;
        }
        if group.members.is_empty() {
            output::line(format!("Consumer group '{}' has no active members.", group.group));
            output::line("");
        }
        match args.members {
            true => members(&group, args.verbose),
            false => offsets(admin, &group).await?,
        }
    }
    Ok(())
}

fn members(group: &GroupDescription, verbose: bool) {
    let mut head = vec!["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"];
    if verbose {
        head.push("ASSIGNMENT");
    }
    let rows = group.members.iter().map(|member| {
        let mut row = vec![
            group.group.clone(),
            member.member_id.clone(),
            member.client_host.clone(),
            member.client_id.clone(),
            member.assignment.len().to_string(),
        ];
        if verbose {
            row.push(groups::assignment(&member.assignment));
        }
        row
    });
    output::table(&head, &rows.collect::<Vec<_>>());
}

async fn offsets(admin: &Admin, group: &GroupDescription) -> anyhow::Result<()> {
    let rows = groups::positions(admin, group).await?.into_iter().map(|at| {
        let owner = at.owner.map(|owner| &group.members[owner]);
        let told = |tell: fn(&kohort_client::admin::MemberDescription) -> &String| {
            owner.map_or("-".to_owned(), |member| tell(member).clone())
        };
        vec![
            group.group.clone(),
            at.partition.topic.clone(),
            at.partition.partition.to_string(),
            groups::number(at.committed),
            groups::number(at.end),
            groups::number(at.lag()),
            told(|member| &member.member_id),
            told(|member| &member.client_host),
            told(|member| &member.client_id),
        ]
    });
    let head = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    output::table(&head, &rows.collect::<Vec<_>>());
    Ok(())
}

async fn reset(admin: &Admin, groups: &[String], args: &Args) -> anyhow::Result<()> {
    let topics = match (args.all_topics, args.topic.is_empty()) {
        (true, _) => Topics::All,
        (false, false) => Topics::parse(&args.topic)?,
        (false, true) => {
            return Err(Complaint::new("no topic is named")
                .hint("write `--topic TOPIC`, several times for several, or `--all-topics`")
                .into());
        }
    };
    let to = target(args)?;
    let mut rows = Vec::new();
    for group in groups {
        for step in groups::reset(admin, group, &topics, to, args.execute).await? {
            let (topic, partition) = (step.partition.topic, step.partition.partition.to_string());
            rows.push(vec![group.clone(), topic, partition, step.to.to_string()]);
        }
    }
    output::table(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &rows);
    if !args.execute {
        eprintln!("nothing is changed yet: add `--execute`");
    }
    Ok(())
}

/// Where to: clap has seen to it that one of them is there.
fn target(args: &Args) -> Result<Target, Complaint> {
    if let Some(text) = &args.to_datetime {
        let wrong = || {
            Complaint::new(format!("`{text}` is no time"))
                .at("--to-datetime")
                .hint("write it as 2024-01-05T00:00:00.000, in UTC")
        };
        return time::parse_rfc3339(text).map(Target::Time).ok_or_else(wrong);
    }
    Ok(match (args.to_offset, args.shift_by) {
        (Some(offset), _) => Target::At(offset),
        (_, Some(n)) => Target::By(n),
        _ if args.to_latest => Target::Last,
        _ if args.to_current => Target::Current,
        _ => Target::First,
    })
}

async fn delete_offsets(admin: &Admin, group: &str, topics: &[String]) -> anyhow::Result<()> {
    let Topics::Named(named) = Topics::parse(topics)? else { return Ok(()) };
    let mut partitions: Vec<_> =
        admin.group_offsets(group).await?.into_iter().map(|(partition, _)| partition).collect();
    partitions.retain(|at| {
        named.get(&at.topic).is_some_and(|numbers| numbers.is_empty() || numbers.contains(&at.partition))
    });
    if partitions.is_empty() {
        return Err(Complaint::new(format!("group `{group}` has committed nothing there"))
            .hint("`--describe` says what it has")
            .into());
    }
    admin.delete_group_offsets(group, &partitions).await?;
    let rows =
        partitions.into_iter().map(|at| vec![at.topic, at.partition.to_string(), "Successful".to_owned()]);
    output::table(&["TOPIC", "PARTITION", "STATUS"], &rows.collect::<Vec<_>>());
    Ok(())
}
