//! Packets of real connections, as ports see them.

use std::net::IpAddr;

use hns_datapath::{Sighting, Stream, Watch, WatchedConnection};
use hns_hcn::{IpProtocol, LiveTraceRequest, TraceEnd};
use hns_model::{Endpoint, World};
use hns_net::{Guid, IfAddr};

use super::ends::{holder, listed};
use super::{Untraceable, ends};
use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// What becomes of the packets of these connections from now on, at every port that they come by. Ends with the stream.
    pub fn trace_live(&self, request: &LiveTraceRequest) -> Result<Stream<Sighting>, EngineError> {
        for endpoint in [request.from.endpoint, request.to.endpoint].into_iter().flatten() {
            self.settled_endpoint(endpoint)?;
        }
        let watch = watch(request, &self.world())?;
        let operation = || "cannot watch these connections".to_owned();
        self.datapath.watch(&watch).map_err(EngineError::datapath(operation))
    }
}

/// One end of the connections.
struct End {
    /// Where its packets are judged by a port of its own.
    network: Option<Guid>,
    /// None: any.
    addresses: Vec<IpAddr>,
}

impl End {
    fn of(field: &'static str, end: TraceEnd, world: &World) -> Result<Self, EngineError> {
        let endpoint = match (end.endpoint, end.address) {
            (Some(id), _) => Some(world.endpoint(id)?),
            (None, Some(address)) => holder(world, address),
            (None, None) => None,
        };
        let own = endpoint.into_iter().flat_map(Endpoint::addresses).map(IfAddr::address);
        let addresses: Vec<IpAddr> = end.address.map_or_else(|| own.collect(), |address| vec![address]);
        if let Some(endpoint) = endpoint.filter(|_| addresses.is_empty()) {
            return Err(Untraceable::NoAddress { field, endpoint: endpoint.id() }.into());
        }
        Ok(Self { network: endpoint.map(Endpoint::network), addresses })
    }
}

fn watch(request: &LiveTraceRequest, world: &World) -> Result<Watch, EngineError> {
    let (from, to) = (End::of("From", request.from, world)?, End::of("To", request.to, world)?);
    ends::refuse_foreign_address(request.to, world)?;
    let mut networks: Vec<Guid> = from.network.into_iter().chain(to.network).collect();
    networks.dedup();
    if networks.is_empty() {
        return Err(Untraceable::NoEndpointAtAll.into());
    }
    let connections = pairs(&from.addresses, &to.addresses).map(|(source, destination)| WatchedConnection {
        source,
        destination,
        source_port: request.source_port,
        destination_port: request.port,
        protocol: request.protocol.map(|protocol| number_of(protocol, source.or(destination))),
    });
    let connections: Vec<_> = connections.collect();
    if connections.is_empty() {
        let (from, to) = (listed(&from.addresses), listed(&to.addresses));
        return Err(Untraceable::Families { from, to }.into());
    }
    Ok(Watch { networks, connections })
}

/// `icmp` is that of either family.
fn number_of(protocol: IpProtocol, address: Option<IpAddr>) -> u8 {
    match (protocol, address) {
        (IpProtocol::ICMP, Some(IpAddr::V6(_))) => IpProtocol::ICMP6.0,
        _ => protocol.0,
    }
}

/// Each address of one end with each of the other of its family. An end without any is everybody.
fn pairs(from: &[IpAddr], to: &[IpAddr]) -> impl Iterator<Item = (Option<IpAddr>, Option<IpAddr>)> {
    let any = |addresses: &[IpAddr]| match addresses {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let (from, to) = (any(from), any(to));
    from.into_iter()
        .flat_map(move |source| to.clone().into_iter().map(move |destination| (source, destination)))
        .filter(|(source, destination)| {
            source
                .zip(*destination)
                .is_none_or(|(source, destination)| source.is_ipv4() == destination.is_ipv4())
        })
}
