//! What is more than cargo: `tidy`, `floors`, `ci`. Run as `cargo xtask NAME`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

mod floors;
mod map;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy             what can be checked is checked: file sizes, leftovers, paths that the documents name
  floors           who depends on whom, against xtask/floors.txt
  floors --write   accept who depends on whom now: the change belongs in the commit that explains it
  ci               all of CI, on this machine (.ci/run)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["tidy"] => tidy(),
        ["floors"] => floors::check(&root()),
        ["floors", "--write"] => floors::write(&root()),
        ["ci"] => ci(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> anyhow::Result<()> {
    let mut findings = tidy::findings(&root())?;
    findings.extend(map::findings(&root())?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings\n  {}", findings.len(), findings.join("\n  "))
}

fn ci() -> anyhow::Result<()> {
    let status = Command::new("bash").arg(".ci/run").current_dir(root()).status().context("run .ci/run")?;
    if !status.success() {
        bail!("`.ci/run` failed: {status}");
    }
    Ok(())
}

/// The workspace's folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_depends_on_whom_is_what_the_golden_list_says() {
        floors::check(&root()).unwrap();
    }

    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(tidy::findings(&root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_path_that_the_documents_name_exists() {
        assert_eq!(map::findings(&root()).unwrap(), Vec::<String>::new());
    }
}
