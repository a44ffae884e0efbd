use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hns_model::LeaseKind;
use hns_net::{Cidr, Mac};
use hns_resolver::{Client, DhcpClient, Resolver, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

/// A LAN that answers the first question with one frame.
struct Answer(RefCell<Option<Vec<u8>>>);

impl Wire for Answer {
    fn send(&self, _frame: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.take())
    }
}

/// Frames that answer a router solicitation: reading never panics, and what is taken from them are addresses that the container's MAC makes,
/// and a way out on the link.
pub fn advertisements(input: &[u8]) {
    let client = Client { mac: CLIENT, host_name: None };
    let lan = Answer(RefCell::new(Some(input.to_vec())));
    let Ok(lease) = DhcpClient.acquire(&lan, &client, LeaseKind::Advertised, None) else { return };
    for address in &lease.addresses {
        let IpAddr::V6(made) = address.address() else { panic!("{address} is none of IPv6") };
        assert!(made.octets().ends_with(&CLIENT.interface_id()), "{made}");
        assert!(!made.is_unicast_link_local() && !made.is_multicast() && !made.is_loopback(), "{made}");
    }
    for route in &lease.routes {
        match route.next_hop {
            Some(hop) => assert!(matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local())),
            None => assert!(!route.is_default() && !overlaps_links(route.destination)),
        }
    }
    let term = lease.term;
    assert!(term.renew_after <= term.rebind_after && term.rebind_after <= term.lifetime && term.lifetime > 0);
}

/// Whether it covers what each interface has for itself, or what is for groups.
fn overlaps_links(prefix: Cidr) -> bool {
    ["fe80::1", "ff02::1", "::1"]
        .into_iter()
        .any(|address| address.parse().is_ok_and(|address| prefix.contains(address)))
}
