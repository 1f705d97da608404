//! Connections that close under a parked heartbeat: ours, not Kafka's. A member that died is known in
//! milliseconds; one that only lost its connection must not pay for that.
//!
//! A client that lives looks for its coordinator as soon as the connection is gone (librdkafka after 50 to 150 ms), but its
//! next heartbeat comes when it is due, seconds later. So the question is enough of a sign of life. The question of a
//! process that was started in the place of a dead one looks the same; but then it joins without a member id, which
//! one that lives never does: then the dead one is given up at once, and holds nobody up.

use super::group::{ClassicGroup, Connection};
use crate::coordinator::context::Context;
use crate::coordinator::timers::Timer;
use crate::coordinator::{CallId, Client};

impl ClassicGroup {
    /// The connection closed under a parked heartbeat. A static member keeps its session: that is what it is
    /// static for. Another one has a moment to return.
    pub(in crate::coordinator) fn connection_lost(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &str,
        call: CallId,
    ) {
        cx.park.release(call);
        cx.timers.cancel(&Timer::Held(call));
        cx.drop_call(call);
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.beat.cut_short();
        let grace = cx.config.lost_connection_grace;
        if member.instance_id.is_none() && !grace.is_zero() {
            member.connection = Connection::Lost;
            cx.timers.set(self.lost_timer(member_id), cx.now + grace);
        }
    }

    /// This client looks for the coordinator: those of its members whose connection is lost live, it seems.
    pub(in crate::coordinator) fn sought_by(&mut self, cx: &mut Context<'_>, client: &Client) {
        for id in self.turn(client, Connection::Lost, Connection::Sought) {
            cx.timers.cancel(&self.lost_timer(&id));
        }
    }

    /// This client joins as somebody new: what looked like a sign of life was its own.
    pub(super) fn succeeded_by(&mut self, cx: &mut Context<'_>, client: &Client) {
        for id in self.turn(client, Connection::Sought, Connection::Lost) {
            cx.timers.set(self.lost_timer(&id), cx.now);
        }
    }

    fn turn(&mut self, client: &Client, from: Connection, to: Connection) -> Vec<String> {
        let of =
            self.members.values_mut().filter(|member| member.connection == from && member.client == *client);
        of.map(|member| {
            member.connection = to;
            member.id.clone()
        })
        .collect()
    }
}
