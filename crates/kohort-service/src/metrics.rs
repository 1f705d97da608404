//! Counters and gauges, and their text for Prometheus (exposition format 0.0.4).
//!
//! A metric is a shared number: whoever counts holds it and pays one atomic addition; only `render` walks the list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The list of a process's metrics. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<Cow<'static, str>, Family>>>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    /// By the text of the labels, `{topic="a"}`.
    series: BTreeMap<String, Series>,
}

#[derive(Debug)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
}

impl Registry {
    /// The counter of this name and these labels: the same one each time. Its name ends in `_total`.
    ///
    /// # Panics
    /// When the name belongs to a gauge: our own mistake.
    pub fn counter(
        &self,
        name: impl Into<Cow<'static, str>>,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> Counter {
        self.series(
            name.into(),
            help,
            labels,
            || Series::Counter(Counter::default()),
            |series| match series {
                Series::Counter(counter) => Some(counter.clone()),
                Series::Gauge(_) => None,
            },
        )
    }

    /// The gauge of this name and these labels: the same one each time.
    ///
    /// # Panics
    /// When the name belongs to a counter: our own mistake.
    pub fn gauge(
        &self,
        name: impl Into<Cow<'static, str>>,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> Gauge {
        self.series(
            name.into(),
            help,
            labels,
            || Series::Gauge(Gauge::default()),
            |series| match series {
                Series::Gauge(gauge) => Some(gauge.clone()),
                Series::Counter(_) => None,
            },
        )
    }

    fn series<T>(
        &self,
        name: Cow<'static, str>,
        help: &'static str,
        labels: &[(&str, &str)],
        new: impl FnOnce() -> Series,
        get: impl FnOnce(&Series) -> Option<T>,
    ) -> T {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name.clone()).or_insert_with(|| Family { help, series: BTreeMap::new() });
        let found = get(family.series.entry(label_text(labels)).or_insert_with(new));
        found.unwrap_or_else(|| panic!("`{name}` is both a counter and a gauge"))
    }

    /// The text for Prometheus.
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter() {
            let kind = match family.series.values().next() {
                Some(Series::Counter(_)) => "counter",
                Some(Series::Gauge(_)) => "gauge",
                None => continue,
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, series) in &family.series {
                let _ = match series {
                    Series::Counter(counter) => writeln!(text, "{name}{labels} {}", counter.value()),
                    Series::Gauge(gauge) => writeln!(text, "{name}{labels} {}", gauge.value()),
                };
            }
        }
        text
    }
}

fn label_text(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let registry = Registry::default();
        registry.counter("kohort_trades_total", "Trades handled.", &[("topic", "a\"b")]).add(3);
        registry.counter("kohort_trades_total", "Trades handled.", &[("topic", "a\"b")]).add(2);
        registry.gauge("kohort_members", "Members.", &[]).set(-1);
        assert_eq!(
            registry.render(),
            "# HELP kohort_members Members.\n# TYPE kohort_members gauge\nkohort_members -1\n\
             # HELP kohort_trades_total Trades handled.\n# TYPE kohort_trades_total counter\n\
             kohort_trades_total{topic=\"a\\\"b\"} 5\n"
        );
    }
}
