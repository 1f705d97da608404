//! What one connection said: requests and their answers, without a socket.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stream::Stream;

/// Streams of one connection, as Binance limits them.
pub(super) const STREAMS_MAX: usize = 1024;
const _: () = assert!(STREAMS_MAX <= candles::hub::FILTERS_MAX);
/// Characters of an id that is text.
const ID_CHARS_MAX: usize = 36;

/// What a connection follows and how it wants it.
#[derive(Debug, Default)]
pub(super) struct Session {
    streams: BTreeSet<Stream>,
    /// Whether events are wrapped: `{"stream": ..., "data": ...}`.
    pub(super) combined: bool,
}

/// What a request changes outside of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Follow(Stream),
    Leave(Stream),
}

/// An error of Binance's: its code and its text.
#[derive(Debug)]
struct Fault(u8, String);

fn invalid(why: impl std::fmt::Display) -> Fault {
    Fault(2, format!("Invalid request: {why}"))
}

impl Session {
    /// A session that follows `streams` from the start; the reason, if it cannot.
    pub(super) fn new(streams: &[&str], combined: bool) -> Result<(Session, Vec<Change>), String> {
        let mut session = Session { streams: BTreeSet::new(), combined };
        let wanted: Result<Vec<Stream>, _> = streams.iter().map(|name| name.parse::<Stream>()).collect();
        let changes = session.follow(wanted.map_err(|why| why.to_string())?).map_err(|fault| fault.1)?;
        Ok((session, changes))
    }

    /// Does what a message says. A request is done whole or not at all.
    pub(super) fn hear(&mut self, text: &str) -> (String, Vec<Change>) {
        let request: Value = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(why) => {
                return (json!({"code": 3, "msg": format!("Invalid JSON: {why}")}).to_string(), vec![]);
            }
        };
        let id = request.get("id").cloned();
        let valid = match &id {
            None | Some(Value::Null) => true,
            Some(Value::Number(number)) => number.as_i64().is_some(),
            Some(Value::String(text)) => text.chars().count() <= ID_CHARS_MAX,
            Some(_) => false,
        };
        if !valid {
            let why = format!(
                "request ID must be a signed 64-bit integer, a string of at most {ID_CHARS_MAX} characters, or null"
            );
            return (json!({"code": 2, "msg": invalid(why).1}).to_string(), vec![]);
        }
        match self.answer(&request) {
            Ok((result, changes)) => (json!({"result": result, "id": id}).to_string(), changes),
            Err(Fault(code, msg)) => {
                let mut answer = json!({"code": code, "msg": msg});
                if let Some(id) = id {
                    answer["id"] = id;
                }
                (answer.to_string(), vec![])
            }
        }
    }

    fn answer(&mut self, request: &Value) -> Result<(Value, Vec<Change>), Fault> {
        let fields = request.as_object().ok_or_else(|| invalid("expected an object"))?;
        let method = fields.get("method").ok_or_else(|| invalid("missing field `method`"))?;
        let method = method.as_str().ok_or_else(|| invalid("method must be a string"))?;
        let params = match fields.get("params") {
            None | Some(Value::Null) => None,
            Some(Value::Array(params)) => Some(params.as_slice()),
            Some(_) => return Err(invalid("params must be an array")),
        };
        let needed = || params.ok_or_else(|| invalid("missing field `params`"));
        match method {
            "SUBSCRIBE" => Ok((Value::Null, self.follow(streams(needed()?)?)?)),
            "UNSUBSCRIBE" => {
                let left = streams(needed()?)?.into_iter().filter(|stream| self.streams.remove(stream));
                Ok((Value::Null, left.map(Change::Leave).collect()))
            }
            "LIST_SUBSCRIPTIONS" => match params {
                None | Some([]) => {
                    Ok((self.streams.iter().map(ToString::to_string).collect::<Vec<_>>().into(), vec![]))
                }
                Some(_) => Err(invalid("too many parameters")),
            },
            "SET_PROPERTY" => {
                let value = match needed()? {
                    [name, value] => property(name).map(|()| value)?,
                    [] | [_] => return Err(invalid("expected a property and its value")),
                    _ => return Err(invalid("too many parameters")),
                };
                let wrong = || Fault(1, "Invalid value type: expected Boolean".to_owned());
                self.combined = value.as_bool().ok_or_else(wrong)?;
                Ok((Value::Null, vec![]))
            }
            "GET_PROPERTY" => match needed()? {
                [name] => property(name).map(|()| (self.combined.into(), vec![])),
                [] => Err(invalid("expected a property")),
                _ => Err(invalid("too many parameters")),
            },
            other => Err(invalid(format!(
                "unknown variant `{}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, \
                 `GET_PROPERTY`",
                other.chars().take(64).collect::<String>()
            ))),
        }
    }

    fn follow(&mut self, wanted: Vec<Stream>) -> Result<Vec<Change>, Fault> {
        let new: BTreeSet<Stream> = wanted.into_iter().filter(|s| !self.streams.contains(s)).collect();
        if self.streams.len() + new.len() > STREAMS_MAX {
            return Err(invalid(format!("a connection can follow {STREAMS_MAX} streams: open another")));
        }
        self.streams.extend(new.iter().cloned());
        Ok(new.into_iter().map(Change::Follow).collect())
    }
}

fn streams(params: &[Value]) -> Result<Vec<Stream>, Fault> {
    let stream = |param: &Value| {
        let name = param.as_str().ok_or_else(|| invalid("stream name must be a string"))?;
        name.parse::<Stream>().map_err(invalid)
    };
    params.iter().map(stream).collect()
}

fn property(name: &Value) -> Result<(), Fault> {
    match name.as_str() {
        Some("combined") => Ok(()),
        Some(_) => Err(Fault(0, "Unknown property".to_owned())),
        None => Err(invalid("property name must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(session: &mut Session, request: &str) -> Value {
        serde_json::from_str(&session.hear(request).0).unwrap()
    }

    #[test]
    fn streams_come_and_go_and_are_listed() {
        let mut session = Session::default();
        let (answer, changes) =
            session.hear(r#"{"method":"SUBSCRIBE","params":["1:0xA@kline_1m","1:0xa@kline_1m"],"id":-7}"#);
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({"result": null, "id": -7}));
        assert_eq!(changes, [Change::Follow("1:0xa@kline_1m".parse().unwrap())]);
        assert_eq!(
            say(&mut session, r#"{"method":"LIST_SUBSCRIPTIONS","id":"a"}"#),
            json!({"result": ["1:0xa@kline_1m"], "id": "a"})
        );
        let leave = r#"{"method":"UNSUBSCRIBE","params":["1:0XA@kline_1m"],"id":null}"#;
        let (answer, changes) = session.hear(leave);
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({"result": null, "id": null}));
        assert_eq!(changes, [Change::Leave("1:0xa@kline_1m".parse().unwrap())]);
        assert_eq!(session.hear(leave).1, []);
    }

    #[test]
    fn combined_is_a_property() {
        let mut session = Session::default();
        let get = r#"{"method":"GET_PROPERTY","params":["combined"],"id":1}"#;
        assert_eq!(say(&mut session, get), json!({"result": false, "id": 1}));
        let set = r#"{"method":"SET_PROPERTY","params":["combined",true],"id":2}"#;
        assert_eq!(say(&mut session, set), json!({"result": null, "id": 2}));
        assert_eq!(say(&mut session, get), json!({"result": true, "id": 1}));
    }

    #[test]
    fn errors_have_binances_codes_and_the_id_where_it_is_one() {
        let long = format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":"{}"}}"#, "x".repeat(37));
        for (request, code, id) in [
            (r#"{"method":"GET_PROPERTY","params":["color"],"id":1}"#, 0, Some(json!(1))),
            (r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":"b"}"#, 1, Some(json!("b"))),
            (r#"{"method":"SET_PROPERTY","params":[1,true],"id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"GET_PROPERTY","params":["combined",1],"id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"DANCE","id":1}"#, 2, Some(json!(1))),
            (r#"{"params":[],"id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"SUBSCRIBE","id":1}"#, 2, Some(json!(1))),
            (r#"{"method":"SUBSCRIBE","params":["1:a@kline_3m"]}"#, 2, None),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":1.5}"#, 2, None),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":9223372036854775808}"#, 2, None),
            (&long, 2, None),
            ("[]", 2, None),
            ("{", 3, None),
        ] {
            let answer = say(&mut Session::default(), request);
            assert_eq!((answer["code"].as_i64(), answer.get("id")), (Some(code), id.as_ref()), "{request}");
        }
    }

    #[test]
    fn a_request_is_done_whole_or_not_at_all_and_streams_are_limited() {
        let mut session = Session::default();
        let half = r#"{"method":"SUBSCRIBE","params":["1:a@kline_1m","nonsense"],"id":1}"#;
        assert_eq!(session.hear(half).1, []);
        assert!(session.streams.is_empty());
        let names: Vec<String> = (0..STREAMS_MAX).map(|n| format!("1:{n}@kline_1m")).collect();
        let all = json!({"method": "SUBSCRIBE", "params": names, "id": 1}).to_string();
        assert_eq!(session.hear(&all).1.len(), STREAMS_MAX);
        assert_eq!(session.hear(&all).1, [], "what is followed already takes no more place");
        let more = r#"{"method":"SUBSCRIBE","params":["1:more@kline_1m"],"id":1}"#;
        assert_eq!(say(&mut session, more)["code"], 2);
    }
}
