//! The network configuration on the standard input, of whichever plugin it was written for.
//!
//! Two readings: the [`Outline`] is all that removing and asking need, so that an edit of the configuration that went
//! wrong never keeps a container from being removed; [`Conf`] is the whole, read and judged for an ADD.

mod addressing;
mod arguments;
mod bandwidth;
mod capability;
mod dialect;
mod policy;

use std::path::PathBuf;

use hns_hcn::{Dns, NetworkType};
use hns_net::{Guid, Mac, Mtu, VlanId};
use serde_json::{Map, Value, json};

pub use addressing::{Requested, Routes, Subnet};

use crate::environment::{Attachment, IDENTIFIER, is_identifier};
use crate::failure::Failure;
use crate::object::{Found, Object};
use crate::version::Version;

use arguments::Arguments;
use capability::Wishes;
use dialect::{Reading, Stands, kind_named, kind_names};
use policy::Policies;

/// Keys of `ipam` that say something to plugins we stand in for, and nothing to HNS.
const IPAM_HARMLESS: [&str; 4] = ["environment", "addressSpace", "queryInterval", "dataDir"];

/// What every verb needs of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    pub version: Version,
    /// The network's name to the runtime.
    pub name: String,
    /// The IPAM plugin that gives the addresses; absent: HNS does.
    pub delegate: Option<String>,
    /// The daemon's socket, where the configuration says it.
    pub socket: Option<PathBuf>,
    pub document: Map<String, Value>,
}

/// A configuration in full, with what the runtime wishes for one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf {
    pub network: NetworkConf,
    pub subnets: Vec<Subnet>,
    pub addresses: Vec<Requested>,
    pub mac: Option<Mac>,
    pub mtu: Option<Mtu>,
    pub routes: Routes,
    /// Whether the default route leads to the host's own endpoint, [`Subnet::bridge_gateway`].
    pub by_bridge_gateway: bool,
    /// Whether the endpoint has a default route.
    pub default_route: bool,
    pub dns: Dns,
    pub policies: Vec<Value>,
    /// What is kept beside the endpoint for others to read.
    pub marks: Map<String, Value>,
}

/// The network, as far as the configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConf {
    pub reference: Reference,
    /// Absent: the network exists and is of whatever type it is.
    pub kind: Option<NetworkType>,
    pub enable_v4: Option<bool>,
    pub enable_v6: Option<bool>,
    /// Whether outbound traffic keeps the containers' own addresses.
    pub routed: bool,
    /// The host's adapter, for types that have one.
    pub adapter: Option<String>,
    pub policies: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Id(Guid),
    Name(String),
}

/// Reads a configuration's JSON.
pub fn decode(input: &[u8]) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(input).map_err(|source| Failure::Decode { source })
}

/// The version that an answer to this input is written in: the input's own where it has one that is known.
pub fn version_of(document: &Map<String, Value>) -> Result<Version, Failure> {
    let asked = Object::of_map(document).text("cniVersion")?;
    Version::find(asked).ok_or_else(|| Failure::Version { asked: asked.unwrap_or_default().to_owned() })
}

impl Outline {
    pub fn read(document: Map<String, Value>) -> Result<Self, Failure> {
        let version = version_of(&document)?;
        let mut object = Object::of_map(&document);
        let name = object.text("name")?.ok_or_else(|| Failure::invalid("name", "missing"))?.to_owned();
        if !is_identifier(&name) {
            return Err(Failure::invalid("name", format!("{name:?} is not an identifier: {IDENTIFIER}")));
        }
        let socket: Option<PathBuf> = object.parsed("socket")?;
        if socket.as_ref().is_some_and(|socket| !socket.is_absolute()) {
            return Err(Failure::invalid("socket", "not an absolute path"));
        }
        // What is wrong with `ipam` is found by an ADD; a DEL has nothing to do with it.
        let ipam = object.object("ipam").ok().flatten();
        let plugin = ipam.and_then(|mut ipam| ipam.text("type").ok().flatten());
        let delegate = plugin.filter(|plugin| *plugin != "hns").map(str::to_owned);
        if let Some(plugin) =
            delegate.as_deref().filter(|plugin| plugin.contains('/') || plugin.starts_with('.'))
        {
            return Err(Failure::invalid(
                "ipam.type",
                format!("{plugin:?} is not the file name of a plugin"),
            ));
        }
        Ok(Self { version, name, delegate, socket, document })
    }
}

impl Conf {
    /// Reads an outline's document in full. `args` is `CNI_ARGS`.
    pub fn read(outline: &Outline, args: &str) -> Result<Self, Failure> {
        let mut object = Object::of_map(&outline.document);
        for known in ["cniVersion", "name", "socket"] {
            object.take(known);
        }
        if let Some(found) = object.take("prevResult").filter(|found| !found.is_empty()) {
            let why = "hns-cni makes the interface itself: it must be the first plugin of the chain";
            return Err(Failure::invalid(found.path, why));
        }
        let reading = Reading::of_type(object.text("type")?.unwrap_or_default());
        let arguments = Arguments::read(args, outline.delegate.is_some())?;
        let wishes = Wishes::take(&mut object)?;
        let policies = policies(&mut object)?;
        let mut addressing = Addressing::take(&mut object, outline)?;
        let (mut opens_ports, mut bridge_gateway) = (false, None);
        if let Some(mut flags) = object.object("optionalFlags")? {
            opens_ports = flags.flag("allowAclPortMapping")?.unwrap_or(false);
            bridge_gateway = flags.take("forceBridgeGateway").filter(|found| !found.is_empty());
            flags.rest().try_for_each(|found| reading.judge_flag(&found))?;
        }
        if !wishes.ranges.is_empty() {
            addressing.subnets.clone_from(&wishes.ranges);
        }
        let mtu = match object.number("mtu")?.filter(|bytes| *bytes != 0) {
            None => None,
            Some(bytes) => Some(Mtu::new(bytes).map_err(|error| object.invalid("mtu", error))?),
        };
        let described = !addressing.subnets.is_empty();
        let network = network(&mut object, outline, reading.stands, described, policies.network)?;
        if let Some(found) = &bridge_gateway {
            check_bridge_gateway(found, &network, described || outline.delegate.is_some())?;
            if outline.delegate.is_none() {
                addressing.subnets.iter_mut().for_each(Subnet::keep_bridge_gateway);
            }
        }
        let dns = merged(wishes.dns, conf_dns(&mut object)?);
        let mac = wishes.mac.or(arguments.mac).or(object.parsed("mac")?);
        let default_route = object.flag("isDefaultGateway")?.unwrap_or(true);
        let stranded = addressing.routes.by_gateway.iter().find(|to| !default_route && !to.is_default());
        if let Some(to) = stranded {
            let problem = format!("the route to {to} needs a gw: there is no default route for it to follow");
            return Err(object.invalid("isDefaultGateway", problem));
        }
        object.rest().try_for_each(|found| reading.judge(&found))?;

        let mut marks = wishes.marks;
        if !arguments.pod.is_empty() {
            marks.insert("Pod".to_owned(), Value::Object(arguments.pod));
        }
        let sources = [wishes.addresses, arguments.addresses, addressing.addresses];
        let addresses = sources.into_iter().find(|asked| !asked.is_empty()).unwrap_or_default();
        Ok(Self {
            network,
            subnets: addressing.subnets,
            addresses: if outline.delegate.is_some() { Vec::new() } else { addresses },
            mac,
            mtu,
            routes: addressing.routes,
            by_bridge_gateway: bridge_gateway.is_some(),
            default_route,
            dns,
            policies: endpoint_policies(policies.endpoint, wishes.ports, wishes.limits, opens_ports)?,
            marks,
        })
    }
}

/// Addresses and routes as the configuration has them, at its top and in `ipam`.
struct Addressing {
    subnets: Vec<Subnet>,
    addresses: Vec<Requested>,
    routes: Routes,
}

impl Addressing {
    fn take(object: &mut Object<'_>, outline: &Outline) -> Result<Self, Failure> {
        let mut read =
            Self { subnets: Subnet::take_all(object)?, addresses: Vec::new(), routes: Routes::default() };
        let additional = object.list("additionalRoutes")?;
        for key in ["ipam", "ipamv6"] {
            let Some(mut ipam) = object.object(key)? else { continue };
            if outline.delegate.is_some() {
                // The rest is for the IPAM plugin. Its subnets tell the network's, if they are in a known shape.
                read.subnets.extend(Subnet::take_all(&mut ipam).unwrap_or_default());
                for subnet in &mut read.subnets {
                    subnet.range = None;
                }
            } else {
                read.take_ipam(ipam)?;
            }
        }
        let additional = Routes::of_list(&additional)?;
        if let Some(gateway) = additional.gateways.first() {
            let problem = format!("the route by {gateway} needs a dst");
            return Err(Failure::invalid("additionalRoutes", problem));
        }
        read.routes.routes.extend(additional.routes);
        read.routes.by_gateway.extend(additional.by_gateway);
        Ok(read)
    }

    fn take_ipam(&mut self, mut ipam: Object<'_>) -> Result<(), Failure> {
        ipam.text("type")?;
        let mut subnets = Subnet::take_all(&mut ipam)?;
        let list = ipam.list("routes")?;
        let routes = Routes::of_list(&list)?;
        for gateway in &routes.gateways {
            Subnet::set_gateway(&mut subnets, *gateway, &ipam.path("routes"))?;
        }
        for found in ipam.list("addresses")? {
            let mut address = Object::of(&found)?;
            self.addresses.extend(address.parsed::<Requested>("address")?);
            if let Some(gateway) = address.parsed("gateway")? {
                let path = address.path("gateway");
                Subnet::set_gateway(&mut subnets, gateway, &path)?;
            }
            address.finish("an address has address and gateway")?;
        }
        self.addresses.extend(ipam.parsed::<Requested>("ipAddress")?);
        for key in IPAM_HARMLESS {
            ipam.take(key);
        }
        self.subnets.extend(subnets);
        self.routes.routes.extend(routes.routes);
        self.routes.by_gateway.extend(routes.by_gateway);
        ipam.finish("HNS's own IPAM has subnet, ranges, gateway, addresses and routes")
    }
}

/// `described`: whether the plugin comes to know the subnets.
fn check_bridge_gateway(found: &Found<'_>, network: &NetworkConf, described: bool) -> Result<(), Failure> {
    match network.kind {
        _ if found.value.as_bool().is_none() => Err(found.expected("true or false")),
        Some(kind) if kind != NetworkType::L2Bridge => {
            Err(found.unsupported("the host's endpoint as gateway belongs to l2bridge networks"))
        }
        _ if !described => Err(found.unsupported("it is the second address of a subnet, and none is named")),
        _ => Ok(()),
    }
}

fn policies(object: &mut Object<'_>) -> Result<Policies, Failure> {
    let mut policies = Policies::default();
    match object.number("apiVersion")? {
        None | Some(1 | 2) => {}
        Some(other) => return Err(object.invalid("apiVersion", format!("{other} is not 1 or 2"))),
    }
    policies.extend(&object.list("policies")?)?;
    policies.extend(&object.list("AdditionalArgs")?)?;
    policies.extend_bare(&object.list("HcnPolicyArgs")?)?;
    Ok(policies)
}

/// The configuration's policies, and behind them what the runtime asks for.
fn endpoint_policies(
    mut configured: Vec<Value>,
    ports: Vec<Value>,
    limits: Option<Value>,
    opens_ports: bool,
) -> Result<Vec<Value>, Failure> {
    if limits.is_some() && configured.iter().any(|policy| policy["Type"] == "QOS") {
        let problem = "the configuration limits its endpoints already, by a policy of type QOS";
        return Err(Failure::invalid("runtimeConfig.bandwidth", problem));
    }
    // Without rules of the switch every port is open, and the first one would close all others.
    let has_rules = configured.iter().any(policy::is_switch_rule);
    let rules = if opens_ports && has_rules { policy::port_rules(&ports) } else { Vec::new() };
    configured.extend(ports);
    configured.extend(rules);
    configured.extend(limits);
    Ok(configured)
}

fn network(
    object: &mut Object<'_>,
    outline: &Outline,
    stands: Stands,
    described: bool,
    mut policies: Vec<Value>,
) -> Result<NetworkConf, Failure> {
    let explicit = object.text("network")?;
    let reference = explicit.unwrap_or(&outline.name);
    let named_kind = kind(object)?;
    let mode = object.text("mode")?;
    let kind = match (named_kind, stands) {
        (Some(kind), _) => Some(kind),
        // A network named on purpose and not described exists already.
        (None, _) if explicit.is_some() && !described => None,
        (None, Stands::For(kind)) => Some(kind),
        (None, Stands::ByName) => Some(kind_named(reference).unwrap_or(NetworkType::L2Bridge)),
        (None, Stands::ByMode) => Some(azure_kind(mode)?),
    };
    let adapter = object.text("master")?.or(object.text("adapterName")?).map(str::to_owned);
    let has_adapter =
        !matches!(kind, None | Some(NetworkType::Nat | NetworkType::Internal | NetworkType::Private));
    // 0 is `bridge`'s word for none.
    if let Some(number) = object.number("vlan")?.filter(|number| *number != 0) {
        if !has_adapter {
            return Err(object.invalid("vlan", "VLANs belong to networks with an adapter, as transparent"));
        }
        let vlan = VlanId::new(number).map_err(|error| object.invalid("vlan", error))?;
        policies.push(json!({"Type": "VLAN", "Settings": {"IsolationId": vlan.number()}}));
    }
    let masquerade = object.flag("ipMasq")?;
    if masquerade == Some(true) && matches!(kind, Some(NetworkType::Internal | NetworkType::Private)) {
        return Err(object.invalid("ipMasq", "a network without a way out has nothing to masquerade"));
    }
    if object.text("ipMasqBackend")?.is_some_and(|backend| backend != "nftables") {
        return Err(object.invalid("ipMasqBackend", "HNS has one, nftables"));
    }
    Ok(NetworkConf {
        reference: match reference.parse() {
            Ok(id) => Reference::Id(id),
            Err(_) => Reference::Name(reference.to_owned()),
        },
        kind,
        enable_v4: object.flag("ipv4")?,
        enable_v6: object.flag("ipv6")?,
        routed: masquerade == Some(false) && kind == Some(NetworkType::Nat),
        adapter: adapter.filter(|_| has_adapter),
        policies,
    })
}

fn kind(object: &mut Object<'_>) -> Result<Option<NetworkType>, Failure> {
    let Some(name) = object.text("networkType")? else { return Ok(None) };
    let wrong = || object.invalid("networkType", format!("{name:?} is not one of {}", kind_names()));
    kind_named(name).map(Some).ok_or_else(wrong)
}

/// `mode` of azure-vnet, as its documentation has it.
fn azure_kind(mode: Option<&str>) -> Result<NetworkType, Failure> {
    match mode {
        None | Some("tunnel" | "l2tunnel") => Ok(NetworkType::L2Tunnel),
        Some("bridge" | "l2bridge") => Ok(NetworkType::L2Bridge),
        Some("transparent") => Ok(NetworkType::Transparent),
        Some(other) => {
            Err(Failure::invalid("mode", format!("{other:?} is not one of bridge, tunnel, transparent")))
        }
    }
}

fn conf_dns(object: &mut Object<'_>) -> Result<Dns, Failure> {
    let Some(mut dns) = object.object("dns")? else { return Ok(Dns::default()) };
    let read = Dns {
        domain: dns.text("domain")?.map(str::to_owned),
        search: dns.parsed_list("search")?,
        servers: dns.parsed_list("nameservers")?,
        options: dns.parsed_list("options")?,
    };
    dns.finish("dns has nameservers, domain, search and options")?;
    Ok(read)
}

/// `first`, completed from `second` field by field (DNS-5).
pub(crate) fn merged(first: Dns, second: Dns) -> Dns {
    fn either<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
        if first.is_empty() { second } else { first }
    }
    Dns {
        domain: first.domain.or(second.domain),
        search: either(first.search, second.search),
        servers: either(first.servers, second.servers),
        options: either(first.options, second.options),
    }
}

/// The attachments that a GC leaves alone.
pub fn valid_attachments(outline: &Outline) -> Result<Vec<Attachment>, Failure> {
    let mut object = Object::of_map(&outline.document);
    let list = object.take("cni.dev/valid-attachments").or(object.take("cni.dev/attachments"));
    // Without the list nobody said what is valid; to take that as "nothing" would cut every container off.
    let list = list.ok_or_else(|| Failure::invalid("cni.dev/valid-attachments", "missing"))?;
    let member = |found: &Found<'_>| {
        let mut object = Object::of(found)?;
        let container_id =
            object.text("containerID")?.ok_or_else(|| object.invalid("containerID", "missing"))?;
        let interface = object.parsed("ifname")?.ok_or_else(|| object.invalid("ifname", "missing"))?;
        Ok(Attachment { container_id: container_id.to_owned(), interface })
    };
    list.list()?.iter().map(member).collect()
}
