use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hns_client::Kind;
use hns_net::{IfName, Mac};
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::policy::{PolicyFlags, RULES};
use crate::transfer::read_document;
use crate::view;

const REMOTE_ENDPOINT: u32 = 1;
const DISABLE_INTER_COMPUTE_COMMUNICATION: u32 = 2;

const CREATE_EXAMPLES: &str = "\
Examples:
  hnsctl endpoint create --network nat --name web -p 8080:80
  hnsctl endpoint create --network nat --namespace pod1 --ip 172.16.0.20 -p 127.0.0.1:8000-8010:80-90 -p [::1]:53:53/udp
  hnsctl endpoint create --network nat --name db --acl 'in allow tcp from 172.16.0.20 port 5432' --bandwidth-out 10mbit
  hnsctl endpoint create --network blue --name db --remote 198.51.100.2 --ip 10.244.1.30 --mac 02:00:0a:f4:01:1e
  hnsctl endpoint create -f endpoint.json";

fn create_help() -> String {
    format!("{RULES}\n\n{CREATE_EXAMPLES}")
}

#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// List endpoints
    #[command(visible_alias = "list", after_help = "Example:\n  hnsctl endpoint ls --network nat")]
    Ls {
        /// Only those of this network
        #[arg(long)]
        network: Option<String>,
    },
    #[command(after_help = create_help())]
    Create(Box<CreateArgs>),
    /// Print the documents of endpoints
    #[command(after_help = "Example:\n  hnsctl endpoint inspect web")]
    Inspect {
        #[arg(required = true, value_name = "ENDPOINT")]
        endpoints: Vec<String>,
    },
    /// Remove endpoints, attached or not
    #[command(visible_alias = "remove", after_help = "Example:\n  hnsctl endpoint rm web")]
    Rm {
        #[arg(required = true, value_name = "ENDPOINT")]
        endpoints: Vec<String>,
    },
    /// Put an endpoint's interface into a namespace
    #[command(after_help = "Example:\n  hnsctl endpoint attach web pod1")]
    Attach { endpoint: String, namespace: String },
    /// Take an endpoint's interface out of its namespace; the endpoint keeps its addresses and policies
    #[command(after_help = "Example:\n  hnsctl endpoint detach web")]
    Detach { endpoint: String },
    /// Look whether endpoints are inside their containers as they should be; changes nothing
    #[command(after_help = "Example:\n  hnsctl endpoint check web db")]
    Check {
        #[arg(required = true, value_name = "ENDPOINT")]
        endpoints: Vec<String>,
    },
    /// Show how much an endpoint has sent and received
    #[command(after_help = "Example:\n  hnsctl endpoint stats web")]
    Stats { endpoint: String },
}

/// Create an endpoint; what is not given, the daemon chooses
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The network it is a port of
    #[arg(long, required_unless_present = "file")]
    network: Option<String>,
    /// Its name, which need not be unique
    #[arg(long)]
    name: Option<String>,
    /// Its address; once for each family
    #[arg(long = "ip", value_name = "ADDR")]
    addresses: Vec<IpAddr>,
    /// Its MAC address
    #[arg(long)]
    mac: Option<Mac>,
    #[command(flatten)]
    policies: PolicyFlags,
    /// Attach it to this namespace at once
    #[arg(long)]
    namespace: Option<String>,
    /// Its interface's name in the namespace [default: eth0, eth1, ... by order]
    #[arg(long, value_name = "NAME")]
    interface: Option<IfName>,
    /// Of several endpoints in a namespace, the one with the highest number gives the default route
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    gateway_priority: Option<i32>,
    /// Keep it from talking to other endpoints of its network
    #[arg(long)]
    disable_icc: bool,
    /// It is a container of this other host of an overlay, by the address at which its tunnels end: nothing is made here but the way
    /// to its address and its MAC address
    #[arg(
        long, value_name = "HOST", requires = "addresses", requires = "mac",
        conflicts_with_all = ["ports", "acls", "bandwidth_out", "bandwidth_in", "namespace", "interface",
            "gateway_priority", "disable_icc"]
    )]
    remote: Option<IpAddr>,
    /// Create from this HCN document as it is, or from a list of documents of remote endpoints; - reads standard input
    #[arg(
        short, long, value_name = "FILE",
        conflicts_with_all = ["network", "name", "addresses", "mac", "ports", "acls", "bandwidth_out", "bandwidth_in",
            "namespace", "interface", "gateway_priority", "disable_icc", "remote"]
    )]
    file: Option<PathBuf>,
}

impl CreateArgs {
    async fn resolve(&self, context: &Context) -> Result<Value, Failure> {
        if let Some(file) = &self.file {
            return read_document(file);
        }
        let network = self.network.as_deref().ok_or(Failure::NothingToCreate)?;
        let network = context.client.find_id(Kind::Network, network).await?;
        let namespace = match &self.namespace {
            Some(namespace) => Some(context.client.find_id(Kind::Namespace, namespace).await?),
            None => None,
        };
        Ok(self.document(&network, namespace.as_deref()))
    }

    fn document(&self, network: &str, namespace: Option<&str>) -> Value {
        let mut document = Map::new();
        if let Some(name) = &self.name {
            document.insert("Name".into(), json!(name));
        }
        document.insert("HostComputeNetwork".into(), json!(network));
        if let Some(namespace) = namespace {
            document.insert("HostComputeNamespace".into(), json!(namespace));
        }
        document.insert("SchemaVersion".into(), json!({"Major": 2, "Minor": 0}));
        if !self.addresses.is_empty() {
            let configurations: Vec<Value> =
                self.addresses.iter().map(|address| json!({"IpAddress": address})).collect();
            document.insert("IpConfigurations".into(), json!(configurations));
        }
        if let Some(mac) = self.mac {
            document.insert("MacAddress".into(), json!(mac.to_string()));
        }
        let mut policies = self.policies.documents();
        if let Some(host) = self.remote {
            let settings = json!({"ProviderAddress": host});
            policies.push(json!({"Type": "ProviderAddress", "Settings": settings}));
            document.insert("Flags".into(), json!(REMOTE_ENDPOINT));
        }
        if !policies.is_empty() {
            document.insert("Policies".into(), json!(policies));
        }
        if self.disable_icc {
            document.insert("Flags".into(), json!(DISABLE_INTER_COMPUTE_COMMUNICATION));
        }
        let mut params = Map::new();
        if let Some(interface) = &self.interface {
            params.insert("InterfaceName".into(), json!(interface.as_str()));
        }
        if let Some(priority) = self.gateway_priority {
            params.insert("GatewayPriority".into(), json!(priority));
        }
        if !params.is_empty() {
            document.insert("AdditionalParams".into(), Value::Object(params));
        }
        Value::Object(document)
    }
}

impl EndpointCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Ls { network } => {
                let endpoints = match network {
                    Some(network) => {
                        client.endpoints_of(&client.find_id(Kind::Network, &network).await?).await?
                    }
                    None => client.endpoints().await?,
                };
                show_endpoints(context, &endpoints).await
            }
            Self::Create(arguments) => {
                let document = arguments.resolve(context).await?;
                match client.create_endpoint(&document).await? {
                    Value::Array(made) => show_endpoints(context, &made).await,
                    made => show_endpoint(context, &made).await,
                }
            }
            Self::Inspect { endpoints } => context.inspect(Kind::Endpoint, &endpoints).await,
            Self::Rm { endpoints } => {
                let remove = async |reference: &str| {
                    let id = client.find_id(Kind::Endpoint, reference).await?;
                    Ok(client.remove(Kind::Endpoint, &id).await?)
                };
                context.for_each(&endpoints, remove).await
            }
            Self::Attach { endpoint, namespace } => {
                let endpoint = client.find_id(Kind::Endpoint, &endpoint).await?;
                let namespace = client.find_id(Kind::Namespace, &namespace).await?;
                client.attach(&endpoint, &namespace).await?;
                show_endpoint(context, &client.endpoint(&endpoint).await?).await
            }
            Self::Detach { endpoint } => detach(context, &endpoint).await,
            Self::Check { endpoints } => crate::check::run(context, &endpoints).await,
            Self::Stats { endpoint } => {
                let id = client.find_id(Kind::Endpoint, &endpoint).await?;
                let stats = client.endpoint_stats(&id).await?;
                output::show_one(context.format, &stats, |format| stats_rows(format, &stats))
            }
        }
    }
}

async fn detach(context: &Context, reference: &str) -> Result<(), Failure> {
    let endpoint = context.client.endpoint(reference).await?;
    let Some(namespace) = view::reference(&endpoint, "HostComputeNamespace") else {
        return Err(Failure::NotAttached { endpoint: view::name_or_id(&endpoint).to_owned() });
    };
    context.client.detach(view::id(&endpoint), namespace).await?;
    match context.format {
        Format::Json => output::show_json(&context.client.endpoint(view::id(&endpoint)).await?),
        Format::Table | Format::Wide => output::line(reference),
    }
}

/// The names of what endpoints refer to; JSON shows none.
async fn referenced_names(context: &Context) -> Result<HashMap<String, String>, Failure> {
    if context.format == Format::Json {
        return Ok(HashMap::new());
    }
    let mut known = context.client.networks().await?;
    known.extend(context.client.namespaces().await?);
    Ok(view::names(&known))
}

async fn show_endpoints(context: &Context, endpoints: &[Value]) -> Result<(), Failure> {
    let names = referenced_names(context).await?;
    output::show(context.format, endpoints, |format| rows(format, endpoints, &names))
}

/// Shows an endpoint after a change to it.
pub async fn show_endpoint(context: &Context, endpoint: &Value) -> Result<(), Failure> {
    let names = referenced_names(context).await?;
    output::show_one(context.format, endpoint, |format| rows(format, std::slice::from_ref(endpoint), &names))
}

fn rows(format: Format, endpoints: &[Value], names: &HashMap<String, String>) -> Rows {
    let mut rows = Rows::new(
        format,
        &["NAME", "ID", "NETWORK", "ADDRESSES", "PORTS", "NAMESPACE"],
        &["MAC", "INTERFACE", "FLAGS"],
    );
    for endpoint in endpoints {
        let namespace = view::reference(endpoint, "HostComputeNamespace");
        rows.push(
            vec![
                view::text(endpoint, "Name").to_owned(),
                rows.id(view::id(endpoint)),
                view::name_of(names, view::text(endpoint, "HostComputeNetwork")),
                view::addresses(endpoint),
                view::ports(endpoint),
                namespace
                    .map(|id| view::name_of(names, id))
                    .or_else(|| Some(format!("on {}", view::host_of_remote(endpoint)?)))
                    .unwrap_or_default(),
            ],
            vec![
                view::text(endpoint, "MacAddress").to_owned(),
                view::plain(view::shown(endpoint, "Interface")),
                view::plain(endpoint.get("Flags")),
            ],
        );
    }
    rows
}

fn stats_rows(format: Format, stats: &Value) -> Rows {
    let mut rows = Rows::new(format, &["COUNTER", "VALUE"], &[]);
    for (counter, value) in stats.as_object().into_iter().flatten() {
        rows.push(vec![counter.clone(), view::plain(Some(value))], Vec::new());
    }
    rows
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn document_of(line: &str) -> String {
        let words = ["hnsctl", "endpoint", "create"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Endpoint(EndpointCommand::Create(arguments)) => {
                format!("{:#}", arguments.document("NET", arguments.namespace.as_deref()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_an_hcn_document() {
        insta::assert_snapshot!(document_of(
            "--network nat --name web --ip 172.16.0.20 --ip fd00::20 --mac 00:15:5d:00:00:07 -p 8080:80 \
             -p [::1]:53:53/udp --namespace pod1 --interface eth1 --gateway-priority -3 --disable-icc --bandwidth-out 20kB"
        ), @r#"
        {
          "Name": "web",
          "HostComputeNetwork": "NET",
          "HostComputeNamespace": "pod1",
          "SchemaVersion": {
            "Major": 2,
            "Minor": 0
          },
          "IpConfigurations": [
            {
              "IpAddress": "172.16.0.20"
            },
            {
              "IpAddress": "fd00::20"
            }
          ],
          "MacAddress": "00-15-5D-00-00-07",
          "Policies": [
            {
              "Type": "PortMapping",
              "Settings": {
                "Protocol": 6,
                "InternalPort": 80,
                "ExternalPort": 8080
              }
            },
            {
              "Type": "PortMapping",
              "Settings": {
                "Protocol": 17,
                "InternalPort": 53,
                "ExternalPort": 53,
                "VIP": "::1"
              }
            },
            {
              "Type": "QOS",
              "Settings": {
                "MaximumOutgoingBandwidthInBytes": 20000
              }
            }
          ],
          "Flags": 2,
          "AdditionalParams": {
            "InterfaceName": "eth1",
            "GatewayPriority": -3
          }
        }
        "#);
    }

    #[test]
    fn what_is_not_given_is_not_said() {
        insta::assert_snapshot!(document_of("--network nat"), @r#"
        {
          "HostComputeNetwork": "NET",
          "SchemaVersion": {
            "Major": 2,
            "Minor": 0
          }
        }
        "#);
    }

    #[test]
    fn a_table_shows_names_for_what_endpoints_refer_to() {
        let endpoints = [
            json!({"ID": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "Name": "web", "Flags": 2,
                "HostComputeNetwork": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11",
                "HostComputeNamespace": "9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22",
                "MacAddress": "00-15-5D-00-00-07", "Health": {"Data": null, "Extra": {"Interface": "eth0"}},
                "IpConfigurations": [{"IpAddress": "172.16.0.20", "PrefixLength": 16},
                    {"IpAddress": "fd00::20", "PrefixLength": 64}],
                "Policies": [{"Type": "ACL", "Settings": {}},
                    {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}},
                    {"Type": "PortMapping", "Settings": {"Protocol": 17, "InternalPort": 53, "ExternalPort": 53,
                        "VIP": "::1"}}]}),
            json!({"ID": "2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "Name": "",
                "HostComputeNetwork": "6B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11",
                "HostComputeNamespace": "00000000-0000-0000-0000-000000000000"}),
        ];
        let names = view::names(&[
            json!({"ID": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11", "Name": "nat"}),
            json!({"ID": "9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22"}),
        ]);
        insta::assert_snapshot!(rows(Format::Table, &endpoints, &names).to_string(), @"
        NAME  ID        NETWORK   ADDRESSES                   PORTS                        NAMESPACE
        web   1F0E7F52  nat       172.16.0.20/16,fd00::20/64  8080:80/tcp,[::1]:53:53/udp  9E3A2D7C
        -     2F0E7F52  6B1C5A0E  -                           -                            -
        ");
        insta::assert_snapshot!(rows(Format::Wide, &endpoints, &names).to_string(), @"
        NAME  ID                                    NETWORK   ADDRESSES                   PORTS                        NAMESPACE  MAC                INTERFACE  FLAGS
        web   1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44  nat       172.16.0.20/16,fd00::20/64  8080:80/tcp,[::1]:53:53/udp  9E3A2D7C   00-15-5D-00-00-07  eth0       2
        -     2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44  6B1C5A0E  -                           -                            -          -                  -          -
        ");
    }
}
