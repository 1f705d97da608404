//! The one binary: the broker, the services and their tools, one command a file.
//!
//! A command is a module with `Args` (its flags, for clap) and `run(args)`; this file only chooses. What a command may
//! answer is an [`Outcome`] or an error, and here they become exit codes: 0 = done, 1 = ran and found something, 2 = wrong
//! use or bad configuration (a [`Complaint`]), 3 = it failed. Results go to stdout, everything else to stderr.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kohort_client::AdminError;
use kohort_service::Complaint;

mod bench;
mod broker;
mod brokers;
mod check;
mod consume;
mod consumer;
mod feed;
mod groups;
mod http;
mod kafka_consumer_groups;
mod limits;
mod output;
mod produce;
mod progress;
mod record;
mod replay;
mod service;
mod sim;
mod smart_money;
mod store_url;
mod time;
mod topics;
mod up;
mod verify;

/// What a command that ran to its end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, nothing to complain of: exit 0.
    Done,
    /// It ran and found a difference or a finding: exit 1.
    Finding,
}

/// It failed: neither wrong use nor a finding.
const FAILED: u8 = 3;

/// Kafka consumer groups from the ground up, and the real-time trade platform that runs on them.
#[derive(Debug, Parser)]
#[command(name = "kohort", version, max_term_width = 110, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    /// How much is logged on stderr: error, warn, info (what servers do), debug, trace, or filters as in RUST_LOG
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kohort up                                everything in one process
  kohort broker                            a broker for any Kafka client
  kohort replay trades.jsonl --topic t     trade files into a topic
  kohort verify TRADES --candles CANDLES   the whole road, candle by candle
  kohort check etc/*.yaml                  what is wrong between the files
  kohort sim --seeds 1000                  the group core under seeded faults
  kohort topics list                       what a broker holds
  kohort groups describe G                 who owns which partition, the lag
  kohort bench pipeline                    trades/s, and where the time goes
";

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Broker(broker::Args),
    Dataflow(service::DataflowArgs),
    Market(service::MarketArgs),
    #[command(name = "smart-money")]
    SmartMoney(smart_money::SmartMoneyArgs),
    Consumer(consumer::Args),
    Replay(replay::Args),
    Verify(verify::Args),
    Check(check::Args),
    Sim(sim::Args),
    Topics(topics::Args),
    Groups(groups::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    #[command(name = "kafka-consumer-groups")]
    KafkaConsumerGroups(kafka_consumer_groups::Args),
    Bench(bench::Args),
}

impl Command {
    /// Whether it runs until its end is asked for.
    fn is_server(&self) -> bool {
        match self {
            Command::Up(_) | Command::Broker(_) => true,
            Command::Dataflow(_) | Command::Market(_) | Command::SmartMoney(_) | Command::Consumer(_) => true,
            Command::Replay(_) | Command::Verify(_) | Command::Check(_) | Command::Sim(_) => false,
            Command::Topics(_) | Command::Groups(_) | Command::KafkaConsumerGroups(_) => false,
            Command::Produce(_) | Command::Consume(_) | Command::Bench(_) => false,
        }
    }

    /// What is logged unless somebody says otherwise: a server tells what it does, a tool answers and is silent.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Up(_) | Command::Broker(_) => "info",
            Command::Dataflow(_) | Command::Market(_) | Command::SmartMoney(_) | Command::Consumer(_) => {
                "info"
            }
            Command::Replay(_) | Command::Verify(_) | Command::Check(_) | Command::Sim(_) => "info",
            Command::Topics(_) | Command::Groups(_) | Command::KafkaConsumerGroups(_) => "warn",
            Command::Produce(_) | Command::Consume(_) | Command::Bench(_) => "warn",
        }
    }
}

/// How long work on threads that may block is waited for at the end. Transactions that are cut off never happened.
const THREADS_GRACE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = cli.log.as_deref().unwrap_or(cli.command.log_level());
    if let Err(complaint) = kohort_service::log::init(level) {
        return fail(&complaint.into());
    }
    if let Command::Sim(args) = cli.command {
        return sim::run(args).unwrap_or_else(|error| fail(&error));
    }
    limits::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the operating system gives no threads or event queue: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let is_server = cli.command.is_server();
    let outcome = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(THREADS_GRACE);
    // A server's lines are news; a tool's are what it was called for.
    let outcome = match output::failure() {
        Some(error) if !is_server => outcome.and_then(|_| Err(anyhow::anyhow!("write the results: {error}"))),
        _ => outcome,
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Dataflow(args) => service::dataflow(args).await,
        Command::Market(args) => service::market(args).await,
        Command::SmartMoney(args) => smart_money::run(args).await,
        Command::Consumer(args) => consumer::run(args).await,
        Command::Broker(args) => broker::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Topics(args) => topics::run(args).await,
        Command::Groups(args) => groups::run(args).await,
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::KafkaConsumerGroups(args) => kafka_consumer_groups::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Sim(_) => unreachable!("runs before there is a runtime"),
    }
}

/// One message on stderr, and the code that says which kind of failure it was.
fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(complaint) = error.downcast_ref::<Complaint>() {
        eprintln!("{complaint}");
        return ExitCode::from(2);
    }
    let refused = error.downcast_ref::<AdminError>();
    if let Some(complaint) = refused.and_then(brokers::complaint) {
        eprintln!("{complaint}");
        return ExitCode::from(2);
    }
    eprintln!("error: {error:#}");
    if matches!(refused, Some(AdminError::Timeout { .. })) {
        eprintln!(" hint: {}", brokers::NO_ANSWER_HINT);
    }
    ExitCode::from(FAILED)
}
