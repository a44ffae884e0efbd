//! Endpoints whose vNIC an engine moves by itself: Docker looks for the link in our namespace, moves it into the
//! container's sandbox and sets it up there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use hns_hcn as hcn;
use hns_model::{Attachment, Endpoint, ModelError, Seat};
use hns_net::{Guid, IfName};
use hns_planner::Target;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::locks::Key;
use crate::repair::is_gone;

/// An endpoint that waits to be moved.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedLink {
    /// The vNIC's name in the daemon's namespace.
    pub source: IfName,
    pub endpoint: hcn::Endpoint,
}

impl Engine {
    /// Makes the endpoint's vNIC in our own namespace, for an engine to move into `sandbox`. Called again for the same
    /// sandbox it does nothing; for another one, the endpoint leaves the first.
    pub fn join_endpoint(&self, id: Guid, sandbox: &Path) -> Result<JoinedLink, EngineError> {
        self.through_a_reload(|| self.try_to_join_endpoint(id, sandbox.to_owned()))
    }

    fn try_to_join_endpoint(&self, id: Guid, sandbox: PathBuf) -> Result<JoinedLink, EngineError> {
        let _pass = self.locks.pass();
        let lock = self.locks.network(self.settled_endpoint(id)?.network());
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        let there = self.settled_endpoint(id)?;
        match there.attachment().map(|attachment| &attachment.seat) {
            Some(Seat::Sandbox(same)) if *same == sandbox => return joined(&there),
            Some(Seat::Sandbox(_)) => self.unplug(id)?,
            Some(Seat::Namespace { .. }) | None => {}
        }
        self.plug(id, |world| world.reserve_handover(id, sandbox))?;
        joined(&self.settled_endpoint(id)?)
    }

    /// Takes an endpoint out of the sandbox it was moved into; one that is in none, or gone, has left.
    pub fn leave_endpoint(&self, id: Guid) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let Ok(endpoint) = self.settled_endpoint(id) else { return Ok(()) };
        let lock = self.locks.network(endpoint.network());
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _held = self.locks.hold(Key::Endpoint(id));
        let there = self.settled_endpoint(id).ok();
        let in_sandbox =
            there.is_some_and(|there| there.attachment().and_then(Attachment::sandbox).is_some());
        if in_sandbox { self.unplug(id) } else { Ok(()) }
    }

    /// What to do about a vNIC that its engine had moved and that is gone. With its sandbox the container is gone too,
    /// and nobody will ever delete the endpoint; without, somebody removed the link alone, and only the engine can set
    /// up another one. Which of both it is may show later: a Docker that tidies up after a kill makes another namespace
    /// at the sandbox's path, and removes it a moment later.
    pub(crate) fn lose_handed(&self, endpoint: &Endpoint) -> Result<(), EngineError> {
        let Some(sandbox) = endpoint.attachment().and_then(Attachment::sandbox) else { return Ok(()) };
        let id = endpoint.id();
        if !self.is_sandbox_gone(sandbox) {
            let trouble = "its link was removed; restart the container, or disconnect and connect it";
            self.world().set_trouble(id, Some(trouble.to_owned()))?;
            let port = endpoint.attachment().map(|attachment| attachment.port.clone());
            self.bereft().extend(port);
            return Ok(());
        }
        tracing::info!(endpoint = %id, sandbox = %sandbox.display(), "its container is gone; it is deleted");
        self.end_leases_of(endpoint)?;
        self.remove_endpoint(endpoint)
    }

    /// Looks again at endpoints whose link was gone and whose sandbox was not: where it is by now, they are collected.
    pub(crate) fn look_for_sandboxes(&self) {
        let bereft = self.bereft().clone();
        for port in bereft {
            let sandbox = {
                let world = self.world();
                let attachment = world.endpoint_at(&port).and_then(Endpoint::attachment);
                attachment.and_then(Attachment::sandbox).map(Path::to_owned)
            };
            if sandbox.is_some_and(|sandbox| self.is_sandbox_gone(&sandbox)) {
                self.repair_port(&port);
            }
            // It may have been deleted, or set up anew.
            self.bereft().remove(&port);
            let stays = self.world().endpoint_at(&port).is_some_and(|endpoint| endpoint.trouble().is_some());
            if stays {
                self.bereft().insert(port);
            }
        }
    }

    fn is_sandbox_gone(&self, sandbox: &Path) -> bool {
        self.host.identify(&Target::Path(sandbox.to_owned())).is_err_and(|error| is_gone(&error))
    }

    fn bereft(&self) -> MutexGuard<'_, BTreeSet<IfName>> {
        self.bereft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(endpoint: &Endpoint) -> Result<JoinedLink, EngineError> {
    let attachment = endpoint.attachment().ok_or(ModelError::NotAttached(endpoint.id()))?;
    Ok(JoinedLink { source: attachment.interface.clone(), endpoint: endpoint.document() })
}
