//! Methods on networks, one a file.

mod bind;
mod create;
mod delete;
mod subnets;

use hns_hcn::NetworkType;
use serde_json::{Value, json};

use crate::call::Call;
use crate::options::{Mode, NetworkOptions};
use crate::refusal::Refusal;
use crate::wire;

pub(crate) use create::create;
pub(crate) use delete::delete;

/// Whether Docker's IPAM shall keep no address for a gateway: where the host is not on the network.
pub(crate) fn check_gateways(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::GwAllocCheck = wire::read("GwAllocCheck", body)?;
    let options = NetworkOptions::read(call.driver, &request.options)?;
    let isolated = |mode: Option<Mode>| mode == Some(Mode::Isolated);
    Ok(json!({ "SkipIPv4": isolated(options.mode_v4), "SkipIPv6": isolated(options.mode_v6) }))
}

/// Networks of a swarm, whose ids and subnets a manager allocates.
pub(crate) fn allocate(call: &Call<'_>, _: &[u8]) -> Result<Value, Refusal> {
    Err(Refusal::LocalScope { driver: call.driver.name })
}

/// The type of HNS network that a Docker network of these options is.
fn kind_of(call: &Call<'_>, options: &NetworkOptions) -> NetworkType {
    match (options.internal, options.is_isolated()) {
        (false, _) => call.driver.kind,
        (true, false) => NetworkType::Internal,
        (true, true) => NetworkType::Private,
    }
}
