use hns_hcn::{L4WfpProxy, Policy, PolicySettings};
use hns_net::{Cidr, PortRange, Transport};

/// Connections that are led to a proxy in the endpoint's own namespace, a service mesh's sidecar (L4WFPPROXY,
/// hcn-api 5.4). The proxy asks its sockets for `SO_ORIGINAL_DST` to know where they were going.
///
/// Connections over loopback are never led there, and an empty list stands for "any".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub direction: Direction,
    /// Where the proxy listens: on loopback for outbound connections, on the vNIC's own addresses for inbound ones.
    pub port: u16,
    pub transports: Vec<Transport>,
    /// The endpoint's side.
    pub local: Vec<Cidr>,
    pub local_ports: Vec<PortRange>,
    /// The other side.
    pub remote: Vec<Cidr>,
    pub remote_ports: Vec<PortRange>,
    pub exceptions: Exceptions,
}

/// Who opens the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// What a redirect leaves to those behind it, and at last to itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    pub remote: Vec<Cidr>,
    pub destination_ports: Vec<PortRange>,
    /// The proxy's own user: without one its outbound connections come back to it. Of no meaning for inbound ones.
    pub user: Option<User>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// As the namespace's own processes count them.
    Number(u32),
    /// A user of the host.
    Name(String),
}

/// The redirects of an endpoint's policies, the first that takes a connection first.
#[must_use]
pub fn redirects<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Vec<Redirect> {
    let of_proxy = |policy: &'p Policy| match &policy.meaning {
        PolicySettings::L4WfpProxy(proxy) => Some(&**proxy),
        _ => None,
    };
    let mut proxies: Vec<&L4WfpProxy> = policies.into_iter().filter_map(of_proxy).collect();
    // Stable: of equals the one that was named first.
    proxies.sort_by_key(|proxy| proxy.filter.priority);
    proxies.into_iter().flat_map(both_directions).collect()
}

fn both_directions(proxy: &L4WfpProxy) -> impl Iterator<Item = Redirect> {
    let user = proxy.user.as_ref().map(|user| match user.parse() {
        Ok(number) => User::Number(number),
        Err(_) => User::Name(user.clone()),
    });
    let inbound = (Direction::Inbound, proxy.inbound_port, &proxy.inbound_exceptions, None);
    let outbound = (Direction::Outbound, proxy.outbound_port, &proxy.outbound_exceptions, user);
    [inbound, outbound].into_iter().filter_map(|(direction, port, exceptions, user)| {
        let filter = &proxy.filter;
        Some(Redirect {
            direction,
            port: port?,
            transports: transports(&filter.protocols),
            local: filter.local.clone(),
            local_ports: filter.local_ports.clone(),
            remote: filter.remote.clone(),
            remote_ports: filter.remote_ports.clone(),
            exceptions: Exceptions {
                remote: exceptions.addresses.clone(),
                destination_ports: exceptions.ports.clone(),
                user,
            },
        })
    })
}

/// Only what has connections can be led anywhere. A policy that names no protocol means TCP: whoever writes
/// `FilterTuple: {}` has no proxy for its name look-ups.
fn transports(protocols: &[u8]) -> Vec<Transport> {
    if protocols.is_empty() {
        return vec![Transport::Tcp];
    }
    protocols.iter().filter_map(|number| Transport::from_number((*number).into()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use hns_hcn::{FilterTuple, ProxyExceptions};
    use serde_json::Map;

    use super::*;

    fn policy(priority: u16, inbound: Option<u16>, outbound: Option<u16>, user: &str) -> Policy {
        let exceptions = |port: u16| ProxyExceptions {
            addresses: vec!["10.0.0.0/8".parse().unwrap()],
            ports: vec![PortRange::single(port).unwrap()],
        };
        let proxy = L4WfpProxy {
            inbound_port: inbound,
            outbound_port: outbound,
            filter: FilterTuple { priority, protocols: vec![6, 1, 17], ..FilterTuple::default() },
            user: Some(user.to_owned()),
            inbound_exceptions: exceptions(1),
            outbound_exceptions: exceptions(2),
        };
        Policy {
            kind: "L4WFPPROXY",
            settings: Map::new(),
            meaning: PolicySettings::L4WfpProxy(Box::new(proxy)),
        }
    }

    #[test]
    fn the_lowest_priority_comes_first_and_of_equals_the_first_named() {
        let policies = [
            policy(7, None, Some(3), "0"),
            policy(7, Some(4), Some(5), "mesh"),
            policy(1, Some(6), None, "9"),
        ];
        let found = redirects(&policies);
        let ports: Vec<u16> = found.iter().map(|redirect| redirect.port).collect();
        assert_eq!(ports, [6, 3, 4, 5]);
    }

    #[test]
    fn each_direction_has_its_own_exceptions_and_only_outbound_has_a_user() {
        let found =
            redirects(&[policy(0, Some(15006), Some(15001), "mesh"), policy(1, None, Some(1), "1337")]);
        let [inbound, outbound, other] = &found[..] else { panic!("{found:?}") };
        assert_eq!((inbound.direction, outbound.direction), (Direction::Inbound, Direction::Outbound));
        assert_eq!(inbound.exceptions.destination_ports, [PortRange::single(1).unwrap()]);
        assert_eq!(outbound.exceptions.destination_ports, [PortRange::single(2).unwrap()]);
        assert_eq!(inbound.exceptions.user, None);
        assert_eq!(outbound.exceptions.user, Some(User::Name("mesh".to_owned())));
        assert_eq!(other.exceptions.user, Some(User::Number(1337)));
        assert_eq!(inbound.transports, [Transport::Tcp, Transport::Udp]);
        assert_eq!(transports(&[]), [Transport::Tcp]);
        assert_eq!(transports(&[1]), []);
    }
}
