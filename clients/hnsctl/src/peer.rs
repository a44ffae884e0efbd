//! The other hosts of an overlay, and what each has of it.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Subcommand;
use hns_client::PolicyRequest;
use hns_hcn::{Policy, RemoteSubnetRoute};
use hns_net::{Cidr, Mac, Vni};
use serde_json::Value;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::view;

const ADD_EXAMPLES: &str = "\
A PEER is PREFIX=HOST[,vni=NUMBER][,router=MAC]: the prefix that a host has of the network, and the address at which that host's
tunnels end. Without vni it is the network's own; without router the MAC address that hnsd gives the router of a host with such an
address.

Examples:
  hnsctl network peer add blue 10.244.2.0/24=198.51.100.2
  hnsctl network peer add blue 10.244.3.0/24=198.51.100.3 fd00:244:3::/64=198.51.100.3,vni=4097";

#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// List what other hosts have of a network
    #[command(visible_alias = "list", after_help = "Example:\n  hnsctl network peer ls blue")]
    Ls {
        #[arg(value_name = "NETWORK")]
        network: String,
    },
    /// Say what other hosts have of a network, while traffic flows
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        #[arg(value_name = "NETWORK")]
        network: String,
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<PeerSpec>,
    },
    /// Forget what another host has, by its prefix
    #[command(visible_alias = "remove", after_help = "Example:\n  hnsctl network peer rm blue 10.244.2.0/24")]
    Rm {
        #[arg(value_name = "NETWORK")]
        network: String,
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Cidr>,
    },
}

/// What one host has of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSpec(pub RemoteSubnetRoute);

impl PeerSpec {
    pub fn policy(self) -> Policy {
        Policy::remote_subnet(self.0)
    }
}

impl FromStr for PeerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write it as 10.244.2.0/24=198.51.100.2";
        let (prefix, rest) = text.split_once('=').ok_or(example)?;
        let destination: Cidr = prefix.parse().map_err(|error| format!("{error}; {example}"))?;
        let mut words = rest.split(',');
        let host = words.next().unwrap_or_default();
        let provider: IpAddr =
            host.parse().map_err(|_| format!("\"{host}\" is no address of a host; {example}"))?;
        let mut route = RemoteSubnetRoute { destination, vni: None, provider, router: None };
        for word in words {
            match word.split_once('=') {
                Some(("vni", number)) => {
                    route.vni = Some(number.parse::<Vni>().map_err(|error| error.to_string())?);
                }
                Some(("router", mac)) => {
                    route.router = Some(mac.parse::<Mac>().map_err(|error| error.to_string())?);
                }
                _ => return Err(format!("\"{word}\" says nothing of a host: vni=NUMBER, router=MAC")),
            }
        }
        Ok(Self(route))
    }
}

impl PeerCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Ls { network } => {
                let network = context.client.network(&network).await?;
                show(context, &network).await
            }
            Self::Add { network, peers } => {
                let policies: Vec<Policy> = peers.into_iter().map(PeerSpec::policy).collect();
                change(context, &network, PolicyRequest::Add, &policies).await
            }
            Self::Rm { network, prefixes } => {
                let found = context.client.network(&network).await?;
                let known = routes(&found);
                let mut policies = Vec::new();
                for prefix in prefixes {
                    let policy = known.iter().find(|route| route.destination == prefix);
                    let policy =
                        policy.ok_or_else(|| Failure::NoSuchPeer { network: network.clone(), prefix })?;
                    policies.push(Policy::remote_subnet(*policy));
                }
                change(context, &network, PolicyRequest::Remove, &policies).await
            }
        }
    }
}

async fn change(
    context: &Context,
    reference: &str,
    request: PolicyRequest,
    policies: &[Policy],
) -> Result<(), Failure> {
    let network = context.client.network(reference).await?;
    let policies: Vec<Value> = policies.iter().map(Policy::to_v2).collect();
    let changed = context.client.modify_network_policies(view::id(&network), request, &policies).await?;
    show(context, &changed).await
}

fn routes(network: &Value) -> Vec<RemoteSubnetRoute> {
    let policies = network.get("Policies").and_then(Value::as_array).into_iter().flatten();
    let read = policies.filter_map(|policy| Policy::from_document(policy).ok()?);
    read.filter_map(|policy| policy.as_remote_subnet().copied()).collect()
}

/// How long ago something came from a host.
fn heard(network: &Value, host: IpAddr) -> String {
    let hosts = network.pointer("/Health/Extra/Hosts").and_then(Value::as_array).into_iter().flatten();
    let is_it = |known: &&Value| known["ProviderAddress"] == host.to_string();
    match hosts.filter(is_it).find_map(|known| known["HeardSeconds"].as_u64()) {
        None => "never".to_owned(),
        Some(seconds) => format!("{seconds} s ago"),
    }
}

async fn show(context: &Context, network: &Value) -> Result<(), Failure> {
    // When hosts were heard is told of a network that is asked for by its id.
    let network = context.client.network(view::id(network)).await?;
    let routes = routes(&network);
    let documents: Vec<Value> = routes.iter().map(|route| Policy::remote_subnet(*route).to_v2()).collect();
    output::show(context.format, &documents, |format| {
        let mut rows = Rows::new(format, &["PREFIX", "HOST", "VNI", "HEARD"], &["ROUTER"]);
        for route in &routes {
            let vni = route.vni.map(|vni| vni.to_string());
            let router = route.router.map(|mac| mac.to_string());
            rows.push(
                vec![
                    route.destination.to_string(),
                    route.provider.to_string(),
                    vni.unwrap_or_else(|| "-".to_owned()),
                    heard(&network, route.provider),
                ],
                vec![router.unwrap_or_else(|| "-".to_owned())],
            );
        }
        rows
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_prefix_and_a_host_and_what_differs() {
        let plain: PeerSpec = "10.244.2.0/24=198.51.100.2".parse().expect("it is whole");
        assert_eq!((plain.0.vni, plain.0.router), (None, None));
        let whole = "fd00:2::/64=2001:db8::2,vni=4097,router=0e-2a-c6-33-64-02".parse::<PeerSpec>();
        let route = whole.expect("it is whole").0;
        assert_eq!(route.vni.map(Vni::number), Some(4097));
        assert!(route.router.is_some());
        for wrong in
            ["", "10.244.2.0/24", "10.244.2.0=x", "10.244.2.0/24=1.2.3.4,5", "10.244.2.0/24=1.2.3.4,vni=0"]
        {
            assert!(wrong.parse::<PeerSpec>().is_err(), "{wrong}");
        }
    }
}
