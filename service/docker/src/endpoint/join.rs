use std::path::Path;

use hns_hcn::{self as hcn, Route};
use hns_model::{Endpoint, Network};
use hns_net::{Cidr, Family, IfName};
use serde_json::{Value, json};

use crate::call::Call;
use crate::marks::{self, EndpointDefaults};
use crate::refusal::Refusal;
use crate::wire::{InterfaceName, JoinAnswer, StaticRoute};
use crate::{ids, wire};

/// What the names of interfaces in a container begin with.
const INTERFACE_PREFIX: &str = "eth";

/// Makes the endpoint's link in our namespace; Docker moves it into the sandbox, names it and gives it the endpoint's
/// addresses.
pub(crate) fn join(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::Join = wire::read("Join", body)?;
    let id = ids::guid(&request.endpoint)?;
    let (prefix, to_peers) = {
        let world = call.engine.world();
        let endpoint = world.endpoint(id).map_err(|_| Refusal::EndpointUnknown(request.endpoint.clone()))?;
        let network = marks::network(&world, &request.network)?;
        let prefix = EndpointDefaults::of(network, &request.network).interface_prefix;
        (prefix, routes_to_peers(endpoint, network))
    };
    let joined = call.engine.join_endpoint(id, Path::new(&request.sandbox))?;
    let prefix = prefix.unwrap_or_else(|| INTERFACE_PREFIX.to_owned());
    let mut answer = answer(&joined.source, prefix, &joined.endpoint);
    answer.static_routes.extend(to_peers.iter().map(static_route));
    Ok(json!(answer))
}

/// To what other hosts have of an overlay, for containers whose default route is another network's: Docker gives them one alone.
fn routes_to_peers(endpoint: &Endpoint, network: &Network) -> Vec<Route> {
    let route = |destination: Cidr| {
        let mut own = endpoint.addresses().filter(|own| Family::of(own.address()) == destination.family());
        let own = own.next()?.address();
        let (_, router) = network.gateways().find(|(prefix, _)| prefix.contains(own))?;
        Some(Route { destination, next_hop: Some(router), metric: 0 })
    };
    network.remote_subnets().filter_map(|remote| route(remote.destination)).collect()
}

fn answer(source: &IfName, prefix: String, endpoint: &hcn::Endpoint) -> JoinAnswer {
    let gateway = |family| {
        let default = |route: &&Route| route.is_default() && route.destination.family() == family;
        let hop = endpoint.routes.iter().find(default).and_then(|route| route.next_hop);
        hop.map(|hop| hop.to_string()).unwrap_or_default()
    };
    let (v4, v6) = (gateway(Family::V4), gateway(Family::V6));
    let further = endpoint.routes.iter().filter(|route| !route.is_default());
    JoinAnswer {
        interface_name: InterfaceName { src_name: source.to_string(), dst_prefix: prefix },
        // A network without a way out says so: otherwise Docker makes one by a bridge of its own.
        disable_gateway_service: v4.is_empty() && v6.is_empty(),
        gateway: v4,
        gateway_v6: v6,
        static_routes: further.map(static_route).collect(),
    }
}

fn static_route(route: &Route) -> StaticRoute {
    StaticRoute {
        destination: route.destination.to_string(),
        route_type: u8::from(route.next_hop.is_none()),
        next_hop: route.next_hop.map(|hop| hop.to_string()).unwrap_or_default(),
    }
}

/// Takes the link away, which Docker has moved back or the sandbox took with it.
pub(crate) fn leave(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::OfEndpoint = wire::read("Leave", body)?;
    call.engine.leave_endpoint(ids::guid(&request.endpoint)?)?;
    Ok(json!({}))
}
