use std::net::IpAddr;

use hns_model::{LeasePurpose, PoolId};
use serde_json::{Value, json};

use crate::call::Call;
use crate::refusal::Refusal;
use crate::wire;

/// The option that says what an address is for, and its value for a gateway.
const PURPOSE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// Leases an address: the one that is named, or a free one.
pub(super) fn request(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::RequestAddress = wire::read("RequestAddress", body)?;
    let id: PoolId = request.pool.parse()?;
    let wanted = match request.address.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| Refusal::Field {
            field: "Address",
            value: text.to_owned(),
            expected: "an IP address",
        })?),
    };
    let is_gateway = request.options.get(PURPOSE).is_some_and(|purpose| purpose == GATEWAY);
    let purpose = if is_gateway { LeasePurpose::Gateway } else { LeasePurpose::Holder };
    let leased = call.engine.lease_address(&id, wanted, purpose)?;
    Ok(json!({ "Address": leased.to_string(), "Data": {} }))
}

/// Ends a lease. Docker never asks twice, whatever the answer, so what is not leased is released.
pub(super) fn release(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::ReleaseAddress = wire::read("ReleaseAddress", body)?;
    if let (Ok(id), Ok(address)) = (request.pool.parse::<PoolId>(), request.address.parse()) {
        call.engine.end_lease(&id, address)?;
    }
    Ok(json!({}))
}
