//! How our devices are told from everybody else's: by their link group *and* by their name.
//!
//! ```text
//!  hns1a2b3c4d            a switch: the bridge, segment 0
//!  hns1a2b3c4d.1          a further segment
//!  hnt1a2b3c4d.1          the trunk to segment 1: the end in segment 0 ...
//!  hnu1a2b3c4d.1          ... and the end in segment 1
//!  hnv1a2b3c4d5e6f        the host end of a port
//!  hnw1a2b3c4d            the port of an external switch that stands for the wire
//!  hnx4789                the VXLAN device of a UDP port, of overlays in clear
//!  hne4789                that of encrypted ones
//! ```

use hns_net::IfName;
use hns_planner::TunnelDevice;

/// `"hns\0"`: the devices that are in use.
pub const OURS: u32 = 0x686e_7300;
/// The devices that were unplugged and wait for the reaper.
pub const REAP: u32 = 0x686e_7301;

pub(crate) const fn is_ours(group: u32) -> bool {
    matches!(group, OURS | REAP)
}

/// What a device of ours is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// A bridge: which segment of which switch.
    Segment { switch: IfName, number: u16 },
    /// A trunk's end in segment 0 (`near`) or in segment `number`.
    Trunk { switch: IfName, number: u16, near: bool },
    /// The port of an external switch that stands for the wire.
    Uplink { switch: IfName },
    /// A VXLAN device.
    Tunnel { device: TunnelDevice },
    /// The host end of a port.
    Port,
}

impl Role {
    /// The role a name of ours says, or nothing if it is no name of ours.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if let Some(device) = TunnelDevice::of_name(name) {
            return Some(Self::Tunnel { device });
        }
        let (stem, number) = match name.split_once('.') {
            Some((stem, number)) => (stem, number.parse().ok()?),
            None => (name, 0),
        };
        let hex = stem.get(3..).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let switch = || format!("hns{hex}").parse().ok();
        match (&stem[..3], hex.len(), number) {
            ("hns", 8, number) => Some(Self::Segment { switch: switch()?, number }),
            ("hnt", 8, 1..) => Some(Self::Trunk { switch: switch()?, number, near: true }),
            ("hnu", 8, 1..) => Some(Self::Trunk { switch: switch()?, number, near: false }),
            ("hnw", 8, 0) => Some(Self::Uplink { switch: switch()? }),
            ("hnv", 12, 0) => Some(Self::Port),
            _ => None,
        }
    }
}

/// The trunk between segment 0 and segment `number`: its end there and its far end.
pub(crate) fn trunk(switch: &IfName, number: u16) -> Option<(IfName, IfName)> {
    let hex = switch.as_str().strip_prefix("hns")?;
    Some((format!("hnt{hex}.{number}").parse().ok()?, format!("hnu{hex}.{number}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_role() {
        let switch: IfName = "hns0a1b2c3d".parse().unwrap();
        let (near, far) = trunk(&switch, 7).unwrap();
        assert_eq!(Role::of("hns0a1b2c3d"), Some(Role::Segment { switch: switch.clone(), number: 0 }));
        assert_eq!(Role::of("hns0a1b2c3d.2"), Some(Role::Segment { switch: switch.clone(), number: 2 }));
        assert_eq!(
            Role::of(near.as_str()),
            Some(Role::Trunk { switch: switch.clone(), number: 7, near: true })
        );
        assert_eq!(Role::of(far.as_str()), Some(Role::Trunk { switch, number: 7, near: false }));
        assert_eq!(Role::of("hnv0a1b2c3d4e5f"), Some(Role::Port));
        for encrypted in [false, true] {
            let device = TunnelDevice { udp_port: 4789, encrypted };
            assert_eq!(Role::of(device.name().as_str()), Some(Role::Tunnel { device }));
        }
        let uplink = hns_planner::Switch::uplink_port(&"hns0a1b2c3d".parse().unwrap()).unwrap();
        assert_eq!(Role::of(uplink.as_str()), Some(Role::Uplink { switch: "hns0a1b2c3d".parse().unwrap() }));
    }

    #[test]
    fn foreign_names_have_no_role() {
        for name in [
            "eth0",
            "hns",
            "hns0",
            "hnsfriend",
            "hnv1",
            "docker0",
            "hns0a1b2c3d.x",
            "hnt0a1b2c3d",
            "hnx70000",
            "hne",
        ] {
            assert_eq!(Role::of(name), None, "{name}");
        }
    }
}
