//! What no sequence of events may break. The fake checks at every step that each call is answered once and that the
//! records make the state; here come the sequences.

use kohort_group::Time;
use kohort_group::consumer_protocol::Subscription;
use kohort_group::coordinator::{
    CallId, Client, Config, ConnectionId, Coordinator, DeleteCause, Effect, Event, Happened, LeaveCause,
    Record, Request, Response, State, TopicIds,
};
use kohort_group::invariants::{self, Commit, Owners};
use kohort_group::messages::{
    DeleteGroupsRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
    TopicPartition,
};
use proptest::prelude::*;

use crate::fake::*;

/// One thing a crowd of clients, good and bad, may do next. Small numbers pick among what is there.
#[derive(Clone, Debug)]
enum Step {
    Enter {
        version: i16,
        instance: Option<u8>,
        offer: u8,
    },
    Rejoin {
        who: u8,
        offer: u8,
    },
    Sync {
        who: u8,
        stale: bool,
    },
    Beat {
        who: u8,
        connection: u8,
        stale: bool,
    },
    Leave {
        who: u8,
    },
    Commit {
        who: u8,
        stale: bool,
    },
    /// Beats, and then its connection closes.
    Vanish {
        who: u8,
        connection: u8,
    },
    Seek,
    /// Everybody does what a good client does, until the group is Stable or has no members.
    Behave,
    Busy {
        connection: u8,
    },
    Close {
        connection: u8,
    },
    Pass {
        ms: u64,
    },
    DeleteTopic,
    DeleteGroup,
    Restart {
        max_size: Option<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let instance = prop_oneof![3 => Just(None), 1 => (0..3_u8).prop_map(Some)];
    prop_oneof![
        6 => (prop_oneof![Just(0), Just(3), Just(9)], instance, 0..6_u8)
            .prop_map(|(version, instance, offer)| Step::Enter { version, instance, offer }),
        6 => (any::<u8>(), 0..6_u8).prop_map(|(who, offer)| Step::Rejoin { who, offer }),
        10 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(who, stale)| Step::Sync { who, stale }),
        8 => (any::<u8>(), 0..6_u8, prop::bool::weighted(0.1))
            .prop_map(|(who, connection, stale)| Step::Beat { who, connection, stale }),
        2 => any::<u8>().prop_map(|who| Step::Leave { who }),
        4 => (any::<u8>(), prop::bool::weighted(0.3)).prop_map(|(who, stale)| Step::Commit { who, stale }),
        2 => (0..6_u8).prop_map(|connection| Step::Busy { connection }),
        2 => (0..6_u8).prop_map(|connection| Step::Close { connection }),
        2 => (any::<u8>(), 0..6_u8).prop_map(|(who, connection)| Step::Vanish { who, connection }),
        5 => Just(Step::Behave),
        1 => Just(Step::Seek),
        8 => prop_oneof![3 => Just(0), 3 => 0..1_000_u64, 3 => Just(3_000_u64), 1 => Just(9_999_u64)]
            .prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::DeleteTopic),
        1 => Just(Step::DeleteGroup),
        1 => prop::option::weighted(0.3, 1..4_u8).prop_map(|max_size| Step::Restart { max_size }),
    ]
}

fn offer(which: u8) -> Vec<(String, Vec<u8>)> {
    match which {
        0 => protocols(&["range"]),
        1 => protocols(&["range", "sticky"]),
        2 => protocols(&["sticky", "range"]),
        3 => vec![("range".to_owned(), subscription(&["t", "u"]))],
        // What a member of a cooperative group says that it owns: as if everything were in motion all the time.
        owned => {
            let owned = vec![TopicPartition::new("t", i32::from(owned))];
            let subscription = Subscription { owned, ..Subscription::new(["t"]) };
            vec![("range".to_owned(), subscription.encode())]
        }
    }
}

/// A crowd, and what it has seen of the group.
struct Crowd {
    fake: Fake,
    /// Joins whose answers nobody has looked at.
    joins: Vec<CallId>,
    syncs: Vec<CallId>,
    /// Every member id that was ever heard of, with its instance.
    ids: Vec<(String, Option<String>)>,
    committed: i64,
}

impl Crowd {
    fn new() -> Self {
        let fake = Fake::with(|config| {
            config.park_heartbeats = true;
            config.lost_connection_grace = ms(500);
            config.max_size = 6;
        });
        Self { fake, joins: Vec::new(), syncs: Vec::new(), ids: Vec::new(), committed: 0 }
    }

    fn pick(&self, who: u8) -> Option<(String, Option<String>)> {
        let count = self.ids.len();
        (count > 0).then(|| self.ids[count - 1 - usize::from(who) % count.min(8)].clone())
    }

    fn generation(&self, stale: bool) -> i32 {
        self.fake.core.group(GROUP).map_or(0, |group| group.generation) - i32::from(stale)
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Enter { version, instance, offer: which } => {
                let instance = instance.map(|number| format!("i{number}"));
                self.join(JoinGroupRequest {
                    api_version: if instance.is_some() { 9 } else { *version },
                    group_instance_id: instance,
                    protocols: offer(*which),
                    // Shorter than a session: who beats and does not join is out of the next generation.
                    rebalance_timeout: ms(8_000),
                    ..join()
                });
            }
            Step::Rejoin { who, offer: which } => {
                let Some((id, instance)) = self.pick(*who) else { return };
                self.join(JoinGroupRequest {
                    group_instance_id: instance,
                    protocols: offer(*which),
                    rebalance_timeout: ms(8_000),
                    ..rejoin(&id)
                });
            }
            Step::Sync { who, stale } => self.sync(*who, *stale),
            Step::Beat { who, connection, stale } => {
                let Some((id, instance)) = self.pick(*who) else { return };
                let request =
                    HeartbeatRequest { group_instance_id: instance, ..beat(&id, self.generation(*stale)) };
                self.fake.call_on(ConnectionId(u64::from(*connection)), Request::Heartbeat(request));
            }
            Step::Leave { who } => {
                let Some((id, instance)) = self.pick(*who) else { return };
                self.fake.leave(&[(&id, instance.as_deref())]);
            }
            Step::Commit { who, stale } => self.commit(*who, *stale),
            Step::Vanish { who, connection } => {
                self.run(&Step::Beat { who: *who, connection: *connection, stale: false });
                self.fake.event(Event::Closed(ConnectionId(u64::from(*connection))));
            }
            Step::Seek => {
                let client = Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() };
                self.fake.event(Event::CoordinatorSought { client, group_id: GROUP.to_owned() });
            }
            Step::Behave => self.behave(),
            Step::Busy { connection } => self.fake.event(Event::Busy(ConnectionId(u64::from(*connection)))),
            Step::Close { connection } => {
                self.fake.event(Event::Closed(ConnectionId(u64::from(*connection))))
            }
            Step::Pass { ms } => self.fake.pass(*ms),
            Step::DeleteTopic => self.fake.event(Event::TopicsDeleted(vec!["t".to_owned()])),
            Step::DeleteGroup => {
                let groups = vec![GROUP.to_owned()];
                self.fake.call(Request::DeleteGroups(DeleteGroupsRequest { groups }));
            }
            Step::Restart { max_size } => {
                self.fake.restart(|config| config.max_size = max_size.map_or(6, usize::from));
            }
        }
        self.look();
    }

    fn join(&mut self, request: JoinGroupRequest) {
        let instance = request.group_instance_id.clone();
        let call = self.fake.join(request);
        if !self.fake.waits(call) && !self.fake.dropped.contains(&call) {
            let answer = self.fake.joined(call);
            let known = self.ids.iter().any(|(id, _)| *id == answer.member_id);
            if !known && !answer.member_id.is_empty() {
                self.ids.push((answer.member_id, instance));
            }
        } else {
            self.joins.push(call);
        }
    }

    /// Everybody joins and syncs as often as it takes; who is pending or gone does not.
    fn behave(&mut self) {
        for _ in 0..8 {
            let Some(group) = self.fake.core.group(GROUP) else { return };
            let own = |member: &kohort_group::coordinator::MemberView<'_>| {
                (member.member_id.to_owned(), member.group_instance_id.map(str::to_owned))
            };
            let members: Vec<_> = group.members.iter().map(own).collect();
            match group.state {
                State::Empty | State::Stable => return,
                State::PreparingRebalance => {
                    for (id, instance) in members {
                        self.join(JoinGroupRequest { group_instance_id: instance, ..rejoin(&id) });
                    }
                    // For the initial delay, and for ids that never came back.
                    self.fake.pass(3_000);
                }
                State::CompletingRebalance => {
                    for (id, instance) in members {
                        self.sync_as(id, instance, false);
                    }
                }
            }
        }
    }

    fn sync(&mut self, who: u8, stale: bool) {
        let Some((id, instance)) = self.pick(who) else { return };
        self.sync_as(id, instance, stale);
    }

    fn sync_as(&mut self, id: String, instance: Option<String>, stale: bool) {
        let Some(group) = self.fake.core.group(GROUP) else { return };
        let protocol = group.protocol.map(str::to_owned);
        let assignments = if group.leader == Some(id.as_str()) {
            let members = group.members.iter().enumerate();
            members.map(|(n, member)| (member.member_id.to_owned(), assignment(n))).collect()
        } else {
            Vec::new()
        };
        let generation = group.generation - i32::from(stale);
        let request = SyncGroupRequest {
            group_instance_id: instance,
            protocol_name: protocol.or(Some("range".to_owned())),
            assignments,
            ..sync(&id, generation)
        };
        let call = self.fake.sync(request);
        self.syncs.push(call);
    }

    fn commit(&mut self, who: u8, stale: bool) {
        let Some((id, instance)) = self.pick(who) else { return };
        let generation = self.generation(stale).max(0);
        let at = TopicPartition::new("t", 0);
        let before =
            self.fake.core.kept().offsets(GROUP).and_then(|all| all.get(&at)).map(|kept| kept.offset);
        let group = self.fake.core.group(GROUP);
        let current = group.as_ref().map_or(-1, |group| group.generation);
        let is_member = group.is_some_and(|group| group.members.iter().any(|member| member.member_id == id));
        self.committed += 1;
        let request = OffsetCommitRequest {
            group_instance_id: instance,
            offsets: vec![(at.clone(), offset(self.committed))],
            ..commit(&id, generation)
        };
        let call = self.fake.call(Request::OffsetCommit(request, TopicIds::new()));
        let Response::OffsetCommit(answer) = self.fake.reply(call) else { panic!("not a commit's answer") };
        let commit = Commit {
            partition: at,
            member_id: id,
            generation,
            current,
            is_member,
            before,
            offset: self.committed,
            outcome: answer.partitions[0].1,
            reset: false,
        };
        assert_eq!(invariants::no_commit_from_the_past(&commit), Ok(()));
    }

    /// What must be so after every step.
    fn look(&mut self) {
        let Some(group) = self.fake.core.group(GROUP) else { return };
        let ids: Vec<_> = group.members.iter().map(|member| member.member_id).collect();
        match group.state {
            State::Empty => assert!(ids.is_empty(), "an Empty group has members: {ids:?}"),
            _ => assert!(
                group.leader.is_none_or(|leader| ids.contains(&leader)),
                "the leader {:?} is not a member",
                group.leader
            ),
        }
        if group.state == State::Stable {
            assert!(!ids.is_empty(), "a Stable group has no members");
            let of = |member: &kohort_group::coordinator::MemberView<'_>| {
                (member.member_id.to_owned(), member.partitions().unwrap_or_default())
            };
            let owners: Owners = group.members.iter().map(of).collect();
            assert_eq!(invariants::one_owner(&owners), Ok(()));
        }
        for call in core::mem::take(&mut self.joins) {
            if self.fake.waits(call) {
                self.joins.push(call);
            }
        }
        // Ids that the group gave without telling anybody yet (version 3, static members) are learnt by looking.
        let group = self.fake.core.group(GROUP).expect("it was there");
        let known: Vec<_> = group
            .members
            .iter()
            .filter(|member| self.ids.iter().all(|(id, _)| id != member.member_id))
            .map(|member| (member.member_id.to_owned(), member.group_instance_id.map(str::to_owned)))
            .collect();
        self.ids.extend(known);
    }
}

/// Partition `n` of `t`, for the `n`th member.
fn assignment(n: usize) -> Vec<u8> {
    let partition = i32::try_from(n).expect("few members");
    kohort_group::consumer_protocol::Assignment::new(vec![TopicPartition::new("t", partition)]).encode()
}

fn run(steps: &[Step]) -> Crowd {
    let mut crowd = Crowd::new();
    for step in steps {
        crowd.run(step);
    }
    crowd
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn when_everybody_falls_silent_every_call_is_answered_and_the_group_can_begin_anew(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut crowd = run(&steps);
        // Sessions are 10 s, rebalances 60 s; a new member may wait for five minutes.
        crowd.fake.pass(500_000);
        prop_assert_eq!(crowd.fake.open(), 0, "calls without an answer");
        if let Some(group) = crowd.fake.core.group(GROUP) {
            prop_assert_eq!((group.state, group.members.len()), (State::Empty, 0));
        }
        let before = crowd.fake.core.group(GROUP).map_or(0, |group| group.generation);
        crowd.fake.restart(|config| config.max_size = 6);
        let calls: Vec<_> = (0..2).map(|_| crowd.fake.enter(join())).collect();
        crowd.fake.pass(9_000);
        crowd.fake.settle(calls);
        let group = crowd.fake.group();
        prop_assert_eq!((group.state, group.generation), (State::Stable, before + 1));
    }

    #[test]
    fn a_run_made_twice_is_the_same_run(steps in prop::collection::vec(step(), 1..60)) {
        let (one, two) = (run(&steps), run(&steps));
        prop_assert_eq!(one.fake.log, two.fake.log);
        prop_assert_eq!(one.fake.notes, two.fake.notes);
    }

    #[test]
    fn generations_only_rise_and_notes_tell_every_one(steps in prop::collection::vec(step(), 1..120)) {
        let crowd = run(&steps);
        let mut generation = 0;
        for record in &crowd.fake.log {
            match record {
                Record::GroupMetadata { value: Some(value), .. } => {
                    prop_assert!(value.generation >= generation, "{} after {}", value.generation, generation);
                    generation = value.generation;
                }
                Record::GroupMetadata { value: None, .. } => generation = 0,
                Record::OffsetCommit { .. } => {}
            }
        }
        let mut noted = 0;
        for note in &crowd.fake.notes {
            match note.what {
                Happened::Deleted { cause: DeleteCause::Requested | DeleteCause::Expired } => noted = 0,
                // A generation that was never synced is forgotten by a restart.
                Happened::Loaded { .. } => noted = note.generation,
                Happened::GenerationBegan { .. } | Happened::Emptied => {
                    prop_assert_eq!(note.generation, noted + 1);
                    noted = note.generation;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_crowd_sees_every_state_and_every_way_to_go() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let steps = prop::collection::vec(step(), 120..=120);
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for _ in 0..400 {
        let steps = steps.new_tree(&mut runner).expect("steps can be made").current();
        for note in run(&steps).fake.notes {
            let name = match note.what {
                Happened::MemberLeft { cause, .. } => match cause {
                    LeaveCause::Left { .. } => "left",
                    LeaveCause::Removed { .. } => "removed",
                    LeaveCause::SessionExpired => "session expired",
                    LeaveCause::ConnectionLost => "connection lost",
                    LeaveCause::RebalanceTimedOut => "rebalance timed out",
                    LeaveCause::SyncTimedOut => "sync timed out",
                    LeaveCause::NewMemberTimedOut => "new member timed out",
                    LeaveCause::GroupFull => "group full",
                },
                Happened::MemberReplaced { .. } => "replaced",
                Happened::RebalanceEnded { .. } => "stable",
                Happened::Emptied => "emptied",
                Happened::Fenced { .. } => "fenced",
                Happened::Deleted { .. } => "deleted",
                Happened::OffsetsDropped { .. } => "offsets dropped",
                _ => continue,
            };
            *seen.entry(name).or_default() += 1;
        }
    }
    let wanted = [
        "left",
        "session expired",
        "connection lost",
        "rebalance timed out",
        "sync timed out",
        "replaced",
        "stable",
        "emptied",
        "fenced",
        "deleted",
        "offsets dropped",
    ];
    for name in wanted {
        assert!(seen.get(name).is_some_and(|times| *times >= 3), "`{name}` is hardly ever reached: {seen:?}");
    }
}

#[test]
fn ten_thousand_groups_have_one_next_deadline() {
    let mut core = Coordinator::new(Config::default(), 1);
    let now = Time::from_millis(1_000);
    for n in 0..10_000 {
        let request = JoinGroupRequest { api_version: 3, group_id: format!("g{n}"), ..join() };
        let client = Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() };
        let request = Request::Join(request);
        let (call, connection) = (CallId(n), ConnectionId(n));
        let _ = core.handle(now + ms(n / 10), Event::Call { call, connection, client, request });
    }
    assert_eq!(core.deadline(), Some(now + ms(3_000)));
    let effects = core.handle(now + ms(3_000), Event::Wakeup);
    let answered = effects.iter().filter(|effect| matches!(effect, Effect::Reply { .. })).count();
    assert_eq!(answered, 10, "those whose delay is over, and no other");
}
