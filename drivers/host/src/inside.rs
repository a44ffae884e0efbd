//! What a container shows of its port. Reads alone.

use std::net::IpAddr;

use hns_net::Family;
use hns_planner::{Inside, Port, Route, Vnic};

use crate::HostError;
use crate::address::{self, ROUTE_HEADER_LEN, Seen};
use crate::link::{self, Link};
use crate::netlink::{Attributes, Netlink};

/// `struct rtvia` begins with the family of the address behind it: a gateway of another family than the route's.
const VIA_FAMILY_LEN: usize = 2;
/// A list that somebody changes while it is read has to be read again; in a container that does nothing else all the
/// time the last try tells.
const TRIES_MAX: usize = 4;

/// `far` is a socket of the namespace in which the vNIC should be.
pub(crate) fn look(
    near: &mut Netlink,
    far: &mut Netlink,
    port: &Port,
    ipv6: bool,
) -> Result<Inside, HostError> {
    let Some(host_end) = link::find(near, &port.name)? else { return Ok(Inside::NoPort) };
    let Some(link) = other_end(far, &host_end)? else {
        let namesake = link::find_index(far, &port.interface)?.is_some();
        return Ok(Inside::Elsewhere { namesake });
    };
    let mut tries = 1;
    loop {
        match describe(far, &link, ipv6) {
            Err(error) if error.is_disturbed() && tries < TRIES_MAX => tries += 1,
            vnic => return vnic.map(Inside::Here),
        }
    }
}

/// The veth at the other end. Numbers belong to a namespace each, so that an interface here may have the number of a vNIC
/// that was moved away: it has to point back.
fn other_end(far: &mut Netlink, host_end: &Link) -> Result<Option<Link>, HostError> {
    let Some(index) = host_end.peer else { return Ok(None) };
    let is_it = |link: &Link| link.peer == Some(host_end.index) && link.kind.as_deref() == Some("veth");
    Ok(link::find_by_index(far, index)?.filter(is_it))
}

fn describe(far: &mut Netlink, link: &Link, ipv6: bool) -> Result<Vnic, HostError> {
    let held = address::list(far, Some(link.index))?;
    let out_of_it = |message: &[u8]| routes_out_of(link.index, message);
    let mut routes = address::read_routes(far, Family::V4, out_of_it)?.concat();
    if ipv6 {
        routes.extend(address::read_routes(far, Family::V6, out_of_it)?.concat());
    }
    Ok(Vnic {
        name: link.name.clone(),
        up: link.up,
        arp: !link.silent,
        mac: link.mac,
        mtu: link.mtu,
        addresses: held.into_iter().map(|held| held.address).collect(),
        routes,
    })
}

/// The routes in this message that lead out of the link. IPv6 shows those that differ in nothing but their gateways as one
/// with several paths, so that one which the container has beside ours joins ours.
fn routes_out_of(link: u32, message: &[u8]) -> Option<Vec<Route>> {
    let seen = Seen::read(message)?;
    let metric = Attributes::after(ROUTE_HEADER_LEN, message).ne32(libc::RTA_PRIORITY).unwrap_or(0);
    let mut ways = address::ways(message);
    ways.retain(|(out, _)| *out == Some(link) && seen.kind == libc::RTN_UNICAST);
    let route = |way| Route { destination: seen.destination, via: gateway(way), metric };
    Some(ways.into_iter().map(|(_, way)| route(way)).collect())
}

fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    let of_another_family = || attributes.get(libc::RTA_VIA)?.get(VIA_FAMILY_LEN..);
    attributes.get(libc::RTA_GATEWAY).or_else(of_another_family).and_then(address::ip)
}
