//! What is shown: a value that serializes as `GET /api/flow` answers it, and the rows of a table.

use serde::Serialize;

use crate::behaviour::Behaviour;
use crate::flow::{DecodeError, Sample, SizeSummary};

/// What flowed and flows, of all blocks.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// When it was made, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What rates are taken over.
    pub interval_ms: u64,
    /// By block, as the file has them.
    pub blocks: Vec<BlockReport>,
}

/// One `Kq` block.
#[derive(Debug, Clone, Serialize)]
pub struct BlockReport {
    /// Its name in the file.
    pub block: String,
    /// Its group.
    pub group: String,
    /// Its topic.
    pub topic: String,
    /// The group's state, as the broker says; null while it says nothing. So with all that only the broker knows.
    pub state: Option<String>,
    /// Members of the group, those of other processes too.
    pub group_members: Option<usize>,
    /// Tries that failed and were followed by another.
    pub retries: u64,
    /// Records that went to the dead letters.
    pub dead_letters: u64,
    /// Where they went.
    pub dead_letter_topic: String,
    /// The members of this process.
    pub members: Vec<MemberReport>,
    /// What flowed, by member and partition: what a member owns, and what it owned before.
    pub flows: Vec<FlowReport>,
}

/// One member of this process.
#[derive(Debug, Clone, Serialize)]
pub struct MemberReport {
    /// Its number in its block, from 0.
    pub member: usize,
    /// Its id in the group; null until it joined.
    pub member_id: Option<String>,
    /// The generation that it was assigned in last.
    pub generation: i32,
    /// What it owns.
    pub partitions: Vec<i32>,
    /// It joined and owns nothing: the group has more members than partitions.
    pub idle: bool,
    /// Records that were begun and are not done.
    pub in_hand: u64,
    /// What it is told.
    pub behaviour: Behaviour,
}

/// One partition at one member.
#[derive(Debug, Clone, Serialize)]
pub struct FlowReport {
    /// The member's number.
    pub member: usize,
    /// The partition.
    pub partition: i32,
    /// It owns it now.
    pub owned: bool,
    /// Records handled since the start.
    pub messages: u64,
    /// In the last interval.
    pub messages_per_s: f64,
    /// Bytes of their values.
    pub bytes: u64,
    /// In the last interval.
    pub bytes_per_s: f64,
    /// How large the values were; null while there were none.
    pub size: Option<SizeSummary>,
    /// Trades in them.
    pub trades: u64,
    /// On average; null while there were none.
    pub trades_per_message: Option<f64>,
    /// Elements or whole records that could not be understood.
    pub decode_errors: u64,
    /// The last of them.
    pub last_decode_error: Option<DecodeError>,
    /// Tries that failed as told.
    pub failed: u64,
    /// Records rejected as told.
    pub rejected: u64,
    /// What the group committed.
    pub committed: Option<i64>,
    /// The end of the log.
    pub end: Option<i64>,
    /// How far the one is behind the other; null where either is not known.
    pub lag: Option<i64>,
    /// The newest record.
    pub sample: Option<Sample>,
}

/// The heads of [`Report::rows`].
pub const HEAD: [&str; 13] = [
    "BLOCK",
    "MEMBER",
    "PARTITION",
    "MSG/S",
    "BYTES/S",
    "MIN",
    "MEAN",
    "P99",
    "MAX",
    "TRADES/MSG",
    "ERRORS",
    "LAG",
    "NOTE",
];

impl Report {
    /// A row for each partition that a member owns, and one for each member that owns none.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for block in &self.blocks {
            for member in &block.members {
                let owned = block.flows.iter().filter(|flow| flow.owned && flow.member == member.member);
                let before = rows.len();
                rows.extend(owned.map(|flow| row(block, member, Some(flow))));
                if rows.len() == before {
                    rows.push(row(block, member, None));
                }
            }
        }
        rows
    }
}

fn row(block: &BlockReport, member: &MemberReport, flow: Option<&FlowReport>) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let of = |get: fn(&FlowReport) -> String| or_dash(flow.map(get));
    let size = |get: fn(&SizeSummary) -> u64| or_dash(flow.and_then(|f| f.size).map(|s| get(&s).to_string()));
    vec![
        block.block.clone(),
        member.member.to_string(),
        of(|flow| flow.partition.to_string()),
        of(|flow| format!("{:.1}", flow.messages_per_s)),
        of(|flow| format!("{:.0}", flow.bytes_per_s)),
        size(|size| size.min),
        size(|size| size.mean),
        size(|size| size.p99),
        size(|size| size.max),
        or_dash(flow.and_then(|flow| flow.trades_per_message).map(|n| format!("{n:.1}"))),
        of(|flow| flow.decode_errors.to_string()),
        or_dash(flow.and_then(|flow| flow.lag).map(|lag| lag.to_string())),
        note(member),
    ]
}

/// What the numbers do not say.
fn note(member: &MemberReport) -> String {
    let Behaviour { slow_ms, fail_every, fail_percent, reject_every, hang } = member.behaviour;
    let mut notes = Vec::new();
    match (&member.member_id, member.idle) {
        (None, _) => notes.push("not in the group yet".to_owned()),
        (Some(_), true) => notes.push("idle: the group has more members than partitions".to_owned()),
        (Some(_), false) => {}
    }
    if hang {
        notes.push(format!("hangs, {} in hand", member.in_hand));
    }
    for (n, what) in [
        (slow_ms, "slow by ms"),
        (fail_every, "fails every"),
        (fail_percent, "fails of 100 tries"),
        (reject_every, "rejects every"),
    ] {
        if n > 0 {
            notes.push(format!("{what} {n}"));
        }
    }
    notes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: usize, partitions: Vec<i32>) -> MemberReport {
        MemberReport {
            member: number,
            member_id: Some(format!("m{number}")),
            generation: 1,
            idle: partitions.is_empty(),
            partitions,
            in_hand: 1,
            behaviour: Behaviour::default(),
        }
    }

    #[test]
    fn every_member_has_a_row_and_the_idle_one_says_why() {
        let flow = FlowReport {
            member: 0,
            partition: 0,
            owned: true,
            messages: 2,
            messages_per_s: 2.0,
            bytes: 20,
            bytes_per_s: 20.0,
            size: None,
            trades: 3,
            trades_per_message: Some(1.5),
            decode_errors: 1,
            last_decode_error: None,
            failed: 0,
            rejected: 0,
            committed: None,
            end: Some(2),
            lag: None,
            sample: None,
        };
        let mut hangs = member(0, vec![0]);
        hangs.behaviour.hang = true;
        let block = BlockReport {
            block: "KqEth".into(),
            group: "g".into(),
            topic: "t".into(),
            state: None,
            group_members: None,
            retries: 0,
            dead_letters: 0,
            dead_letter_topic: "t.g.dlq".into(),
            members: vec![hangs, member(1, vec![])],
            flows: vec![flow.clone(), FlowReport { partition: 1, owned: false, ..flow }],
        };
        let rows = Report { blocks: vec![block], ..Report::default() }.rows();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows.iter().all(|row| row.len() == HEAD.len()));
        assert_eq!(rows[0][12], "hangs, 1 in hand");
        assert_eq!(rows[0][9..12], ["1.5", "1", "-"]);
        assert_eq!(rows[1][12], "idle: the group has more members than partitions");
    }
}
