use hns_hcn::NetworkType;

/// A driver name of Docker: one socket, one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// As in `docker network create -d NAME`. Docker keeps `overlay` for itself, hence ours is `hns-overlay`.
    pub name: &'static str,
    /// The type of the HNS networks it makes.
    pub kind: NetworkType,
    /// Whether this version makes such networks. Until it does, the socket answers a create with a sentence.
    pub is_available: bool,
}

pub(crate) static NAT: Driver = Driver { name: "nat", kind: NetworkType::Nat, is_available: true };
pub(crate) static TRANSPARENT: Driver =
    Driver { name: "transparent", kind: NetworkType::Transparent, is_available: true };
pub(crate) static L2BRIDGE: Driver =
    Driver { name: "l2bridge", kind: NetworkType::L2Bridge, is_available: true };
pub(crate) static L2TUNNEL: Driver =
    Driver { name: "l2tunnel", kind: NetworkType::L2Tunnel, is_available: false };
pub(crate) static OVERLAY: Driver =
    Driver { name: "hns-overlay", kind: NetworkType::Overlay, is_available: true };

/// Every network driver. A type that becomes available changes its row, and its column in `options/`.
pub(crate) static DRIVERS: [&Driver; 5] = [&NAT, &TRANSPARENT, &L2BRIDGE, &L2TUNNEL, &OVERLAY];

/// The name of the IPAM driver.
pub(crate) const IPAM: &str = "hns";

/// The drivers whose networks can be made, for sentences.
pub(crate) fn available() -> String {
    let names: Vec<_> = DRIVERS.iter().filter(|driver| driver.is_available).map(|d| d.name).collect();
    names.join(", ")
}
