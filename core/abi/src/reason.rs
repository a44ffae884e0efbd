use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// Why a packet was dropped: `enum reason` of `bpf/lib/abi.h`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name it has in metrics, documents and on the command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// The datapath has no record of the port.
    UnknownPort = 1, "unknown-port";
    /// The port's policy could not be programmed.
    Blocked = 2, "blocked";
    /// Headers cut short, or lengths that contradict each other.
    Malformed = 3, "malformed";
    /// Neither ARP, IPv4 nor IPv6, or with a VLAN tag.
    Ethertype = 4, "ethertype";
    SpoofedMac = 5, "spoofed-mac";
    SpoofedIp = 6, "spoofed-ip";
    SpoofedArp = 7, "spoofed-arp";
    SpoofedNd = 8, "spoofed-nd";
    /// A router advertisement or redirect from a container (RFC 6105).
    RogueRa = 9, "rogue-ra";
    /// A DHCP server's message from a container.
    RogueDhcp = 10, "rogue-dhcp";
    /// Between an endpoint that talks to no other of its network (DisableInterComputeCommunication) and another one.
    Quiet = 11, "quiet";
    /// From the host or through it, and not let pass by our nftables table: it is gone, or being loaded.
    Unruled = 12, "unruled";
    /// To a loopback address, which is on no wire (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3).
    Loopback = 13, "loopback";
    /// Beyond a network that has no way out, by way of the host.
    Confined = 14, "confined";
    /// The adapter of its external switch, or its overlay, is not known to the datapath.
    Unwired = 15, "unwired";
    /// No host of the overlay is known to have the destination.
    Unrouted = 16, "unrouted";
    /// Out of the tunnel, from a host that the source is not known to be on.
    SpoofedTunnel = 17, "spoofed-tunnel";
    /// Out of the tunnel, with a number that no network here has.
    UnknownVni = 18, "unknown-vni";
    /// Its own, back from the wire of an external switch that sends everything there.
    Reflected = 19, "reflected";
    /// Out of a tunnel in clear, for an overlay that is encrypted.
    Unencrypted = 24, "unencrypted";
    AclOut = 20, "acl-out";
    AclIn = 21, "acl-in";
    /// A later fragment of a datagram whose first one was not seen or not let pass.
    Fragment = 22, "fragment";
    /// Not dropped: a rule that is only watched would have.
    Observed = 23, "observed";
    MeterOut = 60, "meter-out";
    MeterIn = 61, "meter-in";
}

impl Reason {
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_reason_and_no_other() {
        let page = include_str!("../../../docs/reference/drops.md");
        let words = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let reasons = Reason::ALL.iter().map(|reason| reason.word());
        assert_eq!(words.collect::<Vec<_>>(), reasons.collect::<Vec<_>>());
    }
}
