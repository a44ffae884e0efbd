//! What the load runs over.

use std::net::Ipv4Addr;

use hns_testbed::{Host, Lab, Netns};

/// A client and a server with something between them.
#[derive(Debug, Clone)]
pub struct Line {
    /// What joins the two lives in it, and ends with it.
    pub _host: Host,
    pub client: Netns,
    pub server: Netns,
    /// The server's.
    pub address: Ipv4Addr,
}

impl Line {
    /// Two namespaces joined by one veth pair: the limit of everything else.
    pub fn bare(lab: &Lab) -> Self {
        let host = lab.island("bare");
        let (client, server) = (host.add_netns("client"), host.add_netns("server"));
        host.sh("ip link add eth0 netns client type veth peer name eth0 netns server
             ip -n client addr add 10.1.0.2/24 dev eth0; ip -n client link set eth0 up
             ip -n server addr add 10.1.0.3/24 dev eth0; ip -n server link set eth0 up");
        Self { _host: host, client, server, address: Ipv4Addr::new(10, 1, 0, 3) }
    }
}
