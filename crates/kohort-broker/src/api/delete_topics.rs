//! DeleteTopics (20), versions 1 to 6. 5: error messages. 6: by name or by id.
//!
//! A deleted topic is gone at once; its groups' offsets go with it (Kafka does the same on the coordinator's side).

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::messages::delete_topics_response::DeletableTopicResult;
use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kohort_protocol::{ErrorCode, StrBytes, Uuid};

use super::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DeleteTopicsRequest = call.request()?;
    let asked: Vec<(Option<TopicName>, Uuid)> = if call.version() >= 6 {
        request.topics.iter().map(|t| (t.name.clone(), t.topic_id)).collect()
    } else {
        request.topic_names.iter().map(|n| (Some(n.clone()), Uuid::nil())).collect()
    };
    let catalog = &call.shared.catalog;
    let mut times: BTreeMap<(Option<StrBytes>, Uuid), usize> = BTreeMap::new();
    for (name, id) in &asked {
        *times.entry((name.as_ref().map(|n| n.0.clone()), *id)).or_default() += 1;
    }
    // A topic that is named and given by its id too is given twice.
    let named: BTreeSet<Uuid> = asked
        .iter()
        .filter(|(_, id)| id.is_nil())
        .flat_map(|(name, _)| catalog.topic(name.as_ref()?))
        .map(|t| t.id)
        .collect();
    let also = |name: &Option<StrBytes>, id: Uuid| match name {
        Some(name) => catalog.topic(name).is_some_and(|t| times.contains_key(&(None, t.id))),
        None => named.contains(&id),
    };
    let mut results = Vec::new();
    let mut deleted = Vec::new();
    let enabled = call.shared.settings.flag("delete.topic.enable");
    for ((name, id), times) in &times {
        let (id, times) = (*id, *times);
        let shown = |name: Option<&str>, id: Uuid, error: ErrorCode, why: Option<&str>| {
            DeletableTopicResult::default()
                .with_name(name.map(|n| TopicName(text(n))))
                .with_topic_id(id)
                .with_error_code(error.0)
                .with_error_message(why.map(text))
        };
        let asked_name = name.as_ref().map(|n| n.as_str());
        let problem = if name.is_some() != id.is_nil() {
            Some((
                ErrorCode::INVALID_REQUEST,
                "Either the topic's name or its id must be given, and not both.",
            ))
        } else if times > 1 || also(name, id) {
            Some((ErrorCode::INVALID_REQUEST, "Duplicate topic."))
        } else if !enabled {
            Some((ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled."))
        } else {
            None
        };
        if let Some((error, why)) = problem {
            results.push(shown(asked_name, id, error, Some(why)));
            continue;
        }
        let found = match asked_name {
            Some(name) => catalog.topic(name),
            None => catalog.topic_by_id(id),
        };
        let Some(topic) = found else {
            let error = if name.is_some() {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else {
                ErrorCode::UNKNOWN_TOPIC_ID
            };
            results.push(shown(
                asked_name,
                id,
                error,
                Some("This server does not host this topic-partition."),
            ));
            continue;
        };
        results.push(match catalog.delete(&topic.name) {
            Ok(_) => {
                deleted.push(topic.name.clone());
                shown(Some(&topic.name), topic.id, ErrorCode::NONE, None)
            }
            Err(e) => {
                let (error, why) = super::create_topics::catalog_error(&e);
                shown(Some(&topic.name), topic.id, error, Some(&why))
            }
        });
    }
    if !deleted.is_empty() {
        call.shared.groups.topics_deleted(call.shared, deleted);
    }
    call.answer(&DeleteTopicsResponse::default().with_responses(results))
}
