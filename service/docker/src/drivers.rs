use hns_hcn::NetworkType;

/// A driver name of Docker: one socket, one row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// As in `docker network create -d NAME`. Docker keeps `overlay` for itself, hence ours is `hns-overlay`.
    pub name: &'static str,
    /// The type of the HNS networks it makes.
    pub kind: NetworkType,
}

pub(crate) static NAT: Driver = Driver { name: "nat", kind: NetworkType::Nat };
pub(crate) static TRANSPARENT: Driver = Driver { name: "transparent", kind: NetworkType::Transparent };
pub(crate) static L2BRIDGE: Driver = Driver { name: "l2bridge", kind: NetworkType::L2Bridge };
pub(crate) static L2TUNNEL: Driver = Driver { name: "l2tunnel", kind: NetworkType::L2Tunnel };
pub(crate) static OVERLAY: Driver = Driver { name: "hns-overlay", kind: NetworkType::Overlay };

/// Every network driver. Each has its column in `options/`.
pub(crate) static DRIVERS: [&Driver; 5] = [&NAT, &TRANSPARENT, &L2BRIDGE, &L2TUNNEL, &OVERLAY];

/// The name of the IPAM driver.
pub(crate) const IPAM: &str = "hns";
