use std::net::IpAddr;

use hns_net::{Cidr, Family};
use serde_json::Value;

use super::address;
use super::port_mapping::NatFlags;
use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// Source translation of what leaves the endpoint (hcn-api 5.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundNat {
    /// Absent: the host's own address.
    pub virtual_ip: Option<IpAddr>,
    /// Destinations that are not translated.
    pub exceptions: Vec<Cidr>,
    /// When not empty, only these are.
    pub destinations: Vec<Cidr>,
    pub flags: NatFlags,
    /// Most source ports at once; 0: no limit of its own.
    pub ports_max: u16,
}

impl OutboundNat {
    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let nat = Self {
            virtual_ip: fields.parsed(&["VirtualIP", "VIP"], CODE)?,
            exceptions: address::prefixes(&mut fields, &["Exceptions", "ExceptionList"])?,
            destinations: address::prefixes(&mut fields, &["Destinations"])?,
            flags: NatFlags(fields.flags(&["Flags"], NatFlags::TABLE)?),
            ports_max: fields.number_u16(&["MaxPortPoolUsage"])?.unwrap_or(0),
        };
        // Docker's overlay driver sends an empty one.
        fields.pass_over(&["PA"]);
        if let Some(address) =
            nat.virtual_ip.filter(|address| address.is_unspecified() || address.is_multicast())
        {
            let problem = format!("{address} is not an address that packets can leave with");
            return Err(fields.error("VirtualIP", problem));
        }
        if let Some(address) = nat.virtual_ip
            && !nat.covers(Family::of(address))
        {
            let problem = format!("{address} is not of the family that the lists or Flags name");
            return Err(fields.error("VirtualIP", problem));
        }
        fields.finish()?;
        Ok(nat)
    }

    /// Whether the policy is meant for this family: that of its lists or its address, else what Flags says.
    #[must_use]
    pub fn covers(&self, family: Family) -> bool {
        let mut named =
            self.exceptions.iter().chain(&self.destinations).map(|prefix| prefix.family()).peekable();
        if named.peek().is_some() {
            return named.any(|one| one == family);
        }
        match self.virtual_ip {
            Some(address) => Family::of(address) == family,
            None => self.flags.has(NatFlags::IPV6) == (family == Family::V6),
        }
    }
}
