//! A map that names what is not there is worse than none: every path in the documents exists.

use std::path::Path;

use anyhow::Context;

const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "README.md", "README.zh-CN.md"];
/// A word in backticks is a path if it begins with one of these.
const BEGINNINGS: [&str; 10] =
    ["apps/", "crates/", "web/", "xtask/", "docs/", "tests/", "bench/", "conformance/", "fuzz/", ".ci/"];

pub(crate) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text =
            std::fs::read_to_string(root.join(document)).with_context(|| format!("read {document}"))?;
        for (number, line) in text.lines().enumerate() {
            for path in paths(line).filter(|path| !root.join(path).exists()) {
                findings.push(format!("{document}:{}: `{path}` does not exist", number + 1));
            }
        }
    }
    Ok(findings)
}

/// The paths that a line names: in backticks, and as targets of links.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let words = quoted.chain(linked).map(|path| path.split(['#', ' ']).next().unwrap_or_default());
    words.filter(|path| BEGINNINGS.iter().any(|begin| path.starts_with(begin)) && !path.contains('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_in_backticks_and_links() {
        let line = "see `crates/a/src/b.rs`, `apps/kohort up`, [x](docs/y.md#z) and `kohort up`";
        assert_eq!(paths(line).collect::<Vec<_>>(), ["crates/a/src/b.rs", "apps/kohort", "docs/y.md"]);
    }
}
