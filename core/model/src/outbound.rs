//! Outbound translation by policy, of endpoints that the host routes for.

use hns_hcn::{self as hcn, ErrorCode, NatFlags, NetworkType, PolicySettings};
use hns_net::{Cidr, Family, Guid, IfAddr};

use crate::error::ModelError;
use crate::world::World;

/// Each is a run of addresses in a set that all endpoints share.
const PREFIXES_MAX: usize = 64;

/// Refuses what the host cannot do with such a policy.
pub(crate) fn check(policy: &hcn::Policy, place: usize) -> Result<(), ModelError> {
    let PolicySettings::OutboundNat(nat) = &policy.meaning else { return Ok(()) };
    let count = nat.exceptions.len() + nat.destinations.len();
    let (field, problem) = match () {
        () if nat.virtual_ip.is_some() => {
            ("VirtualIP", "the host translates to its own address alone".to_owned())
        }
        () if nat.ports_max > 0 => {
            ("MaxPortPoolUsage", "a limit of source ports is not supported".to_owned())
        }
        () if nat.flags.0 & !NatFlags::IPV6 != 0 => ("Flags", "IPv6 alone means something here".to_owned()),
        () if count > PREFIXES_MAX => {
            ("Exceptions", format!("{count} prefixes; a policy has {PREFIXES_MAX} at most"))
        }
        () => return Ok(()),
    };
    let field = format!("Policies[{place}].Settings.{field}");
    Err(ModelError::endpoint(field, problem, ErrorCode::INVALID_POLICY))
}

impl World {
    /// Refuses a translation of what does not pass the host: only of what it routes it can be one.
    pub(crate) fn check_translated(&self, id: Guid) -> Result<(), ModelError> {
        let endpoint = self.endpoint(id)?;
        let network = self.network(endpoint.network)?;
        if network.kind() != NetworkType::L2Bridge {
            return Ok(());
        }
        let behind = self.is_behind_host(endpoint);
        for (family, behind) in [Family::V4, Family::V6].into_iter().zip(behind) {
            let is_of_family = |prefix: Cidr| prefix.family() == family;
            let has = endpoint.addresses().map(IfAddr::prefix).any(is_of_family);
            if has && !behind && endpoint.outbound_nats().any(|nat| nat.covers(family)) {
                let problem = format!(
                    "OutBoundNAT of {family} needs the host as the endpoint's gateway: an endpoint of network \"{}\" in the host's own \
                     namespace, to which the default route leads",
                    network.name()
                );
                return Err(ModelError::endpoint("Policies", problem, ErrorCode::REQUEST_UNSUPPORTED));
            }
        }
        Ok(())
    }
}
