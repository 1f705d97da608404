//! `kohort bench`: measures itself. One measurement a file.
//!
//! What is measured runs in a process of its own, so that its processor time and memory are its own; what measures is not counted.

mod assignors;
mod cache;
mod groups;
mod load;
mod pipeline;
mod process;
mod push;
mod service;

use self::load::Side;
use crate::Outcome;

/// Measure the whole road, or a part of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench pipeline
  kohort bench pipeline --trades trades.jsonl.zst --count 5000000 --partitions 4
  kohort bench pipeline --count 100000 --json
  kohort bench pipeline --service market --store redis://127.0.0.1:6379
  kohort bench push --rate 10000
  kohort bench broker
  kohort bench groups --rounds 20
")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Pipeline(pipeline::Args),
    /// The broker: records in and out, and what they cost its process
    Broker(load::Args),
    /// The client: records in and out, and what they cost its process
    Client(load::Args),
    Push(push::Args),
    Groups(groups::Args),
    Assignors(assignors::Args),
    #[command(hide = true)]
    Service(service::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    match args.what {
        What::Pipeline(args) => pipeline::run(args).await,
        What::Broker(args) => load::run(Side::Broker, args).await,
        What::Client(args) => load::run(Side::Client, args).await,
        What::Push(args) => push::run(args).await,
        What::Groups(args) => groups::run(args).await,
        What::Assignors(args) => assignors::run(&args),
        What::Service(args) => service::run(args).await,
    }
}
