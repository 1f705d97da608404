//! `kohort sim`, as the command line's contract has it: results on stdout, progress on stderr, no times anywhere on
//! stdout.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::{Options, Outcome, bugs, run};

const USAGE: &str = "\
The simulation of the group core: members and a coordinator under seeded faults.

Usage: kohort sim [--seeds N] [--seed S] [--protocol classic] [--bug NAME]

  --seeds N        run N seeds, from --seed (default: 100 without --seed, 1 with it)
  --seed S         the first seed (default: 1); alone, it replays one run exactly
  --protocol NAME  what the groups speak: classic (default)
  --bug NAME       switch on a deliberate bug, to see it found; `help` lists them
  --trace          show the last lines of what happened in a failed run

Examples:
  kohort sim --seeds 1000
  kohort sim --seed 42 --trace
  kohort sim --seeds 20 --bug zombie-commits

Exit code: 0 all held, 1 an invariant was broken, 2 wrong use.
";

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    first: u64,
    count: u64,
    options: Options,
}

/// What to do instead of running.
#[derive(Debug, PartialEq, Eq)]
enum Instead {
    Help,
    ListBugs,
    Wrong(String),
}

/// Runs `kohort sim` with the arguments behind `sim`. Results go to `out`; progress and wrong use to `err`.
///
/// # Errors
///
/// When writing fails.
pub fn cli(args: &[String], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let arguments = match parse(args) {
        Ok(arguments) => arguments,
        Err(Instead::Help) => {
            out.write_all(USAGE.as_bytes())?;
            return Ok(0);
        }
        Err(Instead::ListBugs) => {
            for (name, what) in bugs() {
                writeln!(out, "{name:<17} {what}")?;
            }
            return Ok(0);
        }
        Err(Instead::Wrong(why)) => {
            writeln!(err, "error: {why}\n hint: `kohort sim --help` says what there is, with examples")?;
            return Ok(2);
        }
    };
    simulate(&arguments, out, err)
}

fn simulate(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let mut failed = 0_u64;
    let mut progress = Progress::new(arguments.count);
    for (nth, seed) in
        (arguments.first..).take(usize::try_from(arguments.count).unwrap_or(usize::MAX)).enumerate()
    {
        let outcome = match run(seed, &arguments.options) {
            Ok(outcome) => outcome,
            Err(wrong) => {
                writeln!(err, "error: {wrong}\n hint: `kohort sim --bug help` lists the deliberate bugs")?;
                return Ok(2);
            }
        };
        let broken = outcome.violation.is_some();
        failed += u64::from(broken);
        if nth == 0 || broken {
            report(&outcome, &arguments.options, out)?;
        }
        progress.step(failed, err)?;
    }
    progress.end(err)?;
    writeln!(out, "{} seeds, {failed} failed", arguments.count)?;
    Ok(u8::from(failed > 0))
}

fn report(outcome: &Outcome, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "seed {} {}", outcome.seed, outcome.options)?;
    let Some(violation) = &outcome.violation else {
        return writeln!(out, "  held: {} steps, digest {:016x}", outcome.steps, outcome.digest);
    };
    for line in &outcome.trace {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  broken: {}: {}", violation.invariant, violation.what)?;
    let bug = options.bug.as_ref().map(|name| format!(" --bug {name}")).unwrap_or_default();
    writeln!(out, "  replay: kohort sim --seed {}{bug} --trace", outcome.seed)
}

/// One line on stderr, now and then.
struct Progress {
    count: u64,
    done: u64,
    started: Instant,
    shown: Duration,
}

impl Progress {
    fn new(count: u64) -> Self {
        Self { count, done: 0, started: Instant::now(), shown: Duration::ZERO }
    }

    fn step(&mut self, failed: u64, err: &mut dyn Write) -> io::Result<()> {
        self.done += 1;
        let spent = self.started.elapsed();
        if spent - self.shown >= Duration::from_secs(1) {
            self.shown = spent;
            write!(err, "\r{} of {} seeds, {failed} failed ", self.done, self.count)?;
            err.flush()?;
        }
        Ok(())
    }

    fn end(&self, err: &mut dyn Write) -> io::Result<()> {
        if self.shown > Duration::ZERO {
            writeln!(err, "\r{} seeds in {:.1} s        ", self.count, self.started.elapsed().as_secs_f64())?;
        }
        Ok(())
    }
}

fn parse(args: &[String]) -> Result<Arguments, Instead> {
    let (mut seeds, mut seed) = (None, None);
    let mut options = Options::default();
    let mut args = args.iter().map(String::as_str).flat_map(|arg| match arg.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name, value],
        _ => vec![arg],
    });
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| Instead::Wrong(format!("`{name}` needs a value")));
        match name {
            "--help" | "-h" => return Err(Instead::Help),
            "--trace" => options.trace = true,
            "--seeds" => seeds = Some(number(name, value()?)?),
            "--seed" => seed = Some(number(name, value()?)?),
            "--protocol" => match value()? {
                "classic" => {}
                "consumer" => {
                    let why = "`--protocol consumer` (KIP-848) is not simulated yet: leave it out, or write `classic`";
                    return Err(Instead::Wrong(why.to_owned()));
                }
                other => {
                    let why = format!("unknown protocol `{other}`: the simulation speaks `classic`");
                    return Err(Instead::Wrong(why));
                }
            },
            "--bug" => match value()? {
                "help" => return Err(Instead::ListBugs),
                bug => options.bug = Some(bug.to_owned()),
            },
            other => return Err(Instead::Wrong(format!("unknown argument `{other}`"))),
        }
    }
    let count = seeds.unwrap_or(if seed.is_some() { 1 } else { 100 });
    Ok(Arguments { first: seed.unwrap_or(1), count, options })
}

fn number(name: &str, value: &str) -> Result<u64, Instead> {
    value.parse().map_err(|_| Instead::Wrong(format!("`{name}` needs a whole number, not `{value}`")))
}
