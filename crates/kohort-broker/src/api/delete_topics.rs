//! DeleteTopics (20), versions 1 to 6. 5: error messages. 6: by name or by id.
//!
//! A deleted topic is gone at once; its groups' offsets go with it (Kafka does the same on the coordinator's side).
//! Not deleted: the offsets' topic, which Kafka gives up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_protocol::messages::delete_topics_response::DeletableTopicResult;
use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kohort_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Call, Outcome, create_topics, text};
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
    let mut deleted = Vec::new();
    let results = if request.timeout_ms <= 0 {
        // Over before it begins: Kafka's controller does not look at such a request.
        let late = given.into_iter().map(|g| result(g, Some((ErrorCode::REQUEST_TIMED_OUT, String::new()))));
        late.collect()
    } else {
        let (wanted, mut results) = sort_out(call.shared, &given);
        for given in wanted {
            results.push(match delete(call.shared, &given) {
                Ok(topic) => {
                    deleted.push(topic.name.clone());
                    result((Some(text(topic.name.clone())), topic.id), None)
                }
                Err(refusal) => result(given, Some(refusal)),
            });
        }
        results
    };
    if !deleted.is_empty() {
        call.shared.groups.topics_deleted(call.shared, deleted);
    }
    call.answer(&DeleteTopicsResponse::default().with_responses(results))
}

fn result((name, id): Given, refusal: Option<Refusal>) -> DeletableTopicResult {
    let (error, why) = refusal.unzip();
    DeletableTopicResult::default()
        .with_name(name.map(TopicName))
        .with_topic_id(id)
        .with_error_code(error.unwrap_or_default().0)
        .with_error_message(why.filter(|why| !why.is_empty()).map(text))
}

fn find(shared: &Shared, (name, id): &Given) -> Option<Arc<Topic>> {
    match name {
        Some(name) => shared.catalog.topic(name),
        None => shared.catalog.topic_by_id(*id),
    }
}

/// What is to be deleted, and what is refused because of how it is given: with a name and an id, with neither, more than once, by
/// its name here and by its id there.
fn sort_out(shared: &Shared, given: &[Given]) -> (Vec<Given>, Vec<DeletableTopicResult>) {
    let invalid = |given: Given, why: &str| result(given, Some((ErrorCode::INVALID_REQUEST, why.to_owned())));
    let mut results = Vec::new();
    let mut times: BTreeMap<&Given, usize> = BTreeMap::new();
    for entry in given {
        match entry {
            (None, id) if id.is_nil() => {
                results.push(invalid(entry.clone(), "Neither topic name nor id were specified."));
            }
            (Some(_), id) if !id.is_nil() => {
                results.push(invalid(entry.clone(), "You may not specify both topic name and topic id."));
            }
            _ => *times.entry(entry).or_default() += 1,
        }
    }
    let (once, often): (Vec<&Given>, Vec<&Given>) = times.keys().partition(|given| times[*given] == 1);
    for given in often {
        let why = if given.0.is_some() { "Duplicate topic name." } else { "Duplicate topic id." };
        results.push(invalid(given.clone(), why));
    }
    let ids: BTreeSet<Uuid> = once.iter().filter(|given| given.0.is_none()).map(|given| given.1).collect();
    let by_both: BTreeSet<Uuid> = once
        .iter()
        .filter(|given| given.0.is_some())
        .filter_map(|given| find(shared, given))
        .map(|topic| topic.id)
        .filter(|id| ids.contains(id))
        .collect();
    let mut wanted = Vec::new();
    for given in once {
        match find(shared, given).filter(|topic| by_both.contains(&topic.id)) {
            None => wanted.push(given.clone()),
            Some(topic) if given.0.is_some() => results.push(invalid(
                (given.0.clone(), topic.id),
                "The provided topic name maps to an ID that was already supplied.",
            )),
            Some(_) => {}
        }
    }
    (wanted, results)
}

fn delete(shared: &Shared, given: &Given) -> Result<Arc<Topic>, Refusal> {
    if !shared.settings.flag("delete.topic.enable") {
        return Err((ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled.".to_owned()));
    }
    let missing =
        if given.0.is_some() { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::UNKNOWN_TOPIC_ID };
    let topic = find(shared, given).ok_or_else(|| (missing, missing.message().to_owned()))?;
    if topic.is_internal() {
        // Kafka deletes it, and every group with it. Here its host would be left without a log, and no group could be kept.
        let why = "The offsets topic holds all groups and is not deleted; delete groups instead.";
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why.to_owned()));
    }
    shared.catalog.delete(&topic.name).map_err(|e| create_topics::catalog_error(&e))
}
