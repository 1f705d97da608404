//! What a setting is: its name, the values that it takes, and Kafka's words for those that it does not.

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds; a Java `int` if the upper one is.
    Int(i64, i64),
    /// A number from 0 to 1.
    Double,
    /// `true` or `false`, in any case.
    Bool,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Any of these, between commas; none is fine.
    List(&'static [&'static str]),
    /// Replicas whose traffic is throttled: `*`, or partitions and brokers.
    Replicas,
    /// Any text.
    Text,
    /// Any texts, between commas.
    Texts,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as text.
    pub default: &'static str,
    /// The broker settings that this one overrides, the finest first; for one of the broker, the coarser units of the same.
    pub broker: &'static [&'static str],
    /// For one of the broker: whether it may be changed while the broker runs.
    pub dynamic: bool,
}

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such name.
    #[error("unknown setting `{name}`{}", hint.map(|h| format!("; did you mean `{h}`?")).unwrap_or_default())]
    Unknown {
        /// What was given.
        name: String,
        /// The nearest name there is.
        hint: Option<&'static str>,
    },
    /// A value that the setting does not take.
    #[error("`{name}` cannot be `{value}`: {wanted}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        wanted: String,
        /// The same as Kafka tells its clients.
        reason: String,
    },
    /// Not of the form KEY=VALUE.
    #[error("`{0}` is not of the form KEY=VALUE")]
    Form(String),
}

impl SettingError {
    /// What Kafka tells a client.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Value { name, value, reason, .. } => {
                format!("Invalid value {value} for configuration {name}: {reason}")
            }
            other => other.to_string(),
        }
    }
}

/// What is wrong with a value: for whoever starts the broker, and in Kafka's words; and the part that is at fault, if not all.
struct Wrong {
    wanted: String,
    reason: String,
    part: Option<String>,
}

impl Wrong {
    fn new(wanted: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { wanted: wanted.into(), reason: reason.into(), part: None }
    }
}

impl Setting {
    /// The setting of that name in `table`.
    ///
    /// # Errors
    /// When there is none: with the nearest name as a hint.
    pub fn find(table: &'static [Self], name: &str) -> Result<&'static Self, SettingError> {
        table.iter().find(|s| s.name == name).ok_or_else(|| {
            let hint = table.iter().map(|s| (distance(name, s.name), s.name)).min();
            let hint = hint.filter(|(d, n)| *d <= 2.max(n.len() / 4)).map(|(_, n)| n);
            SettingError::Unknown { name: name.to_owned(), hint }
        })
    }

    /// The value as it is kept, if it is one that the setting takes: without spaces around it, numbers as Java writes them, lists
    /// without repeats.
    ///
    /// # Errors
    /// When it is not: with what it takes.
    pub fn check(&self, value: &str) -> Result<String, SettingError> {
        self.parse(value.trim()).map_err(|Wrong { wanted, reason, part }| {
            let value = part.unwrap_or_else(|| value.to_owned());
            SettingError::Value { name: self.name, value, wanted, reason }
        })
    }

    fn parse(&self, value: &str) -> Result<String, Wrong> {
        match self.kind {
            Kind::Int(low, high) => int(value, low, high),
            Kind::Double => double(value),
            Kind::Bool => match value.to_ascii_lowercase().as_str() {
                known @ ("true" | "false") => Ok(known.to_owned()),
                _ => {
                    Err(Wrong::new("it takes `true` or `false`", "Expected value to be either true or false"))
                }
            },
            Kind::Choice(of) => one_of(value, of).map(str::to_owned),
            Kind::List(of) => list(value, |item| one_of(item, of).map(drop)),
            Kind::Replicas => {
                let items = list(value, |_| Ok(()))?;
                if items.is_empty() || items == "*" || items.split(',').all(is_replica) {
                    return Ok(items);
                }
                let reason = format!(
                    "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                );
                let part = Some(format!("[{}]", items.replace(',', ", ")));
                Err(Wrong { part, ..Wrong::new("it takes `*` or PARTITION:BROKER,...", reason) })
            }
            Kind::Text => Ok(value.to_owned()),
            Kind::Texts => list(value, |_| Ok(())),
        }
    }
}

fn int(value: &str, low: i64, high: i64) -> Result<String, Wrong> {
    let wanted = || format!("it takes a whole number from {low} to {high}");
    let (kind, largest) =
        if high <= i64::from(i32::MAX) { ("INT", i64::from(i32::MAX)) } else { ("LONG", i64::MAX) };
    match value.parse::<i64>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n.to_string()),
        Ok(n) if n > largest || n < -largest - 1 => {
            Err(Wrong::new(wanted(), format!("Not a number of type {kind}")))
        }
        Ok(n) if n < low => Err(Wrong::new(wanted(), format!("Value must be at least {low}"))),
        Ok(_) => Err(Wrong::new(wanted(), format!("Value must be no more than {high}"))),
        Err(_) => Err(Wrong::new(wanted(), format!("Not a number of type {kind}"))),
    }
}

fn double(value: &str) -> Result<String, Wrong> {
    let wanted = "it takes a number from 0 to 1";
    match value.parse::<f64>() {
        Ok(x) if x < 0.0 => Err(Wrong::new(wanted, "Value must be at least 0")),
        Ok(x) if x > 1.0 => Err(Wrong::new(wanted, "Value must be no more than 1")),
        Ok(x) => Ok(format!("{x:?}")),
        Err(_) => Err(Wrong::new(wanted, "Not a number of type DOUBLE")),
    }
}

fn one_of<'a>(value: &'a str, of: &[&str]) -> Result<&'a str, Wrong> {
    if of.contains(&value) {
        return Ok(value);
    }
    let all = of.join(", ");
    let wrong = Wrong::new(format!("it takes one of {all}"), format!("String must be one of: {all}"));
    Err(Wrong { part: Some(value.to_owned()), ..wrong })
}

/// The items of a list, each once, in order.
fn list(value: &str, check: impl Fn(&str) -> Result<(), Wrong>) -> Result<String, Wrong> {
    let mut items: Vec<&str> = Vec::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        check(item)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items.join(","))
}

fn is_replica(item: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// Levenshtein's distance, for hints.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::TOPIC;
    use super::*;

    fn check(name: &str, value: &str) -> Result<String, String> {
        Setting::find(TOPIC, name).unwrap().check(value).map_err(|e| e.told())
    }

    #[test]
    fn values_are_kept_as_kafka_writes_them() {
        for (name, given, kept) in [
            ("retention.ms", " +7 ", "7"),
            ("min.cleanable.dirty.ratio", "1", "1.0"),
            ("preallocate", "TRUE", "true"),
            ("cleanup.policy", " compact , delete,compact", "compact,delete"),
            ("cleanup.policy", "", ""),
            ("retention.bytes", "-100", "-100"),
            ("leader.replication.throttled.replicas", "0:1,1:1", "0:1,1:1"),
        ] {
            assert_eq!(check(name, given), Ok(kept.to_owned()), "{name}={given}");
        }
    }

    #[test]
    fn refusals_are_told_in_kafkas_words() {
        for (name, given, told) in [
            (
                "retention.ms",
                "x",
                "Invalid value x for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "max.message.bytes",
                "2147483648",
                "Invalid value 2147483648 for configuration max.message.bytes: Not a number of type INT",
            ),
            (
                "retention.ms",
                "-2",
                "Invalid value -2 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "cleanup.policy",
                "delete,x",
                "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
        ] {
            assert_eq!(check(name, given), Err(told.to_owned()));
        }
        assert!(check("leader.replication.throttled.replicas", "x,y").unwrap_err().starts_with(
            "Invalid value [x, y] for configuration leader.replication.throttled.replicas: leader."
        ));
    }
}
