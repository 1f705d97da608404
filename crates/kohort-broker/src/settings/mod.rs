//! The broker's settings under Kafka's own names, with Kafka's defaults; ours beside them begin with `kohort.`.
//!
//! One table says name, kind, default and meaning: parsing, errors with a hint, and DescribeConfigs all read it. A name or a value
//! that is not understood is an error, never ignored.

mod kind;
mod table;
mod words;

use std::collections::BTreeMap;

pub use kind::{Kind, Setting, SettingError};
pub use table::{BROKER, CLIENT_METRICS, GROUP, TOPIC};
pub use words::documentation;

/// The broker's settings as they are in force: the defaults and what was set over them.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    set: BTreeMap<&'static str, String>,
    /// What follows from a setting in another unit: `log.retention.hours` gives `log.retention.ms` its value.
    derived: BTreeMap<&'static str, String>,
}

/// The same setting in coarser units, and how many milliseconds a unit has. The finest that is set counts, as in Kafka.
static UNITS: &[(&str, &[(&str, i64)])] = &[
    ("log.retention.ms", &[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    ("log.roll.ms", &[("log.roll.hours", 3_600_000)]),
];

impl Settings {
    /// Takes `KEY=VALUE`.
    ///
    /// # Errors
    /// When the name or the value is not understood.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), SettingError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| SettingError::Form(pair.to_owned()))?;
        self.set(name.trim(), value.trim())
    }

    /// Sets one.
    ///
    /// # Errors
    /// When the name or the value is not understood.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = Setting::find(BROKER, name)?;
        self.set.insert(setting.name, setting.check(value)?);
        for (finest, coarser) in UNITS {
            let given = coarser.iter().find_map(|(name, unit)| Some((self.set.get(name)?, unit)));
            if let Some((value, unit)) = given {
                let count: i64 = value.parse().unwrap_or(-1);
                self.derived
                    .insert(finest, if count < 0 { count } else { count.saturating_mul(*unit) }.to_string());
            }
        }
        Ok(())
    }

    /// These settings with others over them; names that no setting has are passed over.
    #[must_use]
    pub fn with<'a>(&self, over: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut settings = self.clone();
        for (name, value) in over {
            // What was kept was checked before; a table that changed since must not stop the start.
            let _ = settings.set(name, value);
        }
        settings
    }

    /// What was set under exactly this name.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// Whether it was set, and is not the default.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name) || self.derived.contains_key(name)
    }

    /// The value in force.
    ///
    /// # Panics
    /// When no setting has that name: our own mistake.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.set.get(name).or_else(|| self.derived.get(name)) {
            Some(value) => value,
            None => BROKER
                .iter()
                .find(|s| s.name == name)
                .map_or_else(|| panic!("no setting `{name}`"), |s| s.default),
        }
    }

    /// The value in force of a setting that is a whole number.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("`{name}` is no number"))
    }

    /// The same, within `i32`.
    #[must_use]
    pub fn int32(&self, name: &str) -> i32 {
        i32::try_from(self.int(name)).unwrap_or(i32::MAX)
    }

    /// The value in force of a setting that is a count or a size.
    #[must_use]
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(0)
    }

    /// The value in force of a setting that is a time in milliseconds.
    #[must_use]
    pub fn millis(&self, name: &str) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.int(name)).unwrap_or(0))
    }

    /// The value in force of a setting that is on or off.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A topic configuration in force: the topic's own, else the broker's, else the default.
    #[must_use]
    pub fn topic<'a>(&'a self, own: &'a BTreeMap<String, String>, setting: &'static Setting) -> &'a str {
        match own.get(setting.name) {
            Some(value) => value,
            None => setting.broker.first().map_or(setting.default, |finest| self.text(finest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_its_setting_takes() {
        for setting in BROKER.iter().chain(TOPIC).chain(GROUP).chain(CLIENT_METRICS) {
            assert_eq!(setting.check(setting.default).as_deref(), Ok(setting.default), "{}", setting.name);
        }
        for setting in TOPIC.iter() {
            let Some(finest) = setting.broker.first() else { continue };
            assert_eq!(Setting::find(BROKER, finest).unwrap().default, setting.default, "{}", setting.name);
        }
        assert!(BROKER.is_sorted_by_key(|s| s.name) && TOPIC.is_sorted_by_key(|s| s.name));
    }

    #[test]
    fn a_misspelt_name_is_refused_with_a_hint() {
        let e = Settings::default().set_pair("num.partition=3").unwrap_err();
        assert_eq!(e.to_string(), "unknown setting `num.partition`; did you mean `num.partitions`?");
    }

    #[test]
    fn the_finest_unit_that_is_set_counts() {
        let mut settings = Settings::default();
        settings.set_pair("log.retention.hours=2").unwrap();
        assert_eq!(settings.int("log.retention.ms"), 7_200_000);
        settings.set_pair("log.retention.ms=5").unwrap();
        settings.set_pair("log.retention.minutes=-1").unwrap();
        assert_eq!(settings.int("log.retention.ms"), 5);
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_with_the_bounds() {
        let e = Settings::default().set_pair("num.partitions=0").unwrap_err();
        assert_eq!(
            e.to_string(),
            "`num.partitions` cannot be `0`: it takes a whole number from 1 to 2147483647"
        );
    }
}
