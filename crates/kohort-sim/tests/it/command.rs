use kohort_sim::{bugs, cli};

/// Exit code, stdout, stderr.
#[expect(clippy::unwrap_used, reason = "a failure here is the test's")]
fn sim(args: &[&str]) -> (u8, String, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli(&args, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_first_line_names_the_seed_and_the_last_counts() {
    let (code, out, _) = sim(&["--seed", "7"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("seed 7 hosts="), "{out}");
    assert_eq!(out.lines().last(), Some("1 seeds, 0 failed"));
}

#[test]
fn a_failure_says_how_to_replay_it_and_the_replay_prints_the_same_bytes() {
    let (code, out, _) = sim(&["--seeds=30", "--bug=two-owners"]);
    assert_eq!(code, 1);
    let replay = out.lines().find_map(|line| line.trim().strip_prefix("replay: kohort sim ")).unwrap();
    let args: Vec<&str> = replay.split(' ').collect();
    let (code, once, _) = sim(&args);
    assert_eq!(code, 1);
    assert!(once.contains("broken: OneOwner: ") && once.ends_with("1 seeds, 1 failed\n"), "{once}");
    assert_eq!(sim(&args).1, once);
}

#[test]
fn the_bugs_are_listed_name_first() {
    let (code, out, _) = sim(&["--bug", "help"]);
    assert_eq!(code, 0);
    assert!(out.lines().count() >= 3);
    for ((name, _), line) in bugs().zip(out.lines()) {
        assert!(line.starts_with(&format!("{name} ")), "{line}");
    }
}

#[test]
fn wrong_use_is_told_on_stderr_with_the_mend() {
    for (args, says) in [
        (&["--seed"][..], "`--seed` needs a value"),
        (&["--seed", "x"], "`--seed` needs a whole number, not `x`"),
        (&["--protocol", "raft"], "unknown protocol `raft`"),
        (&["--protocol", "consumer"], "`--protocol consumer` (KIP-848) is not simulated yet"),
        (&["--bug", "gremlins"], "unknown bug `gremlins`: `--bug help` lists them"),
        (&["--sed"], "unknown argument `--sed`"),
    ] {
        let (code, out, err) = sim(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(says), "{err}");
        assert!(err.contains("hint: ") && err.lines().count() == 2, "{err}");
    }
}

#[test]
fn help_has_examples() {
    let (code, out, _) = sim(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Examples:"));
}
