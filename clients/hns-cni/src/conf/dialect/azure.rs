//! `azure-vnet` (repository Azure/azure-container-networking).

use super::{Dialect, Stands, harmless, refused};

const CLOUD: &str = "it takes part in Azure's own network, which HNS does not manage";

pub(super) const DIALECT: Dialect = Dialect {
    types: &[("azure-vnet", Stands::ByMode)],
    keys: &[
        // Where and how that plugin logs and locks.
        harmless("logLevel"),
        harmless("logTarget"),
        harmless("disableIPTableLock"),
        harmless("disableAsyncDelete"),
        harmless("executionMode"),
        harmless("windowsSettings"),
        // A bridge's name, which HNS chooses itself; every Azure configuration has one.
        harmless("bridge"),
        harmless("disableHairpinOnHostInterface"),
        refused("multiTenancy", CLOUD),
        refused("infraVnetAddressSpace", CLOUD),
        refused("serviceCidrs", CLOUD),
        refused("vnetCidrs", CLOUD),
        refused("podNamespaceForDualNetwork", CLOUD),
        refused("ipsToRouteViaHost", CLOUD),
        refused("enableSnatOnHost", CLOUD),
        refused("enableExactMatchForPodName", CLOUD),
        refused("ipv6Mode", CLOUD),
        refused("cnsurl", CLOUD),
        refused("wireServerIP", CLOUD),
    ],
    flags: &[],
};
