//! The other hosts of an overlay, and what each has of it.

use std::net::IpAddr;

use clap::Subcommand;
use hns_client::PolicyRequest;
use hns_hcn::{Policy, RemoteSubnetRoute};
use hns_net::Cidr;
use serde_json::Value;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::view;

const ADD_EXAMPLES: &str = "\
A PEER is PREFIX=HOST[,vni=NUMBER][,router=MAC][,key=PUBLIC-KEY]: the prefix that a host has of the network, and the address at which that
host's tunnels end. Without vni it is the network's own; without router the MAC address that hnsd gives the router of a host with such
an address. Where the network is encrypted, and only there, the key of that host stands beside it, as hnsctl network inspect shows it
there (PublicKey).

Examples:
  hnsctl network peer add blue 10.244.2.0/24=198.51.100.2
  hnsctl network peer add red 10.244.2.0/24=198.51.100.2,key=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
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
        peers: Vec<RemoteSubnetRoute>,
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

impl PeerCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Ls { network } => {
                let network = context.client.network(&network).await?;
                show(context, &network).await
            }
            Self::Add { network, peers } => {
                let policies: Vec<Policy> = peers.into_iter().map(Policy::remote_subnet).collect();
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

/// How long ago something happened with a host.
fn since(network: &Value, host: IpAddr, key: &str) -> Option<String> {
    let hosts = network.pointer("/Health/Extra/Hosts").and_then(Value::as_array).into_iter().flatten();
    let is_it = |known: &&Value| known["ProviderAddress"] == host.to_string();
    let seconds = hosts.filter(is_it).find_map(|known| known[key].as_u64())?;
    Some(format!("{seconds} s ago"))
}

fn is_encrypted(network: &Value) -> bool {
    let policies = network.get("Policies").and_then(Value::as_array).into_iter().flatten();
    let mut read = policies.filter_map(|policy| Policy::from_document(policy).ok()?);
    read.any(|policy| policy.as_encryption().is_some())
}

async fn show(context: &Context, network: &Value) -> Result<(), Failure> {
    // When hosts were heard is told of a network that is asked for by its id.
    let network = context.client.network(view::id(network)).await?;
    let routes = routes(&network);
    let documents: Vec<Value> = routes.iter().map(|route| Policy::remote_subnet(*route).to_v2()).collect();
    output::show(context.format, &documents, |format| {
        let is_encrypted = is_encrypted(&network);
        let mut columns = vec!["PREFIX", "HOST", "VNI", "HEARD"];
        columns.extend(is_encrypted.then_some("KEYS AGREED"));
        let further = if is_encrypted { &["ROUTER", "KEY"][..] } else { &["ROUTER"] };
        let mut rows = Rows::new(format, &columns, further);
        for route in &routes {
            let vni = route.vni.map(|vni| vni.to_string());
            let router = route.router.map(|mac| mac.to_string());
            let or = |word: &str, text: Option<String>| text.unwrap_or_else(|| word.to_owned());
            let since = |key| since(&network, route.provider, key);
            let mut row = vec![
                route.destination.to_string(),
                route.provider.to_string(),
                or("-", vni),
                or("never", since("HeardSeconds")),
            ];
            let mut more = vec![or("-", router)];
            if is_encrypted {
                row.push(or("none", since("KeysAgreedSeconds")));
                more.push(or("-", route.public_key.map(|key| key.to_string())));
            }
            rows.push(row, more);
        }
        rows
    })
}
