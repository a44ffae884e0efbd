//! L4Proxy: connections of an endpoint that are led to a proxy (hcn-api 5.4).

use crate::flow::Tuple;
use crate::model::{Port, Proxy};
use crate::packet::protocol;

/// A connection that goes to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    pub outer: Tuple,
    /// Whether OutBoundNAT applies to it as well.
    pub outbound_nat: bool,
}

/// The first proxy of the port that wants this connection.
#[must_use]
pub fn outward(port: &Port, tuple: &Tuple) -> Option<Proxied> {
    let proxy = port.proxies.iter().find(|proxy| proxy.wants(tuple))?;
    let (remote, remote_port) = proxy.to;
    Some(Proxied { outer: Tuple { remote, remote_port, ..*tuple }, outbound_nat: proxy.outbound_nat })
}

impl Proxy {
    /// Never the proxy's own connections, and never those that go to it anyway: they would run in a circle.
    fn wants(&self, tuple: &Tuple) -> bool {
        let (address, port) = self.to;
        let circular = tuple.local == address || (tuple.remote == address && tuple.remote_port == port);
        let destination = self.destination.is_empty()
            || self.destination.iter().any(|prefix| prefix.contains(tuple.remote));
        let port = self.ports.is_empty()
            || self.ports.iter().any(|range| (range.start()..=range.end()).contains(&tuple.remote_port));
        self.protocol == tuple.protocol
            && protocol::has_ports(tuple.protocol)
            && address.is_ipv4() == tuple.remote.is_ipv4()
            && !circular
            && destination
            && port
            && !self.exceptions.iter().any(|prefix| prefix.contains(tuple.remote))
    }
}
