//! Listening on an adapter for a station that may have no link yet: to answers of DHCP servers, to routers, to whoever says that he
//! has an address, and to whoever asks for the station's own one of the link.

#![expect(unsafe_code, reason = "no library call gives a packet socket its filter and its station")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use hns_net::{Mac, Uplink, VlanId};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket};

use crate::netlink::Netlink;
use crate::packet_socket::hear;
use crate::{HostError, link};

/// What an external switch's adapter receives for one station, and what others of this host send to it there.
pub trait Ear: Send {
    /// The next such frame, without its VLAN tag; none when none comes in time.
    fn hear(&self, patience: Duration) -> io::Result<Option<Vec<u8>>>;
}

/// A packet socket in front of all programs at the adapter. The kernel lets the station's frames in for as long as it is open.
#[derive(Debug)]
pub(crate) struct PacketEar(OwnedFd);

/// The longest frame that is of use.
const FRAME_MAX: usize = 2048;

impl PacketEar {
    pub(crate) fn open(netlink: &mut Netlink, uplink: &Uplink, station: Mac) -> Result<Self, HostError> {
        let missing = || HostError::NoSuchAdapter { name: uplink.adapter.clone() };
        let index = link::find_index(netlink, &uplink.adapter)?.ok_or_else(missing)?;
        let failed = |source| HostError::Socket { kind: "packet", source };
        let opened = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
        // It has no protocol yet, and hears nothing before it has its filter.
        filter(&opened, &program(uplink.vlan, station)).map_err(failed)?;
        let fail = |source| {
            let object = uplink.to_string();
            HostError::Conversation { operation: "listen on", object, source }
        };
        join(&opened, index, station).map_err(fail)?;
        hear(&opened, index).map_err(fail)?;
        Ok(Self(opened))
    }
}

impl Ear for PacketEar {
    fn hear(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut sources = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut sources, timeout)? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME_MAX];
        match recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let (socket, value) = (socket.as_raw_fd(), (&raw const *value).cast());
    // SAFETY: the pointer is to a value that outlives the call, with its own length beside it.
    let done = unsafe { libc::setsockopt(socket, level, option, value, length) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn filter(socket: &OwnedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).expect("the program has some sixty steps");
    // The kernel copies it, and writes nothing to it.
    let whole = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &whole)
}

/// Where routers and those who have an address answer a station that has none: all nodes of the link (RFC 2464 section 7).
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Lets the station's frames in by the adapter, and what is for everybody.
fn join(socket: &OwnedFd, adapter: u32, station: Mac) -> io::Result<()> {
    let [.., a, b, c] = station.octets();
    // Where it is asked for its address of the link (RFC 4291 section 2.7.1).
    let solicited = [0x33, 0x33, 0xff, a, b, c];
    for (kind, address) in [
        (libc::PACKET_MR_UNICAST, station.octets()),
        (libc::PACKET_MR_MULTICAST, ALL_NODES),
        (libc::PACKET_MR_MULTICAST, solicited),
    ] {
        let mut mr_address = [0; 8];
        mr_address[..6].copy_from_slice(&address);
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(adapter).unwrap_or_default(),
            mr_type: u16::try_from(kind).expect("kinds are small"),
            mr_alen: 6,
            mr_address,
        };
        set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)?;
    }
    Ok(())
}

/// Places that the steps of a program jump to, until their distance is known.
const REJECT: u8 = 255;
const ARP: u8 = 254;
const IPV6: u8 = 253;
const DHCP6: u8 = 251;
const QUESTION: u8 = 250;
const EVERYBODY: u8 = 249;

/// What an adapter says of a frame's VLAN tag, which it has taken out of the frame.
const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG).cast_unsigned();

/// The frames of this VLAN, or without a tag, that are answers of DHCP to this station (by the address in the message: they come by
/// broadcast), answers of ARP to it, advertisements of routers and neighbours to everybody, answers of DHCPv6 to the station, or questions
/// for its address of the link. The kernel asks this of all that the adapter carries.
fn program(vlan: Option<VlanId>, station: Mac) -> Vec<libc::sock_filter> {
    const WORD: u32 = libc::BPF_LD | libc::BPF_W;
    const HALF: u32 = libc::BPF_LD | libc::BPF_H;
    const BYTE: u32 = libc::BPF_LD | libc::BPF_B;
    const JUMP: u32 = libc::BPF_JMP | libc::BPF_K;
    let [a, b, c, d, e, f] = station.octets();
    let (front, back) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([0, 0, e, f]));
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt,
        jf,
        k,
    };
    let load = |size: u32, at: u32| step(size | libc::BPF_ABS, at, 0, 0);
    let load_behind_ip = |size: u32, at: u32| step(size | libc::BPF_IND, at, 0, 0);
    let must_be = |value: u32| step(JUMP | libc::BPF_JEQ, value, 0, REJECT);
    let mut program = vec![
        load(WORD, VLAN_TAG),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0x0fff, 0, 0),
        must_be(vlan.map_or(0, |vlan| vlan.number().into())),
        load(HALF, 12),
        step(JUMP | libc::BPF_JEQ, 0x0806, ARP, 0),
        step(JUMP | libc::BPF_JEQ, 0x86dd, IPV6, 0),
        must_be(0x0800),
        // UDP, whole, to port 68, and the client's address in the message.
        load(BYTE, 23),
        must_be(17),
        load(HALF, 20),
        step(JUMP | libc::BPF_JSET, 0x3fff, REJECT, 0),
        step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 14, 0, 0),
        load_behind_ip(HALF, 16),
        must_be(68),
        load_behind_ip(WORD, 50),
        must_be(front),
        load_behind_ip(HALF, 54),
        must_be(back),
        step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ];
    let arp = program.len();
    program.extend([
        load(HALF, 20),
        must_be(2),
        load(WORD, 0),
        must_be(front),
        load(HALF, 4),
        must_be(back),
        step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ]);
    let ipv6 = program.len();
    program.extend([
        // ICMPv6 with all of its hops, of these three types.
        load(HALF, 20),
        step(JUMP | libc::BPF_JEQ, 0x3aff, 0, DHCP6),
        load(BYTE, 54),
        step(JUMP | libc::BPF_JEQ, 135, QUESTION, 0),
        step(JUMP | libc::BPF_JEQ, 134, EVERYBODY, 0),
        must_be(136),
    ]);
    let everybody = program.len();
    program.extend([
        load(HALF, 4),
        must_be(1),
        load(WORD, 0),
        must_be(0x3333_0000),
        step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ]);
    let question = program.len();
    let target =
        [0xfe80_0000, 0, u32::from_be_bytes([a ^ 2, b, c, 0xff]), u32::from_be_bytes([0xfe, d, e, f])];
    for (at, word) in [62, 66, 70, 74].into_iter().zip(target) {
        program.extend([load(WORD, at), must_be(word)]);
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0));
    let dhcp6 = program.len();
    program.extend([
        // UDP to port 546, to the station.
        load(BYTE, 20),
        must_be(17),
        load(HALF, 56),
        must_be(546),
        load(WORD, 0),
        must_be(front),
        load(HALF, 4),
        must_be(back),
    ]);
    program.push(step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0));
    let reject = program.len();
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    for (place, step) in program.iter_mut().enumerate() {
        for jump in [&mut step.jt, &mut step.jf] {
            let to = match *jump {
                REJECT => reject,
                ARP => arp,
                IPV6 => ipv6,
                DHCP6 => dhcp6,
                QUESTION => question,
                EVERYBODY => everybody,
                _ => continue,
            };
            *jump = u8::try_from(to - place - 1).expect("the program has some sixty steps");
        }
    }
    program
}
