//! Members whose connection closes: ours, not Kafka's. One that died under a parked heartbeat is known in milliseconds;
//! one that only lost its connection must not pay for that.
//!
//! A heartbeat is not always parked: another request on its connection frees it, and then there is none until the next
//! beat. Whoever dies then does not beat when it is due, and that is known without waiting for the session's end. (A client
//! that waits for no answer may not notice that the connection is gone before it wants to send: until then it is not missed.)
//!
//! A client that lives looks for its coordinator as soon as the connection is gone (librdkafka after 50 to 150 ms), but its
//! next heartbeat comes when it is due, seconds later. So the question is enough of a sign of life until then, and for one
//! beat more. It proves no life: clients of one name are many (tools, or the other members of a service that never set
//! `client.id`). The question of a process that was started in the place of a dead one looks the same, too; but then it joins
//! without a member id, which one that lives never does: then the dead one is given up at once, and holds nobody up.

use super::group::{ClassicGroup, Connection};
use crate::Time;
use crate::coordinator::context::Context;
use crate::coordinator::timers::Timer;
use crate::coordinator::{CallId, Client, ConnectionId};

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
        self.lost(cx, member_id, cx.now);
    }

    /// A connection closed on which a member beat, and no heartbeat of it waited there: it is missed when its next one is
    /// due.
    pub(in crate::coordinator) fn line_lost(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &str,
        connection: ConnectionId,
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        if member.line != Some(connection) {
            return;
        }
        member.line = None;
        // Who waits for an answer from us is not expected to beat.
        let waits = member.joining.is_some() || member.syncing.is_some() || member.beat.held.is_some();
        if member.connection == Connection::Fine && !waits {
            let due = member.beat.due(cx.now, member.session_timeout);
            self.lost(cx, member_id, due.max(cx.now));
        }
    }

    /// The grace begins at `from`.
    fn lost(&mut self, cx: &mut Context<'_>, member_id: &str, from: Time) {
        let timer = self.lost_timer(member_id);
        let grace = cx.config.lost_connection_grace;
        let Some(member) = self.members.get_mut(member_id) else { return };
        if member.instance_id.is_none() && !grace.is_zero() {
            member.connection = Connection::Lost;
            cx.timers.set(timer, from + grace);
        }
    }

    /// Remembers where a member beats.
    pub(super) fn beats_on(&mut self, cx: &mut Context<'_>, member_id: &str, connection: ConnectionId) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        if !cx.config.park_heartbeats || member.line == Some(connection) {
            return;
        }
        if let Some(before) = member.line.replace(connection) {
            cx.park.disconnect(before, &self.id, member_id);
        }
        cx.park.connect(connection, &self.id, member_id);
    }

    /// It beats nowhere any more: it is gone, or another one under its name.
    pub(super) fn hang_up(&mut self, cx: &mut Context<'_>, member_id: &str) {
        if let Some(connection) = self.members.get_mut(member_id).and_then(|member| member.line.take()) {
            cx.park.disconnect(connection, &self.id, member_id);
        }
    }

    /// This client looks for the coordinator: those of its members whose connection is lost live, it seems, and beat when it
    /// is time.
    pub(in crate::coordinator) fn sought_by(&mut self, cx: &mut Context<'_>, client: &Client) {
        for id in self.turn(client, Connection::Lost, Connection::Sought) {
            let Some(member) = self.members.get(&id) else { continue };
            let (timeout, grace) = (member.session_timeout, cx.config.lost_connection_grace);
            let until = member.beat.due(cx.now, timeout).max(cx.now) + member.beat.rhythm(timeout) + grace;
            cx.timers.set(self.lost_timer(&id), until);
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
