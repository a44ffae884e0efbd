use std::collections::BTreeMap;
use std::net::{AddrParseError, IpAddr};

use hns_hcn::{Bandwidth, NetworkType, Policy, RateTextError, RuleText, RuleTextError};
use hns_net::{Mac, MacError, MacRange, Mtu, MtuError, VlanId, VlanIdError};

use crate::error::PluginError;

/// Windows' names of Docker's network options begin like this (moby, `libnetwork/drivers/windows/labels.go`).
const WINDOWS: &str = "com.docker.network.windowsshim.";

/// The option that takes podman's own `--dns` in.
pub const NAME_SERVERS: &str = "dnsservers";

/// What `podman network create -o` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkOptions {
    pub kind: Option<NetworkType>,
    /// Name or GUID of the HNS network that is meant, in place of one of podman's own.
    pub existing: Option<String>,
    /// What HNS calls the network; absent: as podman.
    pub name: Option<String>,
    /// The adapter on whose LAN the network is, and the VLAN there.
    pub interface: Option<String>,
    pub vlan: Option<VlanId>,
    pub mtu: Option<Mtu>,
    pub dns_servers: Vec<IpAddr>,
    pub dns_suffix: Option<String>,
    pub mac_pool: Vec<MacRange>,
    pub gateway_mode_v4: Option<GatewayMode>,
    pub gateway_mode_v6: Option<GatewayMode>,
    /// Containers get no default route from this network.
    pub no_default_route: bool,
    /// Of an overlay: what goes from host to host is encrypted.
    pub encrypted: bool,
    /// Of the default route.
    pub metric: Option<u16>,
}

/// What `podman run --network NET:KEY=VALUE` says beyond podman's own keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointOptions {
    pub gateway_priority: Option<i32>,
    pub mtu: Option<Mtu>,
    /// Talks to no other endpoint of the network.
    pub disable_icc: bool,
    /// Rules, as policies.
    pub rules: Vec<Policy>,
    pub bandwidth_in: Option<Bandwidth>,
    pub bandwidth_out: Option<Bandwidth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayMode {
    Nat,
    Routed,
}

impl GatewayMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
        }
    }
}

/// Why an option's value is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("no network type; write {}", KINDS.map(|(name, _)| name).join(", "))]
    Kind,
    #[error("empty")]
    Empty,
    #[error("not a number of bytes, 576 to 65535")]
    MtuNumber,
    #[error(transparent)]
    Mtu(#[from] MtuError),
    #[error(transparent)]
    Vlan(#[from] VlanIdError),
    #[error(transparent)]
    Address(#[from] AddrParseError),
    #[error(transparent)]
    Mac(#[from] MacError),
    #[error("MAC addresses come in pairs, first and last: 00-15-5D-01-00-00,00-15-5D-01-0F-FF")]
    MacPairs,
    #[error("no gateway mode; write nat or routed")]
    GatewayMode,
    #[error("neither true nor false")]
    Flag,
    #[error("not a route metric, 1 to 65535")]
    Metric,
    #[error("networks of HNS are always isolated from one another; only published ports lead across")]
    AlwaysIsolated,
    #[error("not a priority, -99 to 99")]
    Priority,
    #[error(transparent)]
    Rules(#[from] RuleTextError),
    #[error(transparent)]
    Rate(#[from] RateTextError),
}

const KINDS: [(&str, NetworkType); 7] = [
    ("nat", NetworkType::Nat),
    ("internal", NetworkType::Internal),
    ("private", NetworkType::Private),
    ("transparent", NetworkType::Transparent),
    ("l2bridge", NetworkType::L2Bridge),
    ("l2tunnel", NetworkType::L2Tunnel),
    ("overlay", NetworkType::Overlay),
];

/// An option: its names, the one shown first, and what becomes of its value.
struct Known<T> {
    names: &'static [&'static str],
    meaning: &'static str,
    take: fn(&mut T, &str) -> Result<(), ValueError>,
}

const NETWORK: &[Known<NetworkOptions>] = &[
    Known {
        names: &["type"],
        meaning: "nat (default), internal (with --internal), private, transparent, and the types to come",
        take: |options, value| {
            let kind = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            options.kind = Some(kind.ok_or(ValueError::Kind)?.1);
            Ok(())
        },
    },
    Known {
        names: &["network", "com.docker.network.windowsshim.hnsid", "hnsid"],
        meaning: "name or GUID of an HNS network to use, which stays when podman removes its own",
        take: |options, value| text(value).map(|value| options.existing = Some(value)),
    },
    Known {
        names: &["networkname", "com.docker.network.windowsshim.networkname"],
        meaning: "what HNS calls the network, in place of podman's name",
        take: |options, value| text(value).map(|value| options.name = Some(value)),
    },
    Known {
        names: &["interface", "parent", "com.docker.network.windowsshim.interface"],
        meaning: "of transparent: the adapter on whose LAN its containers are",
        take: |options, value| text(value).map(|value| options.interface = Some(value)),
    },
    Known {
        names: &["vlan", "com.docker.network.windowsshim.vlanid", "vlanid"],
        meaning: "of transparent: the VLAN on that adapter, 1 to 4094",
        take: |options, value| {
            options.vlan = Some(value.parse()?);
            Ok(())
        },
    },
    Known {
        names: &["mtu", "com.docker.network.driver.mtu"],
        meaning: "bytes, 576 to 65535, at least 1280 with IPv6 [1500]",
        take: |options, value| mtu(value).map(|mtu| options.mtu = Some(mtu)),
    },
    Known {
        names: &[NAME_SERVERS, "com.docker.network.windowsshim.dnsservers"],
        meaning: "name servers of its containers: ADDRESS,ADDRESS",
        take: |options, value| {
            let servers = value.split(',').map(|server| server.trim().parse());
            options.dns_servers = servers.collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Known {
        names: &["dnssuffix", "com.docker.network.windowsshim.dnssuffix"],
        meaning: "search domain of its containers",
        take: |options, value| text(value).map(|value| options.dns_suffix = Some(value)),
    },
    Known {
        names: &["macpool", "com.docker.network.windowsshim.macpool"],
        meaning: "MAC addresses of its containers: FIRST,LAST,FIRST,LAST",
        take: |options, value| mac_pool(value).map(|pool| options.mac_pool = pool),
    },
    Known {
        names: &["gateway_mode"],
        meaning: "nat (default), or routed: no translation, containers are reached at their own addresses",
        take: |options, value| {
            let mode = Some(gateway_mode(value)?);
            (options.gateway_mode_v4, options.gateway_mode_v6) = (mode, mode);
            Ok(())
        },
    },
    Known {
        names: &["gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv4"],
        meaning: "the same for IPv4 alone",
        take: |options, value| gateway_mode(value).map(|mode| options.gateway_mode_v4 = Some(mode)),
    },
    Known {
        names: &["gateway_mode_ipv6", "com.docker.network.bridge.gateway_mode_ipv6"],
        meaning: "the same for IPv6 alone",
        take: |options, value| gateway_mode(value).map(|mode| options.gateway_mode_v6 = Some(mode)),
    },
    Known {
        names: &["encrypted"],
        meaning: "of overlay: what goes from host to host is encrypted",
        take: |options, value| flag(value).map(|flag| options.encrypted = flag),
    },
    Known {
        names: &["no_default_route"],
        meaning: "true: containers get no default route from this network",
        take: |options, value| flag(value).map(|flag| options.no_default_route = flag),
    },
    Known {
        names: &["metric"],
        meaning: "of the default route, 1 to 65535; the lowest wins",
        take: |options, value| {
            let metric = value.parse().ok().filter(|metric| *metric > 0);
            options.metric = Some(metric.ok_or(ValueError::Metric)?);
            Ok(())
        },
    },
    Known {
        names: &["isolate"],
        meaning: "true or strict: what every network of HNS is",
        take: |_, value| match flag(value) {
            _ if value.eq_ignore_ascii_case("strict") => Ok(()),
            Ok(true) => Ok(()),
            Ok(false) => Err(ValueError::AlwaysIsolated),
            Err(error) => Err(error),
        },
    },
];

const ENDPOINT: &[Known<EndpointOptions>] = &[
    Known {
        names: &["gateway_priority"],
        meaning: "-99 to 99; of a container's networks the highest has the default route and the ports",
        take: |options, value| {
            let priority = value.parse().ok().filter(|priority: &i32| priority.abs() <= 99);
            options.gateway_priority = Some(priority.ok_or(ValueError::Priority)?);
            Ok(())
        },
    },
    Known {
        names: &["mtu"],
        meaning: "bytes, of this interface alone",
        take: |options, value| mtu(value).map(|mtu| options.mtu = Some(mtu)),
    },
    Known {
        names: &["disableicc", "com.docker.network.windowsshim.disableicc"],
        meaning: "true: talks to no other container of the network",
        take: |options, value| flag(value).map(|flag| options.disable_icc = flag),
    },
    Known {
        names: &["acl", "hns.acl"],
        meaning: "rules, RULE;RULE, with + for the commas of lists: in allow tcp port 80+443;out allow",
        take: |options, value| {
            options.rules = hns_hcn::rules_of_option(value)?.iter().map(RuleText::acl).collect();
            Ok(())
        },
    },
    Known {
        names: &["bandwidth-in", "hns.bandwidth-in"],
        meaning: "most that reaches the container in a second: 10mbit, or in bytes 20kB",
        take: |options, value| {
            options.bandwidth_in = Some(Bandwidth::of_option(value)?);
            Ok(())
        },
    },
    Known {
        names: &["bandwidth-out", "hns.bandwidth-out"],
        meaning: "the same of what leaves it",
        take: |options, value| {
            options.bandwidth_out = Some(Bandwidth::of_option(value)?);
            Ok(())
        },
    },
];

/// The options of a network.
pub fn of_network(network: &str, options: &BTreeMap<String, String>) -> Result<NetworkOptions, PluginError> {
    read(NETWORK, network, options)
}

/// The options of one container on a network.
pub fn of_endpoint(
    network: &str,
    options: &BTreeMap<String, String>,
) -> Result<EndpointOptions, PluginError> {
    read(ENDPOINT, network, options)
}

/// The name under which a network's option is said, or its own when it is not.
pub fn said_as(options: &BTreeMap<String, String>, name: &str) -> String {
    let names = NETWORK.iter().find(|known| known.names[0] == name).map_or(&[][..], |known| known.names);
    let said = options.keys().find(|option| names.iter().any(|name| name.eq_ignore_ascii_case(option)));
    said.map_or_else(|| name.to_owned(), Clone::clone)
}

pub fn network_help() -> String {
    help(NETWORK)
}

pub fn endpoint_help() -> String {
    help(ENDPOINT)
}

/// The name of every option, as it is shown.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    let network = NETWORK.iter().map(|known| known.names[0]);
    network.chain(ENDPOINT.iter().map(|known| known.names[0]))
}

fn read<T: Default>(
    known: &[Known<T>],
    network: &str,
    options: &BTreeMap<String, String>,
) -> Result<T, PluginError> {
    let mut read = T::default();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (option, value) in options {
        let found = known.iter().find(|known| known.names.iter().any(|n| n.eq_ignore_ascii_case(option)));
        let Some(found) = found else {
            let known = known.iter().map(|known| known.names[0]).collect::<Vec<_>>().join(", ");
            return Err(PluginError::UnknownOption {
                network: network.into(),
                option: option.clone(),
                known,
            });
        };
        if let Some(other) = seen.insert(found.names[0], option) {
            let (option, other) = (option.clone(), other.to_owned());
            return Err(PluginError::SaidTwice { network: network.into(), option, other });
        }
        (found.take)(&mut read, value).map_err(|source| PluginError::Option {
            network: network.into(),
            option: option.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(read)
}

fn help<T>(known: &[Known<T>]) -> String {
    let line = |known: &Known<T>| {
        let windows = known.names.iter().any(|name| name.starts_with(WINDOWS));
        let also = if windows { "; also under its Windows name" } else { "" };
        format!("  {:<19} {}{also}\n", known.names[0], known.meaning)
    };
    known.iter().map(line).collect()
}

fn text(value: &str) -> Result<String, ValueError> {
    if value.trim().is_empty() { Err(ValueError::Empty) } else { Ok(value.trim().to_owned()) }
}

fn mtu(value: &str) -> Result<Mtu, ValueError> {
    Ok(Mtu::new(value.parse().map_err(|_| ValueError::MtuNumber)?)?)
}

fn flag(value: &str) -> Result<bool, ValueError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ValueError::Flag),
    }
}

fn gateway_mode(value: &str) -> Result<GatewayMode, ValueError> {
    match value.to_ascii_lowercase().as_str() {
        "nat" => Ok(GatewayMode::Nat),
        "routed" => Ok(GatewayMode::Routed),
        _ => Err(ValueError::GatewayMode),
    }
}

fn mac_pool(value: &str) -> Result<Vec<MacRange>, ValueError> {
    let macs: Vec<Mac> = value.split(',').map(|mac| mac.trim().parse()).collect::<Result<_, _>>()?;
    let pairs = macs.chunks(2).map(|pair| match pair {
        [first, last] => MacRange::new(*first, *last).ok_or(ValueError::MacPairs),
        _ => Err(ValueError::MacPairs),
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(options: &[(&str, &str)]) -> Result<NetworkOptions, String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        of_network("web", &options).map_err(|error| error.describe())
    }

    fn endpoint(options: &[(&str, &str)]) -> Result<EndpointOptions, String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        of_endpoint("web", &options).map_err(|error| error.describe())
    }

    #[test]
    fn every_name_of_an_option_means_the_same() {
        let values = [
            ("type", "Private"),
            ("network", "nat"),
            ("networkname", "lan"),
            ("interface", "eth0"),
            ("vlan", "7"),
            ("mtu", "1400"),
            ("dnsservers", "1.1.1.1, 2606:4700::1111"),
            ("dnssuffix", "corp.example"),
            ("macpool", "00-15-5D-01-00-00,00:15:5d:01:0f:ff"),
            ("gateway_mode", "routed"),
            ("gateway_mode_ipv4", "routed"),
            ("gateway_mode_ipv6", "nat"),
            ("encrypted", "true"),
            ("no_default_route", "1"),
            ("metric", "300"),
            ("isolate", "strict"),
        ];
        assert_eq!(
            values.map(|(name, _)| name).as_slice(),
            NETWORK.iter().map(|k| k.names[0]).collect::<Vec<_>>()
        );
        for (known, (_, value)) in NETWORK.iter().zip(values) {
            let meant = network(&[(known.names[0], value)]).unwrap();
            for name in known.names {
                assert_eq!(network(&[(name, value)]).unwrap(), meant, "{name}");
                assert_eq!(network(&[(&name.to_ascii_uppercase(), value)]).unwrap(), meant, "{name}");
            }
            let nothing = known.names[0] == "isolate";
            assert_eq!(meant == NetworkOptions::default(), nothing, "{}", known.names[0]);
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_would_be_one() {
        for (option, value, problem) in [
            ("type", "bridge", "nat, internal, private"),
            ("network", " ", "empty"),
            ("interface", "", "empty"),
            ("vlan", "4095", "4095 is no VLAN: 1 to 4094"),
            ("mtu", "99", "576 to 65535"),
            ("mtu", "big", "576 to 65535"),
            ("dnsservers", "dns.example", "invalid IP address"),
            ("macpool", "00-15-5D-01-00-00", "pairs"),
            ("macpool", "00-15-5D-01-00-09,00-15-5D-01-00-00", "pairs"),
            ("macpool", "zz,00-15-5D-01-00-00", "zz"),
            ("gateway_mode", "isolated", "nat or routed"),
            ("no_default_route", "maybe", "neither true nor false"),
            ("metric", "0", "1 to 65535"),
            ("isolate", "false", "always isolated"),
        ] {
            let said = network(&[(option, value)]).unwrap_err();
            assert!(said.starts_with(&format!("network \"web\": option {option}={value}: ")), "{said}");
            assert!(said.contains(problem), "{said}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_with_those_there_are() {
        let said = network(&[("com.docker.network.windowsshim.vsid", "7")]).unwrap_err();
        assert!(
            said.contains("no option com.docker.network.windowsshim.vsid; known are type, network,"),
            "{said}"
        );
        let said = endpoint(&[("ip9", "x")]).unwrap_err();
        assert!(said.contains("no option ip9; known are gateway_priority, mtu, disableicc"), "{said}");
    }

    #[test]
    fn an_option_under_two_of_its_names_is_refused() {
        let said = network(&[("mtu", "1400"), ("com.docker.network.driver.mtu", "1500")]).unwrap_err();
        assert!(said.contains("says what option com.docker.network.driver.mtu says already"), "{said}");
    }

    #[test]
    fn options_of_a_container() {
        let read = endpoint(&[("gateway_priority", "-7"), ("mtu", "1400"), ("disableicc", "true")]).unwrap();
        assert_eq!(read.gateway_priority, Some(-7));
        assert_eq!(read.mtu, Mtu::new(1400).ok());
        assert!(read.disable_icc);
        assert!(endpoint(&[("gateway_priority", "100")]).unwrap_err().contains("-99 to 99"));
    }

    #[test]
    fn rules_and_limits_of_a_container() {
        let read = endpoint(&[("acl", "in allow tcp port 80+443 ; out allow"), ("bandwidth-in", "8kbit")]);
        let read = read.unwrap();
        assert_eq!(read.rules.len(), 2);
        assert_eq!(read.rules[0].settings["LocalPorts"], "80,443");
        assert_eq!(read.bandwidth_in.map(|rate| rate.bytes_per_second), Some(1000));
        assert_eq!(endpoint(&[("hns.bandwidth-out", "1gbit")]).unwrap().bandwidth_in, None);
        for (option, value, said) in [
            ("acl", "", "network \"web\": option acl=: a rule begins with in or out"),
            ("acl", "in allow;in blok", "not with \"in blok\""),
            ("bandwidth-in", "100", "option bandwidth-in=100: \"100\" is no rate: write 500kbit"),
            ("bandwidth-out", "0bit", "is no rate"),
        ] {
            let told = endpoint(&[(option, value)]).unwrap_err();
            assert!(told.contains(said), "{told}");
        }
    }
}
