//! Small packets between hosts that go past the VXLAN device (RFC 7348): what stands around a container's frame, and which frames
//! of an adapter are such.

use std::net::Ipv4Addr;

use hns_net::Vni;

use crate::packet::ETHERNET;

/// Larger ones may be part of a stream that is merged before the device, and must not overtake it.
const TAKEN_MAX: usize = 400;
/// Behind the outer Ethernet header: IPv4 without options, UDP, VXLAN.
const UDP: usize = ETHERNET + 20;
const VXLAN: usize = UDP + 8;
const INNER: usize = VXLAN + 8;
const VXLAN_FLAGS: [u8; 4] = [8, 0, 0, 0];
const ECN: u8 = 3;
/// What an outer header says of congestion goes into the inner one (RFC 6040), which is left to the kernel.
const CONGESTED: u8 = 3;

/// A frame in its wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    pub sender: Ipv4Addr,
    pub receiver: Ipv4Addr,
    pub udp_port: u16,
    pub vni: Vni,
    /// The frame itself.
    pub inner: Vec<u8>,
}

impl Wrapped {
    /// The wrapping around a frame, as it comes to the station `to`.
    #[must_use]
    pub fn frame(&self, to: [u8; 6]) -> Vec<u8> {
        let length = |start: usize| u16::try_from(INNER - start + self.inner.len()).unwrap_or(u16::MAX);
        let mut frame = [&to[..], &[2, 0, 0, 0, 0, 1], &[8, 0]].concat();
        let mut ip = [&[0x45, 0][..], &length(ETHERNET).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
        ip.extend(self.sender.octets().into_iter().chain(self.receiver.octets()));
        let sum = (!ones_sum(&ip)).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        frame.extend(ip);
        frame.extend([[0xc0, 0], self.udp_port.to_be_bytes(), length(UDP).to_be_bytes(), [0, 0]].concat());
        frame.extend([VXLAN_FLAGS, (self.vni.number() << 8).to_be_bytes()].concat());
        frame.extend(&self.inner);
        frame
    }
}

/// The frame in a wrapping, where there is nothing but one, without options and fragments and with nothing to verify or to note, around an
/// IP packet with its fixed header.
#[must_use]
pub fn unwrap(frame: &[u8]) -> Option<Wrapped> {
    let octets = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok();
    let number = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let length = number(ETHERNET + 2)?;
    let is_plain = frame.get(12..ETHERNET + 1)? == [8, 0, 0x45]
        && frame[ETHERNET + 1] & ECN != CONGESTED
        && number(ETHERNET + 6)? & 0x3fff == 0
        && *frame.get(ETHERNET + 9)? == 17
        && frame.len() == ETHERNET + usize::from(length)
        && ones_sum(frame.get(ETHERNET..UDP)?) == u16::MAX;
    let is_tunnels = number(UDP + 4)?.checked_add(20) == Some(length)
        && number(UDP + 6)? == 0
        && octets(VXLAN)? == VXLAN_FLAGS
        && *frame.get(VXLAN + 7)? == 0;
    let inner = frame.get(INNER..)?;
    let is_whole = match inner.get(12..ETHERNET)? {
        [8, 0] => inner.len() >= ETHERNET + 20,
        [0x86, 0xdd] => inner.len() >= ETHERNET + 40,
        _ => false,
    };
    if !(is_plain && is_tunnels && is_whole) {
        return None;
    }
    Some(Wrapped {
        sender: octets(ETHERNET + 12)?.into(),
        receiver: octets(ETHERNET + 16)?.into(),
        udp_port: number(UDP + 2)?,
        vni: Vni::new(u64::from(u32::from_be_bytes(octets(VXLAN + 4)?) >> 8)).ok()?,
        inner: inner.to_vec(),
    })
}

/// Whether it is taken at the adapter already.
#[must_use]
pub fn is_small(frame: &[u8]) -> bool {
    frame.len() <= TAKEN_MAX
}

/// The sum of the Internet's checksum (RFC 1071): all ones where a header holds the right one.
fn ones_sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX)
}
