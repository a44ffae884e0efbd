//! What switch ports do where no rule says anything, changed live (ours).

use hns_hcn::{PortParams, RequestType};
use hns_net::Guid;

use crate::error::ModelError;
use crate::world::World;

fn changed(current: PortParams, request: RequestType, wanted: PortParams) -> PortParams {
    match request {
        RequestType::Add => wanted.over(current),
        RequestType::Remove => current.without_those_of(wanted),
        RequestType::Update => wanted,
        RequestType::Reset => PortParams::default(),
        RequestType::Refresh => current,
    }
}

impl World {
    /// For all endpoints of a network that say nothing themselves; gives what it was, for an Update that takes it back.
    pub fn change_network_port(
        &mut self,
        id: Guid,
        request: RequestType,
        wanted: PortParams,
    ) -> Result<PortParams, ModelError> {
        let params = &mut self.network_mut(id)?.document.params.port;
        let after = changed(*params, request, wanted);
        Ok(std::mem::replace(params, after))
    }

    /// The same of one endpoint.
    pub fn change_endpoint_port(
        &mut self,
        id: Guid,
        request: RequestType,
        wanted: PortParams,
    ) -> Result<PortParams, ModelError> {
        let params = &mut self.endpoint_mut(id)?.document.params.port;
        let after = changed(*params, request, wanted);
        Ok(std::mem::replace(params, after))
    }
}
