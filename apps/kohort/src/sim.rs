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
}
