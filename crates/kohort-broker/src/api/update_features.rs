//! UpdateFeatures (57), versions 0 to 2 (KIP-584). There are no features here: whatever is named, this node does not have it.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: UpdateFeaturesRequest = call.request()?;
    let answer = UpdateFeaturesResponse::default().with_error_message(None);
    let answer = match request.feature_updates.first() {
        None => answer,
        Some(_) if request.timeout_ms <= 0 => answer.with_error_code(ErrorCode::REQUEST_TIMED_OUT.0),
        Some(update) => {
            let (feature, level) = (update.feature.as_str(), update.max_version_level);
            let why = format!(
                "The update failed for all features since the following feature had an error: Invalid update version {level} for feature {feature}. Local controller {} does not support this feature.",
                call.shared.node_id
            );
            answer.with_error_code(ErrorCode::INVALID_UPDATE_VERSION.0).with_error_message(Some(text(why)))
        }
    };
    call.answer(&answer)
}
