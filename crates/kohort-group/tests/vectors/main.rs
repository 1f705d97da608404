//! Runs every case of every file of a folder of assignor vectors: this one, or that of `KOHORT_VECTORS`.
//!
//! The README beside the files says where they come from and what the words mean. What is not understood fails.

#![expect(clippy::disallowed_types, reason = "the cases state time limits, in seconds of the clock")]

mod check;
mod format;
mod generate;
mod shared;
mod subject;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use check::Held;
use format::{Assigned, Case, Expect, Generate, Round, Step};
use generate::Random;
use subject::{Outcome, Subject};

const FILES: [&str; 7] =
    ["common", "cooperative_sticky", "range", "roundrobin", "server_range", "server_uniform", "sticky"];

/// The folder, and whether it is our own.
fn folder() -> (PathBuf, bool) {
    match std::env::var_os("KOHORT_VECTORS") {
        Some(folder) => (folder.into(), false),
        None => (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), true),
    }
}

/// Past the capture of output: the counts are to be seen.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs one file; in a foreign folder a file may be missing, which is said.
fn run<C: serde::de::DeserializeOwned>(
    stem: &str,
    name: fn(&C) -> &str,
    each: impl Fn(&C) -> Result<(), String>,
) {
    let (folder, own) = folder();
    let path = folder.join(stem).with_extension("json");
    if !own && !path.exists() {
        say(&format!("vectors: no {}", path.display()));
        return;
    }
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array of cases");
    assert!(!cases.is_empty(), "{} has no cases", path.display());
    let mut failed = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let result = serde_json::from_value::<C>(case.clone())
            .map_err(|error| format!("#{number} {}: not understood: {error}", case["name"]))
            .and_then(|case| each(&case).map_err(|error| format!("#{number} {}: {error}", name(&case))));
        failed.extend(result.err());
    }
    say(&format!("vectors: {}: {} cases, {} failed", path.display(), cases.len(), failed.len()));
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

fn run_assignor(stem: &str) {
    let subject = Subject::of_file(stem).expect("a file of an assignor");
    run::<Case>(stem, |case| &case.name, |case| run_case(subject, case));
}

#[test]
fn vectors_of_range() {
    run_assignor("range");
}

#[test]
fn vectors_of_roundrobin() {
    run_assignor("roundrobin");
}

#[test]
fn vectors_of_sticky() {
    run_assignor("sticky");
}

#[test]
fn vectors_of_cooperative_sticky() {
    run_assignor("cooperative_sticky");
}

#[test]
fn vectors_of_server_range() {
    run_assignor("server_range");
}

#[test]
fn vectors_of_server_uniform() {
    run_assignor("server_uniform");
}

#[test]
fn vectors_in_common() {
    run::<shared::Shared>("common", shared::Shared::name, shared::Shared::run);
}

#[test]
fn every_file_of_the_folder_of_vectors_is_known() {
    let (folder, own) = folder();
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut files: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    files.sort();
    if own {
        assert_eq!(files, FILES);
    }
    assert!(!files.is_empty(), "no vectors in {}", folder.display());
    let unknown: Vec<&String> = files.iter().filter(|file| !FILES.contains(&file.as_str())).collect();
    assert!(unknown.is_empty(), "files that no test reads: {unknown:?}");
}

fn run_case(subject: Subject, case: &Case) -> Result<(), String> {
    match case.origin.as_deref() {
        None | Some("documented" | "derived" | "later-kafka") => {}
        Some(origin) => return Err(format!("unknown origin `{origin}`")),
    }
    match case {
        Case { generate: Some(recipe), steps: None, topics: None, members: None, expect, .. } => {
            run_generated(subject, case, recipe, &expect.clone().unwrap_or_default())
        }
        Case { steps: Some(steps), topics: None, members: None, expect: None, generate: None, .. } => {
            run_steps(subject, steps)
        }
        Case { topics: Some(topics), members: Some(members), expect: Some(expect), steps: None, .. } => {
            let step = Step {
                subscription_type: case.subscription_type.clone(),
                topic_order: case.topic_order.clone(),
                _note: None,
                topics: topics.clone(),
                members: members.clone(),
                expect: expect.clone(),
            };
            run_steps(subject, &[step])
        }
        _ => Err("neither one round, nor steps, nor a recipe".to_owned()),
    }
}

fn run_steps(subject: Subject, steps: &[Step]) -> Result<(), String> {
    let mut history: Vec<Assigned> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let said = |error: String| format!("step {number}: {error}");
        let mut round = Round::new(&step.topics, &step.members, &history).map_err(said)?;
        round.subscription_type.clone_from(&step.subscription_type);
        round.topic_order.clone_from(&step.topic_order);
        if step.expect.is_empty() {
            return Err(said("expects nothing".to_owned()));
        }
        history.push(run_round(subject, &round, &history, &step.expect).map_err(said)?.0);
    }
    Ok(())
}

/// Runs a round, holds the result to what is expected of it, and returns what members have in the end and how long
/// the assignor took for its first answer.
fn run_round(
    subject: Subject,
    round: &Round,
    history: &[Assigned],
    expect: &Expect,
) -> Result<(Assigned, Duration), String> {
    let outcome = match subject.run(round)? {
        Ok(outcome) => outcome,
        Err(error)
            if expect.get("error").is_some_and(|said| said == "unknown-topic") && expect.len() == 1 =>
        {
            let kohort_group::assignor::server::AssignError::UnknownTopic { .. } = error;
            return Ok((Assigned::new(), Duration::ZERO));
        }
        Err(error) => return Err(error.to_string()),
    };
    let cooperative = subject == Subject::CooperativeSticky;
    let (settled, followups) =
        if cooperative { settle(subject, round, &outcome)? } else { Default::default() };
    let held = Held {
        round,
        outcome: &outcome,
        history,
        settled: cooperative.then_some(&settled),
        followups,
        complete: !cooperative,
    };
    held.check(expect)?;
    if cooperative {
        // Holds in every case, said or not.
        check::complete(round, &settled)?;
        return Ok((settled, outcome.took));
    }
    Ok((outcome.assigned, outcome.took))
}

/// Follow-up rounds until nobody loses anything.
fn settle(subject: Subject, round: &Round, outcome: &Outcome) -> Result<(Assigned, usize), String> {
    let (mut round, mut result) = (round.clone(), outcome.assigned.clone());
    for followups in 0..=8 {
        let loses = |member: &format::Member| {
            let is = result.get(&member.id);
            let kept: std::collections::BTreeSet<_> = is.into_iter().flatten().collect();
            member.owned.iter().flatten().any(|pair| !kept.contains(pair))
        };
        if !round.members.iter().any(loses) {
            return Ok((result, followups));
        }
        round = round.followed_by(&result);
        result = subject.run(&round)?.map_err(|error| error.to_string())?.assigned;
    }
    Err("does not settle in 8 follow-ups".to_owned())
}

fn run_generated(subject: Subject, case: &Case, recipe: &Generate, expect: &Expect) -> Result<(), String> {
    let mut expect = expect.clone();
    let limit = expect.remove("time_limit_s").and_then(|limit| limit.as_f64()).map(Duration::from_secs_f64);
    match expect.remove("time_covers") {
        None => {}
        Some(covers) if covers == "both rounds and set-up" => {}
        Some(covers) => return Err(format!("time covers {covers}")),
    }
    if !matches!(recipe.kind.as_str(), "scale" | "random") {
        return Err(format!("kind `{}`", recipe.kind));
    }
    let variant = case.variant.as_deref();
    let mut slowest = Duration::ZERO;
    for repeat in 0..recipe.repeat.unwrap_or(1) {
        // Set-up and rounds count, what is checked here and not by Kafka does not.
        let mut took = Duration::ZERO;
        let mut random = Random::seeded(&case.name, repeat);
        let mut rounds: Option<(Round, Assigned)> = None;
        for (at, spec) in recipe.rounds.iter().enumerate() {
            let began = Instant::now();
            let round = match &rounds {
                None if spec.owned == "none" && spec.change.is_none() => {
                    generate::first(recipe, variant, &mut random)?
                }
                None => return Err(format!("a first round with owned `{}`", spec.owned)),
                Some((round, result)) => generate::next(recipe, at, round, result, variant, &mut random)?,
            };
            took += began.elapsed();
            let mut of_round = expect.clone();
            of_round.extend(spec.expect.clone().unwrap_or_default());
            let (result, of_assignor) = run_round(subject, &round, &[], &of_round)
                .map_err(|error| format!("repeat {repeat}, round {}: {error}", at + 1))?;
            took += of_assignor;
            rounds = Some((round, result));
        }
        slowest = slowest.max(took);
    }
    if let Some(limit) = limit {
        say(&format!("vectors: {}: {slowest:.2?} of {limit:?}", case.name));
        if slowest > limit {
            return Err(format!("took {slowest:.1?}, more than {limit:?}"));
        }
    }
    Ok(())
}
