//! Cases that are given as a recipe: sizes that must be done within a time, and random groups held to properties.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::format::{Assigned, FullTopic, Generate, Many, Member, Round};

/// Numbers in a fixed order: a failing case fails again.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(name: &str, repeat: usize) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash ^ repeat as u64)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// A number, or `uniform a..b`, both ends included.
fn number(value: &Value, random: &mut Random) -> Result<usize, String> {
    if let Some(number) = value.as_u64() {
        return Ok(number as usize);
    }
    let range = value
        .as_str()
        .and_then(|text| text.strip_prefix("uniform "))
        .and_then(|range| range.split_once(".."));
    match range.map(|(least, most)| (least.trim().parse::<usize>(), most.trim().parse::<usize>())) {
        Some((Ok(least), Ok(most))) if least <= most => Ok(least + random.below(most - least + 1)),
        _ => Err(format!("number {value}")),
    }
}

/// printf's `%d` and `%0Nd`.
fn names(of: &Many, count: usize) -> Result<Vec<String>, String> {
    let unknown = || format!("name pattern `{}`", of.name);
    let (before, rest) = of.name.split_once('%').ok_or_else(unknown)?;
    let (width, after) = rest.split_once('d').ok_or_else(unknown)?;
    let width: usize = if width.is_empty() { 0 } else { width.parse().map_err(|_| unknown())? };
    Ok((of.first..of.first + count).map(|number| format!("{before}{number:0width$}{after}")).collect())
}

/// The first round of a recipe.
pub(crate) fn first(recipe: &Generate, variant: Option<&str>, random: &mut Random) -> Result<Round, String> {
    let topics = names(&recipe.topics, number(&recipe.topics.count, random)?)?;
    let members = names(&recipe.members, number(&recipe.members.count, random)?)?;
    let racks = Racks::read(&recipe.racks, variant)?;
    let mut round = Round::default();
    for name in &topics {
        let partitions = recipe.topics.partitions.as_ref().ok_or("topics without partitions")?;
        let partitions = number(partitions, random)?;
        let of_each = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let racks = if racks.brokers { vec![of_each(); partitions] } else { Vec::new() };
        round.topics.insert(name.clone(), FullTopic { partitions: partitions as i32, racks, id: None });
    }
    let mut subscriptions = subscriptions(&recipe.subscription, &topics, members.len(), random)?.into_iter();
    for (number, id) in members.into_iter().enumerate() {
        round.members.push(Member {
            id,
            instance_id: None,
            rack: racks.members.then(|| ["a", "b", "c"][number % 3].to_owned()),
            subscription: subscriptions.next().ok_or("too few subscriptions")?,
            owned: None,
            generation: -1,
            encoding: None,
        });
    }
    Ok(round)
}

/// The round after `round`, whose result was `result`.
pub(crate) fn next(
    recipe: &Generate,
    at: usize,
    round: &Round,
    result: &Assigned,
    variant: Option<&str>,
    random: &mut Random,
) -> Result<Round, String> {
    let spec = &recipe.rounds[at];
    let mut next = round.clone();
    if !spec.owned.starts_with("result of round 1, generation 1") {
        return Err(format!("owned `{}`", spec.owned));
    }
    let racks = Racks::read(&recipe.racks, variant)?;
    for member in &mut next.members {
        // Which member it is differs by the width of its number: `c000`, `c0000`.
        let silent = spec.owned.contains(&format!("{} reports nothing", member.id))
            || spec.owned.contains(&format!("but {}, which reports nothing", member.id));
        member.owned = (!silent).then(|| result.get(&member.id).cloned().unwrap_or_default());
        member.generation = if silent { -1 } else { 1 };
        if !silent && racks.lost_with_a_claim {
            member.rack = None;
        }
    }
    if let Some(subscription) = &spec.subscription {
        let topics: Vec<String> = next.topics.keys().cloned().collect();
        let drawn = subscriptions(subscription, &topics, next.members.len(), random)?;
        for (member, subscription) in next.members.iter_mut().zip(drawn) {
            member.subscription = subscription;
        }
    }
    match spec.change.as_deref() {
        None => {}
        Some(change) if change.ends_with("draws with replacement of a member to remove") => {
            let draws: usize =
                change.split(' ').next().and_then(|draws| draws.parse().ok()).ok_or("draws")?;
            let all: Vec<String> = next.members.iter().map(|member| member.id.clone()).collect();
            for _ in 0..draws {
                let gone = &all[random.below(all.len())];
                next.members.retain(|member| member.id != *gone);
            }
        }
        Some(change) => return Err(format!("change `{change}`")),
    }
    Ok(next)
}

type Subscriptions = Vec<Arc<BTreeSet<String>>>;

fn subscriptions(
    words: &str,
    topics: &[String],
    members: usize,
    random: &mut Random,
) -> Result<Subscriptions, String> {
    let shared = |topics: &[String]| Arc::new(topics.iter().cloned().collect::<BTreeSet<_>>());
    let all = shared(topics);
    if words == "all" {
        return Ok(vec![all; members]);
    }
    if words.starts_with("all, except that the last member (")
        && words.ends_with(") has only the first topic")
    {
        let mut each = vec![all; members];
        if let Some(last) = each.last_mut() {
            *last = shared(&topics[..1]);
        }
        return Ok(each);
    }
    if words == "member i: first half of the topics if i mod 4 = 0, else the second half" {
        let (first, second) = topics.split_at(topics.len() / 2);
        let (first, second) = (shared(first), shared(second));
        return Ok((0..members)
            .map(|member| Arc::clone(if member % 4 == 0 { &first } else { &second }))
            .collect());
    }
    let bound = words
        .strip_prefix("per member: draw topics with replacement; before each draw, stop if the number drawn so far is not below a fresh uniform 0..")
        .and_then(|rest| rest.split([' ', ';']).next()?.parse::<usize>().ok());
    if let Some(bound) = bound {
        let mut draw = || {
            let mut drawn = Vec::new();
            while drawn.len() < random.below(bound + 1) {
                drawn.push(topics[random.below(topics.len())].clone());
            }
            shared(&drawn)
        };
        return Ok((0..members).map(|_| draw()).collect());
    }
    Err(format!("subscription `{words}`"))
}

/// What the words on racks say.
struct Racks {
    /// Every partition has a replica on each of three racks.
    brokers: bool,
    /// Members are on the three racks in turn.
    members: bool,
    /// A member that claims something has no rack any more (so it is in Kafka's test of the eager assignor).
    lost_with_a_claim: bool,
}

impl Racks {
    fn read(words: &str, variant: Option<&str>) -> Result<Self, String> {
        let read = match words {
            "none" => Self { brokers: false, members: false, lost_with_a_claim: false },
            "brokers racked a,b,c (every partition has a replica on each), members without rack" => {
                Self { brokers: true, members: false, lost_with_a_claim: false }
            }
            "brokers as before, member i on rack a,b,c by i mod 3" => {
                Self { brokers: true, members: true, lost_with_a_claim: false }
            }
            "brokers as before, member i on rack a,b,c by i mod 3 in round 1; in round 2 only a member that reports nothing still has its rack" => {
                Self { brokers: true, members: true, lost_with_a_claim: true }
            }
            _ => return Err(format!("racks `{words}`")),
        };
        let fits = match variant {
            None => true,
            Some("members-unracked") => read.brokers && !read.members,
            Some("all-racked") => read.brokers && read.members,
            Some("brokers-unracked") => !read.brokers && read.members,
            Some(_) => false,
        };
        if fits { Ok(read) } else { Err(format!("racks `{words}` of variant {variant:?}")) }
    }
}
