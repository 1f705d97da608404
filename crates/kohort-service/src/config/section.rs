//! Reads one block of keys: each key once, without regard to case, and nothing left over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::yaml::{Node, Value};
use crate::complaint::{Complaint, did_you_mean};

/// One block of keys of a service's file. Take what you know, then call [`Section::finish`], which refuses the rest.
#[derive(Debug)]
pub struct Section<'a> {
    service: &'a str,
    file: &'a str,
    /// The name of this block, empty for the file itself.
    name: &'a str,
    line: usize,
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: &'a str,
    line: usize,
    node: &'a Node,
    taken: bool,
}

/// A value that stands in the file, with all that an error about it needs to say.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    service: &'a str,
    file: &'a str,
    key: &'a str,
    node: &'a Node,
}

impl<'a> Section<'a> {
    /// The whole file as a block.
    pub(crate) fn file(service: &'a str, file: &'a str, root: &'a Node) -> Result<Section<'a>, Complaint> {
        Section::of(Found { service, file, key: "", node: root })
    }

    /// The block that stands under a key.
    pub fn of(found: Found<'a>) -> Result<Section<'a>, Complaint> {
        let Found { service, file, key: name, node } = found;
        let empty = Vec::new();
        let pairs = match &node.value {
            Value::Mapping(pairs) => pairs.iter().collect(),
            value if value.is_null() => empty,
            value => {
                let what = if name.is_empty() { "the file".to_owned() } else { format!("`{name}`") };
                return Err(found.complain(format!("{what} is {}, not a block of keys", value.kind())));
            }
        };
        let mut section =
            Section { service, file, name, line: node.line, entries: Vec::new(), known: Vec::new() };
        for (key, value) in pairs {
            let Value::Scalar { text, .. } = &key.value else {
                return Err(section.complain(key.line, format!("a key is {}, not a name", key.value.kind())));
            };
            if let Some(first) = section.entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(text)) {
                return Err(section
                    .complain(key.line, format!("`{text}` stands twice, first on line {}", first.line))
                    .why("only one of the two values could hold, and nothing says which")
                    .hint("remove one of them"));
            }
            section.entries.push(Entry { key: text, line: key.line, node: value, taken: false });
        }
        Ok(section)
    }

    /// The value of `key`, if it stands here and is not null. Each key is asked for once.
    pub fn take(&mut self, key: &'static str) -> Option<Found<'a>> {
        self.known.push(key);
        let entry = self.entries.iter_mut().find(|entry| entry.key.eq_ignore_ascii_case(key))?;
        entry.taken = true;
        let found = Found { service: self.service, file: self.file, key: entry.key, node: entry.node };
        (!found.node.value.is_null()).then_some(found)
    }

    /// The lines (from 1) on which the keys stand that were taken and are not null, by the name that they were asked for with.
    pub(crate) fn lines(&self) -> BTreeMap<&'static str, usize> {
        let line = |key: &&'static str| {
            let entry = self.entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key))?;
            (!entry.node.value.is_null()).then_some((*key, entry.line))
        };
        self.known.iter().filter_map(line).collect()
    }

    /// The value of `key`, or a complaint that says what it is for.
    pub fn required(&mut self, key: &'static str, what_for: &str) -> Result<Found<'a>, Complaint> {
        self.take(key).ok_or_else(|| {
            let place = if self.name.is_empty() { "the file".to_owned() } else { format!("`{}`", self.name) };
            self.complain(self.line, format!("{place} has no `{key}`"))
                .why(what_for)
                .hint(format!("add `{key}: ...`"))
        })
    }

    /// The keys that stand here and begin with `prefix`, in the file's order, with their values.
    pub fn take_prefix(&mut self, prefix: &'static str) -> Vec<(&'a str, Found<'a>)> {
        let mut found = Vec::new();
        for entry in &mut self.entries {
            let begins =
                entry.key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
            if begins && !entry.taken {
                entry.taken = true;
                found.push((
                    entry.key,
                    Found { service: self.service, file: self.file, key: entry.key, node: entry.node },
                ));
            }
        }
        found
    }

    /// Accepts `keys` without reading them, and returns those that stand here, as written.
    pub fn not_used(&mut self, keys: &[&'static str]) -> Vec<String> {
        self.known.extend(keys);
        let mut present = Vec::new();
        for entry in &mut self.entries {
            if !entry.taken && keys.iter().any(|key| entry.key.eq_ignore_ascii_case(key)) {
                entry.taken = true;
                present.push(entry.key.to_owned());
            }
        }
        present
    }

    /// Refuses the first key that nobody took.
    pub fn finish(self) -> Result<(), Complaint> {
        let Some(left) = self.entries.iter().find(|entry| !entry.taken) else { return Ok(()) };
        let complaint = self.complain(left.line, format!("unknown key `{}`", left.key));
        Err(match did_you_mean(left.key, self.known.iter().copied()) {
            Some(meant) => complaint
                .why(format!("a misspelt key would silently leave `{meant}` at its default"))
                .hint(format!("did you mean `{meant}`?")),
            None => complaint
                .why("a key that nothing reads would look as if it worked")
                .hint(format!("remove it; known here: {}", self.known.join(", "))),
        })
    }

    fn complain(&self, line: usize, what: String) -> Complaint {
        Complaint::new(format!("`{}` cannot start: {what}", self.service)).at(format!("{}:{line}", self.file))
    }
}

impl<'a> Found<'a> {
    /// A complaint about this value, with its place.
    pub fn complain(&self, what: impl Into<String>) -> Complaint {
        let what = what.into();
        Complaint::new(format!("`{}` cannot start: {what}", self.service))
            .at(format!("{}:{}", self.file, self.node.line))
    }

    /// The line (from 1) on which the value stands.
    pub fn line(&self) -> usize {
        self.node.line
    }

    /// A text; numbers and words are texts as they are written, because YAML's quotes are no part of a name. `${NAME}` in it is the
    /// environment variable, as with go-zero's `conf.UseEnv`.
    pub fn text(&self) -> Result<String, Complaint> {
        match &self.node.value {
            Value::Scalar { text, .. } => expand(text, |name| std::env::var(name).ok()).map_err(|name| {
                self.complain(format!(
                    "`{}` names the environment variable `{name}`, which is not set",
                    self.key
                ))
                .why("an empty text in its place would fail later and elsewhere")
                .hint(format!("set `{name}` where the service is started, or write the value"))
            }),
            value => Err(self.complain(format!("`{}` is {}, not a text", self.key, value.kind()))),
        }
    }

    /// True if the text stands in the file as it is, and comes from no environment variable.
    pub fn is_literal(&self) -> bool {
        !matches!(&self.node.value, Value::Scalar { text, .. } if text.contains("${"))
    }

    /// A text that nobody should read, `None` if it is empty; one that stands in the file as it is, is noted in `plain`.
    pub fn secret(&self, what: &str, plain: &mut Vec<(String, String)>) -> Result<Option<String>, Complaint> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        if self.is_literal() {
            plain.push((what.to_owned(), format!("{}:{}", self.file, self.node.line)));
        }
        Ok(Some(text))
    }

    /// A text that is not empty.
    pub fn name(&self) -> Result<String, Complaint> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Err(self.complain(format!("`{}` is empty", self.key)));
        }
        Ok(text)
    }

    /// A whole number of at least `least` and at most `most`.
    pub fn integer(&self, least: u64, most: u64) -> Result<u64, Complaint> {
        let text = self.text()?;
        match text.replace('_', "").parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            Ok(number) => {
                Err(self.complain(format!("`{}` is {number}, it must be from {least} to {most}", self.key)))
            }
            Err(_) => Err(self
                .complain(format!("`{}` is `{text}`, not a whole number", self.key))
                .hint(format!("write a number from {least} to {most}"))),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, Complaint> {
        let text = self.text()?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self
                .complain(format!("`{}` is `{text}`, not true or false", self.key))
                .hint("write `true` or `false`")),
        }
    }

    /// A duration as Go writes it: `500ms`, `5s`, `1m30s`.
    pub fn duration(&self) -> Result<Duration, Complaint> {
        let text = self.text()?;
        parse_duration(&text).ok_or_else(|| {
            self.complain(format!("`{}` is `{text}`, not a duration", self.key))
                .hint("write a number with its unit: `500ms`, `5s`, `1m30s`")
        })
    }

    /// A list of texts; a single text is a list of one, and commas divide it, those of a variable of the environment too.
    pub fn list(&self) -> Result<Vec<String>, Complaint> {
        let texts: Vec<String> = self.items()?.iter().map(Found::name).collect::<Result<_, _>>()?;
        Ok(texts.iter().flat_map(|text| text.split(',')).map(|part| part.trim().to_owned()).collect())
    }

    /// The values of a list, each with its place; a single value is a list of one.
    pub fn items(&self) -> Result<Vec<Found<'a>>, Complaint> {
        match &self.node.value {
            Value::Scalar { .. } => Ok(vec![*self]),
            Value::Sequence(items) => Ok(items.iter().map(|node| Found { node, ..*self }).collect()),
            value => Err(self.complain(format!("`{}` is {}, not a list", self.key, value.kind()))),
        }
    }

    /// One of a few words, without regard to case.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Complaint> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            return Ok(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = match did_you_mean(&text, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of: {}", known.join(", ")),
        };
        Err(self.complain(format!("`{}` cannot be `{text}`", self.key)).hint(hint))
    }
}

/// Writes the variables in place of each `${NAME}`; the name of the first that is not set. A lone `$` is a `$`.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&variable(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Go's `time.ParseDuration` without signs: numbers, each with a unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_environment_are_written_out() {
        let known = |name: &str| (name == "PASS").then(|| "s3cret".to_owned());
        assert_eq!(expand("u:${PASS}@tcp(h)/db", known), Ok("u:s3cret@tcp(h)/db".to_owned()));
        assert_eq!(expand("${OTHER}", known), Err("OTHER".to_owned()));
        assert_eq!(expand("cost: $5 ${", known), Ok("cost: $5 ${".to_owned()));
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration(""), None);
        assert_eq!(parse_duration("5 parsecs"), None);
        assert_eq!(parse_duration("1e400s"), None);
    }
}
