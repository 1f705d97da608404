//! AlterConfigs (33), versions 0 to 2, and IncrementalAlterConfigs (44), versions 0 and 1 (KIP-339): of topics.
//!
//! The old one replaces everything that was set; the new one sets, deletes, appends to and subtracts from lists.
//! Not supported: changing the broker while it runs (INVALID_REQUEST): its settings are given at the start.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kohort_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kohort_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kohort_protocol::{ErrorCode, StrBytes};

use super::describe_configs::TOPIC_RESOURCE;
use super::{Call, Outcome, create_topics, text};
use crate::broker::Shared;
use crate::connection::HangUp;
use crate::settings::{Setting, TOPIC};

type Refusal = (ErrorCode, String);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn alter(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: AlterConfigsRequest = call.request()?;
    let twice = twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let responses = request
        .resources
        .iter()
        .map(|resource| {
            let changes: Vec<_> =
                resource.configs.iter().map(|c| (c.name.as_str(), SET, c.value.as_ref())).collect();
            let outcome = if twice.contains(&(resource.resource_type, resource.resource_name.as_str())) {
                Err((ErrorCode::INVALID_REQUEST, "Each resource must appear at most once.".to_owned()))
            } else {
                let (kind, name) = (resource.resource_type, &resource.resource_name);
                change(call.shared, kind, name, &changes, true, request.validate_only)
            };
            let (error, why) = outcome.err().unzip();
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.map(text))
        })
        .collect();
    call.answer(&AlterConfigsResponse::default().with_responses(responses))
}

pub(super) fn alter_incrementally(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: IncrementalAlterConfigsRequest = call.request()?;
    let twice = twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let responses = request
        .resources
        .iter()
        .map(|resource| {
            let changes: Vec<_> = resource
                .configs
                .iter()
                .map(|c| (c.name.as_str(), c.config_operation, c.value.as_ref()))
                .collect();
            let outcome = if twice.contains(&(resource.resource_type, resource.resource_name.as_str())) {
                Err((ErrorCode::INVALID_REQUEST, "Each resource must appear at most once.".to_owned()))
            } else {
                let (kind, name) = (resource.resource_type, &resource.resource_name);
                change(call.shared, kind, name, &changes, false, request.validate_only)
            };
            let (error, why) = outcome.err().unzip();
            IncrementalResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.map(text))
        })
        .collect();
    call.answer(&IncrementalAlterConfigsResponse::default().with_responses(responses))
}

/// The resources that a request names more than once.
fn twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    resources.filter(|r| !seen.insert(*r)).collect()
}

/// What a request may not say, whatever the settings are.
fn check_form(changes: &[(&str, i8, Option<&StrBytes>)]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (key, operation, value) in changes {
        if !seen.insert(key) {
            let why = format!("Error due to duplicate config keys: {key}");
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
        if *operation != DELETE && value.is_none() {
            return Err((ErrorCode::INVALID_REQUEST, format!("Null value not supported for: {key}")));
        }
    }
    Ok(())
}

fn change(
    shared: &Shared,
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&StrBytes>)],
    from_nothing: bool,
    validate_only: bool,
) -> Result<(), Refusal> {
    if kind != TOPIC_RESOURCE {
        return Err((
            ErrorCode::INVALID_REQUEST,
            "only topics can be configured while the broker runs".to_owned(),
        ));
    }
    check_form(changes)?;
    let topic = shared.catalog.topic(name).ok_or_else(|| {
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("The topic '{name}' does not exist."))
    })?;
    let mut configs = if from_nothing { BTreeMap::new() } else { topic.configs.clone() };
    for (key, operation, value) in changes {
        let setting = Setting::find(TOPIC, key)
            .map_err(|_| (ErrorCode::INVALID_CONFIG, format!("Unknown topic config name: {key}")))?;
        if *operation == DELETE {
            configs.remove(setting.name);
            continue;
        }
        let value = value.ok_or_else(|| {
            (ErrorCode::INVALID_CONFIG, format!("Null value not supported for topic configs: {key}"))
        })?;
        let value = match *operation {
            SET => value.to_string(),
            APPEND | SUBTRACT if setting.name == "cleanup.policy" => {
                list(shared.settings.topic(&configs, setting), value, *operation == APPEND)
            }
            APPEND | SUBTRACT => {
                return Err((
                    ErrorCode::INVALID_CONFIG,
                    format!("Can't append to or subtract from {key}: it is not of list type"),
                ));
            }
            other => return Err((ErrorCode::INVALID_REQUEST, format!("Unknown operation type {other}"))),
        };
        let value = setting.check(&value).map_err(|e| (ErrorCode::INVALID_CONFIG, e.to_string()))?;
        configs.insert(setting.name.to_owned(), value);
    }
    if validate_only {
        return Ok(());
    }
    shared.catalog.configure(name, configs).map_err(|e| create_topics::catalog_error(&e))
}

fn list(now: &str, change: &str, add: bool) -> String {
    let mut items: Vec<&str> = now.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    for item in change.split(',').map(str::trim) {
        items.retain(|i| *i != item);
        if add {
            items.push(item);
        }
    }
    items.join(",")
}
