//! DescribeConfigs (32), versions 1 to 4. Topics (2) and the broker (4). 3: documentation and types.
//! Not supported: broker loggers, client metrics, groups (INVALID_REQUEST).

use std::collections::BTreeMap;

use kohort_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kohort_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kohort_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kohort_protocol::{ErrorCode, StrBytes};

use super::{Call, Outcome, text};
use crate::broker::Shared;
use crate::catalog::bad_name;
use crate::connection::HangUp;
use crate::settings::{BROKER, Kind, Setting, Settings, TOPIC};

pub(super) const TOPIC_RESOURCE: i8 = 2;
pub(super) const BROKER_RESOURCE: i8 = 4;

// ConfigSource.
const DYNAMIC_TOPIC: i8 = 1;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

/// The ends of the names of settings that are lists.
const LISTS: &[&str] = &["cleanup.policy", "throttled.replicas"];

/// Where a topic's value comes from.
pub(super) fn source(settings: &Settings, own: &BTreeMap<String, String>, setting: &Setting) -> i8 {
    if own.contains_key(setting.name) {
        DYNAMIC_TOPIC
    } else if !setting.broker.is_empty() && settings.is_set(setting.broker) {
        STATIC_BROKER
    } else {
        DEFAULT
    }
}

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DescribeConfigsRequest = call.request()?;
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe(call.shared, resource, request.include_synonyms) {
                Ok(configs) => result.with_error_message(None).with_configs(configs),
                Err((error, why)) => result.with_error_code(error.0).with_error_message(Some(text(why))),
            }
        })
        .collect();
    call.answer(&DescribeConfigsResponse::default().with_results(results))
}

fn describe(
    shared: &Shared,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    let wanted = |s: &&Setting| {
        resource
            .configuration_keys
            .as_ref()
            .is_none_or(|keys| keys.iter().any(|k: &StrBytes| k.as_str() == s.name))
    };
    match resource.resource_type {
        TOPIC_RESOURCE => {
            if let Some(why) = bad_name(name) {
                return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
            }
            let topic =
                shared.catalog.topic(name).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()))?;
            let shown = |s: &'static Setting| {
                let value = shared.settings.topic(&topic.configs, s);
                entry(s, value, source(&shared.settings, &topic.configs, s), synonyms, false)
            };
            Ok(TOPIC.iter().filter(wanted).map(shown).collect())
        }
        BROKER_RESOURCE => {
            if !name.is_empty() && name != shared.node_id.to_string() {
                return Err((
                    ErrorCode::INVALID_REQUEST,
                    format!(
                        "Unexpected broker id, expected {} or empty string, but received {name}",
                        shared.node_id
                    ),
                ));
            }
            let shown = |s: &'static Setting| {
                let source = if shared.settings.is_set(s.name) { STATIC_BROKER } else { DEFAULT };
                entry(s, shared.settings.text(s.name), source, synonyms, true)
            };
            Ok(BROKER.iter().filter(wanted).map(shown).collect())
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}"))),
    }
}

fn entry(
    setting: &Setting,
    value: &str,
    source: i8,
    synonyms: bool,
    read_only: bool,
) -> DescribeConfigsResourceResult {
    // ConfigType: 1 boolean, 2 string, 3 int, 5 long, 6 double, 7 list.
    let kind = match setting.kind {
        _ if LISTS.iter().any(|end| setting.name.ends_with(end)) => 7,
        Kind::Bool => 1,
        Kind::Int(_, high) if high <= i64::from(i32::MAX) => 3,
        Kind::Int(..) => 5,
        Kind::Double => 6,
        Kind::Choice(_) | Kind::Text => 2,
    };
    let synonym = || {
        DescribeConfigsSynonym::default()
            .with_name(text(setting.name))
            .with_value(Some(text(value)))
            .with_source(source)
    };
    DescribeConfigsResourceResult::default()
        .with_name(text(setting.name))
        .with_value(Some(text(value)))
        .with_read_only(read_only)
        .with_config_source(source)
        .with_config_type(kind)
        .with_synonyms(if synonyms { vec![synonym()] } else { vec![] })
}
