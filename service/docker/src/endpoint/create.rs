use std::net::IpAddr;

use hns_hcn as hcn;
use hns_model::{Endpoint, ModelError, Network};
use hns_net::{Guid, IfAddr, Mac};
use hns_reconciler::EngineError;
use serde_json::{Value, json};

use crate::call::Call;
use crate::marks::{self, EndpointDefaults};
use crate::options::EndpointOptions;
use crate::refusal::Refusal;
use crate::{ids, wire};

/// How many leaked endpoints may stand in the way of one: those with its IPv4, IPv6 and MAC address.
const LEAKS_MAX: usize = 3;

/// Makes an endpoint with the addresses that Docker's IPAM driver chose, and chooses what it left open.
pub(crate) fn create(call: &Call<'_>, body: &[u8]) -> Result<Value, Refusal> {
    let request: wire::CreateEndpoint = wire::read("CreateEndpoint", body)?;
    let options = EndpointOptions::read(call.driver, &request.options)?;
    let document = document(call, &request, options)?;
    let made = find_made(call, &document).map_or_else(|| make(call, &request.network, &document), Ok)?;
    Ok(json!({ "Interface": chosen(&request.interface, &made) }))
}

/// The endpoint, if a call whose answer Docker did not see has made it.
fn find_made(call: &Call<'_>, document: &hcn::Endpoint) -> Option<hcn::Endpoint> {
    let world = call.engine.world();
    let there = world.endpoint(document.id?).ok()?;
    let is_same = there.is_settled() && Some(there.network()) == document.network;
    is_same.then(|| there.document())
}

fn document(
    call: &Call<'_>,
    request: &wire::CreateEndpoint,
    options: EndpointOptions,
) -> Result<hcn::Endpoint, Refusal> {
    let (network, defaults) = {
        let world = call.engine.world();
        let network = marks::network(&world, &request.network)?;
        (network.id(), EndpointDefaults::of(network, &request.network))
    };
    let mut addresses = Vec::new();
    for (field, value) in [("Address", &request.interface.v4), ("AddressIPv6", &request.interface.v6)] {
        addresses.extend(address(field, value)?);
    }
    let isolated = options.isolated || defaults.isolated;
    let mut policies = options.policies();
    policies.extend(defaults.outbound_nats());
    Ok(hcn::Endpoint {
        id: Some(ids::guid(&request.endpoint)?),
        name: request.endpoint.clone(),
        owner: Some(marks::OWNER.to_owned()),
        network: Some(network),
        namespace: None,
        policies,
        addresses,
        dns: hcn::Dns { servers: options.dns_servers, ..hcn::Dns::default() },
        routes: Vec::new(),
        mac: mac(&request.interface.mac)?.or(options.mac),
        flags: hcn::EndpointFlags(if isolated { hcn::EndpointFlags::DISABLE_ICC } else { 0 }),
        params: hcn::EndpointParams {
            interface: None,
            gateway_priority: 0,
            port: hcn::PortParams::default(),
            others: marks::of_endpoint(&request.network, &request.endpoint),
        },
    })
}

fn address(field: &'static str, value: &str) -> Result<Option<hcn::IpConfiguration>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let expected = "an address with the length of its subnet, such as 10.51.0.77/24";
    let wrong = |_| Refusal::Field { field, value: value.to_owned(), expected };
    let address: IfAddr = value.parse().map_err(wrong)?;
    Ok(Some(hcn::IpConfiguration::of(address.address(), address.length())))
}

fn mac(value: &str) -> Result<Option<Mac>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let expected = "the MAC address of one interface, such as 02:11:22:33:44:55";
    let wrong = |_| Refusal::Field { field: "MacAddress", value: value.to_owned(), expected };
    value.parse().map(Some).map_err(wrong)
}

/// Makes the endpoint. What a killed Docker left behind with its addresses makes way.
fn make(call: &Call<'_>, docker: &str, document: &hcn::Endpoint) -> Result<hcn::Endpoint, Refusal> {
    let mut leaks = 0;
    loop {
        let error = match call.engine.create_endpoint(document.clone()) {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        leaks += 1;
        match find_leak(call, docker, &error)? {
            Some(leak) if leaks <= LEAKS_MAX => remove(call, leak)?,
            _ => return Err(error.into()),
        }
    }
}

fn remove(call: &Call<'_>, leak: Guid) -> Result<(), Refusal> {
    tracing::info!(endpoint = %leak, "deleted: Docker gave its address to a new endpoint");
    match call.engine.delete_endpoint(leak) {
        Err(error) if error.code() != hcn::ErrorCode::ENDPOINT_NOT_FOUND => Err(error.into()),
        _ => Ok(()),
    }
}

/// The endpoint that stands in the way, if this network of Docker made it. Docker's IPAM gives no address out twice, so
/// an endpoint of before with the address of a new one leaked. What others hold is theirs.
fn find_leak(call: &Call<'_>, docker: &str, error: &EngineError) -> Result<Option<Guid>, Refusal> {
    let world = call.engine.world();
    let network = marks::network(&world, docker)?;
    let members = || network.endpoints().filter_map(|id| world.endpoint(id).ok()).filter(|e| e.is_settled());
    match error {
        EngineError::Model(ModelError::AddressTaken { address, .. }) => {
            let holds = |endpoint: &&Endpoint| endpoint.addresses().any(|held| held.address() == *address);
            let Some(holder) = members().find(holds) else { return Ok(None) };
            if marks::docker_network(holder).as_deref() == Some(docker) {
                return Ok(Some(holder.id()));
            }
            Err(held(*address, network, holder))
        }
        EngineError::Model(ModelError::MacTaken { holder, .. }) => {
            let holder = members().find(|endpoint| endpoint.id() == *holder);
            let is_leak = |endpoint: &&Endpoint| {
                marks::docker_network(endpoint).as_deref() == Some(docker) && is_abandoned(endpoint)
            };
            Ok(holder.filter(is_leak).map(Endpoint::id))
        }
        _ => Ok(None),
    }
}

/// Whether the container of an endpoint is gone. Unlike its addresses, a MAC address can be asked for twice.
fn is_abandoned(endpoint: &Endpoint) -> bool {
    let sandbox = endpoint.attachment().and_then(|attachment| attachment.sandbox());
    sandbox.is_none_or(|sandbox| !sandbox.exists())
}

fn held(address: IpAddr, network: &Network, holder: &Endpoint) -> Refusal {
    let document = holder.document();
    let named = (!document.name.is_empty()).then(|| format!(" \"{}\"", document.name));
    Refusal::AddressHeld {
        address,
        network: network.name().to_owned(),
        holder: format!("{}{}", holder.id(), named.unwrap_or_default()),
        owner: document.owner.filter(|owner| !owner.is_empty()).unwrap_or_else(|| "somebody else".to_owned()),
    }
}

/// What of an endpoint Docker does not know yet: only fields that came empty, others must not come back.
fn chosen(asked: &wire::Interface, made: &hcn::Endpoint) -> wire::Interface {
    let text = |v4: bool| {
        let address = made.addresses.iter().find(|one| one.address.is_some_and(|ip| ip.is_ipv4() == v4));
        let with_length = address.and_then(|one| Some(format!("{}/{}", one.address?, one.prefix_length?)));
        with_length.unwrap_or_default()
    };
    let only_if_open = |asked: &str, value: String| if asked.is_empty() { value } else { String::new() };
    wire::Interface {
        v4: only_if_open(&asked.v4, text(true)),
        v6: only_if_open(&asked.v6, text(false)),
        mac: only_if_open(&asked.mac, made.mac.map(Mac::colons).unwrap_or_default()),
    }
}
