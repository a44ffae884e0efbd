use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hns_model::{FOREVER, Grant, LanLease, LanServer, LeaseKind, Term};
use hns_net::{IfAddr, Mac};
use hns_resolver::{Client, DhcpClient, Resolver, ResolverError, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
/// Where the number of a question stands in a frame.
const NUMBER: usize = 63;

/// A LAN on which one frame answers the first question.
struct Answer<'i> {
    frame: &'i [u8],
    number: Cell<[u8; 3]>,
    is_heard: Cell<bool>,
}

impl Wire for Answer<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.number.set(*frame[NUMBER..].first_chunk().expect("a question is longer"));
        Ok(())
    }

    fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        if self.is_heard.replace(true) {
            return Ok(None);
        }
        let mut frame = self.frame.to_vec();
        if let Some(there) = frame.get_mut(NUMBER..NUMBER + 3) {
            there.copy_from_slice(&self.number.get());
        }
        Ok(Some(frame))
    }
}

/// Frames that answer a question of DHCPv6: reading never panics, and what is taken from them is an address that a container may have.
pub fn dhcp6(input: &[u8]) {
    let client = Client { mac: CLIENT, host_name: None };
    let wire = || Answer { frame: input, number: Cell::default(), is_heard: Cell::default() };
    let server = LanServer { address: Ipv6Addr::LOCALHOST.into(), mac: CLIENT };
    let former = LanLease {
        grant: Grant::Dhcp6 { server_id: vec![0] },
        addresses: vec![IfAddr::new(Ipv6Addr::LOCALHOST.into(), 128).expect("128 is a length of IPv6")],
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        server,
        // All are asked, always.
        term: Term { obtained: 0, renew_after: 0, rebind_after: 0, lifetime: FOREVER },
    };
    // A reply gives by renewal, and by rapid commit; an advertisement is not confirmed.
    check(DhcpClient.renew(&wire(), &client, &former));
    check(DhcpClient.acquire(&wire(), &client, LeaseKind::Dhcp6, None));
}

fn check(outcome: Result<LanLease, ResolverError>) {
    let lease = match outcome {
        Ok(lease) => lease,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    let Some(IpAddr::V6(given)) = lease.address() else { panic!("no address of IPv6") };
    assert!(!given.is_unspecified() && !given.is_loopback(), "{given}");
    assert!(!given.is_multicast() && !given.is_unicast_link_local(), "{given}");
    let Term { renew_after, rebind_after, lifetime, .. } = lease.term;
    assert!(renew_after <= rebind_after && rebind_after <= lifetime && lifetime > 0, "{:?}", lease.term);
    assert!(lease.search.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace)));
    assert!(lease.search.len() <= 8 && lease.dns.len() <= 8);
}
