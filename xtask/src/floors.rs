//! Who depends on whom, as a golden list: a lower floor knows nothing of an upper one.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

const GOLDEN: &str = "xtask/floors.txt";
const HEAD: &str = "\
# Who depends on whom among ours (tests' dependencies aside), and for the pure crates, whom of others.
# `kohort-*` knows Kafka and no market, `market-*` knows markets and no Kafka, only `apps/` knows both.
# Held by a test; `cargo xtask floors --write` accepts a change.
";
/// Crates whose every dependency is a decision, the ones of others too.
const PURE: [&str; 2] = ["kohort-group", "market-data"];
/// The only crate that may name the crate of Kafka's message codecs.
const PROTOCOL: &str = "kohort-protocol";

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let golden = std::fs::read_to_string(root.join(GOLDEN)).with_context(|| format!("read {GOLDEN}"))?;
    let now = render(root)?;
    if golden != now {
        let changed: Vec<&str> = now.lines().filter(|line| !golden.contains(line)).collect();
        bail!("{GOLDEN} does not say what is; new or changed: {}", changed.join(" | "));
    }
    Ok(())
}

pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    std::fs::write(root.join(GOLDEN), render(root)?).with_context(|| format!("write {GOLDEN}"))
}

fn render(root: &Path) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let mut packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    packages.sort_by_key(|package| name(package));
    let ours: Vec<&str> = packages.iter().map(|package| name(package)).collect();
    let mut text = HEAD.to_owned();
    for package in packages {
        let mut needs: Vec<&str> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .collect();
        needs.sort_unstable();
        needs.dedup();
        if needs.contains(&"kafka-protocol") && name(package) != PROTOCOL {
            bail!(
                "`{}` names `kafka-protocol`: only `{PROTOCOL}` may, and re-exports what others need",
                name(package)
            );
        }
        let (own, others): (Vec<&str>, Vec<&str>) = needs.iter().partition(|need| ours.contains(need));
        let shown = if own.is_empty() { "nobody".to_owned() } else { own.join(" ") };
        write!(text, "{} -> {shown}", name(package))?;
        if PURE.contains(&name(package)) {
            write!(
                text,
                "; others': {}",
                if others.is_empty() { "none".to_owned() } else { others.join(" ") }
            )?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}
