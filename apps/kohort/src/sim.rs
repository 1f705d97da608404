<<<<<<< HEAD
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
=======
//! `kohort sim`: the simulation of the group core. Its flags, its lines and its exit codes are `kohort_sim::cli`'s.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use anyhow::Context;

/// The simulation of the group core under seeded faults
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--help` says which
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// Runs the command, on this thread alone: a run of one seed writes the same bytes every time.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let flags: Vec<String> = args.flags.into_iter().map(|flag| flag.to_string_lossy().into_owned()).collect();
    let code = kohort_sim::cli(&flags, &mut io::stdout().lock(), &mut io::stderr().lock())
        .context("write the results")?;
    Ok(ExitCode::from(code))
>>>>>>> 7430a80 (kohort: verify and sim are commands again; one dataflow command)
}
