//! DescribeConfigs (32), versions 1 to 4. Topics (2), brokers (4), subscriptions to clients' metrics (16), groups (32). 3: types and
//! documentation.
//! Not supported: broker loggers (INVALID_REQUEST).

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
use crate::dynamic::{Configs, InForce, Resource};
use crate::settings::{self, BROKER, CLIENT_METRICS, GROUP, Kind, Setting, TOPIC};

pub(super) const TOPIC_RESOURCE: i8 = 2;
pub(super) const BROKER_RESOURCE: i8 = 4;
pub(super) const LOGGER_RESOURCE: i8 = 8;
pub(super) const CLIENT_METRICS_RESOURCE: i8 = 16;
pub(super) const GROUP_RESOURCE: i8 = 32;

// ConfigSource.
const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_CLUSTER: i8 = 3;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;
const DYNAMIC_CLIENT_METRICS: i8 = 7;
const DYNAMIC_GROUP: i8 = 8;

/// Settings that Kafka has no default for: a coarser unit, or the system, decides.
const WITHOUT_DEFAULT: &[&str] =
    &["log.flush.interval.ms", "log.retention.minutes", "log.retention.ms", "log.roll.ms"];

/// A value, the name that it was given under, and who gave it.
struct Synonym {
    name: &'static str,
    value: String,
    source: i8,
}

/// Everything that says something about a setting of the broker, the nearest first: who says it, and under which of its names.
fn said_of_broker(now: &InForce, names: &[&'static str]) -> Vec<Synonym> {
    let mut said = Vec::new();
    for source in [DYNAMIC_BROKER, DYNAMIC_CLUSTER, STATIC_BROKER, DEFAULT] {
        for name in names.iter().copied() {
            let value = match source {
                DYNAMIC_BROKER => now.given(&Resource::Broker, name),
                DYNAMIC_CLUSTER => now.given(&Resource::Cluster, name),
                STATIC_BROKER => now.at_start(name),
                _ if WITHOUT_DEFAULT.contains(&name) => None,
                _ => BROKER.iter().find(|s| s.name == name).map(|s| s.default),
            };
            said.extend(value.map(|value| Synonym { name, value: value.to_owned(), source }));
        }
    }
    // Of a setting in several units Kafka shows nothing while none of them was set.
    let unset = names.first().is_some_and(|finest| WITHOUT_DEFAULT.contains(finest))
        && said.iter().all(|s| s.source == DEFAULT);
    if unset { Vec::new() } else { said }
}

/// The same of a setting that has one of the broker's behind it: a topic's, a group's.
fn said_of(now: &InForce, own: &Configs, setting: &Setting, source: i8) -> Vec<Synonym> {
    let own = own.get(setting.name).map(|v| Synonym { name: setting.name, value: v.clone(), source });
    own.into_iter().chain(said_of_broker(now, setting.broker)).collect()
}

/// Where a topic's value comes from.
pub(super) fn topic_source(now: &InForce, own: &Configs, setting: &Setting) -> i8 {
    said_of(now, own, setting, DYNAMIC_TOPIC).first().map_or(DEFAULT, |s| s.source)
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
                Ok(configs) if request.include_documentation => {
                    let told = configs.into_iter().map(with_words).collect();
                    result.with_error_message(Some(text(""))).with_configs(told)
                }
                Ok(configs) => result.with_error_message(Some(text(""))).with_configs(configs),
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
    let invalid = |why: String| Err((ErrorCode::INVALID_REQUEST, why));
    let name = resource.resource_name.as_str();
    // No keys are all keys, whether there is no list or an empty one.
    let keys = resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    let wanted = |s: &&Setting| keys.is_none_or(|keys| keys.iter().any(|k: &StrBytes| k.as_str() == s.name));
    let now = shared.dynamic.now();
    let all = |table: &'static [Setting], own: &Configs, source: i8| {
        let one = |s: &'static Setting| {
            let value = now.settings.topic(own, s).to_owned();
            entry(s, Some(value), said_of(&now, own, s, source), synonyms, false)
        };
        table.iter().filter(wanted).map(one).collect()
    };
    match resource.resource_type {
        TOPIC_RESOURCE => {
            if let Some(why) = bad_name(name) {
                return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
            }
            let missing = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new());
            let topic = shared.catalog.topic(name).ok_or(missing)?;
            Ok(all(TOPIC, &topic.configs, DYNAMIC_TOPIC))
        }
        BROKER_RESOURCE if name.is_empty() => {
            let own = now.of(&Resource::Cluster);
            let set = BROKER.iter().filter(|s| own.contains_key(s.name)).filter(wanted);
            let one = |s: &'static Setting| {
                let said = Synonym { name: s.name, value: own[s.name].clone(), source: DYNAMIC_CLUSTER };
                entry(s, Some(said.value.clone()), vec![said], synonyms, !s.dynamic)
            };
            Ok(set.map(one).collect())
        }
        BROKER_RESOURCE => match name.parse::<i32>() {
            Err(_) => invalid(format!("Broker id must be an integer, but it is: {name}")),
            Ok(id) if id != shared.node_id => invalid(format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                shared.node_id
            )),
            Ok(_) => Ok(BROKER.iter().filter(wanted).map(|s| of_broker(&now, s, synonyms)).collect()),
        },
        GROUP_RESOURCE if name.is_empty() => invalid("Group name must not be empty".to_owned()),
        GROUP_RESOURCE => Ok(all(GROUP, &now.of(&Resource::Group(name.to_owned())), DYNAMIC_GROUP)),
        CLIENT_METRICS_RESOURCE if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".to_owned())
        }
        CLIENT_METRICS_RESOURCE => {
            let own = now.of(&Resource::ClientMetrics(name.to_owned()));
            Ok(all(CLIENT_METRICS, &own, DYNAMIC_CLIENT_METRICS))
        }
        LOGGER_RESOURCE => invalid("the levels of loggers are set by --log, at the start".to_owned()),
        _ => invalid(ErrorCode::INVALID_REQUEST.message().to_owned()),
    }
}

fn with_words(config: DescribeConfigsResourceResult) -> DescribeConfigsResourceResult {
    let words = settings::documentation(&config.name);
    config.with_documentation(words.map(text))
}

fn of_broker(now: &InForce, s: &'static Setting, synonyms: bool) -> DescribeConfigsResourceResult {
    let names: Vec<_> = std::iter::once(s.name).chain(s.broker.iter().copied()).collect();
    let mut said = said_of_broker(now, &names);
    if s.name == "node.id" {
        // Kafka has none by default.
        said = vec![Synonym {
            name: s.name,
            value: now.settings.text(s.name).to_owned(),
            source: STATIC_BROKER,
        }];
    }
    // What a coarser unit says is in the synonyms, not in the value.
    let value = said.iter().find(|said| said.name == s.name).map(|said| said.value.clone());
    entry(s, value, said, synonyms, !s.dynamic)
}

fn entry(
    setting: &Setting,
    value: Option<String>,
    said: Vec<Synonym>,
    synonyms: bool,
    read_only: bool,
) -> DescribeConfigsResourceResult {
    // ConfigType: 1 boolean, 2 string, 3 int, 5 long, 6 double, 7 list.
    let kind = match setting.kind {
        Kind::Bool => 1,
        Kind::Int(_, high) if high <= i64::from(i32::MAX) => 3,
        Kind::Int(..) => 5,
        Kind::Double => 6,
        Kind::Choice(_) | Kind::Text => 2,
        Kind::List(_) | Kind::Replicas | Kind::Texts => 7,
    };
    let source = said.first().map_or(DEFAULT, |s| s.source);
    let synonym = |s: Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(s.name))
            .with_value(Some(text(s.value)))
            .with_source(s.source)
    };
    DescribeConfigsResourceResult::default()
        .with_name(text(setting.name))
        .with_value(value.map(text))
        .with_read_only(read_only)
        .with_config_source(source)
        .with_config_type(kind)
        .with_documentation(None)
        .with_synonyms(if synonyms { said.into_iter().map(synonym).collect() } else { vec![] })
}
