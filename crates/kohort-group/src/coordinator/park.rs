//! Parked heartbeats: which ones, where, and for how long.
//!
//! In Kafka a member learns of a rebalance at its next heartbeat. Here a heartbeat without news waits for some. It
//! must not wait so long that the client's next one is held up: librdkafka beats at a fixed rate and leaves
//! a beat out while the last one is unanswered, so a hold of a whole interval loses every second beat, and 85 % of
//! it loses none.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::{CallId, ConnectionId};
use crate::Time;

/// The share of a member's interval, in percent, that its heartbeat is held.
const HOLD_PERCENT: u32 = 85;
/// No heartbeat is held longer: kafka-go gives a heartbeat 5 s for its answer, whatever its interval.
const HOLD_MAX: Duration = Duration::from_secs(4);
/// What is shorter is not worth a timer.
const HOLD_MIN: Duration = Duration::from_millis(10);
/// The default `heartbeat.interval.ms` of nearly every client: the guess before the interval is known.
const USUAL_INTERVAL: Duration = Duration::from_secs(3);
/// Two beats that are closer are a repetition, and teach nothing.
const GAP_MIN: Duration = Duration::from_millis(20);

/// The heartbeats that are parked now.
#[derive(Debug, Default)]
pub(super) struct Park {
    held: BTreeMap<CallId, Held>,
    connections: BTreeMap<ConnectionId, BTreeSet<CallId>>,
    /// Which members, by group and id, beat on a connection: parked or not.
    lines: BTreeMap<ConnectionId, BTreeSet<(String, String)>>,
}

/// One parked heartbeat.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) group: String,
    pub(super) member: String,
    connection: ConnectionId,
}

impl Park {
    pub(super) fn hold(&mut self, call: CallId, connection: ConnectionId, group: &str, member: &str) {
        let held = Held { group: group.to_owned(), member: member.to_owned(), connection };
        self.held.insert(call, held);
        self.connections.entry(connection).or_default().insert(call);
    }

    pub(super) fn release(&mut self, call: CallId) -> Option<Held> {
        let held = self.held.remove(&call)?;
        if let Some(calls) = self.connections.get_mut(&held.connection) {
            calls.remove(&call);
            if calls.is_empty() {
                self.connections.remove(&held.connection);
            }
        }
        Some(held)
    }

    /// The calls that are parked on a connection.
    pub(super) fn on(&self, connection: ConnectionId) -> Vec<CallId> {
        self.connections.get(&connection).into_iter().flatten().copied().collect()
    }

    pub(super) fn get(&self, call: CallId) -> Option<&Held> {
        self.held.get(&call)
    }

    /// A member beats on this connection from now on.
    pub(super) fn connect(&mut self, connection: ConnectionId, group: &str, member: &str) {
        self.lines.entry(connection).or_default().insert((group.to_owned(), member.to_owned()));
    }

    /// It does not any more.
    pub(super) fn disconnect(&mut self, connection: ConnectionId, group: &str, member: &str) {
        if let Some(members) = self.lines.get_mut(&connection) {
            members.remove(&(group.to_owned(), member.to_owned()));
            if members.is_empty() {
                self.lines.remove(&connection);
            }
        }
    }

    /// The connection is gone: who beat on it.
    pub(super) fn closed(&mut self, connection: ConnectionId) -> BTreeSet<(String, String)> {
        self.lines.remove(&connection).unwrap_or_default()
    }
}

/// What one member's heartbeats have told about its rhythm.
#[derive(Debug, Default)]
pub(super) struct Beat {
    /// The heartbeat that is parked.
    pub(super) held: Option<CallId>,
    last: Option<Time>,
    interval: Option<Duration>,
    /// How long the last heartbeat was to be held, if nothing ended that earlier.
    hold: Option<Duration>,
    /// A suspicious gap after a full hold: the gap and the hold.
    suspect: Option<(Duration, Duration)>,
    /// The last beat came with the answer to a full hold: it was due before.
    hurried: bool,
    /// This client waits a whole interval after the *answer*, or does nothing else while it waits (kafkajs): a
    /// parked heartbeat would slow its work, so none is parked.
    waits_for_answers: bool,
}

impl Beat {
    /// A heartbeat arrived in a settled group: learns from the gap to the last one.
    pub(super) fn arrived(&mut self, now: Time, session_timeout: Duration) {
        let Some(last) = self.last.replace(now) else { return };
        let gap = now.since(last);
        let hold = self.hold.take();
        if gap < GAP_MIN {
            return;
        }
        self.hurried = false;
        let expected = self.interval.unwrap_or_else(|| guess(session_timeout));
        match (hold, self.suspect.take()) {
            // Sooner than that rhythm can be, and as soon as the answer was there. A client that beats one at a time (aiokafka,
            // with an interval below the guess) was due while it waited, and whatever else it does between two beats was
            // late: aiokafka looks after max.poll.interval.ms there. This beat is not held, and the next tells.
            (Some(hold), _) if gap < hold + expected.saturating_sub(hold) / 2 => self.hurried = true,
            // A beat of fixed rate comes when it is due, whatever the hold. After a full hold the gap is the
            // interval or, if beats were left out, a multiple of it: never less.
            (Some(hold), _) if gap <= expected + hold / 2 => {
                self.interval = Some(self.interval.map_or(gap, |known| known.min(gap)));
            }
            // Too late. A slow beat, or a client that counts from the answer? The next one is not held, and tells.
            (Some(hold), _) => self.suspect = Some((gap, hold)),
            (None, suspect) => {
                self.interval = Some(gap);
                if let Some((late, hold)) = suspect {
                    let counted_from_answer = gap + hold;
                    let off = late.abs_diff(counted_from_answer);
                    self.waits_for_answers |= off <= hold / 5;
                }
            }
        }
    }

    /// How long to hold the heartbeat that just arrived; `None`: answer at once.
    pub(super) fn hold_for(&self, session_timeout: Duration) -> Option<Duration> {
        if self.waits_for_answers || self.suspect.is_some() || self.hurried {
            return None;
        }
        let interval = self.interval.unwrap_or_else(|| guess(session_timeout));
        // A third of the session leaves room for a client that beats only after the answer.
        let hold = (interval * HOLD_PERCENT / 100).min(session_timeout / 3).min(HOLD_MAX);
        (hold >= HOLD_MIN).then_some(hold)
    }

    /// When the next beat is due at the latest. While the rhythm is not known, that is what Kafka's documentation advises to
    /// stay below; and a beat that was once quicker than usual is not what to count on.
    pub(super) fn due(&self, now: Time, session_timeout: Duration) -> Time {
        self.last.unwrap_or(now) + self.rhythm(session_timeout)
    }

    /// The longest that is to be expected between two beats.
    pub(super) fn rhythm(&self, session_timeout: Duration) -> Duration {
        self.interval.map_or(session_timeout / 3, |known| known.max(guess(session_timeout)))
    }

    /// The heartbeat is parked.
    pub(super) fn parked(&mut self, call: CallId, hold: Duration) {
        self.held = Some(call);
        self.hold = Some(hold);
    }

    /// It was answered because its time was over.
    pub(super) fn held_to_the_end(&mut self) {
        self.held = None;
    }

    /// It was answered earlier.
    pub(super) fn cut_short(&mut self) -> Option<CallId> {
        let call = self.held.take()?;
        self.hold = None;
        Some(call)
    }

    /// A rebalance came between: the next gap teaches nothing.
    pub(super) fn interrupted(&mut self) {
        self.last = None;
        self.hold = None;
        self.suspect = None;
        self.hurried = false;
    }
}

/// How long the answer to a join waits for another generation: as long as a first heartbeat would for news.
pub(super) fn hold_of_a_join(session_timeout: Duration) -> Duration {
    guess(session_timeout) * HOLD_PERCENT / 100
}

/// Before the interval is known: what clients use, and never more than a third of the session, which is what
/// Kafka's documentation advises to stay below.
fn guess(session_timeout: Duration) -> Duration {
    USUAL_INTERVAL.min(session_timeout / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(45);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Beats until `beats` have arrived; `next` says when the client beats again after one that came at a time
    /// and was answered at a time. Gives the holds.
    fn run(beat: &mut Beat, beats: usize, next: impl Fn(u64, u64) -> u64) -> Vec<Option<Duration>> {
        let mut at = 1_000;
        let mut holds = Vec::new();
        for call in 0..beats {
            beat.arrived(Time::from_millis(at), SESSION);
            let hold = beat.hold_for(SESSION);
            let mut answered = at;
            if let Some(hold) = hold {
                beat.parked(CallId(call as u64), hold);
                answered += u64::try_from(hold.as_millis()).unwrap();
                beat.held_to_the_end();
            }
            holds.push(hold);
            at = next(at, answered);
        }
        holds
    }

    #[test]
    fn a_beat_of_the_usual_rate_is_held_from_the_first_on() {
        let holds = run(&mut Beat::default(), 20, |sent, _| sent + 3_000);
        assert!(holds.iter().all(|hold| *hold == Some(ms(2_550))), "{holds:?}");
    }

    #[test]
    fn a_slow_beat_is_probed_once_and_then_held_in_its_own_measure() {
        let holds = run(&mut Beat::default(), 6, |sent, _| sent + 4_600);
        assert_eq!(holds[0], Some(ms(2_550)));
        assert_eq!(holds[1], None, "the gap was unexpected: this one is not held, to learn the interval");
        assert!(holds[2..].iter().all(|hold| *hold == Some(ms(3_910))), "{holds:?}");
    }

    #[test]
    fn nothing_is_held_longer_than_clients_wait_for_an_answer() {
        let holds = run(&mut Beat::default(), 6, |sent, _| sent + 10_000);
        assert!(holds[2..].iter().all(|hold| *hold == Some(HOLD_MAX)), "{holds:?}");
    }

    #[test]
    fn a_fast_beat_is_learnt_when_its_heartbeat_was_answered_early() {
        let mut beat = Beat::default();
        beat.arrived(Time::from_millis(0), SESSION);
        beat.parked(CallId(0), ms(2_550));
        assert_eq!(beat.cut_short(), Some(CallId(0)));
        beat.arrived(Time::from_millis(1_000), SESSION);
        assert_eq!(beat.hold_for(SESSION), Some(ms(850)));
    }

    #[test]
    fn a_client_that_counts_from_the_answer_is_not_parked_any_more() {
        let holds = run(&mut Beat::default(), 6, |_, answered| answered + 3_000);
        assert_eq!(holds[0], Some(ms(2_550)));
        assert!(holds[1..].iter().all(Option::is_none), "{holds:?}");
    }

    /// aiokafka: the next beat an interval after the last one was sent, but not before its answer.
    #[test]
    fn a_client_whose_beats_are_closer_than_the_guess_waits_once_only() {
        let holds = run(&mut Beat::default(), 8, |sent, answered| (sent + 100).max(answered + 1));
        assert_eq!(holds[0], Some(ms(2_550)));
        assert_eq!(holds[1], None, "it came with the answer: due before it");
        assert!(holds[2..].iter().all(|hold| *hold == Some(ms(85))), "{holds:?}");
    }

    #[test]
    fn one_pause_of_a_client_does_not_end_parking() {
        let mut beat = Beat::default();
        run(&mut beat, 5, |sent, _| sent + 3_000);
        // The last beat came at 13 s; this one is 9 s late, the next is on time.
        beat.arrived(Time::from_millis(25_000), SESSION);
        assert_eq!(beat.hold_for(SESSION), None);
        beat.arrived(Time::from_millis(28_000), SESSION);
        assert_eq!(beat.hold_for(SESSION), Some(ms(2_550)));
    }

    #[test]
    fn a_hold_leaves_two_thirds_of_the_session() {
        let beat = Beat::default();
        assert_eq!(beat.hold_for(ms(6_000)), Some(ms(1_700)));
        assert_eq!(beat.hold_for(ms(3)), None);
    }
}
