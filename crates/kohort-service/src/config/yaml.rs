//! YAML text to a tree whose every node knows its line. It knows no key and no type: a scalar is its text.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// The nodes that a file may hold once its aliases are written out: more is a mistake or an attack ("billion laughs").
const NODES_MAX: usize = 100_000;

/// A value and the line (from 1) on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `plain` is false for quoted text, which is text whatever it looks like.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Value {
    /// What a person calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a block of keys",
        }
    }

    /// No value at all: `Key:`, `Key: ~`, `Key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn nodes(&self) -> usize {
        1 + match self {
            Value::Scalar { .. } => 0,
            Value::Sequence(items) => items.iter().map(|item| item.value.nodes()).sum(),
            Value::Mapping(entries) => {
                entries.iter().map(|(key, value)| key.value.nodes() + value.value.nodes()).sum()
            }
        }
    }
}

/// Why a text is no YAML that we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotYaml {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The single document of `text`. An empty text is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Node, NotYaml> {
    let mut events = Events { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        let (event, line) = events.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            _ if document.is_some() => {
                return Err(NotYaml { line, what: "a second document begins".to_owned() });
            }
            event => document = Some(events.node(event, line)?),
        }
    }
    match document {
        Some(node) if !node.value.is_null() => Ok(node),
        _ => Ok(Node { line: 1, value: Value::Mapping(Vec::new()) }),
    }
}

struct Events<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), NotYaml> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(NotYaml { line: error.marker().line(), what: error.info().to_string() }),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize) -> Result<Node, NotYaml> {
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (Value::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping()?, anchor),
            Event::Alias(id) => {
                let value = self.anchors.get(&id).map(|node| node.value.clone());
                let value = value
                    .ok_or_else(|| NotYaml { line, what: "an alias stands inside itself".to_owned() })?;
                self.count(value.nodes(), line)?;
                return Ok(Node { line, value });
            }
            other => return Err(NotYaml { line, what: format!("`{other:?}` is not expected here") }),
        };
        self.count(1, line)?;
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), NotYaml> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(NotYaml { line, what: format!("more than {NODES_MAX} values") });
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Value, NotYaml> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, line) => items.push(self.node(event, line)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, NotYaml> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Mapping(merged(entries))),
                (event, line) => {
                    let key = self.node(event, line)?;
                    let (event, line) = self.next()?;
                    let value = self.node(event, line)?;
                    entries.push((key, value));
                }
            }
        }
    }
}

/// Writes out YAML 1.1's merge key, which shared `Kq` blocks like to use: `<<: *defaults`. Keys of the block itself win, in whatever case
/// they are written: keys match without regard to it.
fn merged(entries: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
    let is_merge = |key: &Node| matches!(&key.value, Value::Scalar { text, plain: true } if text == "<<");
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_merge(key));
    for (key, value) in merges {
        let sources = match value.value {
            Value::Mapping(_) => vec![value],
            Value::Sequence(items) => items,
            Value::Scalar { .. } => vec![],
        };
        for source in sources {
            let Value::Mapping(inherited) = source.value else { continue };
            for (name, node) in inherited {
                if !own.iter().any(|(have, _)| is_one_key(&have.value, &name.value)) {
                    own.push((Node { line: key.line, ..name }, node));
                }
            }
        }
    }
    own
}

fn is_one_key(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Scalar { text: one, .. }, Value::Scalar { text: other, .. }) => {
            one.eq_ignore_ascii_case(other)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(node: &Node) -> Vec<(String, usize)> {
        let Value::Mapping(entries) = &node.value else { panic!("not a mapping") };
        entries
            .iter()
            .map(|(key, _)| match &key.value {
                Value::Scalar { text, .. } => (text.clone(), key.line),
                _ => panic!("a key is no scalar"),
            })
            .collect()
    }

    #[test]
    fn every_key_knows_its_line() {
        let node = parse("# a comment\nName: x\n\nKqSol:\n  Group: g\n").unwrap();
        assert_eq!(keys(&node), [("Name".to_owned(), 2), ("KqSol".to_owned(), 4)]);
    }

    #[test]
    fn a_merge_key_fills_in_what_the_block_does_not_say() {
        let node = parse("base: &b {A: 1, B: 2}\nKq:\n  <<: *b\n  B: 3\n").unwrap();
        let Value::Mapping(entries) = &node.value else { panic!("not a mapping") };
        assert_eq!(keys(&entries[1].1), [("B".to_owned(), 4), ("A".to_owned(), 3)]);
        let node =
            parse("base: &b {group: g, Topic: t}\nKq:\n  <<: *b\n  Group: h\n  \"topic\": u\n").unwrap();
        let Value::Mapping(entries) = &node.value else { panic!("not a mapping") };
        assert_eq!(keys(&entries[1].1), [("Group".to_owned(), 4), ("topic".to_owned(), 5)]);
    }

    #[test]
    fn broken_text_names_its_line() {
        assert_eq!(parse("Name: x\nKq: [1, 2\nGroup: g\n").unwrap_err().line, 3);
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap_err().line, 3);
    }

    #[test]
    fn a_file_that_multiplies_itself_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            text += &format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(","));
        }
        assert!(parse(&text).unwrap_err().what.contains("more than"));
    }

    #[test]
    fn an_empty_file_is_an_empty_mapping() {
        assert_eq!(parse("# nothing\n").unwrap().value, Value::Mapping(vec![]));
    }
}
