use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_net::{Cidr, Family, Guid, IfName, Mac, MacRange, Mtu};
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::dns::Dns;
use crate::fields::{DocumentError, Fields, Found, base_to_v2, check_name, kind, pass_over_base};
use crate::policy::{Policy, policies_from_v2};
use crate::port_params::PortParams;
use crate::route::Route;

const CODE: ErrorCode = ErrorCode::INVALID_NETWORK;

/// HCN `NetworkMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkType {
    Nat,
    Ics,
    Transparent,
    L2Bridge,
    L2Tunnel,
    Overlay,
    Private,
    Internal,
    Mirrored,
    Infiniband,
    ConstrainedIcs,
}

impl NetworkType {
    const TABLE: &'static [(&'static str, u64, Self)] = &[
        ("NAT", 0, Self::Nat),
        ("ICS", 1, Self::Ics),
        ("Transparent", 2, Self::Transparent),
        ("L2Bridge", 3, Self::L2Bridge),
        ("L2Tunnel", 4, Self::L2Tunnel),
        ("Overlay", 5, Self::Overlay),
        ("Private", 6, Self::Private),
        ("Internal", 7, Self::Internal),
        ("Mirrored", 8, Self::Mirrored),
        ("Infiniband", 9, Self::Infiniband),
        ("ConstrainedICS", 10, Self::ConstrainedIcs),
    ];

    /// The exact spelling clients compare with (hcn-api 3.1).
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::TABLE.iter().find(|(.., t)| *t == self).map_or("NAT", |(name, ..)| name)
    }
}

/// HCN `NetworkFlags`, a bit mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkFlags(pub u32);

impl NetworkFlags {
    /// The network is gone after a restart of the host.
    pub const NON_PERSISTENT: u32 = 8;
    /// A switch of its own, which no other network shares.
    pub const ISOLATE_SWITCH: u32 = 32;
    /// No host port on the switch.
    pub const DISABLE_HOST_PORT: u32 = 1024;

    const TABLE: &'static [(&'static str, u32)] = &[
        ("EnableDnsProxy", 1),
        ("EnableDhcpServer", 2),
        ("EnableMirroring", 4),
        ("EnableNonPersistent", Self::NON_PERSISTENT),
        ("EnablePersistent", 16),
        ("IsolateVSwitch", Self::ISOLATE_SWITCH),
        ("EnableFlowSteering", 64),
        ("DisableSharing", 128),
        ("EnableFirewall", 256),
        ("SuppressMediaDisconnect", 512),
        ("DisableHostPort", Self::DISABLE_HOST_PORT),
        ("WeakHostReceiveAdapter", 2048),
        ("WeakHostSendAdapter", 4096),
        ("EnableIov", 8192),
    ];

    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// A HostComputeNetwork.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub id: Option<Guid>,
    pub name: String,
    pub owner: Option<String>,
    pub kind: NetworkType,
    pub flags: NetworkFlags,
    pub policies: Vec<Policy>,
    pub mac_pool: Vec<MacRange>,
    pub dns: Dns,
    pub ipams: Vec<Ipam>,
    pub params: NetworkParams,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpamType {
    #[default]
    Static,
    Dhcp,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ipam {
    pub kind: IpamType,
    pub subnets: Vec<Subnet>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubnetFlags(pub u32);

impl SubnetFlags {
    pub const DO_NOT_RESERVE_GATEWAY: u32 = 1;
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subnet {
    pub id: Option<Guid>,
    /// Absent or `0.0.0.0/0`: the server chooses.
    pub prefix: Option<Cidr>,
    pub routes: Vec<Route>,
    pub policies: Vec<Policy>,
    pub ip_subnets: Vec<IpSubnet>,
    pub flags: SubnetFlags,
}

impl Subnet {
    /// The next hop of the subnet's default route.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        self.routes.iter().find(|route| route.is_default()).and_then(|route| route.next_hop)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSubnet {
    pub id: Option<Guid>,
    pub prefix: Cidr,
    pub flags: u32,
}

/// How containers of a NAT network are seen from beyond it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Masquerade outbound, translate published ports inbound.
    #[default]
    Nat,
    /// No translation; opened ports are reached at the container's own address.
    Routed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayModes {
    pub v4: GatewayMode,
    pub v6: GatewayMode,
}

impl GatewayModes {
    #[must_use]
    pub const fn of(self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What HCN's network document has no field for, kept in its `AdditionalParams`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkParams {
    pub mtu: Option<Mtu>,
    /// Dynamic addresses come from these blocks only.
    pub ip_range: Vec<Cidr>,
    /// Named addresses that are never handed out.
    pub aux_addresses: BTreeMap<String, IpAddr>,
    pub gateway_mode: GatewayModes,
    /// Whether families are wanted that no subnet names; absent: as the subnets say.
    pub enable_v4: Option<bool>,
    pub enable_v6: Option<bool>,
    /// Whether small packets of an overlay may go past the VXLAN device; absent: they may.
    pub direct_tunnel: Option<bool>,
    /// What its endpoints' ports do, unless they say otherwise.
    pub port: PortParams,
    /// The bridge of the administrator's that the network stands for. The server's to say.
    pub adopted_bridge: Option<IfName>,
    /// Keys of others, echoed as they came.
    pub others: Map<String, Value>,
}

impl Network {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let network = Self::from_record(document)?;
        check_name(&network.name, CODE)?;
        Ok(network)
    }

    /// A document that was taken when more names were: a daemon reads again what it has written.
    pub fn from_record(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let network = Self {
            id: fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            name: fields.text(&["Name"])?.unwrap_or_default(),
            owner: fields.text(&["Owner"])?,
            kind: fields
                .choice(&["Type"], NetworkType::TABLE, ErrorCode::INVALID_NETWORK_TYPE)?
                .unwrap_or(NetworkType::Nat),
            flags: NetworkFlags(fields.flags(&["Flags"], NetworkFlags::TABLE)?),
            policies: policies_from_v2(&mut fields, &["Policies"])?,
            mac_pool: mac_pool(&mut fields)?,
            dns: Dns::from_v2(&mut fields)?,
            ipams: ipams(&mut fields)?,
            params: NetworkParams::from_v2(&mut fields)?,
        };
        pass_over_base(&mut fields)?;
        fields.finish()?;
        Ok(network)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = base_to_v2(self.id, &self.name, self.owner.as_ref());
        out.insert("Type".into(), json!(self.kind.name()));
        out.insert("Policies".into(), self.policies.iter().map(Policy::to_v2).collect());
        let ranges: Vec<_> = self.mac_pool.iter().map(mac_range_to_v2).collect();
        out.insert("MacPool".into(), if ranges.is_empty() { json!({}) } else { json!({ "Ranges": ranges }) });
        out.insert("Dns".into(), self.dns.to_v2());
        out.insert("Ipams".into(), self.ipams.iter().map(Ipam::to_v2).collect());
        out.insert("Flags".into(), json!(self.flags.0));
        out.insert("AdditionalParams".into(), self.params.to_v2());
        Value::Object(out)
    }

    /// The subnets of all IPAM blocks; clients use only the first block.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.ipams.iter().flat_map(|ipam| &ipam.subnets)
    }
}

fn mac_pool(fields: &mut Fields<'_>) -> Result<Vec<MacRange>, DocumentError> {
    let Some(mut pool) = fields.object(&["MacPool"])? else { return Ok(Vec::new()) };
    let mut ranges = Vec::new();
    for found in pool.list(&["Ranges"])? {
        let mut range = Fields::of(found.value, &found.path, CODE)?;
        let start: Option<Mac> = range.parsed(&["StartMacAddress"], CODE)?;
        let end: Option<Mac> = range.parsed(&["EndMacAddress"], CODE)?;
        range.finish()?;
        let both = start.zip(end).and_then(|(start, end)| MacRange::new(start, end));
        let problem = "a range needs StartMacAddress and, not below it, EndMacAddress";
        ranges.push(both.ok_or_else(|| DocumentError::new(&found.path, problem, CODE))?);
    }
    pool.finish()?;
    Ok(ranges)
}

fn mac_range_to_v2(range: &MacRange) -> Value {
    json!({ "StartMacAddress": range.start().to_string(), "EndMacAddress": range.end().to_string() })
}

fn ipams(fields: &mut Fields<'_>) -> Result<Vec<Ipam>, DocumentError> {
    let table = [("Static", 0, IpamType::Static), ("Dhcp", 1, IpamType::Dhcp)];
    let mut ipams = Vec::new();
    for found in fields.list(&["Ipams"])? {
        let mut ipam = Fields::of(found.value, &found.path, CODE)?;
        let kind = ipam.choice(&["Type"], &table, CODE)?.unwrap_or_default();
        let mut subnets = Vec::new();
        for found in ipam.list(&["Subnets"])? {
            subnets.push(Subnet::from_v2(&found)?);
        }
        ipam.finish()?;
        ipams.push(Ipam { kind, subnets });
    }
    Ok(ipams)
}

impl Ipam {
    fn to_v2(&self) -> Value {
        let kind = match self.kind {
            IpamType::Static => "Static",
            IpamType::Dhcp => "Dhcp",
        };
        let subnets: Value = self.subnets.iter().map(Subnet::to_v2).collect();
        json!({ "Type": kind, "Subnets": subnets })
    }
}

impl Subnet {
    /// A subnet of which only the prefix is known.
    #[must_use]
    pub fn of_prefix(prefix: Option<Cidr>) -> Self {
        let flags = SubnetFlags::default();
        Self { id: None, prefix, routes: Vec::new(), policies: Vec::new(), ip_subnets: Vec::new(), flags }
    }

    fn from_v2(found: &Found<'_>) -> Result<Self, DocumentError> {
        let code = ErrorCode::INVALID_SUBNET;
        let mut fields = Fields::of(found.value, &found.path, code)?;
        let mut ip_subnets = Vec::new();
        let id = fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?;
        let prefix: Option<Cidr> =
            fields.parsed(&["IpAddressPrefix", "AddressPrefix"], ErrorCode::INVALID_PREFIX)?;
        let routes = Route::list_from_v2(&mut fields, &["Routes"], code)?;
        let policies = policies_from_v2(&mut fields, &["Policies"])?;
        for found in fields.list(&["IpSubnets"])? {
            ip_subnets.push(IpSubnet::from_v2(&found)?);
        }
        let table = [("DoNotReserveGatewayAddress", SubnetFlags::DO_NOT_RESERVE_GATEWAY)];
        let flags = SubnetFlags(fields.flags(&["Flags"], &table)?);
        fields.pass_over(&["ObjectType", "State", "Health"]);
        fields.finish()?;
        Ok(Self { id, prefix, routes, policies, ip_subnets, flags })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(id) = self.id {
            out.insert("ID".into(), json!(id.to_string()));
        }
        if let Some(prefix) = self.prefix {
            out.insert("IpAddressPrefix".into(), json!(prefix.to_string()));
        }
        out.insert("Flags".into(), json!(self.flags.0));
        out.insert("Policies".into(), self.policies.iter().map(Policy::to_v2).collect());
        out.insert("Routes".into(), self.routes.iter().map(Route::to_v2).collect());
        out.insert("IpSubnets".into(), self.ip_subnets.iter().map(IpSubnet::to_v2).collect());
        Value::Object(out)
    }
}

impl IpSubnet {
    fn from_v2(found: &Found<'_>) -> Result<Self, DocumentError> {
        let code = ErrorCode::INVALID_IP_SUBNET;
        let mut fields = Fields::of(found.value, &found.path, code)?;
        let id = fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?;
        let prefix = fields.parsed(&["IpAddressPrefix"], ErrorCode::INVALID_PREFIX)?;
        let flags = fields.flags(&["Flags"], &[("EnableBroadcast", 1), ("ReserveNetworkAddress", 2)])?;
        let missing = fields.error("IpAddressPrefix", "an IP subnet needs a prefix");
        fields.pass_over(&["ObjectType", "State", "Health"]);
        fields.finish()?;
        Ok(Self { id, prefix: prefix.ok_or(missing)?, flags })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(id) = self.id {
            out.insert("ID".into(), json!(id.to_string()));
        }
        out.insert("IpAddressPrefix".into(), json!(self.prefix.to_string()));
        out.insert("Flags".into(), json!(self.flags));
        Value::Object(out)
    }
}

impl NetworkParams {
    fn from_v2(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let Some(mut params) = fields.object(&["AdditionalParams"])? else { return Ok(Self::default()) };
        let mtu = match params.number(&["Mtu"], u64::from(u32::MAX))? {
            None => None,
            Some(bytes) => Some(Mtu::new(bytes).map_err(|error| params.error("Mtu", error))?),
        };
        Ok(Self {
            mtu,
            ip_range: ip_range(&mut params)?,
            aux_addresses: aux_addresses(&mut params)?,
            gateway_mode: gateway_modes(&mut params)?,
            enable_v4: params.flag(&["EnableIPv4"])?,
            enable_v6: params.flag(&["EnableIPv6"])?,
            direct_tunnel: params.flag(&["DirectTunnel"])?,
            port: PortParams::from_fields(&mut params, CODE)?,
            adopted_bridge: params.parsed(&["AdoptedBridge"], CODE)?,
            others: params.rest(),
        })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(mtu) = self.mtu {
            out.insert("Mtu".into(), json!(mtu.bytes()));
        }
        if !self.ip_range.is_empty() {
            out.insert("IpRange".into(), self.ip_range.iter().map(|r| json!(r.to_string())).collect());
        }
        if !self.aux_addresses.is_empty() {
            let named: Map<_, _> =
                self.aux_addresses.iter().map(|(name, ip)| (name.clone(), json!(ip.to_string()))).collect();
            out.insert("AuxAddresses".into(), Value::Object(named));
        }
        if self.gateway_mode != GatewayModes::default() {
            let modes = self.gateway_mode;
            let modes = json!({ "IPv4": mode_name(modes.v4), "IPv6": mode_name(modes.v6) });
            out.insert("GatewayMode".into(), modes);
        }
        if let Some(enabled) = self.enable_v4 {
            out.insert("EnableIPv4".into(), json!(enabled));
        }
        if let Some(enabled) = self.enable_v6 {
            out.insert("EnableIPv6".into(), json!(enabled));
        }
        if let Some(enabled) = self.direct_tunnel {
            out.insert("DirectTunnel".into(), json!(enabled));
        }
        self.port.write(&mut out);
        if let Some(bridge) = &self.adopted_bridge {
            out.insert("AdoptedBridge".into(), json!(bridge.as_str()));
        }
        out.extend(self.others.clone());
        Value::Object(out)
    }
}

fn ip_range(params: &mut Fields<'_>) -> Result<Vec<Cidr>, DocumentError> {
    let Some(found) = params.take(&["IpRange"]) else { return Ok(Vec::new()) };
    let texts: Vec<&Value> = match found.value {
        Value::Array(members) => members.iter().collect(),
        one => vec![one],
    };
    let parse = |(place, value): (usize, &Value)| {
        let path =
            if found.value.is_array() { format!("{}[{place}]", found.path) } else { found.path.clone() };
        let Some(text) = value.as_str() else {
            let problem = format!("expected an address prefix, found {}", kind(value));
            return Err(DocumentError::new(path, problem, CODE));
        };
        text.parse().map_err(|error| DocumentError::new(path, error, ErrorCode::INVALID_PREFIX))
    };
    texts.into_iter().enumerate().map(parse).collect()
}

fn aux_addresses(params: &mut Fields<'_>) -> Result<BTreeMap<String, IpAddr>, DocumentError> {
    let Some(found) = params.take(&["AuxAddresses"]) else { return Ok(BTreeMap::new()) };
    let Value::Object(named) = found.value else {
        let problem = format!("expected an object of names and addresses, found {}", kind(found.value));
        return Err(DocumentError::new(found.path, problem, CODE));
    };
    let parse = |(name, value): (&String, &Value)| {
        let problem = || format!("{value} is not an address");
        let address = value.as_str().and_then(|text| text.parse().ok());
        let path = format!("{}.{name}", found.path);
        Ok((name.clone(), address.ok_or_else(|| DocumentError::new(path, problem(), ErrorCode::INVALID_IP))?))
    };
    named.iter().map(parse).collect()
}

const MODES: &[(&str, u64, GatewayMode)] =
    &[("nat", 0, GatewayMode::Nat), ("routed", 1, GatewayMode::Routed)];

fn mode_name(mode: GatewayMode) -> &'static str {
    match mode {
        GatewayMode::Nat => "nat",
        GatewayMode::Routed => "routed",
    }
}

fn gateway_modes(params: &mut Fields<'_>) -> Result<GatewayModes, DocumentError> {
    let is_object =
        |found: &(&str, &Value)| found.0.eq_ignore_ascii_case("GatewayMode") && found.1.is_object();
    if !params.entry(is_object) {
        let both = params.choice(&["GatewayMode"], MODES, CODE)?.unwrap_or_default();
        return Ok(GatewayModes { v4: both, v6: both });
    }
    let Some(mut families) = params.object(&["GatewayMode"])? else { return Ok(GatewayModes::default()) };
    let v4 = families.choice(&["IPv4"], MODES, CODE)?.unwrap_or_default();
    let v6 = families.choice(&["IPv6"], MODES, CODE)?.unwrap_or_default();
    families.finish()?;
    Ok(GatewayModes { v4, v6 })
}
