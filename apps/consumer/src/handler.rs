//! One member's handler: does with each record what it is told, then looks at it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use kohort_client::OwnedRecord;
use kohort_runtime::{HandleError, Handler};
use market_data::decode::{Decoder, Element};
use market_data::{Place, Rejection};
use tokio::sync::watch;

use crate::behaviour::{Behaviour, Verdict};
use crate::flow::{DecodeError, Flow, Sample, Seen, beginning};

/// What one member does, and what it saw. Its lanes share it.
pub(crate) struct Member {
    told: watch::Sender<Behaviour>,
    flows: Mutex<BTreeMap<i32, Flow>>,
    /// A lane takes one and puts it back; there are never more than lanes.
    decoders: Mutex<Vec<Decoder>>,
    in_hand: AtomicU64,
    tries: AtomicU64,
}

impl Member {
    pub(crate) fn new(behaviour: Behaviour) -> Member {
        Member {
            told: watch::Sender::new(behaviour),
            flows: Mutex::default(),
            decoders: Mutex::default(),
            in_hand: AtomicU64::new(0),
            tries: AtomicU64::new(0),
        }
    }

    /// What it is told now.
    pub(crate) fn behaviour(&self) -> Behaviour {
        *self.told.borrow()
    }

    /// Tells it something else: records that wait or hang hear it at once.
    pub(crate) fn tell(&self, behaviour: Behaviour) {
        self.told.send_replace(behaviour);
    }

    /// Records that were begun and are not done.
    pub(crate) fn in_hand(&self) -> u64 {
        self.in_hand.load(Ordering::Relaxed)
    }

    /// What it saw, by partition.
    pub(crate) fn flows(&self) -> BTreeMap<i32, Flow> {
        lock(&self.flows).clone()
    }

    /// Waits as long as it is told to, and says what becomes of the record then.
    async fn obey(&self, record: &OwnedRecord) -> Verdict {
        let draw = mixed(self.tries.fetch_add(1, Ordering::Relaxed));
        let now = self.behaviour();
        if !now.hang && now.slow_ms == 0 {
            return now.verdict(record.offset, draw);
        }
        let mut told = self.told.subscribe();
        loop {
            let now = *told.borrow_and_update();
            let slow = async {
                if now.hang {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(now.slow()).await;
            };
            tokio::select! {
                () = slow => return now.verdict(record.offset, draw),
                // The sender is ours: it cannot be gone.
                _ = told.changed() => {}
            }
        }
    }

    /// Decodes and counts.
    fn look(&self, record: &OwnedRecord) {
        let value = record.value.as_deref();
        let mut seen = Seen { bytes: value.map_or(0, <[u8]>::len), ..Seen::default() };
        let mut why = None;
        // A record without a value (a tombstone, to Kafka) says nothing.
        if let Some(value) = value {
            let place = Place { partition: record.partition, offset: record.offset };
            let mut decoder = lock(&self.decoders).pop().unwrap_or_default();
            let decoded = decoder.decode(value, place, |index, element| match element {
                Element::Trade { .. } | Element::Rejected(Rejection::NoPrice) => seen.trades += 1,
                Element::Liquidity => {}
                Element::Rejected(rejection) => {
                    seen.errors += 1;
                    why.get_or_insert_with(|| format!("element {index}: {rejection}"));
                }
            });
            lock(&self.decoders).push(decoder);
            if let Err(undecodable) = decoded {
                // What was handed out before the break is no message.
                (seen.trades, seen.errors) = (0, 1);
                why = Some(undecodable.to_string());
            }
        }
        let sample = Sample {
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: record.key.as_deref().map(beginning),
            value: value.map(beginning),
            size: seen.bytes,
            trades: seen.trades,
        };
        let error = why.map(|why| DecodeError { at_ms: now_ms(), offset: record.offset, why });
        let mut flows = lock(&self.flows);
        let flow = flows.entry(record.partition).or_default();
        flow.record(seen, sample);
        if error.is_some() {
            flow.last_error = error;
        }
    }
}

impl Handler for Member {
    async fn handle(&self, record: &OwnedRecord) -> Result<(), HandleError> {
        let _in_hand = InHand::of(&self.in_hand);
        let verdict = self.obey(record).await;
        let count = |what: fn(&mut Flow) -> &mut u64| {
            *what(lock(&self.flows).entry(record.partition).or_default()) += 1;
        };
        match verdict {
            Verdict::Fine => {
                self.look(record);
                Ok(())
            }
            Verdict::Fails(why) => {
                count(|flow| &mut flow.failed);
                Err(HandleError::Again(why))
            }
            Verdict::Rejected(why) => {
                count(|flow| &mut flow.rejected);
                Err(HandleError::Never(why))
            }
        }
    }
}

/// Counts a record while it is in hand, also where its handling is dropped.
struct InHand<'a>(&'a AtomicU64);

impl InHand<'_> {
    fn of(number: &AtomicU64) -> InHand<'_> {
        number.fetch_add(1, Ordering::Relaxed);
        InHand(number)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Consecutive numbers, spread (the finaliser of MurmurHash3): which tries fail is nobody's secret.
fn mixed(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}
