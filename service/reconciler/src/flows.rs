//! Which tracked connections of the host must be forgotten when something changes.

use std::collections::BTreeSet;

use hns_host::FlowFilter;
use hns_model::Endpoint;
use hns_net::{IfAddr, PortRange, Transport};
use hns_planner::{Desired, Element};

/// All of an endpoint's: its addresses change hands.
pub(crate) fn of_endpoint(endpoint: &Endpoint) -> Vec<FlowFilter> {
    endpoint.addresses().map(IfAddr::address).map(FlowFilter::Of).collect()
}

/// Those that clients began to these ports before they were published. A connection of TCP that was refused is
/// tried anew from another port; a client of the others may go on sending from the same one.
pub(crate) fn before<'e>(published: impl IntoIterator<Item = &'e Element>) -> Vec<FlowFilter> {
    let filter = |element: &Element| {
        let (transport, ports) = match element {
            Element::Publish { transport, port, .. } => (*transport, PortRange::single(*port).ok()?),
            Element::PublishRange { transport, ports, .. } => (*transport, *ports),
            _ => return None,
        };
        (transport != Transport::Tcp).then_some(FlowFilter::UntranslatedTo(transport, ports))
    };
    let filters: BTreeSet<FlowFilter> = published.into_iter().filter_map(filter).collect();
    filters.into_iter().collect()
}

/// Those that came in by mappings that are gone; others of the same endpoint go on.
pub(crate) fn through<'e>(gone: impl IntoIterator<Item = &'e Element>) -> Vec<FlowFilter> {
    let filter = |element: &Element| match element {
        Element::Publish { transport, port, to, .. } => {
            Some(FlowFilter::Through(*transport, PortRange::single(*port).ok()?, *to))
        }
        Element::PublishRange { transport, ports, to, .. } => {
            Some(FlowFilter::Through(*transport, *ports, *to))
        }
        // In routed mode the container's own port is what clients speak to.
        Element::Open { address, transport, ports } => {
            Some(FlowFilter::Through(*transport, *ports, *address))
        }
        _ => None,
    };
    gone.into_iter().filter_map(filter).collect()
}

/// Those that were begun while our table was away.
pub(crate) fn without_table(desired: &Desired) -> Vec<FlowFilter> {
    let addresses = desired.ports.values().flat_map(|port| &port.addresses).map(|address| address.address());
    let mut filters: Vec<FlowFilter> = addresses.map(FlowFilter::UntranslatedOf).collect();
    filters.extend(before(&desired.rules));
    filters
}
