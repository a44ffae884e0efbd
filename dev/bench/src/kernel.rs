//! The floor: what the kernel itself takes for a veth into a bridge and a namespace, by raw netlink and nothing else.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, ensure};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, setns};

use crate::contender::{Contender, Slot};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const LOOPBACK: u32 = 1;
/// The container's end gets this index, so that nobody has to ask for it.
const VNIC: u32 = 100;

/// One bridge, and the messages.
#[derive(Debug)]
pub struct Kernel {
    home: File,
    socket: Socket,
    bridge: u32,
}

impl Kernel {
    /// Prepares the bridge in the calling thread's network namespace.
    pub fn new() -> anyhow::Result<Self> {
        let made = std::process::Command::new("sh")
            .args([
                "-ec",
                "ip link add floor0 type bridge; ip addr add 10.99.0.1/16 dev floor0; ip link set floor0 up",
            ])
            .status()?;
        ensure!(made.success(), "cannot make a bridge");
        // The thread is inside the host, whose /proc does not know it; the host's first process is in the same network.
        let home = File::open("/proc/1/ns/net")?;
        let index = std::fs::read_to_string("/sys/class/net/floor0/ifindex")?;
        Ok(Self { home, socket: connect()?, bridge: index.trim().parse()? })
    }

    fn pair(&self, slot: &Slot, target: &File) -> RouteNetlinkMessage {
        let mut peer = LinkMessage::default();
        peer.header.index = VNIC;
        peer.attributes = vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::NetNsFd(target.as_raw_fd()),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ];
        // The kernel heeds the peer's index only where this end has one too.
        let mut link = up(VNIC + 1 + u32::try_from(slot.number).expect("a few dozen"));
        link.attributes = vec![
            LinkAttribute::IfName(host_end(slot)),
            LinkAttribute::Controller(self.bridge),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        RouteNetlinkMessage::NewLink(link)
    }
}

impl Contender for Kernel {
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let target = File::open(&slot.netns)?;
        request(&self.socket, vec![(self.pair(slot, &target), NLM_F_CREATE | NLM_F_EXCL)])
            .context("making the pair")?;
        setns(&target, CloneFlags::CLONE_NEWNET)?;
        let socket = connect();
        setns(&self.home, CloneFlags::CLONE_NEWNET)?;
        let new = NLM_F_CREATE | NLM_F_EXCL;
        request(
            &socket?,
            vec![
                (RouteNetlinkMessage::SetLink(up(LOOPBACK)), 0),
                (RouteNetlinkMessage::SetLink(up(VNIC)), 0),
                (RouteNetlinkMessage::NewAddress(address(slot)), new),
                (RouteNetlinkMessage::NewRoute(default_route()), new),
            ],
        )
        .context("configuring the container's end")
    }

    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(host_end(slot)));
        request(&self.socket, vec![(RouteNetlinkMessage::DelLink(link), 0)])
    }
}

fn host_end(slot: &Slot) -> String {
    format!("floor-{}", slot.number)
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

fn address(slot: &Slot) -> AddressMessage {
    let own = Ipv4Addr::new(10, 99, 1, u8::try_from(slot.number).expect("a few dozen"));
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = 16;
    address.header.index = VNIC;
    address.attributes =
        vec![AddressAttribute::Local(IpAddr::V4(own)), AddressAttribute::Address(IpAddr::V4(own))];
    address
}

fn default_route() -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(GATEWAY)), RouteAttribute::Oif(VNIC)];
    route
}

fn connect() -> std::io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Sends all messages at once and waits for each one's answer.
fn request(socket: &Socket, messages: Vec<(RouteNetlinkMessage, u16)>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let mut open = messages.len();
    for (message, flags) in messages {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let begin = bytes.len();
        bytes.resize(begin + message.buffer_len(), 0);
        message.serialize(&mut bytes[begin..]);
    }
    socket.send(&bytes, 0)?;
    while open > 0 {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            let length = usize::try_from(message.header.length)?.next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
            if let NetlinkPayload::Error(error) = message.payload {
                ensure!(error.code.is_none(), error.to_io());
                open -= 1;
            }
        }
    }
    Ok(())
}
