use kohort_sim::{Options, bugs, run};

/// Few, because tests run unoptimised; `kohort sim --seeds 1000` is the long one.
const SEEDS: u64 = 40;

#[test]
fn the_first_seeds_hold() {
    for seed in 1..=SEEDS {
        let outcome = run(seed, &Options::default()).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}: {}", outcome.options);
    }
}

#[test]
fn a_run_made_twice_is_the_same_run() {
    let options = Options { trace: true, ..Options::default() };
    for seed in [3, 17, 1 << 40, u64::MAX] {
        let once = run(seed, &options).unwrap();
        assert!(once.steps > 100 && !once.trace.is_empty());
        assert_eq!(once, run(seed, &options).unwrap(), "seed {seed}");
    }
}

#[test]
fn two_seeds_are_two_runs() {
    let digest = |seed| run(seed, &Options::default()).unwrap().digest;
    assert_ne!(digest(1), digest(2));
}

#[test]
fn looking_changes_nothing() {
    let seen = Options { trace: true, ..Options::default() };
    let (with, without) = (run(5, &seen).unwrap(), run(5, &Options::default()).unwrap());
    assert_eq!((with.digest, with.steps), (without.digest, without.steps));
}

#[test]
fn every_deliberate_bug_is_found_by_the_invariant_it_breaks() {
    for (name, what) in bugs() {
        let options = Options { bug: Some(name.to_owned()), ..Options::default() };
        let found = (1..=SEEDS).find_map(|seed| run(seed, &options).unwrap().violation);
        let violation = found.unwrap_or_else(|| panic!("`{name}` was not found in {SEEDS} seeds"));
        assert!(what.contains(violation.invariant), "`{name}` broke {violation}");
    }
}
