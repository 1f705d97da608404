//! What a person is told when something cannot start: what, where, why it matters, and the mend.
//!
//! One shape for wrong configuration and wrong use, so that everything that stops a start reads alike:
//!
//! ```text
//! error: `dataflow` cannot start: unknown key `Procesors`
//!    at: apps/dataflow/etc/dataflow.yaml:9
//!   why: a misspelt key would silently leave `Processors` at its default, 8
//!  hint: did you mean `Processors`?
//! ```

use std::fmt;

/// A refusal to start that a person can mend. `Display` is the whole block, without a final line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, as the end of the sentence "error: ...".
    pub what: String,
    /// Where it stands: `file:line`, an address, a folder.
    pub at: Option<String>,
    /// Why that matters: what would happen if we went on.
    pub why: Option<String>,
    /// What to write or do instead.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint that so far says only what is wrong.
    pub fn new(what: impl Into<String>) -> Complaint {
        Complaint { what: what.into(), at: None, why: None, hint: None }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Complaint {
        self.at = Some(at.into());
        self
    }

    /// Adds why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Complaint {
        self.why = Some(why.into());
        self
    }

    /// Adds the mend.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_block(f, "error")
    }
}

impl Complaint {
    /// The block, with `word` for how bad it is.
    pub(crate) fn write_block(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        write!(f, "{word}: {}", self.what)?;
        for (label, text) in [("   at", &self.at), ("  why", &self.why), (" hint", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n{label}: {text}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Complaint {}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The one of `known` that `word` was probably meant to be: equal but for case, or one or two slips of the keyboard away.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A slip in a word of three letters is another word; in a word of eight, two slips are still the same word.
    let slips = match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>(); a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_the_word() {
        let known = ["Processors", "Consumers", "Conns", "Group"];
        assert_eq!(did_you_mean("Procesors", known), Some("Processors"));
        assert_eq!(did_you_mean("consuemrs", known), Some("Consumers"));
        assert_eq!(did_you_mean("Gruop", known), Some("Group"));
        assert_eq!(did_you_mean("Threads", known), None);
    }

    #[test]
    fn a_complaint_reads_as_a_block() {
        let complaint =
            Complaint::new("unknown key `Procesors`").at("a.yaml:9").hint("did you mean `Processors`?");
        assert_eq!(
            complaint.to_string(),
            "error: unknown key `Procesors`\n   at: a.yaml:9\n hint: did you mean `Processors`?"
        );
    }
}
