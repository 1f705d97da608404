//! ListConfigResources (74), versions 0 and 1 (KIP-1142). 0: subscriptions to clients' metrics. 1: what has, or may have, a configuration,
//! by kind; no kinds are all of them.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::list_config_resources_response::ConfigResource;
use kohort_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::describe_configs::{
    BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, LOGGER_RESOURCE, TOPIC_RESOURCE,
};
use super::{Call, Outcome, text};
use crate::connection::HangUp;

const KINDS: [i8; 5] =
    [TOPIC_RESOURCE, BROKER_RESOURCE, LOGGER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE];

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: ListConfigResourcesRequest = call.request()?;
    let asked: BTreeSet<i8> = match call.version() {
        0 => BTreeSet::from([CLIENT_METRICS_RESOURCE]),
        _ if request.resource_types.is_empty() => KINDS.into(),
        _ => request.resource_types.into_iter().collect(),
    };
    let answer = ListConfigResourcesResponse::default();
    if !asked.iter().all(|kind| KINDS.contains(kind)) {
        return call.answer(&answer.with_error_code(ErrorCode::UNSUPPORTED_VERSION.0));
    }
    let (shared, now) = (call.shared, call.shared.dynamic.now());
    let names = |kind: i8| -> Vec<String> {
        match kind {
            TOPIC_RESOURCE => shared.catalog.all().iter().map(|t| t.name.clone()).collect(),
            BROKER_RESOURCE | LOGGER_RESOURCE => vec![shared.node_id.to_string()],
            GROUP_RESOURCE => now.groups().cloned().collect(),
            _ => now.client_metrics().cloned().collect(),
        }
    };
    let resources = asked.into_iter().flat_map(|kind| names(kind).into_iter().map(move |name| (kind, name)));
    let resource = |(kind, name)| {
        // Version 0 knows of one kind only and does not say which.
        let resource = ConfigResource::default().with_resource_name(text(name));
        if call.header.api_version == 0 { resource } else { resource.with_resource_type(kind) }
    };
    let resources = resources.map(resource).collect();
    call.answer(&answer.with_config_resources(resources))
}
