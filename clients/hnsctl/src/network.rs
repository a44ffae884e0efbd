use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hns_client::Kind;
use hns_hcn::{Encryption, Policy, RemoteSubnetRoute};
use hns_net::{Cidr, Family, IfName, Mac, Mtu, VlanId, Vni};
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::peer::PeerCommand;
use crate::transfer::read_document;
use crate::view;

const NON_PERSISTENT: u32 = 8;

const CREATE_EXAMPLES: &str = "\
Examples:
  hnsctl network create blue
  hnsctl network create blue --subnet 10.7.0.0/24 --subnet fd00:7::/64 --gateway 10.7.0.1
  hnsctl network create lab --type internal --ipv6 --mtu 1400
  hnsctl network create corp -t transparent --interface eth0 --subnet 192.0.2.0/24
  hnsctl network create home -t transparent --interface eth0 --dhcp
  hnsctl network create blue -t overlay --subnet 10.244.1.0/24 --peer 10.244.2.0/24=198.51.100.2
  hnsctl network create public6 --subnet 2001:db8:7::/64 --gateway-mode routed:6
  hnsctl network create -f network.json";

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List networks
    #[command(visible_alias = "list", after_help = "Example:\n  hnsctl network ls -o wide")]
    Ls,
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// Print the documents of networks
    #[command(after_help = "Example:\n  hnsctl network inspect nat")]
    Inspect {
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Remove networks, unless endpoints are attached to them
    #[command(visible_alias = "remove", after_help = "Example:\n  hnsctl network rm blue")]
    Rm {
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
        /// Remove the attached endpoints too
        #[arg(short, long)]
        force: bool,
    },
    /// What other hosts have of an overlay
    #[command(subcommand)]
    Peer(PeerCommand),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkType {
    Nat,
    Overlay,
    Transparent,
    L2bridge,
    L2tunnel,
    Internal,
    Private,
}

/// Create a network; what is not given, the daemon chooses
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name, unique on the host
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Endpoints reach each other; with internal the host too, with nat also the outside, and they publish ports; with overlay
    /// those of other hosts as well; with transparent they are on a LAN of the host's, with l2bridge too, under the MAC address of the host's
    /// adapter; with l2tunnel all that they send goes to the switch outside, which sends back what is for this host
    #[arg(short = 't', long = "type", value_enum, default_value = "nat", value_name = "TYPE")]
    kind: NetworkType,
    /// The adapter on whose LAN the endpoints are, which the host goes on to use
    #[arg(long, value_name = "NAME", required_if_eq_any([("kind", "transparent"), ("kind", "l2bridge"), ("kind", "l2tunnel")]))]
    interface: Option<IfName>,
    /// The VLAN of that adapter
    #[arg(long, value_name = "NUMBER", requires = "interface")]
    vlan: Option<VlanId>,
    /// Let that LAN give the endpoints their addresses: its DHCP server, and with --ipv6 its routers
    #[arg(long, requires = "interface", conflicts_with_all = ["subnets", "gateways", "ip_ranges"])]
    dhcp: bool,
    /// What another host has of an overlay: PREFIX=HOST, such as 10.244.2.0/24=198.51.100.2; once for each prefix
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<RemoteSubnetRoute>,
    /// The VNI of an overlay, the same on all its hosts; without it, one that follows from the name
    #[arg(long, value_name = "NUMBER")]
    vsid: Option<Vni>,
    /// The address of this host at which the tunnels of an overlay end; without it, the one from which the host sends to the peers
    #[arg(long, value_name = "ADDR")]
    provider: Option<IpAddr>,
    /// Let the host have a port on an overlay: it and its own containers there reach each other, and they reach the outside under the
    /// host's address and publish ports
    #[arg(long)]
    host_route: bool,
    /// Encrypt what goes from host to host of an overlay, by WireGuard; each peer is given with its host's key, which hnsctl network
    /// inspect shows there
    #[arg(long)]
    encrypted: bool,
    /// The UDP port of those tunnels [default: 4789]
    #[arg(long, value_name = "PORT")]
    vxlan_port: Option<u16>,
    /// Send every packet of those tunnels through the host's firewall, small ones too
    #[arg(long)]
    no_direct_tunnel: bool,
    /// A subnet; once for each family or more often
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<Cidr>,
    /// A subnet's gateway; once for each subnet
    #[arg(long = "gateway", value_name = "ADDR")]
    gateways: Vec<IpAddr>,
    /// Give out addresses of these blocks only
    #[arg(long = "ip-range", value_name = "CIDR")]
    ip_ranges: Vec<Cidr>,
    /// An address that is never given out, under a name
    #[arg(long = "aux", value_name = "NAME=ADDR", value_parser = parse_aux)]
    aux_addresses: Vec<(String, IpAddr)>,
    /// Give out MAC addresses of this range only
    #[arg(long, value_name = "START-END", value_parser = parse_mac_pool)]
    mac_pool: Option<(Mac, Mac)>,
    /// The largest packet, in bytes
    #[arg(long, value_name = "BYTES", value_parser = parse_mtu)]
    mtu: Option<Mtu>,
    /// Forget the network when the daemon ends
    #[arg(long)]
    non_persistent: bool,
    /// Add an IPv6 subnet of the daemon's choice; with --dhcp, addresses of that LAN's prefixes
    #[arg(long)]
    ipv6: bool,
    /// Make a network without IPv4
    #[arg(long)]
    no_ipv4: bool,
    /// Translate to the host's address or route, for both families or one [possible: nat, routed, nat:6, ...]
    #[arg(long = "gateway-mode", value_name = "MODE[:4|6]", value_parser = parse_gateway_mode)]
    gateway_modes: Vec<GatewayMode>,
    /// A DNS server for the endpoints
    #[arg(long = "dns", value_name = "ADDR")]
    dns_servers: Vec<IpAddr>,
    /// A search domain for the endpoints
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Create from this HCN document as it is; - reads standard input
    #[arg(
        short, long, value_name = "FILE",
        conflicts_with_all = ["name", "interface", "vlan", "dhcp", "peers", "vsid", "provider", "host_route", "encrypted", "vxlan_port", "no_direct_tunnel", "subnets", "gateways", "ip_ranges", "aux_addresses", "mac_pool", "mtu",
            "non_persistent", "ipv6", "no_ipv4", "gateway_modes", "dns_servers", "dns_search"]
    )]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct GatewayMode {
    mode: &'static str,
    /// Absent: both.
    family: Option<Family>,
}

fn parse_mtu(text: &str) -> Result<Mtu, String> {
    let bytes = text.parse().map_err(|_| "a number of bytes, such as 1400")?;
    Mtu::new(bytes).map_err(|error| error.to_string())
}

fn parse_aux(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write it as router=10.7.0.9")?;
    let address = address.parse().map_err(|_| format!("{address:?} is not an address"))?;
    Ok((name.to_owned(), address))
}

/// The two ends may be written with `:` or with `-`, as HNS does, which also stands between them.
fn parse_mac_pool(text: &str) -> Result<(Mac, Mac), String> {
    let middle = if text.contains(':') {
        text.find('-')
    } else {
        text.match_indices('-').nth(5).map(|(place, _)| place)
    };
    let (start, end) = middle
        .map(|place| (&text[..place], &text[place + 1..]))
        .ok_or("write it as 00:15:5d:01:00:00-00:15:5d:01:0f:ff")?;
    let parse = |mac: &str| mac.parse::<Mac>().map_err(|error| error.to_string());
    Ok((parse(start)?, parse(end)?))
}

fn parse_gateway_mode(text: &str) -> Result<GatewayMode, String> {
    let (mode, family) = match text.split_once(':') {
        None => (text, None),
        Some((mode, "4")) => (mode, Some(Family::V4)),
        Some((mode, "6")) => (mode, Some(Family::V6)),
        Some((_, other)) => return Err(format!("{other:?} is no family: 4 or 6")),
    };
    let mode = ["nat", "routed"].into_iter().find(|known| *known == mode);
    mode.map(|mode| GatewayMode { mode, family }).ok_or("the mode is nat or routed".to_owned())
}

impl CreateArgs {
    fn document(&self) -> Result<Value, Failure> {
        let mut document = Map::new();
        document.insert("Name".into(), json!(self.name));
        document.insert(
            "Type".into(),
            json!(match self.kind {
                NetworkType::Nat => "NAT",
                NetworkType::Overlay => "Overlay",
                NetworkType::Transparent => "Transparent",
                NetworkType::L2bridge => "L2Bridge",
                NetworkType::L2tunnel => "L2Tunnel",
                NetworkType::Internal => "Internal",
                NetworkType::Private => "Private",
            }),
        );
        document.insert("SchemaVersion".into(), json!({"Major": 2, "Minor": 0}));
        if self.non_persistent {
            document.insert("Flags".into(), json!(NON_PERSISTENT));
        }
        let policies = self.policies();
        if !policies.is_empty() {
            document.insert("Policies".into(), Value::Array(policies));
        }
        if let Some((start, end)) = &self.mac_pool {
            let range = json!({"StartMacAddress": start.to_string(), "EndMacAddress": end.to_string()});
            document.insert("MacPool".into(), json!({"Ranges": [range]}));
        }
        if !self.dns_servers.is_empty() || !self.dns_search.is_empty() {
            document.insert("Dns".into(), json!({"ServerList": self.dns_servers, "Search": self.dns_search}));
        }
        let subnets = self.subnet_documents()?;
        if self.dhcp {
            document.insert("Ipams".into(), json!([{"Type": "Dhcp"}]));
        } else if !subnets.is_empty() {
            document.insert("Ipams".into(), json!([{"Type": "Static", "Subnets": subnets}]));
        }
        let params = self.additional_params();
        if !params.is_empty() {
            document.insert("AdditionalParams".into(), Value::Object(params));
        }
        Ok(Value::Object(document))
    }

    /// On which switch the network is, and on which hosts.
    fn policies(&self) -> Vec<Value> {
        let adapter = self
            .interface
            .as_ref()
            .map(|name| json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": name.as_str()}}));
        let vlan = self.vlan.map(|vlan| json!({"Type": "VLAN", "Settings": {"IsolationId": vlan.number()}}));
        let provider = self.provider.map(Policy::provider);
        let port = self.vxlan_port.map(Policy::vxlan_port);
        let host = self.host_route.then(Policy::host_route);
        let encryption = self.encrypted.then(|| Policy::encryption(Encryption::default()));
        let peers = self.peers.iter().map(|peer| Policy::remote_subnet(*peer));
        let of_overlay = provider
            .into_iter()
            .chain(port)
            .chain(host)
            .chain(encryption)
            .chain(peers)
            .map(|policy| policy.to_v2());
        adapter.into_iter().chain(vlan).chain(of_overlay).collect()
    }

    fn subnet_documents(&self) -> Result<Vec<Value>, Failure> {
        let mut gateway_of: Vec<Option<IpAddr>> = vec![None; self.subnets.len()];
        for &gateway in &self.gateways {
            let place = self.subnets.iter().position(|subnet| subnet.contains(gateway));
            let place = place.ok_or(Failure::GatewayOutside { gateway })?;
            if gateway_of[place].replace(gateway).is_some() {
                return Err(Failure::TwoGateways { subnet: self.subnets[place] });
            }
        }
        let document = |(subnet, gateway): (&Cidr, Option<IpAddr>)| {
            let mut document = json!({"IpAddressPrefix": subnet.to_string()});
            if let Some(vni) = self.vsid {
                document["Policies"] = json!([Policy::vsid(vni).to_v2()]);
            }
            if let Some(gateway) = gateway {
                let default = subnet.family().default_route().to_string();
                document["Routes"] = json!([{"NextHop": gateway, "DestinationPrefix": default}]);
            }
            document
        };
        Ok(self.subnets.iter().zip(gateway_of).map(document).collect())
    }

    /// What HCN's document has no field for.
    fn additional_params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        if self.no_direct_tunnel {
            params.insert("DirectTunnel".into(), json!(false));
        }
        if let Some(mtu) = self.mtu {
            params.insert("Mtu".into(), json!(mtu.bytes()));
        }
        if !self.ip_ranges.is_empty() {
            let ranges: Vec<String> = self.ip_ranges.iter().map(ToString::to_string).collect();
            params.insert("IpRange".into(), json!(ranges));
        }
        if !self.aux_addresses.is_empty() {
            let named = self.aux_addresses.iter().map(|(name, address)| (name.clone(), json!(address)));
            params.insert("AuxAddresses".into(), Value::Object(named.collect()));
        }
        if let Some(mode) = gateway_mode_document(&self.gateway_modes) {
            params.insert("GatewayMode".into(), mode);
        }
        if self.ipv6 {
            params.insert("EnableIPv6".into(), json!(true));
        }
        if self.no_ipv4 {
            params.insert("EnableIPv4".into(), json!(false));
        }
        params
    }
}

/// One word when both families agree, an object of families otherwise. Later flags win over earlier ones.
fn gateway_mode_document(modes: &[GatewayMode]) -> Option<Value> {
    let of = |family| modes.iter().rev().find(|mode| mode.family.is_none_or(|own| own == family));
    match (of(Family::V4).map(|mode| mode.mode), of(Family::V6).map(|mode| mode.mode)) {
        (None, None) => None,
        (Some(v4), Some(v6)) if v4 == v6 => Some(json!(v4)),
        (v4, v6) => {
            let families = [("IPv4", v4), ("IPv6", v6)];
            let given = families.into_iter().filter_map(|(key, mode)| Some((key.to_owned(), json!(mode?))));
            Some(Value::Object(given.collect()))
        }
    }
}

impl NetworkCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Ls => {
                let (networks, endpoints) = (client.networks().await?, client.endpoints().await?);
                output::show(context.format, &networks, |format| rows(format, &networks, &endpoints))
            }
            Self::Create(arguments) => {
                let document = match &arguments.file {
                    Some(file) => read_document(file)?,
                    None => arguments.document()?,
                };
                let made = client.create_network(&document).await?;
                output::show_one(context.format, &made, |format| {
                    rows(format, std::slice::from_ref(&made), &[])
                })
            }
            Self::Peer(command) => command.run(context).await,
            Self::Inspect { networks } => context.inspect(Kind::Network, &networks).await,
            Self::Rm { networks, force } => {
                context.for_each(&networks, async |name| remove(context, name, force).await).await
            }
        }
    }
}

/// Shows a network after a change to it.
pub async fn show_network(context: &Context, network: &Value) -> Result<(), Failure> {
    let endpoints = match context.format {
        Format::Json => Vec::new(),
        Format::Table | Format::Wide => context.client.endpoints_of(view::id(network)).await?,
    };
    output::show_one(context.format, network, |format| {
        rows(format, std::slice::from_ref(network), &endpoints)
    })
}

/// The API takes a network's endpoints with it; an operator who has not said so is asked first.
async fn remove(context: &Context, reference: &str, force: bool) -> Result<(), Failure> {
    let network = context.client.network(reference).await?;
    let id = view::id(&network);
    if !force {
        let endpoints = context.client.endpoints_of(id).await?;
        // To a namespace, or by Docker to a sandbox of its own.
        let is_attached = |endpoint: &&Value| endpoint.pointer("/Health/Extra/Port").is_some();
        let attached: Vec<String> =
            endpoints.iter().filter(is_attached).map(|one| view::name_or_id(one).to_owned()).collect();
        if !attached.is_empty() {
            let network = view::name_or_id(&network).to_owned();
            return Err(Failure::NetworkInUse { network, endpoints: attached });
        }
    }
    Ok(context.client.remove(Kind::Network, id).await?)
}

fn rows(format: Format, networks: &[Value], endpoints: &[Value]) -> Rows {
    let mut rows = Rows::new(
        format,
        &["NAME", "ID", "TYPE", "SUBNETS", "GATEWAYS", "ENDPOINTS"],
        &["MTU", "MODE", "FLAGS", "DNS"],
    );
    for network in networks {
        let id = view::id(network);
        let is_member = |one: &&Value| view::text(one, "HostComputeNetwork").eq_ignore_ascii_case(id);
        let dns = network.get("Dns").map(|dns| view::list(dns, "ServerList")).unwrap_or_default();
        rows.push(
            vec![
                view::text(network, "Name").to_owned(),
                rows.id(id),
                view::text(network, "Type").to_owned(),
                view::prefixes(network),
                view::gateways(network),
                endpoints.iter().filter(is_member).count().to_string(),
            ],
            vec![
                view::plain(view::param(network, "Mtu")),
                mode_cell(network),
                view::plain(network.get("Flags")),
                view::join(dns.iter().map(|server| view::plain(Some(server)))),
            ],
        );
    }
    rows
}

fn mode_cell(network: &Value) -> String {
    match view::param(network, "GatewayMode") {
        Some(Value::Object(families)) => {
            view::join(families.iter().map(|(family, mode)| format!("{family}:{}", view::plain(Some(mode)))))
        }
        mode => view::plain(mode),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn document_of(line: &str) -> Result<Value, Failure> {
        let words = ["hnsctl", "network", "create"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Network(NetworkCommand::Create(arguments)) => arguments.document(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_an_hcn_document() {
        let full = "blue --type nat --subnet 172.16.0.0/16 --subnet fd00:7::/64 --gateway fd00:7::1 \
            --gateway 172.16.0.1 --ip-range 172.16.4.0/24 --aux router=172.16.0.9 --mtu 1400 --non-persistent \
            --mac-pool 00:15:5d:01:00:00-00:15:5d:01:0f:ff --gateway-mode routed:6 --gateway-mode nat:4 \
            --dns 9.9.9.9 --dns-search example.org";
        let document = document_of(full).expect("every flag is right");
        insta::assert_snapshot!(format!("{document:#}"), @r#"
        {
          "Name": "blue",
          "Type": "NAT",
          "SchemaVersion": {
            "Major": 2,
            "Minor": 0
          },
          "Flags": 8,
          "MacPool": {
            "Ranges": [
              {
                "StartMacAddress": "00-15-5D-01-00-00",
                "EndMacAddress": "00-15-5D-01-0F-FF"
              }
            ]
          },
          "Dns": {
            "ServerList": [
              "9.9.9.9"
            ],
            "Search": [
              "example.org"
            ]
          },
          "Ipams": [
            {
              "Type": "Static",
              "Subnets": [
                {
                  "IpAddressPrefix": "172.16.0.0/16",
                  "Routes": [
                    {
                      "NextHop": "172.16.0.1",
                      "DestinationPrefix": "0.0.0.0/0"
                    }
                  ]
                },
                {
                  "IpAddressPrefix": "fd00:7::/64",
                  "Routes": [
                    {
                      "NextHop": "fd00:7::1",
                      "DestinationPrefix": "::/0"
                    }
                  ]
                }
              ]
            }
          ],
          "AdditionalParams": {
            "Mtu": 1400,
            "IpRange": [
              "172.16.4.0/24"
            ],
            "AuxAddresses": {
              "router": "172.16.0.9"
            },
            "GatewayMode": {
              "IPv4": "nat",
              "IPv6": "routed"
            }
          }
        }
        "#);
    }

    #[test]
    fn what_is_not_given_is_not_said() {
        let document = document_of("blue").expect("a name is enough").to_string();
        assert_eq!(document, r#"{"Name":"blue","Type":"NAT","SchemaVersion":{"Major":2,"Minor":0}}"#);
        let document = document_of("home -t transparent --interface eth0 --dhcp").expect("the flags fit");
        assert_eq!(document["Ipams"].to_string(), r#"[{"Type":"Dhcp"}]"#);
        let document = document_of("six -t internal --ipv6 --no-ipv4").expect("the flags fit").to_string();
        assert_eq!(
            document,
            r#"{"Name":"six","Type":"Internal","SchemaVersion":{"Major":2,"Minor":0},"AdditionalParams":{"EnableIPv6":true,"EnableIPv4":false}}"#
        );
    }

    #[test]
    fn gateway_modes_are_one_word_where_one_word_says_it() {
        let cases = [
            ("", "null"),
            ("nat", r#""nat""#),
            ("routed", r#""routed""#),
            ("routed:6", r#"{"IPv6":"routed"}"#),
            ("routed:4 routed:6", r#""routed""#),
            ("nat routed:6", r#"{"IPv4":"nat","IPv6":"routed"}"#),
        ];
        for (flags, expected) in cases {
            let modes: Vec<GatewayMode> =
                flags.split_whitespace().map(|flag| parse_gateway_mode(flag).expect(flag)).collect();
            assert_eq!(json!(gateway_mode_document(&modes)).to_string(), expected, "{flags}");
        }
        for wrong in ["", "bridge", "nat:5", "nat:", "NAT"] {
            assert!(parse_gateway_mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mac_pool_is_read_in_both_spellings() {
        let colons = parse_mac_pool("00:15:5d:01:00:00-00:15:5d:01:0f:ff").expect("colons");
        assert_eq!(parse_mac_pool("00-15-5D-01-00-00-00-15-5D-01-0F-FF"), Ok(colons));
        for wrong in ["", "00:15:5d:01:00:00", "00-15-5D-01-00-00", "x-y"] {
            assert!(parse_mac_pool(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn gateways_find_their_subnets() {
        let outside = document_of("blue --subnet 10.7.0.0/24 --gateway 10.8.0.1").expect_err("outside");
        assert!(matches!(outside, Failure::GatewayOutside { .. }));
        let twice = document_of("blue --subnet 10.7.0.0/24 --gateway 10.7.0.1 --gateway 10.7.0.2");
        assert!(matches!(twice, Err(Failure::TwoGateways { .. })));
    }

    #[test]
    fn a_table_shows_what_tells_networks_apart() {
        let networks = [
            json!({"ID": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11", "Name": "nat", "Type": "NAT", "Flags": 0,
                "AdditionalParams": {"Mtu": 1500, "GatewayMode": {"IPv4": "nat", "IPv6": "routed"}},
                "Dns": {"ServerList": ["9.9.9.9"]},
                "Ipams": [{"Subnets": [
                    {"IpAddressPrefix": "172.16.0.0/16",
                        "Routes": [{"NextHop": "172.16.0.1", "DestinationPrefix": "0.0.0.0/0"}]},
                    {"IpAddressPrefix": "fd00::/64",
                        "Routes": [{"NextHop": "fd00::1", "DestinationPrefix": "::/0"}]}]}]}),
            json!({"ID": "6C1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11", "Name": "lab", "Type": "Private"}),
        ];
        let endpoints = [json!({"HostComputeNetwork": "5b1c5a0e-1d2e-4c7a-9a52-3f1f2b0c7d11"})];
        insta::assert_snapshot!(rows(Format::Table, &networks, &endpoints).to_string(), @"
        NAME  ID        TYPE     SUBNETS                  GATEWAYS            ENDPOINTS
        nat   5B1C5A0E  NAT      172.16.0.0/16,fd00::/64  172.16.0.1,fd00::1  1
        lab   6C1C5A0E  Private  -                        -                   0
        ");
        insta::assert_snapshot!(rows(Format::Wide, &networks, &endpoints).to_string(), @"
        NAME  ID                                    TYPE     SUBNETS                  GATEWAYS            ENDPOINTS  MTU   MODE                  FLAGS  DNS
        nat   5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11  NAT      172.16.0.0/16,fd00::/64  172.16.0.1,fd00::1  1          1500  IPv4:nat,IPv6:routed  0      9.9.9.9
        lab   6C1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11  Private  -                        -                   0          -     -                     -      -
        ");
    }
}
