//! Who is on a host of the network, and is not the host.

use std::net::{Ipv4Addr, UdpSocket};

use hns_testbed::raw::{self, Capture, Link, Mac};
use hns_testbed::{Hnsd, eventually, needs};

use crate::stage::{Stage, overlay_with};

const fn router_of(host: Ipv4Addr) -> Mac {
    let [a, b, c, d] = host.octets();
    [0x0e, 0x2a, a, b, c, d]
}

fn dropped_by_the_host(hnsd: &Hnsd) -> u64 {
    let shown = hnsd.host().sh("nft list counter inet hns tunnel_drops");
    let mut words = shown.split_whitespace();
    let count = words.find(|word| *word == "packets").and_then(|_| words.next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{shown}"))
}

/// A peer takes what comes from the host's address for its word: neither a container that leaves under that address says it, nor an
/// unprivileged program.
#[test]
fn nobody_on_a_host_speaks_into_its_tunnels() {
    needs!(root, "nft", "ping", "socat", "setpriv");
    let stage = Stage::bare();
    let (own, there) = (stage.here.host().v4(), stage.there.host().v4());
    overlay_with(&stage.here, "blue", 1, &[(2, there.into())], &["--host-route"]);
    overlay_with(&stage.there, "blue", 2, &[(1, own.into())], &["--host-route"]);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    let network = stage.here.hnsctl_json(&["network", "inspect", "blue"]);
    let vni = network["Ipams"][0]["Subnets"][0]["Policies"][0]["Settings"]["IsolationId"].as_u64();
    let vni = u32::try_from(vni.expect("it has one")).expect("a VNI has 24 bits");
    let packet = raw::udp(([10, 244, 1, 77].into(), 7), (far.v4().into(), 9), b"not-the-host");
    let frame = Link { to: router_of(there), from: router_of(own) }.packet(&packet);
    let datagram = [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), &frame].concat();
    let seen = Capture::at(&far.netns, "eth0");
    let path = stage.lab.folder().join("datagram");
    std::fs::write(&path, &datagram).expect("a file can be written");
    web.netns.enter(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
        socket.send_to(&datagram, (there, 4789)).expect("it is sent");
    });
    assert_eq!(dropped_by_the_host(&stage.here), 1);
    let unprivileged = format!(
        "chmod 644 {0} && setpriv --reuid 65534 --regid 65534 --clear-groups socat -u FILE:{0} UDP4-SENDTO:{there}:4789",
        path.display()
    );
    // Its own call may be told that it is not allowed to.
    let _said = stage.here.host().try_sh(&unprivileged);
    assert_eq!(dropped_by_the_host(&stage.here), 2);
    // The network goes on, and the last that was sent came before this.
    eventually!(web.netns.ping(far.v4()));
    let told = seen.take().iter().any(|frame| frame.windows(12).any(|part| part == b"not-the-host"));
    assert!(!told);
}

/// While the tunnel's program is gone nobody else hears what comes out of it.
#[test]
fn without_its_program_a_tunnel_leads_to_nobody() {
    needs!(root, "nft", "ping");
    let mut stage = Stage::new(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(far.netns.ping(web.v4()));
    stage.here.kill9();
    stage.here.host().sh("rm /sys/fs/bpf/hns/v*/link-*-tunnel_in");
    let drops = |stage: &Stage| stage.here.host().sh("nft list counter inet hns stray_drops");
    let before = drops(&stage);
    // To everybody's station: the device would hand it on to the host.
    let (own, there) = (stage.here.host().v4(), stage.there.host().v4());
    let packet = raw::udp((there.into(), 7), (own.into(), 9), b"for-the-host");
    let frame = Link { to: [0xff; 6], from: router_of(there) }.packet(&packet);
    let datagram = [&[8, 0, 0, 0][..], &(7_u32 << 8).to_be_bytes(), &frame].concat();
    let heard = stage.here.host().inside(move || {
        let socket = UdpSocket::bind((own, 9)).expect("a port is free");
        socket.set_nonblocking(true).expect("it can be set");
        socket
    });
    stage.there.host().inside(move || {
        let socket = UdpSocket::bind((there, 0)).expect("a port is free");
        socket.send_to(&datagram, (own, 4789)).expect("it is sent");
    });
    eventually!(drops(&stage) != before);
    assert!(heard.recv(&mut [0; 64]).is_err());
    stage.here.start_again();
    eventually!(far.netns.ping(web.v4()));
}
