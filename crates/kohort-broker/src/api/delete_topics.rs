//! DeleteTopics (20), versions 1 to 6. 5: error messages. 6: by name or by id.
//!
//! A deleted topic is gone at once; its groups' offsets go with it (Kafka does the same on the coordinator's side).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::messages::delete_topics_response::DeletableTopicResult;
use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kohort_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Call, Outcome, text};
use crate::broker::Shared;
use crate::catalog::Topic;
use crate::connection::HangUp;

type Refusal = (ErrorCode, String);

/// A topic as a request gives it: by name, or by id.
type Given = (Option<StrBytes>, Uuid);

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DeleteTopicsRequest = call.request()?;
    let given: Vec<Given> = if call.version() >= 6 {
        request.topics.into_iter().map(|t| (t.name.map(|n| n.0), t.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|n| (Some(n.0), Uuid::nil())).collect()
    };
    let repeated = repeated(call.shared, &given);
    let mut results = Vec::new();
    let mut deleted = Vec::new();
    for given in given.into_iter().collect::<BTreeSet<_>>() {
        let outcome = if repeated.contains(&given) {
            Err((ErrorCode::INVALID_REQUEST, "Duplicate topic.".to_owned()))
        } else {
            delete(call.shared, &given)
        };
        let (name, id, refusal) = match outcome {
            Ok(topic) => {
                deleted.push(topic.name.clone());
                (Some(text(topic.name.clone())), topic.id, None)
            }
            Err(refusal) => (given.0, given.1, Some(refusal)),
        };
        let (error, why) = refusal.unzip();
        results.push(
            DeletableTopicResult::default()
                .with_name(name.map(TopicName))
                .with_topic_id(id)
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.map(text)),
        );
    }
    if !deleted.is_empty() {
        call.shared.groups.topics_deleted(call.shared, deleted);
    }
    call.answer(&DeleteTopicsResponse::default().with_responses(results))
}

fn is_well_formed((name, id): &Given) -> bool {
    name.is_some() == id.is_nil()
}

fn find(shared: &Shared, (name, id): &Given) -> Option<Arc<Topic>> {
    match name {
        Some(name) => shared.catalog.topic(name),
        None => shared.catalog.topic_by_id(*id),
    }
}

/// What is given more than once, a topic by its name here and by its id there included. An entry that is wrong in itself
/// counts with none.
fn repeated(shared: &Shared, given: &[Given]) -> BTreeSet<Given> {
    let mut of_topic: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut of_entry: BTreeMap<&Given, usize> = BTreeMap::new();
    for entry in given.iter().filter(|g| is_well_formed(g)) {
        *of_entry.entry(entry).or_default() += 1;
        if let Some(topic) = find(shared, entry) {
            *of_topic.entry(topic.id).or_default() += 1;
        }
    }
    let often = |entry: &&Given| {
        let topic = find(shared, entry).and_then(|t| of_topic.get(&t.id));
        of_entry.get(entry).is_some_and(|n| *n > 1) || topic.is_some_and(|n| *n > 1)
    };
    given.iter().filter(|g| is_well_formed(g)).filter(often).cloned().collect()
}

fn delete(shared: &Shared, given: &Given) -> Result<Arc<Topic>, Refusal> {
    if !is_well_formed(given) {
        let why = "Either the topic's name or its id must be given, and not both.";
        return Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
    }
    if !shared.settings.flag("delete.topic.enable") {
        return Err((ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled.".to_owned()));
    }
    let missing =
        if given.0.is_some() { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::UNKNOWN_TOPIC_ID };
    let topic = find(shared, given)
        .ok_or_else(|| (missing, "This server does not host this topic-partition.".to_owned()))?;
    shared.catalog.delete(&topic.name).map_err(|e| super::create_topics::catalog_error(&e))
}
