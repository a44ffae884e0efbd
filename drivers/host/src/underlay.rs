//! By which address of the host, and how large, packets go to other hosts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use hns_net::{Family, IfName, Mtu};

use crate::netlink::Netlink;
use crate::report::{Underlay, UnderlayWish};
use crate::{HostError, address, group, link};

/// Hosts that nobody has (RFC 5737, RFC 3849): the way to them is the default route's.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

pub(crate) fn find(netlink: &mut Netlink, wish: &UnderlayWish) -> Result<Underlay, HostError> {
    let address = match wish {
        UnderlayWish::Address(address) => *address,
        UnderlayWish::Adapter(name) => first_on(netlink, name)?,
        UnderlayWish::WayTo(peer) => {
            source_for(*peer).map_err(|source| HostError::NoWay { to: *peer, source })?
        }
        UnderlayWish::WayOut => way_out()?,
    };
    let held = address::list(netlink, None)?;
    let held = held.into_iter().find(|held| held.address.address() == address);
    let link = held.map(|held| link::find_by_index(netlink, held.link)).transpose()?.flatten();
    let link = link.filter(|link| link.group != group::OURS).ok_or(HostError::NotOurAddress { address })?;
    Ok(Underlay { address, mtu: Mtu::new(link.mtu.into()).unwrap_or(Mtu::ETHERNET) })
}

/// The first address that others can reach, of IPv4 if there is one.
fn first_on(netlink: &mut Netlink, name: &IfName) -> Result<IpAddr, HostError> {
    let Some(index) = link::find_index(netlink, name)? else {
        return Err(HostError::NoSuchAdapter { name: name.clone() });
    };
    let held = address::list(netlink, Some(index))?.into_iter().map(|held| held.address.address());
    let mut held: Vec<IpAddr> = held.filter(|address| !is_of_the_link(*address)).collect();
    held.sort_by_key(|address| Family::of(*address));
    held.first().copied().ok_or_else(|| {
        let why = "has no address at which other hosts reach this one".to_owned();
        HostError::AdapterUnfit { name: name.clone(), why }
    })
}

const fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_loopback(),
    }
}

fn way_out() -> Result<IpAddr, HostError> {
    let [first, second] = FAR;
    source_for(first).or_else(|_| source_for(second)).map_err(|source| HostError::NoWay { to: first, source })
}

/// From which address the host would send: the kernel says it for a socket that never does.
fn source_for(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((peer, 9))?;
    Ok(socket.local_addr()?.ip())
}
