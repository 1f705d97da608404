//! A restart: the group goes on as its records say.

use kohort_group::coordinator::{State, append_error};
use kohort_group::messages::ErrorCode;

use crate::fake::*;

#[test]
fn members_of_a_stable_group_do_not_notice_a_restart() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    fake.commit(commit(&ids[1], 1));
    fake.restart(|_| {});
    assert_eq!(
        (fake.state(), fake.generation(), fake.group().leader),
        (State::Stable, 1, Some(ids[0].as_str()))
    );
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None);
    assert_eq!(fake.sync_now(sync(&ids[1], 1)).assignment, bytes_for(&ids[1]));
    assert_eq!(fake.commit(commit(&ids[1], 1)), ErrorCode::None);
    assert_eq!(fake.fetch(GROUP, Some(&[("t", 0)]))[0].1.offset, 7);
}

#[test]
fn after_a_restart_every_session_begins_anew() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    fake.pass(SESSION - 1);
    fake.restart(|_| {});
    fake.pass(SESSION - 1);
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None);
    fake.restart(|_| {});
    fake.pass(SESSION);
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn who_is_parked_when_the_coordinator_closes_is_told_to_look_for_another() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let join = fake.join(rejoin(&ids[0]));
    fake.restart(|_| {});
    assert_eq!(fake.joined(join).error, ErrorCode::NotCoordinator);
    assert_eq!((fake.state(), fake.generation()), (State::Stable, 1), "as it was kept last");
}

#[test]
fn a_group_that_is_over_the_limit_of_today_rebalances_when_it_is_loaded() {
    let mut fake = Fake::new();
    let ids = fake.stable(3);
    fake.restart(|config| config.max_size = 2);
    assert_eq!(fake.state(), State::PreparingRebalance);
    let calls = [fake.join(rejoin(&ids[0])), fake.join(rejoin(&ids[1]))];
    assert_eq!(fake.join_now(rejoin(&ids[2])).error, ErrorCode::GroupMaxSizeReached);
    fake.pass(REBALANCE);
    for call in calls {
        assert_eq!(fake.joined(call).generation, 2);
    }
}

#[test]
fn a_loaded_group_knows_what_it_reads() {
    let mut fake = Fake::with(|config| {
        config.offsets_retention = ms(1_000);
        config.offsets_retention_check_interval = ms(1_500);
    });
    let ids = fake.stable(1);
    fake.commit(commit(&ids[0], 1));
    fake.restart(|_| {});
    fake.pass(3_000);
    assert_eq!(fake.fetch(GROUP, None).len(), 1);
}

#[test]
fn storage_errors_become_what_clients_can_act_on() {
    let mapped = [(3, 15), (19, 15), (7, 15), (6, 16), (56, 16), (10, -1), (18, -1), (4, -1), (29, 29)];
    for (storage, told) in mapped {
        assert_eq!(append_error(storage), told);
    }
}

#[test]
fn a_seed_that_was_used_before_gives_nobody_the_id_of_another() {
    let mut fake = Fake::new();
    fake.restart(|_| {});
    let ids = fake.stable(1);
    fake.restart(|_| {});
    let newcomer = fake.join_now(join());
    assert_ne!(newcomer.member_id, ids[0], "both were made with the same seed");
}
