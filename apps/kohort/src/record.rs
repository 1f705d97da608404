//! Records as lines of text: `kohort consume --json` writes what `kohort produce --json` reads, byte for byte.

use serde_json::{Map, Value, json};

/// A record without its place: what is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PlainRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrongLine {
    #[error("the line has no `{0}` between key and value")]
    NoSeparator(String),
    #[error("the line is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{0}` is {1}")]
    Field(&'static str, &'static str),
}

impl PlainRecord {
    /// Key and value, with `separator` between them.
    pub(crate) fn divided(line: &[u8], separator: &[u8]) -> Result<PlainRecord, WrongLine> {
        let at = line.windows(separator.len().max(1)).position(|window| window == separator);
        let Some(at) = at else {
            return Err(WrongLine::NoSeparator(String::from_utf8_lossy(separator).into_owned()));
        };
        let (key, value) = (line[..at].to_vec(), line[at + separator.len()..].to_vec());
        Ok(PlainRecord { key: Some(key), value: Some(value), ..PlainRecord::default() })
    }

    /// What [`to_json`] wrote. A partition or an offset of where it was is not where it goes.
    pub(crate) fn from_json(line: &[u8]) -> Result<PlainRecord, WrongLine> {
        let mut object: Map<String, Value> = serde_json::from_slice(line)?;
        let timestamp = match object.get("timestamp") {
            None | Some(Value::Null) => None,
            Some(value) => {
                Some(value.as_i64().ok_or(WrongLine::Field("timestamp", "no number of milliseconds"))?)
            }
        };
        let headers = match object.remove("headers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(headers)) => headers.into_iter().map(header).collect::<Result<_, _>>()?,
            Some(_) => return Err(WrongLine::Field("headers", "no array of objects")),
        };
        Ok(PlainRecord {
            key: bytes(&mut object, "key", "key_hex")?,
            value: bytes(&mut object, "value", "value_hex")?,
            headers,
            partition: None,
            timestamp,
        })
    }
}

fn header(value: Value) -> Result<(String, Option<Vec<u8>>), WrongLine> {
    let Value::Object(mut header) = value else {
        return Err(WrongLine::Field("headers", "no array of objects"));
    };
    let Some(Value::String(name)) = header.remove("key") else {
        return Err(WrongLine::Field("headers", "without a `key` somewhere"));
    };
    Ok((name, bytes(&mut header, "value", "value_hex")?))
}

/// Text, or hex where it is none. Numbers, objects and arrays are taken as the JSON that they are.
fn bytes(
    object: &mut Map<String, Value>,
    text: &'static str,
    hex: &'static str,
) -> Result<Option<Vec<u8>>, WrongLine> {
    if let Some(Value::String(digits)) = object.get(hex) {
        return from_hex(digits).map(Some).ok_or(WrongLine::Field(hex, "not hex"));
    }
    Ok(match object.remove(text) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.into_bytes()),
        Some(other) => Some(other.to_string().into_bytes()),
    })
}

/// A record that was read, as one line of JSON.
pub(crate) fn to_json(topic: &str, partition: i32, record: &kohort_client::Record<'_>) -> String {
    let mut object = Map::new();
    object.insert("topic".into(), json!(topic));
    object.insert("partition".into(), json!(partition));
    object.insert("offset".into(), json!(record.offset));
    object.insert("timestamp".into(), json!(record.timestamp));
    put(&mut object, "key", "key_hex", record.key);
    put(&mut object, "value", "value_hex", record.value);
    if !record.headers.is_empty() {
        let header = |(name, value): (&[u8], Option<&[u8]>)| {
            let mut header = Map::new();
            header.insert("key".into(), json!(String::from_utf8_lossy(name)));
            put(&mut header, "value", "value_hex", value);
            Value::Object(header)
        };
        object.insert("headers".into(), record.headers.map(header).collect());
    }
    Value::Object(object).to_string()
}

fn put(object: &mut Map<String, Value>, text: &str, hex: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(text.into(), Value::Null),
        Some(Ok(string)) => object.insert(text.into(), json!(string)),
        Some(Err(_)) => object.insert(hex.into(), json!(bytes.map(to_hex))),
    };
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks(2).map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_divided_at_the_first_separator() {
        let record = PlainRecord::divided(b"a:b:c", b":").unwrap();
        assert_eq!((record.key.unwrap(), record.value.unwrap()), (b"a".to_vec(), b"b:c".to_vec()));
        assert_eq!(
            PlainRecord::divided(b"a", b"::").unwrap_err().to_string(),
            "the line has no `::` between key and value"
        );
        assert!(PlainRecord::divided(b"", b":").is_err());
    }

    #[test]
    fn json_lines_hold_nulls_and_bytes_that_are_no_text() {
        let record = PlainRecord::from_json(
            br#"{"topic":"t","partition":3,"offset":9,"timestamp":7,"key":null,"value_hex":"ff00","headers":[{"key":"h","value":"x"}]}"#,
        )
        .unwrap();
        let wanted = PlainRecord {
            value: Some(vec![0xff, 0]),
            headers: vec![("h".into(), Some(b"x".to_vec()))],
            timestamp: Some(7),
            ..PlainRecord::default()
        };
        assert_eq!(record, wanted);
        let number = PlainRecord::from_json(br#"{"value":{"a":1}}"#).unwrap();
        assert_eq!(number.value.unwrap(), br#"{"a":1}"#);
        for wrong in
            [&b"[]"[..], b"{", br#"{"value_hex":"f"}"#, br#"{"timestamp":"now"}"#, br#"{"headers":[1]}"#]
        {
            assert!(PlainRecord::from_json(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
