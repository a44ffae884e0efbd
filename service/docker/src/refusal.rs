use std::net::IpAddr;

use hns_net::Guid;
use hns_reconciler::EngineError;

/// Why a call of Docker is refused. Docker shows the text to its user after `remote: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body of {method} cannot be read: {source}")]
    Body { method: &'static str, source: serde_json::Error },
    #[error("hnsd was started again amid {method}, which Docker repeats without its contents; try again")]
    BodyLost { method: &'static str },
    #[error("\"{0}\" is not an id of a local network or endpoint of Docker: 64 hexadecimal digits")]
    Id(String),
    #[error("{driver} networks belong to one host; swarm cannot allocate one")]
    LocalScope { driver: &'static str },
    #[error(
        "{driver} networks of Docker need a subnet: name the LAN's with --subnet and its router with --gateway"
    )]
    SubnetMissing { driver: &'static str },
    #[error(
        "{driver} networks need the prefix that their containers on this host have: name it with --subnet"
    )]
    PrefixMissing { driver: &'static str },
    #[error(
        "{driver} networks need a number that is the same on all their hosts: name it with -o vxlanid_list=NUMBER, or name the network with -o networkname=NAME, from which one follows"
    )]
    NumberMissing { driver: &'static str },
    #[error("option vxlanid_list: {numbers} numbers for {subnets} subnets; name one for all or one for each")]
    NumbersDiffer { numbers: usize, subnets: usize },
    #[error("{field} \"{value}\" is not {expected}")]
    Field { field: &'static str, value: String, expected: &'static str },

    #[error("option {key}: \"{value}\" is not {expected}")]
    OptionValue { key: String, value: String, expected: String },
    #[error("option {key} has no meaning on {driver} networks: {why}")]
    OptionMeaningless { key: String, driver: &'static str, why: &'static str },
    #[error("option {key} is not supported: {why}")]
    OptionUnsupported { key: String, why: &'static str },
    #[error("option {key} is not known; {place} of {driver} networks takes {valid}")]
    OptionUnknown { key: String, driver: &'static str, place: &'static str, valid: String },
    #[error("--ipam-opt {key} is not known; the IPAM driver hns takes {valid}")]
    IpamOptionUnknown { key: String, valid: &'static str },
    #[error("--ipam-opt network={network}: name the subnet as well: --subnet {subnets}")]
    SubnetUnnamed { network: String, subnets: String },
    #[error("option {key} is given twice, the other time as {other}")]
    OptionTwice { key: String, other: String },
    #[error("option {key} contradicts {other}: {why}")]
    OptionsContradict { key: &'static str, other: &'static str, why: &'static str },

    #[error("network {0} of Docker has no HNS network; remove it with docker network rm and create it again")]
    NetworkUnknown(String),
    #[error("option hnsid: there is no HNS network {0}; see hnsctl network ls")]
    BindMissing(Guid),
    #[error("option hnsid: HNS network \"{name}\" is of type {found}, not {wanted}")]
    BindType { name: String, found: &'static str, wanted: &'static str },
    #[error("option hnsid: HNS network \"{name}\" has {found}, but {wanted} was asked for")]
    BindDiffers { name: String, found: String, wanted: String },

    #[error("address {address} of network \"{network}\" is in use by endpoint {holder} of {owner}")]
    AddressHeld { address: IpAddr, network: String, holder: String, owner: String },
    #[error("endpoint {0} is not known")]
    EndpointUnknown(String),
    #[error("no host port of {ports}/{transport} is free")]
    NoPortOfRange { ports: hns_net::PortRange, transport: hns_net::Transport, source: EngineError },

    #[error("the service is still starting; try again in a moment")]
    Starting,
    #[error("the service is stopping")]
    Stopping,
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<hns_model::ModelError> for Refusal {
    fn from(error: hns_model::ModelError) -> Self {
        Self::Engine(error.into())
    }
}

impl Refusal {
    /// The sentence for Docker's user: the error, its causes, and what can be done.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            // Some errors are their source; a sentence is said once.
            if !text.ends_with(&source.to_string()) {
                text = format!("{text}: {source}");
            }
            cause = source.source();
        }
        match self.engine().and_then(EngineError::hint) {
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        }
    }

    fn engine(&self) -> Option<&EngineError> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the host or the store failed, rather than the request.
    pub fn is_internal(&self) -> bool {
        self.engine().is_some_and(EngineError::is_internal)
    }
}
