//! The same meaning by way of `serde_json`: slower, complete, and the oracle of the scanner.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Element, Field, Fields, Undecodable, Value};
use crate::decimal::Decimal;
use crate::{Place, Rejection};

/// Decodes a whole message, handing out the elements from index `from` on.
#[cold]
pub(super) fn decode(
    value: &[u8],
    place: Place,
    from: u32,
    sink: &mut impl FnMut(u32, Element<'_>),
) -> Result<(), Undecodable> {
    each(value, from, |index, element| {
        let mut owned = Vec::new();
        match members(element) {
            Some(members) => {
                let mut fields = Fields::default();
                read_members(&members, &mut owned, |name, value| {
                    if let Some(field) = Field::named(name.as_bytes()) {
                        *fields.of(field) = value;
                    }
                });
                fields.judge(place, index, |element| sink(index, element));
            }
            None => sink(index, Element::Rejected(Rejection::NotAnObject)),
        }
    })
}

/// Finds the maker of each element from index `from` on, and the element as it stands: `None` where it is no object.
#[cold]
pub(super) fn makers(
    value: &[u8],
    from: u32,
    sink: &mut impl FnMut(u32, Option<(Value<'_>, &[u8])>),
) -> Result<(), Undecodable> {
    each(value, from, |index, element| {
        let mut owned = Vec::new();
        let Some(members) = members(element) else { return sink(index, None) };
        let mut maker = Value::Zero;
        read_members(&members, &mut owned, |name, value| {
            if name == "maker" {
                maker = value;
            }
        });
        sink(index, Some((maker, element.get().as_bytes())));
    })
}

/// Hands out the members of one element in their order; `None` if it is no object.
pub(super) fn object<T>(json: &[u8], read: impl FnOnce(&[(&str, Value<'_>)]) -> T) -> Option<T> {
    let text = String::from_utf8_lossy(json);
    let members = members(serde_json::from_str(&text).ok()?)?;
    let (mut owned, mut values) = (Vec::new(), Vec::with_capacity(members.len()));
    read_members(&members, &mut owned, |name, value| values.push((name, value)));
    Some(read(&values))
}

/// Hands out the elements of a whole message from index `from` on.
fn each(value: &[u8], from: u32, mut sink: impl FnMut(u32, &RawValue)) -> Result<(), Undecodable> {
    // Bytes that are no text spoil only the strings that they stand in.
    let text = String::from_utf8_lossy(value);
    let quoted;
    let found = match elements(&text) {
        Ok(elements) => elements,
        Err(error) => {
            quoted = quote_nan(&text).ok_or_else(|| refusal(&text, &error))?;
            elements(&quoted).map_err(|error| refusal(&text, &error))?
        }
    };
    (0u32..).zip(found).skip(from as usize).for_each(|(index, element)| sink(index, element));
    Ok(())
}

fn elements(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    // A null is what Go writes for an empty list.
    if text.trim() == "null" {
        return Ok(Vec::new());
    }
    serde_json::from_str(text)
}

/// Says what is wrong: with the JSON, or with what it is.
fn refusal(text: &str, error: &serde_json::Error) -> Undecodable {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Undecodable::NotAnArray;
    }
    Undecodable::Broken(error.to_string())
}

/// The members of an object, in order; `None` if it is none.
fn members(element: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a trade object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom("an array"))
        }
    }
    serde_json::Deserializer::from_str(element.get()).deserialize_map(Members).ok()
}

/// Reads the values of members. Strings with escapes are unescaped into `owned` first.
fn read_members<'a>(
    members: &'a [(String, &'a RawValue)],
    owned: &'a mut Vec<Option<String>>,
    mut each: impl FnMut(&'a str, Value<'a>),
) {
    owned.extend(members.iter().map(|(_, value)| {
        let text = value.get();
        let escaped = text.starts_with('"') && text.contains('\\');
        // A lone surrogate is no text; the replacement character says so to the judge.
        escaped.then(|| serde_json::from_str(text).unwrap_or_else(|_| String::from('\u{fffd}')))
    }));
    let owned: &'a [Option<String>] = owned;
    for ((name, value), owned) in members.iter().zip(owned) {
        each(name, read(value, owned.as_deref()));
    }
}

fn read<'a>(value: &'a RawValue, unescaped: Option<&'a str>) -> Value<'a> {
    if let Some(text) = unescaped {
        return Value::Text(text.as_bytes());
    }
    let text = value.get();
    match text.as_bytes() {
        [b'"', inner @ .., b'"'] => Value::Text(inner),
        b"null" => Value::Zero,
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        [b'{' | b'[', ..] => Value::Other(text.as_bytes()),
        number => Value::Number(Decimal::parse(number)),
    }
}

/// Puts quotes around the literals that are not JSON but that Python writes: `NaN`, `Infinity`, `-Infinity`. `None` if there
/// are none.
fn quote_nan(text: &str) -> Option<Cow<'_, str>> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'N' | b'I' | b'-' => {
                let found = ["NaN", "-Infinity", "Infinity"]
                    .into_iter()
                    .find(|word| bytes[at..].starts_with(word.as_bytes()));
                let Some(word) = found else {
                    at += 1;
                    continue;
                };
                out.push_str(&text[copied..at]);
                out.push('"');
                out.push_str(word);
                out.push('"');
                at += word.len();
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(Cow::Owned(out))
}
