//! `kohort sim`: the simulation of the group core. Its flags and lines are `kohort_sim`'s own.

use anyhow::Context;

use crate::Outcome;

/// The simulation of the group core: members and a coordinator under seeded faults
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Flags of the simulation: `--seeds N`, `--seed S`, `--protocol classic|consumer`, `--bug NAME`; `--help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match kohort_sim::cli(&args.flags, &mut out, &mut err).context("write what the simulation says")? {
        0 => Ok(Outcome::Done),
        1 => Ok(Outcome::Finding),
        code => std::process::exit(i32::from(code)),
    }
}
