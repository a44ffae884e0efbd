use std::net::IpAddr;

use hns_net::{Family, PortRange, Transport};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// HCN `NatFlags` of a port mapping or an outbound translation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NatFlags(pub u32);

impl NatFlags {
    pub const IPV6: u32 = 2;
    pub const EXTERNAL_PORT_RESERVED: u32 = 4;

    pub(super) const TABLE: &'static [(&'static str, u32)] = &[
        ("LocalRoutedVip", 1),
        ("IPv6", Self::IPV6),
        ("ExternalPortReserved", Self::EXTERNAL_PORT_RESERVED),
    ];

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// A port mapping: ports of the host that lead to ports of the endpoint (hcn-api 5.4, and `PortCount` of
/// ours for a range).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// Absent: TCP and UDP.
    pub transport: Option<Transport>,
    pub internal: PortRange,
    /// Absent: the server chooses.
    pub external: Option<PortRange>,
    /// Absent: every address of the host, of the families the endpoint has.
    pub address: Option<IpAddr>,
    pub flags: NatFlags,
}

impl PortMapping {
    #[must_use]
    pub fn transports(&self) -> &'static [Transport] {
        match self.transport {
            None => &[Transport::Tcp, Transport::Udp],
            Some(Transport::Tcp) => &[Transport::Tcp],
            Some(Transport::Udp) => &[Transport::Udp],
            Some(Transport::Sctp) => &[Transport::Sctp],
        }
    }

    /// Whether the mapping is meant for this family.
    #[must_use]
    pub fn covers(&self, family: Family) -> bool {
        match self.address {
            Some(address) => Family::of(address) == family,
            None => family == Family::V6 || !self.flags.has(NatFlags::IPV6),
        }
    }

    pub(super) fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let transport = match fields.number(&["Protocol"], 255)? {
            None => None,
            Some(number) => {
                Some(Transport::from_number(number).map_err(|error| fields.error("Protocol", error))?)
            }
        };
        let internal = fields.number_u16(&["InternalPort"])?.unwrap_or(0);
        let external = fields.number_u16(&["ExternalPort"])?.unwrap_or(0);
        let count = fields.number_u16(&["PortCount"])?.unwrap_or(1);
        let address: Option<IpAddr> = fields.parsed(&["VIP"], ErrorCode::INVALID_POLICY)?;
        let flags = fields.flags(&["Flags"], NatFlags::TABLE)?;
        if internal == 0 {
            let path = fields.path("InternalPort");
            let problem = "a port mapping needs the endpoint's port, 1 to 65535";
            return Err(DocumentError::new(path, problem, ErrorCode::INVALID_INTERNAL_PORT));
        }
        let range =
            |start, key| PortRange::with_count(start, count).map_err(|error| fields.error(key, error));
        let key = if count == 0 { "PortCount" } else { "InternalPort" };
        let internal = range(internal, key)?;
        let external = if external == 0 { None } else { Some(range(external, "ExternalPort")?) };
        let mapping = Self { transport, internal, external, address, flags: NatFlags(flags) };
        mapping.check_address(&fields)?;
        Ok(mapping)
    }

    fn check_address(&self, fields: &Fields<'_>) -> Result<(), DocumentError> {
        let Some(address) = self.address else { return Ok(()) };
        if address.is_multicast() {
            return Err(fields.error("VIP", format!("{address} is a group, not an address of the host")));
        }
        if self.flags.has(NatFlags::IPV6) && address.is_ipv4() {
            return Err(fields.error("VIP", format!("{address} is IPv4, but Flags says IPv6")));
        }
        Ok(())
    }
}
