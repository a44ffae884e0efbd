use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hns_model::{FOREVER, Grant, LanLease, LanServer, Term};
use hns_net::{IfAddr, Mac};
use hns_resolver::{Client, DhcpClient, Resolver, Wire};

const CLIENT: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
/// Where the number of a question, the address given and the client's stand in a frame whose IP header has no options.
const NUMBER: usize = 46;
const GIVEN: usize = 58;
const STATION: usize = 70;

/// A LAN on which one frame answers the first question.
struct Answer<'i> {
    frame: &'i [u8],
    number: Cell<[u8; 4]>,
    is_heard: Cell<bool>,
}

impl Wire for Answer<'_> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.number.set(*frame[NUMBER..].first_chunk().expect("a question is 300 bytes"));
        Ok(())
    }

    fn receive(&self, _patience: Duration) -> io::Result<Option<Vec<u8>>> {
        if self.is_heard.replace(true) {
            return Ok(None);
        }
        let mut frame = self.frame.to_vec();
        for (place, bytes) in [(NUMBER, &self.number.get()[..]), (STATION, &CLIENT.octets())] {
            if let Some(there) = frame.get_mut(place..place + bytes.len()) {
                there.copy_from_slice(bytes);
            }
        }
        Ok(Some(frame))
    }
}

/// Frames that answer a question of DHCP: reading never panics, and what is taken from them is an address that a container may have.
pub fn leases(input: &[u8]) {
    let given = input.get(GIVEN..).and_then(|rest| rest.first_chunk::<4>().copied()).map(Ipv4Addr::from);
    let address = given.unwrap_or(Ipv4Addr::LOCALHOST);
    let server = LanServer { address: [198, 18, 0, 254].into(), mac: Mac::new([2, 0, 0, 0, 0, 1]) };
    let former = LanLease {
        grant: Grant::Dhcp,
        addresses: vec![IfAddr::new(address.into(), 24).expect("24 is a length of IPv4")],
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        server,
        // Everybody is asked, always.
        term: Term { obtained: 0, renew_after: 0, rebind_after: 0, lifetime: FOREVER },
    };
    let client = Client { mac: CLIENT, host_name: None };
    let wire = Answer { frame: input, number: Cell::default(), is_heard: Cell::default() };
    let Ok(lease) = DhcpClient.renew(&wire, &client, &former) else { return };
    assert_eq!(lease.address(), Some(IpAddr::V4(address)));
    assert!(!address.is_unspecified() && !address.is_link_local() && !address.is_multicast());
    assert!(
        lease.term.renew_after <= lease.term.rebind_after && lease.term.rebind_after <= lease.term.lifetime
    );
    assert!(lease.domain.is_none_or(|name| !name.contains(char::is_whitespace)));
}
