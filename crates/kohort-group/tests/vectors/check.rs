//! What a result is held to. A word that is not known fails the case.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::format::{Assigned, Expect, Given, Pair, Round, given};
use crate::subject::Outcome;

/// Everything a word may be about.
pub(crate) struct Held<'a> {
    pub(crate) round: &'a Round,
    pub(crate) outcome: &'a Outcome,
    pub(crate) history: &'a [Assigned],
    /// The result after follow-up rounds, of a cooperative case.
    pub(crate) settled: Option<&'a Assigned>,
    pub(crate) followups: usize,
    /// Whether the result in question must be complete.
    pub(crate) complete: bool,
}

fn parse<T: DeserializeOwned>(word: &str, value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("`{word}` is not understood: {error}"))
}

fn fail<T>(word: &str, what: impl Into<String>) -> Result<T, String> {
    Err(format!("{word}: {}", what.into()))
}

fn exactly(word: &str, value: &Value, is: usize) -> Result<(), String> {
    let said: usize = parse(word, value)?;
    if said == is { Ok(()) } else { fail(word, format!("is {is}, not {said}")) }
}

fn at_most(word: &str, value: &Value, is: usize) -> Result<(), String> {
    let said: usize = parse(word, value)?;
    if is <= said { Ok(()) } else { fail(word, format!("is {is}, more than {said}")) }
}

impl Held<'_> {
    /// Holds the result to all words, or all but what an alternative replaces.
    pub(crate) fn check(&self, expect: &Expect) -> Result<(), String> {
        let Err(first) = self.check_words(expect) else { return Ok(()) };
        let Some(alternatives) = expect.get("alternatives") else { return Err(first) };
        let alternatives: Vec<Expect> = parse("alternatives", alternatives)?;
        let mut reasons = vec![first];
        for alternative in &alternatives {
            match self.check_words(&merged(expect, alternative)) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; or: "))
    }

    fn check_words(&self, expect: &Expect) -> Result<(), String> {
        let order = expect.get("order").map(|order| parse::<String>("order", order)).transpose()?;
        if self.complete {
            complete(self.round, &self.outcome.assigned)?;
        }
        for (word, value) in expect {
            match word.as_str() {
                // Said beside other words, or not an expectation.
                "order" | "alternatives" | "observed" => {}
                "derived" => drop(parse::<bool>(word, value)?),
                "later" => drop(parse::<Later>(word, value)?),
                "error" => return fail(word, format!("expected {value}, but it was assigned")),
                "assignment" => self.exactly(&parse(word, value)?, order.as_deref(), true)?,
                "assignment_of" => self.exactly(&parse(word, value)?, order.as_deref(), false)?,
                "settled" => self.settled(&parse(word, value)?)?,
                "portable" => self.check_words(&parse(word, value)?)?,
                _ => self.check_word(word, value)?,
            }
        }
        Ok(())
    }

    fn check_word(&self, word: &str, value: &Value) -> Result<(), String> {
        let result = &self.outcome.assigned;
        let claims = valid_claims(self.round);
        let holds = |is: bool| match parse::<bool>(word, value)? {
            said if said == is => Ok(()),
            _ => fail(word, format!("is {is}")),
        };
        match word {
            "valid" => {
                let valid = valid(self.round, result);
                holds(valid.is_ok()).map_err(|error| format!("{error}: {}", valid.err().unwrap_or_default()))
            }
            "balanced" => holds(balanced(result)),
            "unchanged" => holds(unchanged(self.round, result)),
            "sticky" => holds(sticky(&claims, result)),
            "no_early_handover" => holds(no_early_handover(self.round, result)),
            "moves" => exactly(word, value, moves(&claims, result)),
            "max_moves" => at_most(word, value, moves(&claims, result)),
            "rack_mismatches" => exactly(word, value, rack_mismatches(self.round, result)),
            "transferring" => self.transferring(word, value),
            "transferring_count" => {
                exactly(word, value, self.outcome.transferring.as_ref().map_or(0, BTreeMap::len))
            }
            "subset_of_owned" => self.subset_of_owned(word, value),
            "keeps_all_from" => self.compare(word, value, |is, was| was.is_subset(is)),
            "subset_of" => self.compare(word, value, |is, was| is.is_subset(was)),
            "intersects" => self.compare(word, value, |is, was| !is.is_disjoint(was)),
            "same_as" => self.compare(word, value, |is, was| is == was),
            _ => self.check_sizes(word, value),
        }
    }

    fn check_sizes(&self, word: &str, value: &Value) -> Result<(), String> {
        let result = &self.outcome.assigned;
        let sizes: BTreeMap<&str, usize> = result.iter().map(|(id, of)| (id.as_str(), of.len())).collect();
        let spread = sizes.values().max().unwrap_or(&0) - sizes.values().min().unwrap_or(&0);
        match word {
            "fully_balanced" => match parse::<bool>(word, value)? == (spread <= 1) {
                true => Ok(()),
                false => fail(word, format!("sizes are {sizes:?}")),
            },
            "size_spread" => at_most(word, value, spread),
            "total" => exactly(word, value, sizes.values().sum()),
            "sizes" => {
                let said: BTreeMap<String, usize> = parse(word, value)?;
                let wrong = said.iter().find(|(id, size)| sizes.get(id.as_str()) != Some(*size));
                wrong.map_or(Ok(()), |(id, size)| fail(word, format!("`{id}` has not {size} in {sizes:?}")))
            }
            "sizes_any_order" => {
                let mut said: Vec<usize> = parse(word, value)?;
                let mut are: Vec<usize> = sizes.into_values().collect();
                said.sort_unstable();
                are.sort_unstable();
                if said == are { Ok(()) } else { fail(word, format!("are {are:?}")) }
            }
            "size_between" => {
                let (least, most): (usize, usize) = parse(word, value)?;
                let fits = sizes.values().all(|size| (least..=most).contains(size));
                if fits { Ok(()) } else { fail(word, format!("{sizes:?}")) }
            }
            "per_topic_count" => {
                let said: BTreeMap<String, usize> = parse(word, value)?;
                for (topic, count) in &said {
                    for (id, of) in result {
                        if of.iter().filter(|(of, _)| of == topic).count() != *count {
                            return fail(word, format!("`{id}` has not {count} of `{topic}`"));
                        }
                    }
                }
                Ok(())
            }
            _ => Err(format!("unknown expectation `{word}`")),
        }
    }

    fn subset_of_owned(&self, word: &str, value: &Value) -> Result<(), String> {
        let members: Vec<String> = parse(word, value)?;
        for id in &members {
            let member = self.round.members.iter().find(|member| member.id == *id);
            let owned = member.and_then(|member| member.owned.as_ref()).ok_or("no such claim")?;
            if !self.of(id)?.iter().all(|pair| owned.contains(pair)) {
                return fail(word, format!("`{id}` got more than it claimed"));
            }
        }
        Ok(())
    }

    fn of(&self, id: &str) -> Result<&Vec<Pair>, String> {
        self.outcome.assigned.get(id).ok_or_else(|| format!("there is no member `{id}`"))
    }

    /// The full result, or of the members named only. A member that is not named in a full one has nothing.
    fn exactly(&self, said: &Assigned, order: Option<&str>, full: bool) -> Result<(), String> {
        let listed = match order {
            Some("list") => true,
            Some("set") => false,
            _ => return Err(format!("unknown order {order:?}")),
        };
        let ids: BTreeSet<&String> = if full {
            said.keys().chain(self.outcome.assigned.keys()).collect()
        } else {
            said.keys().collect()
        };
        for id in ids {
            let (mut said, mut is) = (
                said.get(id).cloned().unwrap_or_default(),
                self.outcome.assigned.get(id).cloned().unwrap_or_default(),
            );
            if !listed {
                said.sort();
                is.sort();
            }
            if said != is {
                return fail("assignment", format!("`{id}` has {is:?}, not {said:?}"));
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        word: &str,
        value: &Value,
        holds: fn(&BTreeSet<&Pair>, &BTreeSet<&Pair>) -> bool,
    ) -> Result<(), String> {
        let said: BTreeMap<String, Given> = parse(word, value)?;
        for (id, from) in &said {
            let (is, was) = (self.of(id)?.iter().collect(), given(self.history, from)?.iter().collect());
            if !holds(&is, &was) {
                return fail(word, format!("`{id}` has {is:?}, had {was:?}"));
            }
        }
        Ok(())
    }

    fn transferring(&self, word: &str, value: &Value) -> Result<(), String> {
        let said: Vec<(String, i32, String)> = parse(word, value)?;
        let said: BTreeMap<Pair, String> =
            said.into_iter().map(|(topic, partition, owner)| ((topic, partition), owner)).collect();
        match &self.outcome.transferring {
            Some(are) if *are == said => Ok(()),
            are => fail(word, format!("are {are:?}, not {said:?}")),
        }
    }

    fn settled(&self, expect: &Expect) -> Result<(), String> {
        let Some(settled) = self.settled else { return fail("settled", "only of cooperative sticky") };
        let mut expect = expect.clone();
        let followups: usize = match expect.remove("max_followups") {
            Some(followups) => parse("max_followups", &followups)?,
            None => return fail("settled", "says no `max_followups`"),
        };
        if self.followups > followups {
            return fail("settled", format!("after {} follow-ups", self.followups));
        }
        let outcome = Outcome { took: Duration::ZERO, assigned: settled.clone(), transferring: None };
        let held = Held { outcome: &outcome, settled: None, complete: true, ..*self };
        held.check(&expect).map_err(|error| format!("settled: {error}"))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    #[serde(rename = "assignment")]
    _assignment: Assigned,
    #[serde(rename = "source")]
    _source: String,
    #[serde(default, rename = "note")]
    _note: Option<String>,
}

/// An alternative says what differs; what it says of the end also concerns the settled result.
fn merged(expect: &Expect, alternative: &Expect) -> Expect {
    let mut merged = expect.clone();
    merged.remove("alternatives");
    for (word, value) in alternative {
        match (word.as_str(), merged.get_mut("settled")) {
            ("settled", Some(Value::Object(settled))) => {
                if let Value::Object(more) = value {
                    settled.extend(more.clone());
                }
            }
            ("assignment" | "order", Some(Value::Object(settled))) if !expect.contains_key(word) => {
                settled.insert(word.clone(), value.clone());
            }
            _ => drop(merged.insert(word.clone(), value.clone())),
        }
    }
    merged
}

/// Whose claim to what counts: the highest generation's, if only one is of it.
fn valid_claims(round: &Round) -> BTreeMap<&Pair, &str> {
    let mut best: BTreeMap<&Pair, (i32, Option<&str>)> = BTreeMap::new();
    for member in &round.members {
        let owned: BTreeSet<&Pair> = member.owned.iter().flatten().collect();
        for pair in owned.into_iter().filter(|(topic, _)| round.topics.contains_key(topic)) {
            let held = best.entry(pair).or_insert((i32::MIN, None));
            match member.generation.cmp(&held.0) {
                std::cmp::Ordering::Greater => *held = (member.generation, Some(&member.id)),
                std::cmp::Ordering::Equal => held.1 = None,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    best.into_iter().filter_map(|(pair, (_, owner))| Some((pair, owner?))).collect()
}

fn owners(result: &Assigned) -> BTreeMap<&Pair, &str> {
    result.iter().flat_map(|(id, of)| of.iter().map(move |pair| (pair, id.as_str()))).collect()
}

pub(crate) fn valid(round: &Round, result: &Assigned) -> Result<(), String> {
    let mut taken: BTreeMap<&str, Vec<bool>> = round
        .topics
        .iter()
        .map(|(name, topic)| (name.as_str(), vec![false; topic.partitions as usize]))
        .collect();
    if result.len() != round.members.len() {
        return Err(format!("{} members of {}", result.len(), round.members.len()));
    }
    for member in &round.members {
        let of = result.get(&member.id).ok_or_else(|| format!("`{}` is missing", member.id))?;
        for (topic, partition) in of {
            if !member.subscription.contains(topic) {
                return Err(format!("`{}` did not subscribe to `{topic}`", member.id));
            }
            let slot = taken
                .get_mut(topic.as_str())
                .and_then(|taken| taken.get_mut(usize::try_from(*partition).ok()?));
            match slot {
                Some(slot) if !*slot => *slot = true,
                Some(_) => return Err(format!("`{topic}` {partition} is assigned twice")),
                None => return Err(format!("`{topic}` {partition} does not exist")),
            }
        }
    }
    Ok(())
}

/// Each partition of each topic that somebody wants is given to someone, and every member is there.
pub(crate) fn complete(round: &Round, result: &Assigned) -> Result<(), String> {
    let wanted: BTreeSet<&String> =
        round.members.iter().flat_map(|member| member.subscription.iter()).collect();
    let partitions: usize = wanted
        .iter()
        .filter_map(|name| round.topics.get(*name))
        .map(|topic| usize::try_from(topic.partitions).unwrap_or(0))
        .sum();
    let given: usize = result.values().map(Vec::len).sum();
    valid(round, result)?;
    if partitions == given { Ok(()) } else { Err(format!("{given} of {partitions} partitions are assigned")) }
}

pub(crate) fn balanced(result: &Assigned) -> bool {
    let topics: Vec<(usize, BTreeSet<&str>)> =
        result.values().map(|of| (of.len(), of.iter().map(|(topic, _)| topic.as_str()).collect())).collect();
    topics.iter().enumerate().all(|(at, (size, mine))| {
        topics[..at].iter().all(|(other, theirs)| size.abs_diff(*other) <= 1 || mine.is_disjoint(theirs))
    })
}

fn unchanged(round: &Round, result: &Assigned) -> bool {
    round.members.iter().all(|member| {
        let owned: BTreeSet<&Pair> = member.owned.iter().flatten().collect();
        result.get(&member.id).is_some_and(|is| is.iter().collect::<BTreeSet<_>>() == owned)
    })
}

fn moves(claims: &BTreeMap<&Pair, &str>, result: &Assigned) -> usize {
    let now = owners(result);
    claims.iter().filter(|(pair, was)| now.get(*pair).is_some_and(|is| is != *was)).count()
}

fn sticky(claims: &BTreeMap<&Pair, &str>, result: &Assigned) -> bool {
    let now = owners(result);
    let moved: BTreeSet<(&str, &str, &str)> = claims
        .iter()
        .filter_map(|(pair, was)| {
            now.get(pair).filter(|is| *is != was).map(|is| (pair.0.as_str(), *was, *is))
        })
        .collect();
    moved.iter().all(|(topic, from, to)| !moved.contains(&(*topic, *to, *from)))
}

fn rack_mismatches(round: &Round, result: &Assigned) -> usize {
    let far = |member: &&crate::format::Member, (topic, partition): &Pair| {
        let Some(rack) = &member.rack else { return false };
        let racks = &round.topics[topic].racks;
        !usize::try_from(*partition)
            .ok()
            .and_then(|at| racks.get(at))
            .is_some_and(|racks| racks.contains(rack))
    };
    let of = |member: &crate::format::Member| {
        result.get(&member.id).map_or(0, |of| of.iter().filter(|pair| far(&member, pair)).count())
    };
    round.members.iter().map(of).sum()
}

fn no_early_handover(round: &Round, result: &Assigned) -> bool {
    let (mut gained, mut lost): (BTreeSet<&Pair>, BTreeSet<&Pair>) = Default::default();
    for member in &round.members {
        let owned: BTreeSet<&Pair> = member.owned.iter().flatten().collect();
        let is: BTreeSet<&Pair> = result.get(&member.id).into_iter().flatten().collect();
        gained.extend(is.difference(&owned));
        lost.extend(owned.difference(&is));
    }
    gained.is_disjoint(&lost)
}
