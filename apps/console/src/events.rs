//! Notes of the broker's event log as a person reads them. Every word of a sentence comes from the note.

use kohort_group::coordinator::{DeleteCause, Happened, LeaveCause, Note, Owner, RebalanceCause, Who};
use serde::Serialize;

/// One line of `/api/events`.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    at_ms: u64,
    group: String,
    generation: i32,
    kind: &'static str,
    member_id: Option<String>,
    text: String,
}

impl Event {
    pub(crate) fn of(note: &Note) -> Event {
        let (kind, member_id, text) = tell(&note.what);
        Event {
            at_ms: note.at.as_millis(),
            group: note.group_id.clone(),
            generation: note.generation,
            kind,
            member_id: member_id.map(str::to_owned),
            text,
        }
    }
}

fn tell(what: &Happened) -> (&'static str, Option<&str>, String) {
    match what {
        Happened::Created => ("created", None, "The group came to be".to_owned()),
        Happened::MemberJoined(who) => {
            let text = format!("{} joined from {}", name(who), who.client_host);
            ("member_joined", Some(&who.member_id), text)
        }
        Happened::MemberReplaced { who, old_member_id } => {
            let text = format!(
                "{} returned and keeps its partitions; {} is fenced",
                name(who),
                short(old_member_id)
            );
            ("member_replaced", Some(&who.member_id), text)
        }
        Happened::MemberLeft { who, cause } => {
            ("member_left", Some(&who.member_id), format!("{} left: {}", name(who), leave(cause)))
        }
        Happened::RebalanceBegan { cause } => {
            let (member_id, why) = rebalance(cause);
            ("rebalance_began", member_id, format!("Rebalance: {why}"))
        }
        Happened::GenerationBegan { protocol, leader, members } => {
            let text = format!("{} chosen, {} leads {}", protocol, short(leader), count(*members, "member"));
            ("generation_began", Some(leader), text)
        }
        Happened::RebalanceEnded { took, members } => {
            let text = format!("Stable after {} ms: {}", took.as_millis(), shares(members));
            ("rebalance_ended", None, text)
        }
        Happened::Emptied => ("emptied", None, "The last member is gone".to_owned()),
        Happened::Deleted { cause } => ("deleted", None, format!("The group is no more: {}", delete(*cause))),
        Happened::OffsetsDropped { partitions, cause } => {
            let text =
                format!("Offsets of {} forgotten: {}", count(partitions.len(), "partition"), delete(*cause));
            ("offsets_dropped", None, text)
        }
        Happened::Fenced { member_id, error } => {
            ("fenced", Some(member_id), format!("{} was refused: {error:?}", short(member_id)))
        }
        Happened::Loaded { members } => {
            ("loaded", None, format!("Read from its records, with {}", count(*members, "member")))
        }
    }
}

fn leave(cause: &LeaveCause) -> String {
    match cause {
        LeaveCause::Left { reason: Some(reason) } => format!("it said so, \"{reason}\""),
        LeaveCause::Left { reason: None } => "it said so".to_owned(),
        LeaveCause::Removed { reason: Some(reason) } => format!("an administrator removed it, \"{reason}\""),
        LeaveCause::Removed { reason: None } => "an administrator removed it".to_owned(),
        LeaveCause::SessionExpired => "no heartbeat within its session timeout".to_owned(),
        LeaveCause::ConnectionLost => "its connection closed and it did not return".to_owned(),
        LeaveCause::RebalanceTimedOut => "it did not join again within the rebalance timeout".to_owned(),
        LeaveCause::SyncTimedOut => "it joined but did not sync within the rebalance timeout".to_owned(),
        LeaveCause::NewMemberTimedOut => {
            "its first rebalance took longer than a new member may wait".to_owned()
        }
        LeaveCause::GroupFull => "the group is over `group.max.size`".to_owned(),
    }
}

fn rebalance(cause: &RebalanceCause) -> (Option<&str>, String) {
    let (member_id, why) = match cause {
        RebalanceCause::MemberJoined { member_id } => (member_id, "joined"),
        RebalanceCause::SubscriptionChanged { member_id } => (member_id, "changed its subscription"),
        RebalanceCause::LeaderRejoined { member_id } => {
            (member_id, "leads, and saw other topics or partitions")
        }
        RebalanceCause::MemberReplaced { member_id } => (member_id, "returned under a new id"),
        RebalanceCause::MemberLeft { member_id } => (member_id, "left"),
        RebalanceCause::SessionExpired { member_id } => (member_id, "was silent for its session timeout"),
        RebalanceCause::ConnectionLost { member_id } => (member_id, "lost its connection"),
        RebalanceCause::SyncTimedOut { member_ids } => {
            return (None, format!("{} joined and never synced", count(member_ids.len(), "member")));
        }
        RebalanceCause::GroupFull => return (None, "the group is over `group.max.size`".to_owned()),
    };
    (Some(member_id), format!("{} {why}", short(member_id)))
}

fn delete(cause: DeleteCause) -> &'static str {
    match cause {
        DeleteCause::Requested => "somebody asked for it",
        DeleteCause::Expired => "its retention passed",
        DeleteCause::TopicDeleted => "the topic was deleted",
    }
}

fn shares(members: &[Owner]) -> String {
    let partitions: usize = members.iter().map(|owner| owner.partitions.as_ref().map_or(0, Vec::len)).sum();
    let verb = if members.len() == 1 { "owns" } else { "own" };
    format!("{} {verb} {}", count(members.len(), "member"), count(partitions, "partition"))
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

fn name(who: &Who) -> String {
    match (&who.group_instance_id, who.client_id.as_str()) {
        (Some(instance), _) => instance.clone(),
        (None, "") => short(&who.member_id),
        (None, client_id) => client_id.to_owned(),
    }
}

/// A member's id without the UUID that Kafka appends, so that it reads like the client id or instance id that it began as.
fn short(member_id: &str) -> String {
    const UUID: usize = 36;
    match member_id.len().checked_sub(UUID + 1).and_then(|at| member_id.split_at_checked(at)) {
        Some((client_id, _)) if !client_id.is_empty() => client_id.to_owned(),
        _ => member_id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use kohort_group::Time;

    fn who(client_id: &str) -> Who {
        Who {
            member_id: format!("{client_id}-3f0c2d1e-77aa-4b1c-9e0d-1234567890ab"),
            group_instance_id: None,
            client_id: client_id.into(),
            client_host: "/127.0.0.1".into(),
        }
    }

    fn text(what: Happened) -> String {
        Event::of(&Note { at: Time::from_millis(5), group_id: "g".into(), generation: 2, what }).text
    }

    #[test]
    fn what_happened_reads_as_a_sentence() {
        assert_eq!(text(Happened::MemberJoined(who("a-b"))), "a-b joined from /127.0.0.1");
        let left = Happened::MemberLeft { who: who("a"), cause: LeaveCause::ConnectionLost };
        assert_eq!(text(left), "a left: its connection closed and it did not return");
        let cause = RebalanceCause::SessionExpired { member_id: who("a").member_id };
        assert_eq!(
            text(Happened::RebalanceBegan { cause }),
            "Rebalance: a was silent for its session timeout"
        );
        let members = vec![
            Owner { who: who("a"), partitions: Some(vec![]) },
            Owner { who: who("b"), partitions: None },
        ];
        assert_eq!(
            text(Happened::RebalanceEnded { took: Duration::from_millis(18), members }),
            "Stable after 18 ms: 2 members own 0 partitions"
        );
    }
}
