//! K-lines as Binance's REST interface for spot gives them: `GET /api/v3/klines` and `/api/v3/uiKlines`, `/ping`, `/time`.
//!
//! Not supported: seconds (`1s`), because a trade on a chain has the time of its block. Not known, and 0: what takers bought.

use std::fmt::Write;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use candles::api::Symbol;
use market_data::{Grid, PairKey, Step};
use market_store::{Bar, ChartQuery, StoreError, Take, chart};
use serde_json::{Value, json};

use super::Api;

const LIMIT_DEFAULT: usize = 500;
/// More is not refused: it is this many.
const LIMIT_MAX: usize = 1000;
/// A bar that starts later than this after now is of a clock that is ahead, and would push the whole chart into the future.
pub(super) const AHEAD_MAX: i64 = 60;

/// Binance's errors, by their numbers and in their words.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// -1001: the store cannot be asked.
    Internal,
    /// -1100.
    Illegal(&'static str, &'static str),
    /// -1101.
    Duplicate,
    /// -1102.
    Missing(&'static str),
    /// -1104: how many were read, how many were sent.
    Unread(usize, usize),
    /// -1105.
    Empty(&'static str),
    /// -1120.
    Interval,
    /// -1121.
    Symbol,
    /// -1130.
    Invalid(&'static str),
}

impl Refusal {
    fn told(&self) -> (i32, String) {
        match self {
            Refusal::Internal => {
                (-1001, "Internal error; unable to process your request. Please try again.".into())
            }
            Refusal::Illegal(name, range) => {
                (-1100, format!("Illegal characters found in parameter '{name}'; legal range is '{range}'."))
            }
            Refusal::Duplicate => (-1101, "Duplicate values for a parameter detected.".into()),
            Refusal::Missing(name) => {
                (-1102, format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
            }
            Refusal::Unread(read, sent) => {
                let what = "Not all sent parameters were read; read";
                (-1104, format!("{what} '{read}' parameter(s) but was sent '{sent}'."))
            }
            Refusal::Empty(name) => (-1105, format!("Parameter '{name}' was empty.")),
            Refusal::Interval => (-1120, "Invalid interval.".into()),
            Refusal::Symbol => (-1121, "Invalid symbol.".into()),
            Refusal::Invalid(name) => (-1130, format!("Data sent for parameter '{name}' is not valid.")),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(error = &error as &dyn std::error::Error, "K-lines could not be read");
        Refusal::Internal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, msg) = self.told();
        let status =
            if self == Refusal::Internal { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        (status, Json(json!({ "code": code, "msg": msg }))).into_response()
    }
}

/// `/api/v3/ping`: somebody is here.
pub(super) async fn ping() -> Json<Value> {
    Json(json!({}))
}

/// `/api/v3/time`.
pub(super) async fn time() -> Json<Value> {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    Json(
        json!({ "serverTime": since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)) }),
    )
}

/// A question, understood.
#[derive(Debug, PartialEq)]
struct Question {
    pair: PairKey,
    grid: Grid,
    /// Unix seconds.
    from: Option<i64>,
    before: Option<i64>,
    limit: usize,
    fill: bool,
}

const NAMES: [&str; 7] = ["symbol", "interval", "startTime", "endTime", "timeZone", "limit", "fill"];
const SYMBOL_RANGE: &str = "^[A-Za-z0-9:._-]{1,200}$";
const NUMBER_RANGE: &str = "^[0-9]{1,20}$";

/// The bars of an interval's name; case matters, `1m` is a minute and `1M` a month.
fn grid(interval: &str) -> Option<Grid> {
    let step = match interval {
        "1m" => Step::Minutes(1),
        "3m" => Step::Minutes(3),
        "5m" => Step::Minutes(5),
        "15m" => Step::Minutes(15),
        "30m" => Step::Minutes(30),
        "1h" => Step::Minutes(60),
        "2h" => Step::Minutes(120),
        "4h" => Step::Minutes(240),
        "6h" => Step::Minutes(360),
        "8h" => Step::Minutes(480),
        "12h" => Step::Minutes(720),
        "1d" => Step::Minutes(1_440),
        "3d" => Step::Minutes(4_320),
        "1w" => Step::Week,
        "1M" => Step::Month,
        _ => return None,
    };
    Some(Grid::new(step))
}

/// The minutes that a zone is ahead of UTC: `0`, `8`, `-1:00`, `05:45`; from -12:00 to +14:00.
fn zone(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    let digits = |text: &str, len: std::ops::RangeInclusive<usize>| {
        (len.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())?
    };
    let (hours, minutes) = (digits(hours, 1..=2)?, digits(minutes, 2..=2)?);
    let ahead = sign * (hours * 60 + minutes);
    (minutes < 60 && (-12 * 60..=14 * 60).contains(&ahead)).then_some(ahead)
}

impl Question {
    fn read(sent: &[(String, String)]) -> Result<Question, Refusal> {
        let value = |name: &str| sent.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str());
        for (at, (name, _)) in sent.iter().enumerate() {
            if sent[..at].iter().any(|(other, _)| other == name) {
                return Err(Refusal::Duplicate);
            }
        }
        if let Some(name) = NAMES.into_iter().find(|name| value(name) == Some("")) {
            return Err(Refusal::Empty(name));
        }
        let symbol = value("symbol").ok_or(Refusal::Missing("symbol"))?;
        let interval = value("interval").ok_or(Refusal::Missing("interval"))?;
        let read = NAMES.iter().filter(|name| value(name).is_some()).count();
        if read < sent.len() {
            return Err(Refusal::Unread(read, sent.len()));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b":._-".contains(&b);
        if symbol.len() > 200 || !symbol.bytes().all(legal) {
            return Err(Refusal::Illegal("symbol", SYMBOL_RANGE));
        }
        let number = |name: &'static str| -> Result<Option<i64>, Refusal> {
            let Some(text) = value(name) else { return Ok(None) };
            if text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Refusal::Illegal(name, NUMBER_RANGE));
            }
            // Twenty digits may be more than fits: as good as for ever.
            Ok(Some(text.parse().unwrap_or(i64::MAX)))
        };
        let zone = zone(value("timeZone").unwrap_or("0")).ok_or(Refusal::Invalid("timeZone"))?;
        let grid = grid(interval).ok_or(Refusal::Interval)?.ahead_of_utc(zone);
        // Bars start at whole seconds: at or after the one is on or after the next second, at or before the other before the next.
        let from = number("startTime")?.map(|ms| ms / 1000 + i64::from(ms % 1000 > 0));
        let before = number("endTime")?.map(|ms| ms / 1000 + 1);
        let limit = match number("limit")? {
            Some(0) => return Err(Refusal::Invalid("limit")),
            Some(limit) => usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX),
            None => LIMIT_DEFAULT,
        };
        let fill = match value("fill") {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(Refusal::Illegal("fill", "true, false")),
        };
        let pair = Symbol::exactly(symbol).map_err(|_| Refusal::Symbol)?;
        Ok(Question { pair, grid, from, before, limit, fill })
    }
}

/// `/api/v3/klines` and `/api/v3/uiKlines`.
pub(super) async fn klines(
    State(api): State<Api>,
    sent: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(sent) = sent.map_err(|_| Refusal::Illegal("query", "percent-encoded UTF-8"))?;
    let Question { pair, grid, from, before, limit, fill } = Question::read(&sent)?;
    let pair = api.pair(pair).await?.ok_or(Refusal::Symbol)?;
    let present = api.present().await?;
    let latest = candles::api::now() + AHEAD_MAX;
    let before = before.map_or(latest, |before| before.min(latest));
    // From a start on, the first bars are given; else the latest.
    let take = if from.is_some() { Take::Earliest } else { Take::Latest };
    let bars = api.ask(move |reader, groups| {
        let (pair, fill) = (&pair, fill.then_some(present));
        chart(reader, &ChartQuery { groups, pair, grid, from, before, limit, take, fill })
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], told(&bars.await?)).into_response())
}

/// The bars as Binance writes them: numbers in quotes, with all digits.
fn told(bars: &[Bar]) -> String {
    let mut out = String::with_capacity(2 + bars.len() * 192);
    out.push('[');
    for bar in bars {
        if out.len() > 1 {
            out.push(',');
        }
        // Writing to a `String` does not fail.
        let _ = write!(out, "[{}", bar.start * 1000);
        for price in bar.prices() {
            out.push_str(",\"");
            price.write_to(&mut out);
            out.push('"');
        }
        out.push_str(",\"");
        bar.candle.token_volume.write_to(&mut out);
        let _ = write!(out, "\",{},\"", bar.end * 1000 - 1);
        bar.candle.volume_usd.write_to(&mut out);
        let _ = write!(out, "\",{},\"0\",\"0\",\"0\"]", bar.candle.count);
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Question, Refusal> {
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        Question::read(&query.split('&').filter(|text| !text.is_empty()).map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn a_question_is_read_or_refused_in_binances_words() {
        let plain = "symbol=1:0xA&interval=1h";
        let question =
            read(&format!("{plain}&startTime=1001&endTime=5000&limit=99999&timeZone=05:45&fill=false"));
        let grid = Grid::new(Step::Minutes(60)).ahead_of_utc(345);
        let expected = Question {
            pair: PairKey::new("1", "0xA"),
            grid,
            from: Some(2),
            before: Some(6),
            limit: 1000,
            fill: false,
        };
        assert_eq!(question, Ok(expected));
        let question = read(plain).unwrap();
        assert_eq!((question.limit, question.fill, question.from, question.before), (500, true, None, None));
        for (query, code, words) in [
            ("interval=1h", -1102, "Mandatory parameter 'symbol' was not sent"),
            ("symbol=1:a", -1102, "Mandatory parameter 'interval' was not sent"),
            ("symbol=&interval=1h", -1105, "Parameter 'symbol' was empty."),
            ("symbol=1:a&symbol=1:b&interval=1h", -1101, "Duplicate values for a parameter detected."),
            (
                "symbol=1:a&interval=1h&start_time=1&end_time=2",
                -1104,
                "read '2' parameter(s) but was sent '4'.",
            ),
            ("symbol=BTCUSDT&interval=1h", -1121, "Invalid symbol."),
            ("symbol=1:a b&interval=1h", -1100, "'symbol'; legal range is '^[A-Za-z0-9:._-]{1,200}$'."),
            ("symbol=1:a&interval=2m", -1120, "Invalid interval."),
            ("symbol=1:a&interval=1s", -1120, "Invalid interval."),
            ("symbol=1:a&interval=1H", -1120, "Invalid interval."),
            ("symbol=1:a&interval=1h&limit=ten", -1100, "'limit'; legal range is '^[0-9]{1,20}$'."),
            ("symbol=1:a&interval=1h&limit=-1", -1100, "'limit'; legal range"),
            ("symbol=1:a&interval=1h&limit=0", -1130, "Data sent for parameter 'limit' is not valid."),
            ("symbol=1:a&interval=1h&endTime=None", -1100, "'endTime'; legal range is '^[0-9]{1,20}$'."),
            ("symbol=1:a&interval=1h&timeZone=15", -1130, "Data sent for parameter 'timeZone' is not valid."),
            ("symbol=1:a&interval=1h&fill=maybe", -1100, "'fill'"),
        ] {
            let (found, told) = read(query).unwrap_err().told();
            assert_eq!(found, code, "{query}: {told}");
            assert!(told.contains(words), "{query}: {told}");
        }
        assert_eq!(
            read(&format!("{plain}&endTime=99999999999999999999")).unwrap().before,
            Some(i64::MAX / 1000 + 1)
        );
    }

    #[test]
    fn a_zone_is_hours_or_hours_and_minutes_within_its_range() {
        for (text, minutes) in
            [("0", 0), ("8", 480), ("-1:00", -60), ("05:45", 345), ("+14:00", 840), ("-12", -720)]
        {
            assert_eq!(zone(text), Some(minutes), "{text}");
        }
        for text in ["", "-", "14:01", "-12:01", "5:60", "5:5", "a", "1:", ":30", "008", "--1", "1:-1", "é"]
        {
            assert_eq!(zone(text), None, "{text}");
        }
    }

    #[test]
    fn every_interval_of_binance_but_a_second_is_known() {
        for name in
            ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
        {
            assert!(grid(name).is_some(), "{name}");
        }
    }
}
