//! `win-bridge` and `win-overlay` of the reference plugins (repository containernetworking/plugins).

use hns_hcn::NetworkType;

use super::{Dialect, Stands, harmless, refused};

pub(super) const DIALECT: Dialect = Dialect {
    types: &[
        ("win-bridge", Stands::For(NetworkType::L2Bridge)),
        ("win-overlay", Stands::For(NetworkType::Overlay)),
    ],
    keys: &[
        // A container reaches its own published ports.
        harmless("loopbackDSR"),
        refused("ipMasqNetwork", "a network translates to all destinations or to none; see \"ipMasq\""),
        refused("endpointMacPrefix", "the daemon chooses MAC addresses, whatever the network is"),
    ],
    flags: &[],
};
