//! Endpoints whose vNIC an engine moves by itself: Docker looks for the link in our namespace, moves it into the
//! container's sandbox and sets it up there.

use std::path::PathBuf;
use std::sync::PoisonError;

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
    pub fn join_endpoint(&self, id: Guid, sandbox: PathBuf) -> Result<JoinedLink, EngineError> {
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
    /// up another one.
    pub(crate) fn lose_handed(&self, endpoint: &Endpoint) -> Result<(), EngineError> {
        let Some(sandbox) = endpoint.attachment().and_then(Attachment::sandbox) else { return Ok(()) };
        let id = endpoint.id();
        let shown = self.host.identify(&Target::Path(sandbox.to_owned()));
        if shown.as_ref().err().is_none_or(|error| !is_gone(error)) {
            let trouble = "its link was removed; restart the container, or disconnect and connect it";
            self.world().set_trouble(id, Some(trouble.to_owned()))?;
            return Ok(());
        }
        tracing::info!(endpoint = %id, sandbox = %sandbox.display(), "its container is gone; it is deleted");
        self.end_leases_of(endpoint)?;
        self.remove_endpoint(endpoint)
    }
}

fn joined(endpoint: &Endpoint) -> Result<JoinedLink, EngineError> {
    let attachment = endpoint.attachment().ok_or(ModelError::NotAttached(endpoint.id()))?;
    Ok(JoinedLink { source: attachment.interface.clone(), endpoint: endpoint.document() })
}
