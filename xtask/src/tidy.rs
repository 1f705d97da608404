//! What can be checked by reading the files that git knows: sizes and leftovers.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// A file that nobody can hold in the head is cut before it grows further.
const LINES_MAX: usize = 800;
/// Sources that people read; fixtures, lock files and what others wrote are not.
const SOURCES: [&str; 9] = ["rs", "js", "mjs", "css", "html", "py", "md", "toml", "yaml"];
const NOT_OURS: [&str; 3] = ["/vendor/", "/testdata/", "/tests/data/"];
/// Leftovers of somebody's work: (text, what to do).
const LEFTOVERS: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "do it, or write an issue"),
    (concat!("FIX", "ME"), "mend it, or write an issue"),
    (concat!("XX", "X "), "say what is meant"),
    (concat!("<<<<", "<<< "), "resolve the conflict"),
    (concat!(">>>>", ">>> "), "resolve the conflict"),
    (concat!("/ho", "me/"), "a path of one machine: make it relative"),
    (concat!("/ro", "ot/"), "a path of one machine: make it relative"),
];

pub(crate) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut findings = Vec::new();
    for name in String::from_utf8_lossy(&output.stdout).split('\0') {
        let source = name.rsplit_once('.').is_some_and(|(_, end)| SOURCES.contains(&end));
        if !source || NOT_OURS.iter().any(|folder| format!("/{name}").contains(folder)) {
            continue;
        }
        // A file that is deleted but not yet committed is still listed.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        look(name, &text, &mut findings);
    }
    Ok(findings)
}

fn look(name: &str, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, more than {LINES_MAX}: cut it by topic"));
    }
    for (number, line) in text.lines().enumerate() {
        for (leftover, mend) in LEFTOVERS {
            if line.contains(leftover) {
                findings.push(format!("{name}:{}: `{}`: {mend}", number + 1, leftover.trim()));
            }
        }
        if line.ends_with([' ', '\t']) && !name.ends_with(".md") && !name.ends_with(".py") {
            findings.push(format!("{name}:{}: the line ends in a space", number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_and_long_files_are_found() {
        let mut findings = Vec::new();
        look("a.rs", &format!("// {}\nx \n", LEFTOVERS[0].0), &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
        look("b.rs", &"x\n".repeat(LINES_MAX + 1), &mut findings);
        assert_eq!(findings.len(), 3, "{findings:?}");
    }
}
