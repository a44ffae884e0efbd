//! One connection to Docker: what both sides tell, until it is lost.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::time::Duration;

use hns_hcn::{Notification, NotificationType};
use hns_model::Network;
use hns_net::Guid;
use hns_reconciler::{Event, EventsError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::api::{ApiError, EventsOfDocker, Told};
use super::execute::{Said, Sides};
use super::plan::{self, Deed, Occasion};
use super::view::{DockerEndpoint, DockerNetwork, Hns, Suspects};
use crate::{ids, marks};

/// Longer than the 15 seconds in which Docker repeats a call that was not answered. What it does not know after that
/// time, it was not about to make.
const SECOND_LOOK: Duration = Duration::from_secs(20);

/// How many containers are looked at side by side. Docker keeps who asks waiting while a container starts.
const CONTAINERS_MAX: usize = 64;

/// A connection.
pub(super) struct Session<'a> {
    sides: Sides,
    said: &'a mut Said,
    told: EventsOfDocker,
    notified: Receiver<Event>,
    /// HNS networks that are gone, and Docker still has a network for them.
    vanished: BTreeSet<Guid>,
    /// HNS networks whose networks in Docker were removed one after the other, and nothing else happened since.
    removed: BTreeSet<Guid>,
    containers: JoinSet<Result<Vec<DockerEndpoint>, ApiError>>,
    /// What was there when the connection began, and is a leftover if Docker does not know it at the second look.
    doubts: Option<Suspects>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the notifications of HNS cannot be read")]
    Events(#[from] EventsError),
    #[error("the socket cannot be opened")]
    Barred(#[source] io::Error),
}

impl SessionError {
    /// Whether the next attempt meets the same; otherwise Docker is on its way up or down.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Api(error) => error.is_lasting(),
            Self::Events(_) => false,
            Self::Barred(_) => true,
        }
    }
}

impl<'a> Session<'a> {
    /// Makes both sides alike. `dead` is what a daemon that has certainly ended left behind; it is taken once Docker was
    /// asked about it.
    pub async fn start(
        sides: Sides,
        said: &'a mut Said,
        dead: &mut Option<Suspects>,
    ) -> Result<Self, SessionError> {
        let told = sides.api.events();
        let notified = sides.engine.stream_events(None)?.live;
        let mut session = Self {
            sides,
            said,
            told,
            notified,
            vanished: BTreeSet::new(),
            removed: BTreeSet::new(),
            containers: JoinSet::new(),
            doubts: None,
        };
        // A call may be under way: of this daemon, which may have been there before we were, or of a dead one, whose
        // calls run to their end.
        session.doubts = Some(Suspects::of(&session.hns()));
        let suspects = dead.clone().unwrap_or_default();
        session.compare(Occasion { is_start: true, suspects, ..Occasion::default() }).await?;
        *dead = None;
        session.said.forget();
        Ok(session)
    }

    /// Keeps both sides alike until the connection is lost.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let mut second_look = pin!(tokio::time::sleep(SECOND_LOOK));
        loop {
            tokio::select! {
                event = self.told.next() => match event {
                    Some(event) => self.hear_docker(event).await?,
                    None => return Ok(()),
                },
                event = self.notified.recv() => match event {
                    Ok(event) => self.hear_hns(event).await?,
                    // So much was made and deleted that not all of it is known any more.
                    Err(RecvError::Lagged(_)) => {
                        self.compare(Occasion { is_start: true, ..Occasion::default() }).await?;
                    }
                    Err(RecvError::Closed) => return Ok(()),
                },
                Some(looked) = self.containers.join_next() => {
                    if let Ok(Ok(endpoints)) = looked {
                        self.name(&endpoints).await;
                    }
                },
                () = &mut second_look, if self.doubts.is_some() => {
                    let suspects = self.doubts.take().unwrap_or_default();
                    self.compare(Occasion { suspects, ..Occasion::default() }).await?;
                },
            }
        }
    }

    async fn hear_docker(&mut self, told: Told) -> Result<(), SessionError> {
        match told {
            Told::NetworkCreated { docker } => {
                let network = self.sides.api.network(&docker).await?;
                self.complete(network.as_slice()).await;
            }
            Told::NetworkDestroyed { docker } => {
                let departed = self.sides.front.bindings.departing().remove(&docker);
                self.removed.extend(departed.flatten());
                return Ok(());
            }
            // What HNS has is nobody's to prune: the networks that went just before are shown again.
            Told::Pruned => {
                let removed = std::mem::take(&mut self.removed);
                self.compare_lists(removed).await?;
            }
            Told::Connected { container } | Told::Renamed { container } => self.look_at(container),
            Told::Disconnected if self.vanished.is_empty() => {}
            Told::Disconnected => self.compare_lists(BTreeSet::new()).await?,
        }
        self.removed.clear();
        Ok(())
    }

    fn look_at(&mut self, container: String) {
        if self.containers.len() >= CONTAINERS_MAX {
            // A name is a convenience; who waits this long is starting slowly.
            return;
        }
        let api = self.sides.api.clone();
        self.containers.spawn(async move { api.container(&container).await });
    }

    async fn name(&mut self, endpoints: &[DockerEndpoint]) {
        let engine = &self.sides.engine;
        let name_of = |id| engine.world().endpoint(id).ok().map(|endpoint| endpoint.document().name);
        let deeds = plan::names(endpoints, name_of);
        self.sides.execute(deeds, self.said).await;
    }

    async fn hear_hns(&mut self, event: Event) -> Result<(), SessionError> {
        let mut appeared = BTreeSet::new();
        let before = self.vanished.len();
        self.sort(&event.notification, &mut appeared);
        while let Ok(event) = self.notified.try_recv() {
            self.sort(&event.notification, &mut appeared);
        }
        if appeared.is_empty() && self.vanished.len() == before {
            return Ok(());
        }
        self.compare_lists(appeared).await
    }

    fn sort(&mut self, notification: &Notification, appeared: &mut BTreeSet<Guid>) {
        let id = notification.id;
        match notification.kind {
            NotificationType::NetworkCreate => {
                let world = self.sides.engine.world();
                // That of a bridge is told again when it has other subnets.
                let is_to_show =
                    |network: &Network| marks::served(network).is_empty() || network.adopted().is_some();
                if world.network(id).is_ok_and(is_to_show) {
                    appeared.insert(id);
                }
            }
            NotificationType::NetworkDelete => {
                let departing = self.sides.front.bindings.departing();
                if !departing.keys().any(|docker| ids::guid(docker).is_ok_and(|of| of == id)) {
                    self.vanished.insert(id);
                }
            }
            _ => {}
        }
    }

    /// Compares which networks there are.
    async fn compare_lists(&mut self, appeared: BTreeSet<Guid>) -> Result<(), SessionError> {
        let docker = self.sides.api.networks().await?;
        self.conclude(docker, Occasion { appeared, ..Occasion::default() }).await;
        Ok(())
    }

    /// Compares networks and endpoints. Whatever Docker has shown once and does not show now is a leftover.
    async fn compare(&mut self, mut occasion: Occasion) -> Result<(), SessionError> {
        occasion.suspects.endpoints.extend(self.hns().shown());
        let mut docker = Vec::new();
        for network in self.sides.api.networks().await? {
            if network.driver().is_none() {
                docker.push(network);
            } else {
                docker.extend(self.sides.api.network(&network.id).await?);
            }
        }
        self.conclude(docker, occasion).await;
        Ok(())
    }

    async fn conclude(&mut self, docker: Vec<DockerNetwork>, occasion: Occasion) {
        self.vanished.retain(|id| docker.iter().any(|network| network.behind() == Some(*id)));
        // Docker's side was read first: what it deleted since then is departing by now.
        let hns = self.hns();
        let deeds = plan::plan(&docker, &hns, &self.completed(occasion));
        let (mut removed, mut remade) = (BTreeSet::new(), Vec::new());
        for deed in &deeds {
            match deed {
                Deed::Remove { docker, .. } => drop(removed.insert(docker.clone())),
                Deed::Remake(network) => remade.push(network.clone()),
                _ => {}
            }
        }
        // What cannot be removed while containers are on it, is tried again when they leave.
        let is_removed = |network: &&DockerNetwork| removed.contains(&network.id);
        let behind = docker.iter().filter(is_removed).filter_map(DockerNetwork::behind);
        self.vanished.extend(behind.filter(|id| hns.network(*id).is_none()));
        self.sides.execute(deeds, self.said).await;
        self.complete(&remade).await;
    }

    /// Tells HNS what Docker does not tell a driver about networks that HNS has by now.
    async fn complete(&mut self, networks: &[DockerNetwork]) {
        if networks.is_empty() {
            return;
        }
        let (hns, occasion) = (self.hns(), self.completed(Occasion::default()));
        let deeds = networks.iter().flat_map(|network| plan::for_docker(network, &hns, &occasion)).collect();
        self.sides.execute(deeds, self.said).await;
    }

    fn completed(&self, occasion: Occasion) -> Occasion {
        Occasion {
            vanished: self.vanished.clone(),
            departing: self.sides.front.bindings.departing().keys().cloned().collect(),
            engine: self.sides.api.engine.clone(),
            can_be_v6_only: self.sides.api.can_be_v6_only(),
            ..occasion
        }
    }

    fn hns(&self) -> Hns {
        Hns::of(&self.sides.engine.world())
    }
}
