use hns_hcn::ErrorCode;
use serde_json::{Value, json};

use crate::call::Call;
use crate::refusal::Refusal;
use crate::{ids, wire};

/// Deletes an endpoint. Docker never asks twice, whatever the answer, so what is not there is deleted.
pub(crate) fn delete(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::OfEndpoint = wire::read("DeleteEndpoint", body)?;
    match call.engine.delete_endpoint(ids::guid(&request.endpoint)?) {
        Err(error) if error.code() != ErrorCode::ENDPOINT_NOT_FOUND => Err(error.into()),
        _ => Ok(json!({})),
    }
}
