//! DescribeCluster (60), versions 0 to 2. 1: endpoint types (KIP-919). 2: fenced brokers (KIP-1073): there are none.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kohort_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{Call, Outcome, operations, text};
use crate::connection::HangUp;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DescribeClusterRequest = call.request()?;
    let shared = call.shared;
    let answer = DescribeClusterResponse::default()
        .with_error_message(None)
        .with_cluster_id(text(shared.cluster_id.clone()));
    let answer = if request.include_cluster_authorized_operations && request.endpoint_type == BROKERS {
        answer.with_cluster_authorized_operations(operations::CLUSTER)
    } else {
        answer
    };
    let answer = match request.endpoint_type {
        BROKERS => answer.with_controller_id(BrokerId(shared.node_id)).with_brokers(vec![
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(shared.node_id))
                .with_host(text(shared.advertised.0.clone()))
                .with_port(shared.advertised.1),
        ]),
        other => {
            let answer = answer.with_cluster_id(text(""));
            let error = if other == CONTROLLERS {
                ErrorCode::MISMATCHED_ENDPOINT_TYPE
            } else {
                ErrorCode::UNSUPPORTED_ENDPOINT_TYPE
            };
            answer.with_error_code(error.0).with_error_message(Some(text(format!(
                "this is a broker's endpoint, not one of type {other}"
            ))))
        }
    };
    call.answer(&answer)
}
