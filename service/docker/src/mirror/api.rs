//! Docker's API, in our words.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::{
    EventMessage, EventMessageTypeEnum, Ipam, IpamConfig, Network, NetworkCreateRequest, NetworkInspect,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, InspectNetworkOptions, ListNetworksOptions,
};
use futures_core::Stream;
use hns_net::{Cidr, Family, IfAddr};

use super::view::{DockerEndpoint, DockerNetwork, DockerSubnet, HnsNetwork};
use crate::drivers::{DRIVERS, IPAM};

/// Longer than Docker waits for a plugin, so that its own answer comes first.
const PATIENCE: Duration = Duration::from_secs(60);

/// From this version on networks can be without IPv4.
const IPV4_IS_A_CHOICE: (usize, usize) = (1, 47);

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("cannot {operation} {object}")]
    Docker { operation: &'static str, object: String, source: DockerError },
    #[error("cannot {operation} {object}: no answer within {} seconds", PATIENCE.as_secs())]
    Silent { operation: &'static str, object: String },
    #[error("{0} serves the socket, which has no drivers of ours")]
    Stranger(String),
}

impl ApiError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Docker { source: DockerError::DockerResponseServerError { status_code, .. }, .. } => {
                Some(*status_code)
            }
            _ => None,
        }
    }

    /// Whether there is a daemon that will say the same again; otherwise it is on its way up or down.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Docker { source, .. } => {
                self.status().is_some() || matches!(source, DockerError::JsonDataError { .. })
            }
            Self::Silent { .. } | Self::Stranger(_) => true,
        }
    }
}

/// What Docker tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    NetworkCreated {
        docker: String,
    },
    NetworkDestroyed {
        docker: String,
    },
    Connected {
        container: String,
    },
    /// Some container has left some network.
    Disconnected,
    /// Networks without containers were removed, each of which was told before.
    Pruned,
    Renamed {
        container: String,
    },
}

/// How long one request for events lasts. Docker's own end waits five seconds for whoever still listens.
const WINDOW: Duration = Duration::from_secs(2);

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, DockerError>> + Send>>;

/// The events of one connection, asked for window by window.
pub(super) struct EventsOfDocker {
    docker: Docker,
    messages: Messages,
    /// The end of the window, since 1970.
    until: Duration,
}

impl EventsOfDocker {
    fn since(docker: Docker, since: Duration) -> Self {
        let until = now() + WINDOW;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([
            ("type".to_owned(), words(&["network", "container"])),
            ("event".to_owned(), words(&["create", "destroy", "prune", "connect", "disconnect", "rename"])),
        ]);
        let time = |time: Duration| format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
        let options = EventsOptionsBuilder::new().since(&time(since)).until(&time(until)).filters(&filters);
        let messages = Box::pin(docker.events(Some(options.build())));
        Self { docker, messages, until }
    }

    /// The next event that matters; none when the connection is lost.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            match std::future::poll_fn(|context| self.messages.as_mut().poll_next(context)).await {
                Some(Ok(message)) => {
                    if let Some(told) = told(message) {
                        return Some(told);
                    }
                }
                Some(Err(_)) => return None,
                None if now() < self.until => return None,
                None => *self = Self::since(self.docker.clone(), self.until),
            }
        }
    }
}

/// The time since 1970, as Docker's events count it.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn told(message: EventMessage) -> Option<Told> {
    let actor = message.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let kind = message.typ?;
    if kind == EventMessageTypeEnum::NETWORK && message.action.as_deref() == Some("prune") {
        return Some(Told::Pruned);
    }
    let id = actor.id?;
    let is_ours = attributes.get("type").is_some_and(|name| DRIVERS.iter().any(|driver| driver.name == name));
    match (kind, message.action?.as_str()) {
        (EventMessageTypeEnum::CONTAINER, "rename") => Some(Told::Renamed { container: id }),
        (EventMessageTypeEnum::NETWORK, _) if !is_ours => None,
        (EventMessageTypeEnum::NETWORK, "create") => Some(Told::NetworkCreated { docker: id }),
        (EventMessageTypeEnum::NETWORK, "destroy") => Some(Told::NetworkDestroyed { docker: id }),
        (EventMessageTypeEnum::NETWORK, "connect") => {
            Some(Told::Connected { container: attributes.remove("container")? })
        }
        (EventMessageTypeEnum::NETWORK, "disconnect") => Some(Told::Disconnected),
        _ => None,
    }
}

/// A Docker daemon that answers.
#[derive(Clone)]
pub(super) struct Api {
    docker: Docker,
    /// The daemon's own id, kept over its restarts.
    pub engine: Option<String>,
}

impl Api {
    /// Connects to the daemon behind a socket, in the version that both speak.
    pub async fn connect(socket: &Path) -> Result<Self, ApiError> {
        let object = socket.display().to_string();
        let docker = Docker::connect_with_unix(&object, PATIENCE.as_secs(), bollard::API_DEFAULT_VERSION);
        let docker = docker.map_err(failed("connect to", &object))?;
        let docker = patiently("connect to", &object, docker.negotiate_version()).await?;
        let version = patiently("ask the version of", &object, docker.version()).await?;
        let stranger =
            version.components.unwrap_or_default().into_iter().find(|part| part.name.starts_with("Podman"));
        if let Some(stranger) = stranger {
            return Err(ApiError::Stranger(stranger.name));
        }
        // Without an id, nothing is ever taken for deleted.
        let engine = patiently("ask the id of", &object, docker.info()).await.ok().and_then(|info| info.id);
        Ok(Self { docker, engine: engine.filter(|id| !id.is_empty()) })
    }

    pub fn can_be_v6_only(&self) -> bool {
        let version = self.docker.client_version();
        (version.major_version, version.minor_version) >= IPV4_IS_A_CHOICE
    }

    /// Events from now on, those that come before the first is asked for included.
    pub fn events(&self) -> EventsOfDocker {
        EventsOfDocker::since(self.docker.clone(), now())
    }

    /// All networks, without their endpoints.
    pub async fn networks(&self) -> Result<Vec<DockerNetwork>, ApiError> {
        let list = self.docker.list_networks(None::<ListNetworksOptions>);
        let list = patiently("list", "networks", list).await?;
        Ok(list.into_iter().map(listed).collect())
    }

    /// One network with its endpoints; none when it is gone.
    pub async fn network(&self, docker: &str) -> Result<Option<DockerNetwork>, ApiError> {
        let network = self.docker.inspect_network(docker, None::<InspectNetworkOptions>);
        let network = patiently("inspect network", docker, network).await;
        Ok(found(network)?.map(inspected))
    }

    /// The endpoints of one container, none when it is gone.
    pub async fn container(&self, id: &str) -> Result<Vec<DockerEndpoint>, ApiError> {
        let container = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        let container = patiently("inspect container", id, container).await;
        let Some(container) = found(container)? else { return Ok(Vec::new()) };
        let name = container.name.unwrap_or_default().trim_start_matches('/').to_owned();
        let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let ids = networks.into_values().filter_map(|endpoint| endpoint.endpoint_id);
        Ok(ids.filter(|id| !id.is_empty()).map(|id| DockerEndpoint { id, name: name.clone() }).collect())
    }

    /// Makes the network that shows an HNS network. Docker's addresses come from HNS.
    pub async fn show(&self, network: &HnsNetwork, driver: &str) -> Result<(), ApiError> {
        let request = shown(network, driver, self.can_be_v6_only());
        patiently("create network", &network.name, self.docker.create_network(request)).await.map(drop)
    }

    /// Removes a network; one that is not there is removed.
    pub async fn remove(&self, docker: &str) -> Result<(), ApiError> {
        let removed = patiently("remove network", docker, self.docker.remove_network(docker)).await;
        found(removed).map(drop)
    }
}

fn failed<'a>(operation: &'static str, object: &'a str) -> impl FnOnce(DockerError) -> ApiError + 'a {
    move |source| ApiError::Docker { operation, object: object.to_owned(), source }
}

async fn patiently<T>(
    operation: &'static str,
    object: &str,
    work: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(failed(operation, object)),
        Err(_) => Err(ApiError::Silent { operation, object: object.to_owned() }),
    }
}

fn found<T>(outcome: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match outcome {
        Err(error) if error.status() == Some(404) => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn shown(network: &HnsNetwork, driver: &str, says_v4: bool) -> NetworkCreateRequest {
    const SHIM: &str = "com.docker.network.windowsshim";
    let subnet = |(prefix, gateway): &(Cidr, Option<IpAddr>)| IpamConfig {
        subnet: Some(prefix.to_string()),
        gateway: gateway.map(|address| address.to_string()),
        ..IpamConfig::default()
    };
    NetworkCreateRequest {
        name: network.name.clone(),
        driver: Some(driver.to_owned()),
        ipam: Some(Ipam {
            driver: Some(IPAM.to_owned()),
            config: Some(network.subnets.iter().map(subnet).collect()),
            options: Some(HashMap::from([("network".to_owned(), network.id.to_string())])),
        }),
        enable_ipv4: says_v4.then(|| network.has(Family::V4)),
        enable_ipv6: Some(network.has(Family::V6)),
        options: Some(HashMap::from([
            (format!("{SHIM}.hnsid"), network.id.to_string()),
            (format!("{SHIM}.hnsowned"), "true".to_owned()),
        ])),
        ..NetworkCreateRequest::default()
    }
}

fn listed(network: Network) -> DockerNetwork {
    let ipam = network.ipam.unwrap_or_default();
    DockerNetwork {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        driver: network.driver.unwrap_or_default(),
        internal: network.internal.unwrap_or_default(),
        enable_v4: network.enable_ipv4,
        enable_v6: network.enable_ipv6.unwrap_or_default(),
        options: network.options.unwrap_or_default().into_iter().collect(),
        ipam_driver: ipam.driver.unwrap_or_default(),
        subnets: ipam.config.unwrap_or_default().into_iter().filter_map(subnet).collect(),
        endpoints: Vec::new(),
    }
}

fn inspected(network: NetworkInspect) -> DockerNetwork {
    // An endpoint that Docker has without a container stands under `ep-` and its id. It may be one whose container is
    // still being restored.
    let endpoints = network.containers.unwrap_or_default().into_iter().filter_map(|(key, endpoint)| {
        let name = endpoint.name.filter(|_| !key.starts_with("ep-")).unwrap_or_default();
        Some(DockerEndpoint { id: endpoint.endpoint_id?, name })
    });
    let endpoints = endpoints.collect();
    let list = Network {
        name: network.name,
        id: network.id,
        driver: network.driver,
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6,
        ipam: network.ipam,
        internal: network.internal,
        options: network.options,
        ..Network::default()
    };
    DockerNetwork { endpoints, ..listed(list) }
}

fn subnet(config: IpamConfig) -> Option<DockerSubnet> {
    let prefix: Cidr = config.subnet?.parse().ok()?;
    // Docker writes the prefix of everything where the IPAM driver leaves the choice to us.
    if prefix.is_default() {
        return None;
    }
    let aux = config.auxiliary_addresses.unwrap_or_default();
    let aux_addresses: BTreeMap<_, _> =
        aux.into_iter().filter_map(|(name, text)| Some((name, address(&text)?))).collect();
    let range = config.ip_range.and_then(|range| range.parse().ok());
    Some(DockerSubnet { prefix, range, gateway: config.gateway.as_deref().and_then(address), aux_addresses })
}

/// An address, alone or with the length of its subnet.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<IfAddr>().ok().map(IfAddr::address))
}
