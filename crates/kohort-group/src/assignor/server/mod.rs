//! The broker's assignors (KIP-848): `range` and `uniform`, as of Apache Kafka 4.0.
//!
//! Topics are named by whatever the caller names them by (in a broker the topic id): the order of the names decides
//! where Kafka leaves it to a hash. Members are visited in the order in which they are passed; pass them by member
//! id. A target that does not change is the same `Arc` as before, so that the caller sees at a glance who is concerned.
//! Racks are not looked at, as in Kafka.

mod equal;
mod intern;
mod unequal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use super::intern::{Order, index, sort_key};
use crate::messages::Partition;
use intern::Interned;

/// The wire name of [`range`].
pub const RANGE: &str = "range";

/// The wire name of [`uniform`].
pub const UNIFORM: &str = "uniform";

/// What a member is to have: topics with their partitions.
pub type Target<T> = Vec<(T, Vec<Partition>)>;

/// A member, as the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<T> {
    /// Its member id.
    pub id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// The topics it wants, pattern resolved. Members that want the same should share one set.
    pub subscribed: Arc<BTreeSet<T>>,
    /// What it is to have until now; no partition occurs at two members.
    pub target: Arc<Target<T>>,
}

/// Whether all members want the same topics (Kafka's SubscriptionType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionType {
    /// They do.
    Homogeneous,
    /// Some do not.
    Heterogeneous,
}

impl SubscriptionType {
    /// What the members' subscriptions are.
    pub fn of<T: Ord>(members: &[Member<T>]) -> Self {
        let same = |pair: &[Member<T>]| {
            Arc::ptr_eq(&pair[0].subscribed, &pair[1].subscribed) || pair[0].subscribed == pair[1].subscribed
        };
        match members.windows(2).all(same) {
            true => Self::Homogeneous,
            false => Self::Heterogeneous,
        }
    }
}

/// Why nothing is assigned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssignError {
    /// Kafka's PartitionAssignorException: the caller resolves subscriptions against the same metadata.
    #[error("member `{member}` is subscribed to a topic that does not exist")]
    UnknownTopic {
        /// The member's id.
        member: String,
    },
}

/// The members' new targets, in the order of the members.
pub type Targets<T> = Vec<Arc<Target<T>>>;

/// Topic by topic consecutive partitions to the members in order, static members first; topics with as many partitions
/// and the same members are assigned alike. Says the same for both subscription types.
///
/// # Errors
///
/// [`AssignError::UnknownTopic`].
pub fn range<T: Ord + Clone>(
    topics: &BTreeMap<T, Partition>,
    members: &[Member<T>],
) -> Result<Targets<T>, AssignError> {
    let group = Interned::new(topics, members)?;
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|member| {
        let member = &members[*member];
        sort_key(&member.id, member.instance_id.as_deref(), Order::StaticFirst)
    });
    let mut seat_of = vec![0; members.len()];
    for (seat, member) in order.iter().enumerate() {
        seat_of[*member] = seat;
    }
    let mut targets: Vec<Target<T>> = vec![Vec::new(); members.len()];
    let (mut audiences, audience_of) = group.audiences();
    for audience in &mut audiences {
        audience.sort_unstable_by_key(|member| seat_of[*member as usize]);
    }
    for (topic, (name, partitions)) in group.topics.iter().enumerate() {
        let audience = &audiences[audience_of[topic] as usize];
        let (each, extra) = (index(partitions / audience.len()), partitions % audience.len());
        let mut next = 0;
        for (seat, member) in audience.iter().enumerate() {
            let count =
                Partition::try_from(each + index(usize::from(seat < extra))).unwrap_or(Partition::MAX);
            if count == 0 {
                break;
            }
            targets[*member as usize].push(((*name).clone(), (next..next + count).collect()));
            next += count;
        }
    }
    let same_or_new = |(target, member): (Target<T>, &Member<T>)| match *member.target == target {
        true => Arc::clone(&member.target),
        false => Arc::new(target),
    };
    Ok(targets.into_iter().zip(members).map(same_or_new).collect())
}

/// Spreads the partitions of all topics evenly and moves as few as it can. `subscriptions` chooses the way:
/// [`SubscriptionType::of`] says it.
///
/// # Errors
///
/// [`AssignError::UnknownTopic`].
pub fn uniform<T: Ord + Clone>(
    topics: &BTreeMap<T, Partition>,
    members: &[Member<T>],
    subscriptions: SubscriptionType,
) -> Result<Targets<T>, AssignError> {
    let group = Interned::new(topics, members)?;
    Ok(match subscriptions {
        SubscriptionType::Homogeneous => equal::assign(&group),
        SubscriptionType::Heterogeneous => unequal::assign(&group),
    })
}
