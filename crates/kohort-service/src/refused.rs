//! Records that could not be handled, or not wholly: the last one is remembered, so that a person sees what they look like.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

/// A record that went to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// When, in unix milliseconds.
    pub at_ms: u64,
    /// Where it stands in its topic.
    pub partition: i32,
    /// Where it stands in its partition.
    pub offset: i64,
    /// Why, for a person.
    pub why: String,
}

/// The last record that was refused. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LastRefused(Arc<Mutex<Option<Refused>>>);

impl LastRefused {
    /// Remembers a record that is refused now.
    pub fn set(&self, partition: i32, offset: i64, why: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let refused = Refused { at_ms, partition, offset, why: why.to_owned() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }

    /// The last one, if there was any.
    pub fn get(&self) -> Option<Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Says why `rejected` of a record's `elements` are in the dead letters, the first of them at `index`, and what became of the rest.
pub fn partly_rejected(elements: u64, rejected: u64, index: u32, why: &impl fmt::Display) -> String {
    match (elements, elements - rejected) {
        (1, _) => format!("its only element could not be understood: {why}"),
        (all, 0) => {
            format!("none of its {all} elements could be understood; the first is element {index}: {why}")
        }
        (all, handled) => format!(
            "{rejected} of {all} elements could not be understood, the first is element {index}: {why}; the other {handled} were handled"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_record_is_said_in_words() {
        let said = |elements, rejected| partly_rejected(elements, rejected, 1, &"`x` is missing");
        assert_eq!(said(1, 1), "its only element could not be understood: `x` is missing");
        assert_eq!(
            said(3, 3),
            "none of its 3 elements could be understood; the first is element 1: `x` is missing"
        );
        assert_eq!(
            said(3, 1),
            "1 of 3 elements could not be understood, the first is element 1: `x` is missing; the other 2 were handled"
        );
    }

    #[test]
    fn the_last_one_is_remembered() {
        let last = LastRefused::default();
        assert_eq!(last.get(), None);
        last.set(1, 7, "a");
        last.clone().set(2, 8, "b");
        let refused = last.get().unwrap();
        assert_eq!((refused.partition, refused.offset, &*refused.why), (2, 8, "b"));
    }
}
