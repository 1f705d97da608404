//! What a decision may read and change beside its group, and the list of effects it adds to.

use super::park::Park;
use super::random::Random;
use super::timers::Timers;
use super::{CallId, Client, Config, ConnectionId, Effect, Happened, Kept, Note, Record, Response};
use crate::Time;
use crate::messages::ErrorCode;

/// The coordinator without its groups, at one moment.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) config: &'a Config,
    pub(super) random: &'a mut Random,
    pub(super) timers: &'a mut Timers,
    pub(super) kept: &'a mut Kept,
    pub(super) park: &'a mut Park,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Applies a record and asks for it to be appended: the two cannot come apart.
    pub(super) fn keep(&mut self, record: Record) {
        self.kept.apply(&record);
        self.effects.push(Effect::Append(record));
    }

    pub(super) fn reply(&mut self, call: CallId, response: Response) {
        self.effects.push(Effect::Reply { call, response });
    }

    pub(super) fn drop_call(&mut self, call: CallId) {
        self.effects.push(Effect::Drop { call });
    }

    pub(super) fn note(&mut self, group_id: &str, generation: i32, what: Happened) {
        self.effects.push(Effect::Note(Note {
            at: self.now,
            group_id: group_id.to_owned(),
            generation,
            what,
        }));
    }

    /// Answers a parked heartbeat before its time.
    pub(super) fn answer_held(&mut self, call: CallId, error: ErrorCode) {
        self.park.release(call);
        self.timers.cancel(&super::timers::Timer::Held(call));
        self.reply(call, Response::Heartbeat(error));
    }
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) call: CallId,
    pub(super) connection: ConnectionId,
    pub(super) client: Client,
}
