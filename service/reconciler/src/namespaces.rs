use std::path::PathBuf;
use std::sync::PoisonError;

use hns_hcn::{
    self as hcn, ErrorCode, ModifyRequest, NamespaceResource, NamespaceType, NotificationType, RequestType,
};
use hns_host::NamespaceIdentity;
use hns_model::{Attachment, Endpoint, ModelError, NamespaceOrigin, World};
use hns_net::Guid;
use hns_planner::{NamespaceSpec, Step, Target};
use hns_store::{Durability, Txn};

use crate::engine::{Engine, fresh_id};
use crate::error::EngineError;
use crate::locks::Key;
use crate::records;

impl Engine {
    /// Makes a namespace, or takes one that exists into the books.
    pub fn create_namespace(&self, document: hcn::Namespace) -> Result<hcn::Namespace, EngineError> {
        let id = self.enter_namespace(document, |world, document, fresh| {
            Ok(world.reserve_namespace(document, fresh)?.id())
        })?;
        Ok(self.world().namespace(id)?.document())
    }

    /// Takes a namespace into the books for as long as it has endpoints.
    pub(crate) fn lend_namespace(&self, document: hcn::Namespace) -> Result<Guid, EngineError> {
        self.enter_namespace(document, |world, document, fresh| {
            Ok(world.lend_namespace(document, fresh)?.id())
        })
    }

    fn enter_namespace(
        &self,
        mut document: hcn::Namespace,
        reserve: impl FnOnce(&mut World, hcn::Namespace, [Guid; 2]) -> Result<Guid, ModelError>,
    ) -> Result<Guid, EngineError> {
        let _pass = self.locks.pass();
        check_kind(&document)?;
        if let Some(pid) = document.params.pid {
            document.params.path = Some(PathBuf::from(format!("/proc/{pid}/ns/net")));
        }
        let given = document.params.path.clone().map(Target::Path);
        let identity = match given.map(|target| self.identify(&target)).transpose() {
            // API-1: the document names the place where another daemon had made the namespace for itself.
            Err(_) if was_made_by_a_daemon(&document) => {
                document.params.path = None;
                None
            }
            identity => identity?,
        };
        let id = reserve(&mut self.world(), document, [fresh_id(), fresh_id()])?;
        let _held = self.locks.hold(Key::Namespace(id));
        match self.build_namespace(id, identity) {
            Ok(()) => {
                self.notify(NotificationType::NamespaceCreate, id, None);
                Ok(id)
            }
            Err(error) => {
                // Reserved above; nobody joined it.
                let _ = self.world().forget_namespace(id);
                Err(error)
            }
        }
    }

    pub(crate) fn identify(&self, target: &Target) -> Result<NamespaceIdentity, EngineError> {
        let operation = match target {
            Target::Host | Target::Engine => "cannot identify the host's own namespace".to_owned(),
            Target::Path(path) => format!("cannot use {} as a namespace", path.display()),
        };
        self.host.identify(target).map_err(|source| EngineError::Host { operation, source })
    }

    fn build_namespace(&self, id: Guid, identity: Option<NamespaceIdentity>) -> Result<(), EngineError> {
        let ours = self.world().namespace(id)?.origin() == NamespaceOrigin::Ours;
        let mut steps = Vec::new();
        if ours {
            let path = self.layout.namespace(id);
            self.world().locate_namespace(id, path.clone())?;
            steps.push(Step::MakeNamespace(NamespaceSpec { path }));
        }
        let done = self.execute(steps)?;
        let namespace = self.world().namespace(id)?.clone();
        // One that is lent is written down with the endpoint that brought it.
        if namespace.origin() != NamespaceOrigin::Lent {
            let record = records::namespace(&namespace, identity);
            let txn = Txn::new(Durability::Process).put(records::key(records::NAMESPACES, id), record);
            self.commit(txn, format!("namespace {id}"))?;
        }
        done.keep();
        if let Some(identity) = identity {
            self.identities.lock().unwrap_or_else(PoisonError::into_inner).insert(id, identity);
        }
        Ok(())
    }

    /// Deletes a namespace; its endpoints stay, detached (rule Q21). One that was given to us stays too.
    pub fn delete_namespace(&self, id: Guid) -> Result<(), EngineError> {
        let _pass = self.locks.pass();
        let held = self.locks.hold(Key::Namespace(id));
        let namespace = self.world().namespace(id)?.clone();
        let mut left = Vec::new();
        for endpoint in namespace.members() {
            left.extend(self.world().endpoint(endpoint).map(Endpoint::network));
            let _endpoint = self.locks.hold(Key::Endpoint(endpoint));
            match self.unplug(endpoint) {
                Ok(())
                | Err(EngineError::Model(ModelError::NotAttached(_) | ModelError::EndpointNotFound(_))) => {}
                Err(error) => return Err(error),
            }
        }
        self.remove_namespace(id)?;
        // A network's lock comes before a namespace's.
        drop(held);
        left.into_iter().for_each(|network| self.follow_gateway(namespace.origin(), network));
        Ok(())
    }

    /// Removes a namespace without endpoints, whose lock is held.
    pub(crate) fn remove_namespace(&self, id: Guid) -> Result<(), EngineError> {
        let namespace = self.world().namespace(id)?.clone();
        let txn = Txn::new(Durability::Process).delete(records::key(records::NAMESPACES, id));
        self.commit(txn, format!("namespace {id}"))?;
        if let (NamespaceOrigin::Ours, Some(path)) = (namespace.origin(), namespace.path()) {
            self.take_down(vec![Step::RemoveNamespace(NamespaceSpec { path: path.to_owned() })]);
        }
        self.world().forget_namespace(id)?;
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.notify(NotificationType::NamespaceDelete, id, None);
        Ok(())
    }

    /// HcnModifyNamespace: who is in it.
    pub fn modify_namespace(
        &self,
        id: Guid,
        request: &ModifyRequest<NamespaceResource>,
    ) -> Result<hcn::Namespace, EngineError> {
        let _ahead = match (request.request, &request.resource) {
            (RequestType::Add, NamespaceResource::Endpoint(endpoint)) => {
                self.world().namespace(id)?;
                self.lease_ahead(*endpoint)?
            }
            _ => None,
        };
        self.through_a_reload(|| self.try_to_modify_namespace(id, request))
    }

    fn try_to_modify_namespace(
        &self,
        id: Guid,
        request: &ModifyRequest<NamespaceResource>,
    ) -> Result<hcn::Namespace, EngineError> {
        let _pass = self.locks.pass();
        let present = match request.request {
            RequestType::Add => true,
            RequestType::Remove => false,
            other => {
                let problem = format!("a namespace's members take Add and Remove, not {other:?}");
                return Err(request_error("RequestType", problem, ErrorCode::REQUEST_UNSUPPORTED));
            }
        };
        match &request.resource {
            NamespaceResource::Container(container) => self.set_container(id, container, present),
            NamespaceResource::Endpoint(endpoint) if present => self.attach(id, *endpoint),
            NamespaceResource::Endpoint(endpoint) => self.detach(id, *endpoint),
        }?;
        if let NamespaceResource::Endpoint(endpoint) = &request.resource {
            let network = self.world().endpoint(*endpoint).map(Endpoint::network);
            let origin = self.world().namespace(id)?.origin();
            network.into_iter().for_each(|network| self.follow_gateway(origin, network));
        }
        let document = self.world().namespace(id)?.document();
        self.release_lent(id);
        Ok(document)
    }

    fn attach(&self, id: Guid, endpoint: Guid) -> Result<(), EngineError> {
        let network = self.world().endpoint(endpoint)?.network();
        let lock = self.locks.network(network);
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _joined = self.locks.hold(Key::Namespace(id));
        let _held = self.locks.hold(Key::Endpoint(endpoint));
        if self.world().namespace(id)?.origin() == NamespaceOrigin::Host {
            self.look_at_hosts_own(network)?;
        }
        let there = self.settled_endpoint(endpoint)?.attachment().and_then(Attachment::namespace);
        // Clients repeat the call when they retry (rule Q13).
        if there == Some(id) {
            return Ok(());
        }
        self.plug(endpoint, |world| world.reserve_attachment(endpoint, id)).map(|_| ())
    }

    fn detach(&self, id: Guid, endpoint: Guid) -> Result<(), EngineError> {
        let network = self.world().endpoint(endpoint)?.network();
        let lock = self.locks.network(network);
        let _shared = lock.read().unwrap_or_else(PoisonError::into_inner);
        let _joined = self.locks.hold(Key::Namespace(id));
        let _held = self.locks.hold(Key::Endpoint(endpoint));
        self.world().namespace(id)?;
        let there = self.world().endpoint(endpoint)?.attachment().and_then(Attachment::namespace);
        if there != Some(id) {
            return Err(ModelError::NotInNamespace { endpoint, namespace: id }.into());
        }
        self.unplug(endpoint)
    }

    fn set_container(&self, id: Guid, container: &str, present: bool) -> Result<(), EngineError> {
        let _held = self.locks.hold(Key::Namespace(id));
        let namespace = {
            let mut world = self.world();
            if !world.namespace_mut(id)?.set_container(container, present) {
                return Ok(());
            }
            world.namespace(id)?.clone()
        };
        let identity = self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        let record = records::namespace(&namespace, identity);
        let txn = Txn::new(Durability::Process).put(records::key(records::NAMESPACES, id), record);
        if let Err(error) = self.commit(txn, format!("namespace {id}")) {
            self.world().namespace_mut(id)?.set_container(container, !present);
            return Err(error);
        }
        Ok(())
    }
}

/// Whether the path is one that a daemon gives to the namespaces it makes: its last part is the ID.
fn was_made_by_a_daemon(document: &hcn::Namespace) -> bool {
    let name = document.params.path.as_deref().and_then(std::path::Path::file_name);
    document.id.is_some_and(|id| name.is_some_and(|name| name.to_string_lossy() == id.to_string()))
}

fn check_kind(document: &hcn::Namespace) -> Result<(), EngineError> {
    if matches!(document.kind, NamespaceType::Guest | NamespaceType::GuestDefault) {
        let problem =
            format!("{} namespaces live in virtual machines, which are not served", document.kind.name());
        return Err(namespace_error("Type", problem, ErrorCode::REQUEST_UNSUPPORTED));
    }
    let given = document.params.path.is_some() || document.params.pid.is_some();
    if given && document.kind == NamespaceType::HostDefault {
        let problem = "HostDefault is the host's own namespace; it has no path";
        return Err(namespace_error("AdditionalParams", problem, ErrorCode::INVALID_PARAMETER));
    }
    Ok(())
}

fn namespace_error(field: &str, problem: impl std::fmt::Display, code: ErrorCode) -> EngineError {
    EngineError::Document { object: "namespace", source: hcn::DocumentError::new(field, problem, code) }
}

fn request_error(field: &str, problem: impl std::fmt::Display, code: ErrorCode) -> EngineError {
    EngineError::Document { object: "modify request", source: hcn::DocumentError::new(field, problem, code) }
}
