//! Microsoft's plugins for Windows (repository microsoft/windows-container-networking): `nat`, `sdnbridge`,
//! `sdnoverlay`, and the older names of the same program.

use hns_hcn::NetworkType;

use super::{Dialect, Stands, harmless, refused};

pub(super) const DIALECT: Dialect = Dialect {
    types: &[
        ("nat", Stands::For(NetworkType::Nat)),
        ("transparent", Stands::For(NetworkType::Transparent)),
        ("l2bridge", Stands::For(NetworkType::L2Bridge)),
        ("sdnbridge", Stands::For(NetworkType::L2Bridge)),
        ("l2tunnel", Stands::For(NetworkType::L2Tunnel)),
        ("overlay", Stands::For(NetworkType::Overlay)),
        ("sdnoverlay", Stands::For(NetworkType::Overlay)),
        ("wincni", Stands::ByName),
    ],
    keys: &[],
    flags: &[
        // A published port is reachable from its own host.
        harmless("localRoutedPortMapping"),
        // The families follow from `ipam` and `ipamv6`.
        harmless("enableDualStack"),
        // A container reaches its own published ports.
        harmless("loopbackDSR"),
        refused("gatewayFromAdditionalRoutes", "write the gateway into \"ipam\""),
    ],
};
