use hns_hcn::{Dns, NetworkType, Policy};
use hns_net::{Guid, IfName, MacRange, Mtu, VlanId};
use serde_json::{Map, Value};

use crate::drivers::{DRIVERS, Driver};
use crate::marks::EndpointDefaults;
use crate::refusal::Refusal;

use super::overlay::OverlayOptions;
use super::table::Use::{self, Meaningless, Takes, Unsupported};
use super::table::{Reading, Row, Table};
use super::values;

/// What `docker network create` says of a network beside its subnets.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct NetworkOptions {
    pub name: Option<String>,
    /// The HNS network to use instead of making one.
    pub bind: Option<Guid>,
    pub dns: Dns,
    pub mac_pool: Vec<MacRange>,
    /// Of all its endpoints.
    pub rules: Vec<Policy>,
    /// The adapter on whose LAN the network is, and the VLAN there.
    pub adapter: Option<IfName>,
    pub vlan: Option<VlanId>,
    pub overlay: OverlayOptions,
    pub mtu: Option<Mtu>,
    pub internal: bool,
    pub enable_v4: Option<bool>,
    pub enable_v6: Option<bool>,
    pub mode_v4: Option<Mode>,
    pub mode_v6: Option<Mode>,
    pub endpoints: EndpointDefaults,
    pub routing_domain: Option<Guid>,
    pub no_gateway_dns: bool,
    /// Bound to what exists; Docker's prune is to leave it alone.
    learned: bool,
    masquerade: Option<bool>,
    /// The first option that was given and says how an HNS network is made.
    shaping: Option<&'static str>,
}

/// How the host stands between a network and the world, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Nat,
    Routed,
    /// The host is not on the network; only internal networks can be so.
    Isolated,
}

const SHIM: &str = "com.docker.network.windowsshim.";
const VSID: &str = "com.docker.network.windowsshim.vsid";
const HOST_ROUTE: &str = "hns.host-route";
const VXLANID_LIST: &str = "com.docker.network.driver.overlay.vxlanid_list";

const ALL: [Use; DRIVERS.len()] = [Takes; DRIVERS.len()];

const fn never(why: &'static str) -> [Use; DRIVERS.len()] {
    [Meaningless(why); DRIVERS.len()]
}

const fn not_yet(why: &'static str) -> [Use; DRIVERS.len()] {
    [Unsupported(why); DRIVERS.len()]
}

/// For every driver but nat.
const fn but_nat(why: &'static str) -> [Use; DRIVERS.len()] {
    [Meaningless(why), Takes, Takes, Takes, Takes]
}

/// For hns-overlay alone.
const fn overlay(why: &'static str) -> [Use; DRIVERS.len()] {
    [Meaningless(why), Meaningless(why), Meaningless(why), Meaningless(why), Takes]
}

/// For drivers on whose networks the host can stand in between: nat, and overlays where [`HOSTED`] asks for it.
const fn hosted(why: &'static str) -> [Use; DRIVERS.len()] {
    [Takes, Meaningless(why), Meaningless(why), Meaningless(why), Takes]
}

/// For those whose containers can meet others by the host's address.
const fn translated(why: &'static str) -> [Use; DRIVERS.len()] {
    [Takes, Meaningless(why), Takes, Meaningless(why), Takes]
}

/// For nat alone.
const fn nat(why: &'static str) -> [Use; DRIVERS.len()] {
    [Takes, Meaningless(why), Meaningless(why), Meaningless(why), Meaningless(why)]
}

const POLICIES: &str = "it needs the policy engine, which is not in this version";
const FLAG: &str = "an endpoint's option: say it to docker run or docker network connect";
const NAT_ONLY: &str = "the host does not translate it";
const TUNNELS: &str = "only hns-overlay carries frames to other hosts in VXLAN";
const CLEAR: &str = "only hns-overlay carries frames between our hosts, where they can be encrypted";

static TABLE: Table<NetworkOptions> = Table {
    place: "docker network create -o",
    is_ours: |key| {
        !key.contains('.')
            || key.starts_with("hns.")
            || key.starts_with("com.docker.network.")
            || key.starts_with("com.docker.endpoint.")
    },
    rows: &[
        Row {
            key: "com.docker.network.windowsshim.networkname",
            short: "networkname",
            uses: ALL,
            read: |options, value| set(&mut options.name, values::name(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.hnsid",
            short: "hnsid",
            uses: ALL,
            read: |options, value| set(&mut options.bind, values::guid(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.hnsowned",
            short: "hnsowned",
            uses: ALL,
            read: |options, value| put(&mut options.learned, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.interface",
            short: "interface",
            uses: but_nat("it has no adapter of its own; it leaves by whatever way the host routes"),
            read: |options, value| set(&mut options.adapter, values::adapter(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.vlanid",
            short: "vlanid",
            uses: [
                Meaningless("its frames never leave the host"),
                Takes,
                Takes,
                Takes,
                Meaningless("its subnets are told apart by vxlanid_list"),
            ],
            read: |options, value| set(&mut options.vlan, values::vlan(value)),
        },
        // Windows has it on every network but overlays, which there are told apart by the list alone.
        Row {
            key: VSID,
            short: "vsid",
            uses: overlay(TUNNELS),
            read: |options, value| put(&mut options.overlay.vnis, values::vni(value).map(|vni| vec![vni])),
        },
        Row {
            key: VXLANID_LIST,
            short: "vxlanid_list",
            uses: overlay(TUNNELS),
            read: |options, value| put(&mut options.overlay.vnis, values::vnis(value)),
        },
        Row {
            key: "hns.peers",
            short: "peers",
            uses: overlay(TUNNELS),
            read: |options, value| put(&mut options.overlay.peers, values::peers(value)),
        },
        Row {
            key: "hns.provider",
            short: "provider",
            uses: overlay(TUNNELS),
            read: |options, value| set(&mut options.overlay.provider, values::address(value)),
        },
        Row {
            key: "hns.vxlan-port",
            short: "vxlan-port",
            uses: overlay(TUNNELS),
            read: |options, value| set(&mut options.overlay.udp_port, values::port(value)),
        },
        Row {
            key: HOST_ROUTE,
            short: "host-route",
            uses: overlay("only on hns-overlay it is a choice whether the host is there"),
            read: |options, value| put(&mut options.overlay.host_route, values::boolean(value)),
        },
        // Docker takes any value for yes: a network that shall be encrypted is never made in clear.
        Row {
            key: "encrypted",
            short: "",
            uses: overlay(CLEAR),
            read: |options, value| put(&mut options.overlay.encrypted, values::nothing_but_yes(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.dnsservers",
            short: "dnsservers",
            uses: ALL,
            read: |options, value| put(&mut options.dns.servers, values::addresses(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.dnssuffix",
            short: "dnssuffix",
            uses: ALL,
            read: |options, value| set(&mut options.dns.domain, values::name(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.macpool",
            short: "macpool",
            uses: ALL,
            read: |options, value| put(&mut options.mac_pool, values::mac_ranges(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.enable_outboundnat",
            short: "enable_outboundnat",
            uses: ALL,
            read: |options, value| put(&mut options.endpoints.outbound_nat, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.outboundnat_exceptions",
            short: "outboundnat_exceptions",
            uses: translated(NAT_ONLY),
            read: |options, value| put(&mut options.endpoints.outbound_exceptions, values::prefixes(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.disable_gatewaydns",
            short: "disable_gatewaydns",
            uses: nat("it has no resolver on its gateway"),
            read: |options, value| put(&mut options.no_gateway_dns, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.routingdomain",
            short: "routingdomain",
            uses: ALL,
            read: |options, value| set(&mut options.routing_domain, values::guid(value)),
        },
        Row {
            key: "com.docker.network.windowsshim.sourcemac",
            short: "sourcemac",
            uses: [
                Meaningless("its packets leave with the MAC address of the host's own adapter"),
                Meaningless("its endpoints are seen under their own MAC addresses"),
                Takes,
                Takes,
                Meaningless("its frames leave in packets of the host"),
            ],
            read: |_, value| value.parse::<hns_net::Mac>().map(drop).map_err(|_| "a MAC address".to_owned()),
        },
        Row {
            key: "com.docker.network.driver.mtu",
            short: "mtu",
            uses: ALL,
            read: |options, value| set(&mut options.mtu, values::mtu(value)),
        },
        Row {
            key: "com.docker.network.internal",
            short: "internal",
            uses: ALL,
            read: |options, value| put(&mut options.internal, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.enable_ipv4",
            short: "enable_ipv4",
            uses: ALL,
            read: |options, value| set(&mut options.enable_v4, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.enable_ipv6",
            short: "enable_ipv6",
            uses: ALL,
            read: |options, value| set(&mut options.enable_v6, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.container_iface_prefix",
            short: "container_iface_prefix",
            uses: ALL,
            read: |options, value| {
                set(&mut options.endpoints.interface_prefix, values::interface_prefix(value))
            },
        },
        Row {
            key: "com.docker.network.gateway",
            short: "gateway",
            uses: never("a gateway belongs to a subnet: say it with --gateway"),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.host_ipv4",
            short: "host_ipv4",
            uses: not_yet(POLICIES),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.host_ipv6",
            short: "host_ipv6",
            uses: not_yet(POLICIES),
            read: |_, _| Ok(()),
        },
        // Docker itself sends the announcements.
        Row {
            key: "com.docker.network.advertise_addr_nmsgs",
            short: "advertise_addr_nmsgs",
            uses: ALL,
            read: |_, value| values::number(value, 0, 3, "messages").map(drop),
        },
        Row {
            key: "com.docker.network.advertise_addr_ms",
            short: "advertise_addr_ms",
            uses: ALL,
            read: |_, value| values::number(value, 100, 2000, "milliseconds").map(drop),
        },
        Row { key: "com.docker.network.portmap", short: "portmap", uses: never(FLAG), read: |_, _| Ok(()) },
        Row {
            key: "com.docker.network.endpoint.exposedports",
            short: "exposedports",
            uses: never(FLAG),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.endpoint.macaddress",
            short: "macaddress",
            uses: never(FLAG),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.endpoint.dnsservers",
            short: "",
            uses: never("an endpoint's option; the network's own is dnsservers"),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.endpoint.sysctls",
            short: "sysctls",
            uses: never(FLAG),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.endpoint.ifname",
            short: "ifname",
            uses: never(FLAG),
            read: |_, _| Ok(()),
        },
        Row {
            key: "hns.acl",
            short: "acl",
            uses: ALL,
            read: |options, value| put(&mut options.rules, values::network_rules(value)),
        },
        Row { key: "hns.bandwidth-in", short: "bandwidth-in", uses: never(FLAG), read: |_, _| Ok(()) },
        Row { key: "hns.bandwidth-out", short: "bandwidth-out", uses: never(FLAG), read: |_, _| Ok(()) },
        Row {
            key: "com.docker.network.bridge.name",
            short: "",
            uses: never("HNS names its switches itself; networkname names the network"),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.bridge.enable_ip_masquerade",
            short: "enable_ip_masquerade",
            uses: hosted(NAT_ONLY),
            read: |options, value| set(&mut options.masquerade, values::boolean(value)),
        },
        Row {
            key: "com.docker.network.bridge.enable_icc",
            short: "enable_icc",
            uses: ALL,
            read: |options, value| {
                put(&mut options.endpoints.isolated, values::boolean(value).map(|enabled| !enabled))
            },
        },
        Row {
            key: "com.docker.network.bridge.host_binding_ipv4",
            short: "host_binding_ipv4",
            uses: hosted("its ports are not published on the host"),
            read: |options, value| {
                let address = values::address(value)?;
                // Unspecified is what is done without the option.
                options.endpoints.host_address = (!address.is_unspecified()).then_some(address);
                Ok(())
            },
        },
        Row {
            key: "com.docker.network.bridge.inhibit_ipv4",
            short: "inhibit_ipv4",
            uses: never("the host's address on the switch is its gateway"),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.bridge.gateway_mode_ipv4",
            short: "gateway_mode_ipv4",
            uses: hosted(NAT_ONLY),
            read: |options, value| set(&mut options.mode_v4, mode(value)),
        },
        Row {
            key: "com.docker.network.bridge.gateway_mode_ipv6",
            short: "gateway_mode_ipv6",
            uses: hosted(NAT_ONLY),
            read: |options, value| set(&mut options.mode_v6, mode(value)),
        },
        Row {
            key: "com.docker.network.bridge.trusted_host_interfaces",
            short: "trusted_host_interfaces",
            uses: not_yet(POLICIES),
            read: |_, _| Ok(()),
        },
        Row {
            key: "com.docker.network.bridge.default_bridge",
            short: "default_bridge",
            uses: never("Docker's default bridge is Docker's own"),
            read: |_, _| Ok(()),
        },
    ],
};

/// Options that say how an HNS network is made, and so come too late for one that exists.
const SHAPING: &[&str] = &[
    "com.docker.network.windowsshim.interface",
    "com.docker.network.windowsshim.vlanid",
    VSID,
    VXLANID_LIST,
    "hns.peers",
    "hns.provider",
    "hns.vxlan-port",
    HOST_ROUTE,
    "encrypted",
    "com.docker.network.windowsshim.dnsservers",
    "com.docker.network.windowsshim.dnssuffix",
    "com.docker.network.windowsshim.macpool",
    "com.docker.network.windowsshim.disable_gatewaydns",
    "com.docker.network.windowsshim.routingdomain",
    "com.docker.network.driver.mtu",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
    "hns.acl",
];

/// Options that mean something on an overlay where the host is on it.
const HOSTED: &[&str] = &[
    "com.docker.network.windowsshim.enable_outboundnat",
    "com.docker.network.windowsshim.outboundnat_exceptions",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
];

fn set<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "nat" => Ok(Mode::Nat),
        "routed" => Ok(Mode::Routed),
        "isolated" => Ok(Mode::Isolated),
        // It opens every port of every container to the world.
        "nat-unprotected" => {
            Err("nat, routed or isolated (ports that are not published stay closed)".to_owned())
        }
        _ => Err("nat, routed or isolated".to_owned()),
    }
}

impl NetworkOptions {
    /// Reads the options of a CreateNetwork: those of Docker itself, and under `com.docker.network.generic` those
    /// of its user.
    pub fn read(driver: &'static Driver, all: &Map<String, Value>) -> Result<Self, Refusal> {
        let empty = Map::new();
        let generic = all.get("com.docker.network.generic").and_then(Value::as_object).unwrap_or(&empty);
        let Reading { mut options, given } = TABLE.read(driver, generic)?;
        let flag = |key: &str| all.get(key).and_then(Value::as_bool);
        options.internal |= flag("com.docker.network.internal").unwrap_or(false);
        options.enable_v4 = options.enable_v4.or(flag("com.docker.network.enable_ipv4"));
        options.enable_v6 = options.enable_v6.or(flag("com.docker.network.enable_ipv6"));
        options.shaping = given.iter().map(|(key, _)| *key).find(|key| SHAPING.contains(key));
        let is_given = |whole: &str| given.iter().any(|(key, _)| *key == whole);
        if is_given(VSID) && is_given(VXLANID_LIST) {
            let why = "both number the network's subnets";
            return Err(Refusal::OptionsContradict { key: "vsid", other: "vxlanid_list", why });
        }
        if driver.kind == NetworkType::Overlay {
            options.settle_overlay(driver, &given)?;
        }
        options.settle()?;
        Ok(options)
    }

    /// Refuses options that are each fine and together are not.
    fn settle(&mut self) -> Result<(), Refusal> {
        let clash = |key, other, why| Err(Refusal::OptionsContradict { key, other, why });
        if self.learned && self.bind.is_none() {
            return clash("hnsowned", "the missing hnsid", "it marks a network that HNS had before");
        }
        if let (Some(key), Some(_)) = (self.shaping, self.bind) {
            let short = key.strip_prefix(SHIM).unwrap_or(key);
            return clash(short, "hnsid", "the HNS network exists and stays as it is");
        }
        if self.adapter.is_some() && self.overlay.provider.is_some() {
            return clash("hns.provider", "interface", "both say where tunnels end on this host");
        }
        if self.internal && self.endpoints.outbound_nat {
            return clash("enable_outboundnat", "--internal", "an internal network has no way out");
        }
        if self.internal && !self.endpoints.outbound_exceptions.is_empty() {
            return clash("outboundnat_exceptions", "--internal", "an internal network has no way out");
        }
        self.settle_modes()
    }

    fn settle_overlay(
        &self,
        driver: &'static Driver,
        given: &[(&'static str, String)],
    ) -> Result<(), Refusal> {
        if self.internal {
            let (key, why) = ("--internal".to_owned(), "without hns.host-route it has no way out");
            return Err(Refusal::OptionMeaningless { key, driver: driver.name, why });
        }
        let hosted = given.iter().map(|(key, _)| *key).find(|key| HOSTED.contains(key));
        match hosted.filter(|_| !self.overlay.host_route) {
            Some(key) => {
                let (other, why) = ("the missing hns.host-route", "the host is not on the network");
                Err(Refusal::OptionsContradict { key, other, why })
            }
            None => Ok(()),
        }
    }

    fn settle_modes(&mut self) -> Result<(), Refusal> {
        let clash = |key, other, why| Err(Refusal::OptionsContradict { key, other, why });
        for (mode, key) in
            [(&mut self.mode_v4, "gateway_mode_ipv4"), (&mut self.mode_v6, "gateway_mode_ipv6")]
        {
            match (*mode, self.masquerade, self.internal) {
                (Some(Mode::Nat), Some(false), _) => {
                    return clash(key, "enable_ip_masquerade", "not to translate is the mode routed");
                }
                (Some(Mode::Routed), _, true) => {
                    return clash(key, "--internal", "an internal network has no way out to route");
                }
                (Some(Mode::Isolated), _, false) => {
                    return clash(
                        key,
                        "the missing --internal",
                        "only an internal network does without the host",
                    );
                }
                (None, Some(false), false) => *mode = Some(Mode::Routed),
                _ => {}
            }
        }
        let (v4, v6) = (self.enable_v4.unwrap_or(true), self.enable_v6.unwrap_or(false));
        let isolated = |mode| mode == Some(Mode::Isolated);
        if v4 && v6 && isolated(self.mode_v4) != isolated(self.mode_v6) {
            let why = "the host is on the network or it is not, for both families";
            return clash("gateway_mode_ipv4", "gateway_mode_ipv6", why);
        }
        Ok(())
    }

    /// Whether the host is kept off the network.
    pub fn is_isolated(&self) -> bool {
        [self.mode_v4, self.mode_v6].contains(&Some(Mode::Isolated))
    }
}
