//! DescribeAcls (29), CreateAcls (30), DeleteAcls (31), versions 1 to 3: answered as by a Kafka without an authorizer. There is none.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_acls_response::AclCreationResult;
use kohort_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kohort_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};

use super::{Call, Outcome, text};
use crate::connection::HangUp;

const NOT_HERE: &str = "No Authorizer is configured.";

pub(super) fn describe(call: Call<'_>) -> Result<Outcome, HangUp> {
    let _: DescribeAclsRequest = call.request()?;
    let answer = DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SECURITY_DISABLED.0)
        .with_error_message(Some(text("No Authorizer is configured on the broker")));
    call.answer(&answer)
}

pub(super) fn create(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: CreateAclsRequest = call.request()?;
    let refused = AclCreationResult::default()
        .with_error_code(ErrorCode::SECURITY_DISABLED.0)
        .with_error_message(Some(text(NOT_HERE)));
    call.answer(&CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]))
}

pub(super) fn delete(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DeleteAclsRequest = call.request()?;
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SECURITY_DISABLED.0)
        .with_error_message(Some(text(NOT_HERE)));
    call.answer(&DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()]))
}
