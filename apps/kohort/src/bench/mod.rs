//! `kohort bench`: measures itself. One measurement a file.
//!
//! What is measured runs in a process of its own, so that its processor time and memory are its own; what measures is not counted.

mod pipeline;
mod process;
mod service;

use crate::Outcome;

/// Measure the whole road, or a part of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench pipeline
  kohort bench pipeline --trades trades.jsonl.zst --count 5000000 --partitions 4
  kohort bench pipeline --count 100000 --json
")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Pipeline(pipeline::Args),
    #[command(hide = true)]
    Service(service::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    match args.what {
        What::Pipeline(args) => pipeline::run(args).await,
        What::Service(args) => service::run(args).await,
    }
}
