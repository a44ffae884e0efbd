use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use hns_testbed::Netns;

/// How many datagrams [`flood`] sends.
pub const FLOOD: u64 = 1000;

/// Sends datagrams of 1,400 bytes, as fast as they go, to a port where nobody listens.
///
/// # Panics
/// When a socket cannot be opened.
#[track_caller]
pub fn flood(from: &Netns, to: IpAddr) {
    from.enter(move || {
        let own: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((own, 0)).expect("a namespace has sockets");
        for _ in 0..FLOOD {
            // What the way drops at once is told here, and counted where it is dropped.
            drop(socket.send_to(&[0; 1400], (to, 9)));
        }
    });
}
