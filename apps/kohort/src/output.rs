//! Results on stdout: tables for people, JSON for machines. A reader that went away (`| head`) is no failure; a disk that is full is one.

use std::io::{Error, ErrorKind, Write};
use std::sync::OnceLock;

/// The first line that could not be written.
static UNWRITTEN: OnceLock<Error> = OnceLock::new();

/// Writes one line to stdout. What goes wrong with that is remembered: [`is_unread`], [`failure`].
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        let _ = UNWRITTEN.set(error);
    }
}

/// Whether nobody reads any more what is written.
pub(crate) fn is_unread() -> bool {
    UNWRITTEN.get().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Why results are missing where somebody wanted to read them.
pub(crate) fn failure() -> Option<&'static Error> {
    UNWRITTEN.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Writes a value as JSON, one line.
///
/// # Errors
/// A value that JSON cannot hold: our own mistake.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?);
    Ok(())
}

/// Writes a table: columns as wide as their widest cell, two spaces apart, numbers to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    line(render(head, rows));
}

fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let number = |column: usize| {
        rows.iter().all(|row| row[column] == "-" || row[column].parse::<f64>().is_ok()) && !rows.is_empty()
    };
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
            .max(head[column].chars().count())
    };
    let shape: Vec<(usize, bool)> = (0..head.len()).map(|column| (width(column), number(column))).collect();
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let lines = std::iter::once(&head).chain(rows).map(|row| {
        let cells = row.iter().zip(&shape).map(|(cell, &(width, number))| match number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = vec![vec!["a".to_owned(), "7".to_owned()], vec!["long".to_owned(), "-".to_owned()]];
        assert_eq!(render(&["TOPIC", "LAG"], &rows), "TOPIC  LAG\na        7\nlong     -");
    }
}
