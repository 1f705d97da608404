//! What every store of the log does.

use std::collections::BTreeSet;

use market_data::Side;
use market_data::wallets::{Change, Known};
use market_store::wallets::{
    Event, LeaseRequest, Leased, MySqlWallets, NEXT_TRY_MAX_MS, RuleKind, Rules, SqliteWallets, WalletStore,
    What,
};
use market_store::{Advance, FlushError};

use crate::support::MySql;

use super::support::{GROUP, NOW, buy, cluster, log, log_as, partition, rule, rules, trade};

/// Runs a test with each kind of store, the one in MySQL where `KOHORT_TEST_MYSQL` names a server; the second argument opens the store once more, as another process would.
fn each(test: impl Fn(&mut dyn WalletStore, &dyn Fn() -> Box<dyn WalletStore>)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smart_money.db");
    let open = || -> Box<dyn WalletStore> { Box::new(SqliteWallets::open(&file).unwrap()) };
    test(&mut *open(), &open);
    if let Some(database) = MySql::new() {
        let open = || -> Box<dyn WalletStore> { Box::new(MySqlWallets::new(database.address())) };
        test(&mut *open(), &open);
    }
}

fn lease(store: &mut dyn WalletStore, channel: &str, owner: &str, now_ms: i64) -> Leased {
    let request = LeaseRequest { channel, owner, now_ms, until_ms: now_ms + 1000, limit: 2 };
    store.lease(&request).unwrap()
}

fn events(store: &mut dyn WalletStore, channel: &str) -> Vec<Event> {
    let request = LeaseRequest { channel, owner: "reader", now_ms: 0, until_ms: 1, limit: 1000 };
    let leased = store.lease(&request).unwrap();
    store.release("reader").unwrap();
    leased.rows.iter().map(|row| Event::from_json(&row.event).unwrap()).collect()
}

/// Every trade is told to channel `a`.
fn all_to_a() -> Rules {
    rules(&[("a", rule(RuleKind::Trade { side: None }, "0"))])
}

#[test]
fn a_trade_is_kept_digit_for_digit() {
    each(|store, _| {
        let trades = [
            buy(1, "w", "pepe", 60),
            trade(2, "w", "pepe", 61, "12345678901234567890.000000000000000000000000000001", Side::Sell),
            trade(3, "v", "", 62, "0", Side::Unknown),
        ];
        let logged = log(store, &trades, &Rules::new());
        assert_eq!((logged.new, logged.notifications), (vec![0, 1, 2], 0));
        let kept = store.logged(None, None, 10).unwrap();
        assert_eq!(kept.iter().rev().map(|kept| kept.trade.clone()).collect::<Vec<_>>(), trades);
        assert!(kept.iter().all(|kept| kept.group == GROUP && kept.logged_at == NOW));
        let of_v = store.logged(Some("v"), None, 10).unwrap();
        assert_eq!(of_v, kept[..1]);
        let older = store.logged(Some("w"), Some(kept[1].number), 10).unwrap();
        assert_eq!(older, kept[2..]);
        assert_eq!(store.logged_count().unwrap(), 3);
    });
}

#[test]
fn a_trade_that_is_there_already_changes_nothing_and_tells_nobody() {
    each(|store, _| {
        let rules = rules(&[
            ("a", rule(RuleKind::Trade { side: None }, "100")),
            ("a", rule(RuleKind::FirstBuy, "0")),
            ("b", cluster(2, 60)),
        ]);
        let trades =
            [buy(1, "w", "pepe", 60), buy(2, "v", "pepe", 100), trade(3, "w", "pepe", 200, "99", Side::Sell)];
        let logged = log(store, &[&trades[..], &trades[..2]].concat(), &rules);
        assert_eq!((logged.new.len(), logged.notifications), (3, 5));
        // Read again from the beginning, by the group and by another, with another label.
        let mut again = trades.clone();
        again[0].label = "renamed".into();
        for _ in 0..2 {
            let logged = log(store, &again, &rules);
            assert_eq!((logged.new.len(), logged.notifications), (0, 0));
        }
        assert_eq!(store.logged_count().unwrap(), 3);
        assert_eq!(&*store.logged(Some("w"), None, 1).unwrap()[0].trade.label, "label of w");
    });
}

#[test]
fn the_log_and_the_outbox_are_fenced_with_the_positions() {
    each(|store, _| {
        let rules = all_to_a();
        let zombie = store.claim(GROUP, &[partition(0), partition(1)]).unwrap();
        let advance = |at: usize, to| Advance {
            partition: zombie[at].partition.clone(),
            epoch: zombie[at].epoch,
            from: zombie[at].position,
            to,
        };
        log_as(store, &[advance(0, 3)], &[buy(1, "w", "pepe", 60)], &rules).unwrap();
        // The position has moved; then the epoch of the second partition only.
        let moved = log_as(store, &[advance(0, 4)], &[buy(2, "w", "pepe", 61)], &rules).unwrap_err();
        assert!(matches!(moved, FlushError::Fenced { found: Some(3), .. }), "{moved}");
        store.claim(GROUP, &[partition(1)]).unwrap();
        let mut first = advance(0, 4);
        first.from = Some(3);
        let fenced = log_as(store, &[first, advance(1, 9)], &[buy(3, "w", "pepe", 62)], &rules).unwrap_err();
        assert!(matches!(fenced, FlushError::Fenced { epoch: 1, found_epoch: 2, .. }), "{fenced}");
        assert_eq!(store.logged_count().unwrap(), 1);
        assert_eq!(events(store, "a").len(), 1);
        assert_eq!(store.positions(GROUP).unwrap()[0].position, Some(3));
    });
}

#[test]
fn rules_find_sizes_sides_and_first_buys() {
    each(|store, _| {
        let rules = rules(&[
            ("big", rule(RuleKind::Trade { side: None }, "100.5")),
            ("sells", rule(RuleKind::Trade { side: Some(Side::Sell) }, "0")),
            ("first", rule(RuleKind::FirstBuy, "0")),
            ("first of size", rule(RuleKind::FirstBuy, "150")),
        ]);
        let trades = [
            trade(1, "w", "pepe", 60, "100.4999999999999999999999", Side::Buy),
            trade(2, "w", "pepe", 61, "100.5", Side::Buy),
            trade(3, "w", "pepe", 62, "150", Side::Buy),
            trade(4, "w", "doge", 63, "9", Side::Sell),
            trade(5, "w", "doge", 64, "9", Side::Buy),
            trade(6, "v", "pepe", 65, "1000", Side::Unknown),
        ];
        // Each in a flush of its own, the last first: rules see what is in the log, not what is in the flush.
        for one in trades.iter().rev() {
            log(store, std::slice::from_ref(one), &rules);
        }
        let mut ids = |channel: &str| -> Vec<String> {
            events(store, channel).iter().map(|event| event.tx_hash.clone()).collect()
        };
        assert_eq!(ids("big"), ["tx6", "tx3", "tx2"]);
        assert_eq!(ids("sells"), ["tx4"]);
        assert_eq!(ids("first"), ["tx5", "tx3"]);
        assert_eq!(ids("first of size"), ["tx3"]);
        let event = events(store, "first of size").remove(0);
        assert_eq!(event.what, What::FirstBuy);
        assert_eq!(
            (event.wallet.as_str(), event.label.as_str(), event.side.as_str()),
            ("w", "label of w", "buy")
        );
        assert_eq!(event.token_amount, "12.000000000000000000000000000001");
        assert_eq!(event.rule, "first buy, from 150 USD");
    });
}

#[test]
fn a_cluster_is_told_when_it_opens_and_when_a_wallet_joins() {
    each(|store, _| {
        let rules = rules(&[("c", cluster(3, 100))]);
        let mut tell = |trades: &[_]| -> Vec<What> {
            let before = events(store, "c").len();
            log(store, trades, &rules);
            events(store, "c").split_off(before).into_iter().map(|event| event.what).collect()
        };
        let joined = |whats: &[What]| -> Vec<(bool, u64, Vec<String>)> {
            whats
                .iter()
                .map(|what| match what {
                    What::Cluster { opened, wallets, joined, .. } => {
                        (*opened, *wallets, joined.iter().map(|joined| joined.wallet.clone()).collect())
                    }
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(
            tell(&[buy(1, "a", "pepe", 1000), buy(2, "a", "pepe", 1001), buy(3, "b", "pepe", 1002)]),
            []
        );
        // Another token, and 101 seconds after the first: not three within 100 seconds.
        assert_eq!(tell(&[buy(4, "c", "doge", 1003), buy(5, "c", "pepe", 1102)]), []);
        // The ends count, and the last buy of `a` is 100 seconds before this one.
        let opened = tell(&[buy(6, "d", "pepe", 1101)]);
        assert_eq!(joined(&opened), [(true, 4, ["a", "b", "d", "c"].map(str::to_owned).to_vec())]);
        // Nobody new; then somebody new; then the same again.
        assert_eq!(tell(&[buy(7, "b", "pepe", 1150)]), []);
        assert_eq!(joined(&tell(&[buy(8, "e", "pepe", 1160)])), [(false, 5, vec!["e".to_owned()])]);
        assert_eq!(tell(&[buy(9, "e", "pepe", 1161)]), []);
        // Long after: another cluster, in which the same wallets are new.
        let again =
            tell(&[buy(10, "a", "pepe", 9000), buy(11, "b", "pepe", 9001), buy(12, "e", "pepe", 9002)]);
        assert_eq!(joined(&again), [(true, 3, ["a", "b", "e"].map(str::to_owned).to_vec())]);
    });
}

#[test]
fn what_is_long_past_is_logged_and_told_to_nobody() {
    each(|store, _| {
        let mut rules = rules(&[("a", rule(RuleKind::Trade { side: None }, "0")), ("a", cluster(2, 100))]);
        rules.set_max_age("a", 3600);
        let logged = log(store, &[buy(1, "w", "pepe", NOW - 3601), buy(2, "v", "pepe", NOW - 3600)], &rules);
        assert_eq!((logged.new.len(), logged.notifications, logged.too_old), (2, 2, 1));
    });
}

#[test]
fn a_channel_is_leased_in_order_by_one_at_a_time() {
    each(|store, again| {
        let rules = all_to_a();
        let mut other = again();
        assert_eq!(lease(store, "a", "one", 0), Leased::default());
        log(store, &[buy(1, "w", "p", 1), buy(2, "w", "p", 2), buy(3, "w", "p", 3)], &rules);
        let mine = lease(store, "a", "one", 10);
        assert_eq!(mine.rows.len(), 2);
        assert!(mine.rows[0].key.ends_with("1/pair of p/tx1/7"), "{:?}", mine.rows);
        let theirs = lease(&mut *other, "a", "two", 20);
        assert_eq!((theirs.rows.len(), theirs.wait_until_ms), (0, Some(1010)));
        // Sent, and not sent: nobody overtakes the one that waits.
        store.mark_sent(mine.rows[0].id, 30).unwrap();
        store.mark_retry(mine.rows[1].id, "one", 500, "it was away").unwrap();
        let theirs = lease(&mut *other, "a", "two", 40);
        assert_eq!((theirs.rows.len(), theirs.wait_until_ms), (0, Some(500)));
        let summary = store.outbox().unwrap();
        assert_eq!((summary[0].pending, summary[0].sent, summary[0].failed), (2, 1, 0));
        assert_eq!(summary[0].last_error.as_deref(), Some("it was away"));
        let theirs = lease(&mut *other, "a", "two", 500);
        assert_eq!(theirs.rows.iter().map(|row| row.attempts).collect::<Vec<_>>(), [1, 0]);
        // The lease ends; who had it marks what it has not any more, which only tells the truth.
        let mine = lease(store, "a", "one", 1500);
        assert_eq!(mine.rows, theirs.rows);
        other.mark_retry(theirs.rows[0].id, "two", 9000, "too late").unwrap();
        other.mark_failed(theirs.rows[1].id, "two", 9000, "too late").unwrap();
        other.mark_sent(theirs.rows[0].id, 1600).unwrap();
        store.mark_failed(mine.rows[1].id, "one", 1700, "no such chat").unwrap();
        let summary = store.outbox().unwrap().remove(0);
        assert_eq!((summary.pending, summary.sent, summary.failed), (0, 2, 1));
        assert_eq!(summary.last_failure.as_deref(), Some("no such chat"));
    });
}

#[test]
fn nobody_waits_for_a_time_that_a_clock_left_behind_when_it_was_set_back() {
    each(|store, again| {
        log(store, &[buy(1, "w", "p", 1)], &all_to_a());
        let mut other = again();
        // Leased by one whose clock was a day ahead, and who is no more.
        let day_ms = 86_400_000;
        let row = lease(store, "a", "one", day_ms).rows.remove(0);
        let leased = lease(&mut *other, "a", "two", 10);
        assert_eq!(leased.rows.len(), 1, "{leased:?}");
        // Put off for five minutes by the wrong clock; an hour is the most that is ever meant.
        other.mark_retry(row.id, "two", day_ms + 300_000, "busy").unwrap();
        assert_eq!(lease(&mut *other, "a", "two", 20).rows.len(), 1);
        other.mark_retry(row.id, "two", NEXT_TRY_MAX_MS, "busy").unwrap();
        let waits = lease(&mut *other, "a", "two", 30);
        assert_eq!((waits.rows.len(), waits.wait_until_ms), (0, Some(NEXT_TRY_MAX_MS)));
    });
}

#[test]
fn a_wallet_that_buys_all_day_is_asked_about_its_latest_buys() {
    each(|store, _| {
        let rules = rules(&[("a", rule(RuleKind::FirstBuy, "500"))]);
        let small: Vec<_> = (0..300).map(|n| trade(n, "w", "p", n, "499", Side::Buy)).collect();
        assert_eq!(log(store, &small, &rules).notifications, 0);
        let large = |n| trade(n, "w", "p", n, "500", Side::Buy);
        assert_eq!(log(store, &[large(1000)], &rules).notifications, 1);
        let small: Vec<_> = (2000..2300).map(|n| trade(n, "w", "p", n, "499", Side::Buy)).collect();
        log(store, &small, &rules);
        assert_eq!(log(store, &[large(3000), large(3001)], &rules).notifications, 0);
    });
}

#[test]
fn failed_rows_are_sent_when_asked_for_and_sent_ones_are_forgotten() {
    each(|store, _| {
        let rules = all_to_a();
        log(store, &[buy(1, "w", "p", 1), buy(2, "w", "p", 2)], &rules);
        let rows = lease(store, "a", "one", 10).rows;
        store.mark_failed(rows[0].id, "one", 20, "no").unwrap();
        store.mark_sent(rows[1].id, 30).unwrap();
        assert_eq!(lease(store, "a", "one", 40), Leased::default());
        assert_eq!((store.requeue("other").unwrap(), store.requeue("a").unwrap()), (0, 1));
        let row = lease(store, "a", "two", 50).rows.remove(0);
        assert_eq!((row.id, row.attempts), (rows[0].id, 0));
        store.release("two").unwrap();
        assert_eq!(lease(store, "a", "three", 60).rows.len(), 1);
        assert_eq!((store.forget_sent(30).unwrap(), store.forget_sent(31).unwrap()), (0, 1));
        assert_eq!(store.outbox().unwrap()[0].sent, 0);
    });
}

#[test]
fn dispatchers_of_several_processes_share_no_row() {
    each(|store, again| {
        let rules = all_to_a();
        let trades: Vec<_> = (0..60).map(|n| buy(n, "w", "p", n + 1)).collect();
        log(store, &trades, &rules);
        let taken: Vec<Vec<i64>> = std::thread::scope(|scope| {
            let dispatchers: Vec<_> = ["one", "two", "three"]
                .map(|owner| {
                    let mut store = again();
                    scope.spawn(move || {
                        let mut taken = Vec::new();
                        loop {
                            let leased = lease(&mut *store, "a", owner, 10);
                            if leased == Leased::default() {
                                return taken;
                            }
                            for row in leased.rows {
                                taken.push(row.id);
                                store.mark_sent(row.id, 10).unwrap();
                            }
                        }
                    })
                })
                .into_iter()
                .collect();
            dispatchers.into_iter().map(|dispatcher| dispatcher.join().unwrap()).collect()
        });
        let all: Vec<i64> = taken.concat();
        assert_eq!(all.len(), 60);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 60);
        assert!(taken.iter().all(|one| one.is_sorted()));
    });
}

#[test]
fn addresses_that_others_change_are_seen_by_their_version() {
    each(|store, again| {
        let add = |address: &str, label: &str, chain_id: &str| {
            Change::Add(Known { address: address.into(), chain_id: chain_id.into(), label: label.into() })
        };
        let remove = |address: &str| Change::Remove { address: address.into(), chain_id: String::new() };
        let mut other = again();
        assert_eq!(store.address_changes(0).unwrap().version, 0);
        let three = [add("0xb", "", ""), add("0xa", "whale", ""), add("0xb", "here", "1")];
        assert_eq!(other.change_addresses(&three, 5).unwrap(), 3);
        let first = store.address_changes(0).unwrap();
        assert_eq!((first.version, first.changes.len()), (1, 3));
        // What changes nothing is no change.
        assert_eq!(store.change_addresses(&[add("0xa", "whale", "")], 6).unwrap(), 0);
        assert_eq!(store.address_changes(1).unwrap().version, 1);
        // A removal is noted of an address that was never here too: a file may have it.
        assert_eq!(other.change_addresses(&[remove("0xb"), remove("0xz")], 7).unwrap(), 2);
        assert_eq!(other.change_addresses(&[remove("0xz")], 7).unwrap(), 0);
        other.change_addresses(&[add("0xa", "shark", "")], 8).unwrap();
        let then = store.address_changes(1).unwrap();
        assert_eq!(
            (then.version, then.changes),
            (3, vec![remove("0xb"), remove("0xz"), add("0xa", "shark", "")])
        );
        other.change_addresses(&[add("0xb", "back", ""), remove("0xa")], 9).unwrap();
        let all = vec![add("0xb", "here", "1"), remove("0xz"), remove("0xa"), add("0xb", "back", "")];
        assert_eq!(store.address_changes(0).unwrap().changes, all);
        // The version of another table, which was there before this one.
        assert_eq!(store.address_changes(77).unwrap().changes, all);
    });
}
