//! AlterConfigs (33), versions 0 to 2, and IncrementalAlterConfigs (44), versions 0 and 1 (KIP-339): of topics, this broker, the
//! cluster's brokers, groups, subscriptions to clients' metrics.
//!
//! The old one replaces everything that was set; the new one sets, deletes, appends to and subtracts from lists.
//! Not supported: broker loggers (INVALID_REQUEST): their levels are given at the start.

use std::collections::BTreeSet;

use kohort_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kohort_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kohort_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kohort_protocol::{ErrorCode, StrBytes};

use super::describe_configs::{
    BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, LOGGER_RESOURCE, TOPIC_RESOURCE,
};
use super::{Call, Outcome, create_topics, text};
use crate::broker::Shared;
use crate::catalog::bad_name;
use crate::connection::HangUp;
use crate::dynamic::{Configs, Resource};
use crate::settings::{BROKER, CLIENT_METRICS, GROUP, Kind, Setting, SettingError, TOPIC};

type Refusal = (ErrorCode, String);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// One change: the name, the operation, the value.
type Change<'a> = (&'a str, i8, Option<&'a StrBytes>);

/// One resource's part of a request.
struct Asked<'a> {
    kind: i8,
    name: &'a str,
    changes: Vec<Change<'a>>,
    /// What was set before is forgotten.
    from_nothing: bool,
}

pub(super) fn alter(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: AlterConfigsRequest = call.request()?;
    let twice = twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let asked = Asked {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: resource.configs.iter().map(|c| (c.name.as_str(), SET, c.value.as_ref())).collect(),
            from_nothing: true,
        };
        let (error, why) = once(call.shared, &twice, &asked, request.validate_only).err().unzip();
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.flatten().map(text)),
        );
    }
    call.answer(&AlterConfigsResponse::default().with_responses(responses))
}

pub(super) fn alter_incrementally(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: IncrementalAlterConfigsRequest = call.request()?;
    let twice = twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let change = resource.configs.iter().map(|c| (c.name.as_str(), c.config_operation, c.value.as_ref()));
        let asked = Asked {
            kind: resource.resource_type,
            name: &resource.resource_name,
            changes: change.collect(),
            from_nothing: false,
        };
        let (error, why) = once(call.shared, &twice, &asked, request.validate_only).err().unzip();
        responses.push(
            IncrementalResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.flatten().map(text)),
        );
    }
    call.answer(&IncrementalAlterConfigsResponse::default().with_responses(responses))
}

/// The resources that a request names more than once.
fn twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    resources.filter(|r| !seen.insert(*r)).collect()
}

/// The change of a resource that is named once; an error with its words, where Kafka has some.
fn once(
    shared: &Shared,
    twice: &BTreeSet<(i8, &str)>,
    asked: &Asked<'_>,
    validate_only: bool,
) -> Result<(), (ErrorCode, Option<String>)> {
    if twice.contains(&(asked.kind, asked.name)) {
        let why = "Each resource must appear at most once.".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, Some(why)));
    }
    if asked.changes.iter().any(|(_, operation, _)| !(SET..=SUBTRACT).contains(operation)) {
        return Err((ErrorCode::UNKNOWN_SERVER_ERROR, None));
    }
    check_form(&asked.changes)
        .and_then(|()| change(shared, asked, validate_only))
        .map_err(|(error, why)| (error, Some(why)))
}

/// What a request may not say, whatever the settings are.
fn check_form(changes: &[Change<'_>]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    if !changes.iter().all(|(key, ..)| seen.insert(key)) {
        return Err((ErrorCode::INVALID_REQUEST, "Error due to duplicate config keys".to_owned()));
    }
    let nulls = changes.iter().filter(|(_, operation, value)| *operation != DELETE && value.is_none());
    let nulls: Vec<&str> = nulls.map(|(key, ..)| *key).collect();
    if nulls.is_empty() {
        return Ok(());
    }
    Err((ErrorCode::INVALID_REQUEST, format!("Null value not supported for : {}", nulls.join(","))))
}

fn change(shared: &Shared, asked: &Asked<'_>, validate_only: bool) -> Result<(), Refusal> {
    let invalid = |why: &str| Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
    let name = asked.name;
    match asked.kind {
        TOPIC_RESOURCE if name.is_empty() => invalid("Default topic resources are not allowed."),
        TOPIC_RESOURCE => of_topic(shared, asked, validate_only),
        BROKER_RESOURCE => of_broker(shared, asked, validate_only),
        GROUP_RESOURCE => {
            let of = Rules { table: GROUP, unknown: unknown_group_config, value: group_value };
            let resource = Resource::Group(name.to_owned());
            let configs = apply(shared, asked, shared.dynamic.now().of(&resource), &of)?;
            if name.is_empty() {
                return invalid("Default group resources are not allowed.");
            }
            keep(shared, &resource, configs, validate_only)
        }
        CLIENT_METRICS_RESOURCE if name.is_empty() => invalid("Subscription name can't be empty"),
        CLIENT_METRICS_RESOURCE => {
            let of = Rules { table: CLIENT_METRICS, unknown: unknown_metrics_config, value: invalid_value };
            let resource = Resource::ClientMetrics(name.to_owned());
            let configs = apply(shared, asked, shared.dynamic.now().of(&resource), &of)?;
            keep(shared, &resource, configs, validate_only)
        }
        LOGGER_RESOURCE if !asked.from_nothing => {
            invalid("the levels of loggers are set by --log, at the start")
        }
        other => invalid(&format!("Unknown resource type {other}")),
    }
}

/// What a kind of resource can be given, and its words for what it cannot.
struct Rules {
    table: &'static [Setting],
    /// A name that is not in the table; `Ok` keeps it all the same.
    unknown: fn(&str) -> Result<(), Refusal>,
    value: fn(&Setting, &SettingError) -> Refusal,
}

pub(super) fn unknown_topic_config(name: &str) -> Result<(), Refusal> {
    Err((ErrorCode::INVALID_CONFIG, format!("Unknown topic config name: {name}")))
}

fn unknown_group_config(name: &str) -> Result<(), Refusal> {
    Err((ErrorCode::INVALID_CONFIG, format!("Unknown group config name: {name}")))
}

fn unknown_metrics_config(name: &str) -> Result<(), Refusal> {
    Err((ErrorCode::INVALID_REQUEST, format!("Unknown client metrics configuration: {name}")))
}

pub(super) fn invalid_value(_: &Setting, e: &SettingError) -> Refusal {
    (ErrorCode::INVALID_CONFIG, e.told())
}

/// A group's bounds are settings of the broker: `group.consumer.min.session.timeout.ms` and its like.
fn group_value(setting: &Setting, e: &SettingError) -> Refusal {
    let bound = match e {
        SettingError::Value { reason, .. } if reason.starts_with("Value must be at least") => "greater min",
        SettingError::Value { reason, .. } if reason.starts_with("Value must be no more") => "less max",
        _ => return invalid_value(setting, e),
    };
    let (than, end) = bound.split_once(' ').unwrap_or_default();
    let (protocol, rest) = setting.name.split_once('.').unwrap_or_default();
    let why = format!("{} must be {than} than or equal to group.{protocol}.{end}.{rest}", setting.name);
    (ErrorCode::INVALID_CONFIG, why)
}

/// What is set after the changes.
fn apply(shared: &Shared, asked: &Asked<'_>, before: Configs, rules: &Rules) -> Result<Configs, Refusal> {
    let now = shared.dynamic.now();
    let mut configs = if asked.from_nothing { Configs::new() } else { before };
    for (key, operation, value) in &asked.changes {
        if *operation == DELETE {
            configs.remove(*key);
            continue;
        }
        let value = value.map_or("", StrBytes::as_str);
        let Ok(setting) = Setting::find(rules.table, key) else {
            if matches!(*operation, APPEND | SUBTRACT) {
                return Err(not_a_list(key, *operation));
            }
            (rules.unknown)(key)?;
            configs.insert((*key).to_owned(), value.to_owned());
            continue;
        };
        let value = match *operation {
            SET => Some(value.to_owned()),
            _ if !matches!(setting.kind, Kind::List(_) | Kind::Replicas | Kind::Texts) => {
                return Err(not_a_list(key, *operation));
            }
            operation => relist(now.settings.topic(&configs, setting), value, operation == APPEND),
        };
        // A list that has it all, or has nothing of it, stays as it is.
        let Some(value) = value else { continue };
        let value = setting.check(&value).map_err(|e| (rules.value)(setting, &e))?;
        configs.insert(setting.name.to_owned(), value);
    }
    Ok(configs)
}

fn not_a_list(key: &str, operation: i8) -> Refusal {
    let operation = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
    let why = format!("Can't {operation} to key {key} because its type is not LIST.");
    (ErrorCode::INVALID_CONFIG, why)
}

/// The list with items added or taken away; `None` if that changes nothing.
fn relist(now: &str, change: &str, add: bool) -> Option<String> {
    let split = |list: &'_ str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    };
    let (before, change) = (split(now), split(change));
    let mut after = before.clone();
    if add {
        after.extend(change.into_iter().filter(|item| !before.contains(item)));
    } else {
        after.retain(|item| !change.contains(item));
    }
    (after != before).then(|| after.join(","))
}

/// What a topic's settings may not say together (Kafka's `LogConfig.validate`).
pub(super) fn check_topic(shared: &Shared, own: &Configs) -> Result<(), Refusal> {
    let now = shared.dynamic.now();
    let value = |name: &str| {
        TOPIC.iter().find(|s| s.name == name).map_or("", |setting| now.settings.topic(own, setting))
    };
    let wrong = |why: String| Err((ErrorCode::INVALID_CONFIG, why));
    let number = |name: &str| value(name).parse::<i64>().unwrap_or_default();
    let (min, max) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if min > max {
        return wrong(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    if value("remote.storage.enable") == "true" {
        return wrong(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
                .to_owned(),
        );
    }
    Ok(())
}

fn of_topic(shared: &Shared, asked: &Asked<'_>, validate_only: bool) -> Result<(), Refusal> {
    let name = asked.name;
    if let Some(why) = bad_name(name) {
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
    }
    let topic = shared.catalog.topic(name).ok_or_else(|| {
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("The topic '{name}' does not exist."))
    })?;
    let of = Rules { table: TOPIC, unknown: unknown_topic_config, value: invalid_value };
    let configs = apply(shared, asked, topic.configs.clone(), &of)?;
    check_topic(shared, &configs)?;
    if validate_only || configs == topic.configs {
        return Ok(());
    }
    shared.catalog.configure(name, configs).map_err(|e| create_topics::catalog_error(&e))
}

fn of_broker(shared: &Shared, asked: &Asked<'_>, validate_only: bool) -> Result<(), Refusal> {
    let invalid = |why: String| Err((ErrorCode::INVALID_REQUEST, why));
    let resource = match asked.name {
        "" => Resource::Cluster,
        name => match name.parse::<i32>() {
            Err(_) => return invalid(format!("Node id must be an integer, but it is: {name}")),
            Ok(id) if id != shared.node_id => {
                return invalid(format!(
                    "Unexpected broker id, expected {}, but received {name}",
                    shared.node_id
                ));
            }
            Ok(_) => Resource::Broker,
        },
    };
    let named = |s: &&Setting| asked.changes.iter().any(|(key, ..)| *key == s.name);
    let fixed: Vec<_> = BROKER.iter().filter(named).filter(|s| !s.dynamic).map(|s| s.name).collect();
    if !fixed.is_empty() {
        return invalid(format!("Cannot update these configs dynamically: [{}]", fixed.join(", ")));
    }
    let of = Rules {
        table: BROKER,
        // What Kafka does not know may be a plugin's, and what we do not know a setting of Kafka's that nothing here needs.
        unknown: |_| Ok(()),
        value: |_, e| (ErrorCode::INVALID_REQUEST, e.told()),
    };
    let configs = apply(shared, asked, shared.dynamic.now().of(&resource), &of)?;
    if resource == Resource::Cluster && !configs.contains_key("min.insync.replicas") {
        let why = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
        return Err((ErrorCode::INVALID_CONFIG, why.to_owned()));
    }
    keep(shared, &resource, configs, validate_only)
}

fn keep(shared: &Shared, resource: &Resource, configs: Configs, validate_only: bool) -> Result<(), Refusal> {
    if validate_only || shared.dynamic.now().of(resource) == configs {
        return Ok(());
    }
    shared.configure(resource, configs).map_err(|e| {
        tracing::error!("cannot keep a changed configuration: {e}");
        (ErrorCode::KAFKA_STORAGE_ERROR, e.to_string())
    })
}
