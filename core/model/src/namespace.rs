use std::collections::BTreeSet;

use hns_hcn::{self as hcn, NamespaceType, Resource};
use hns_net::Guid;

/// Where a namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceOrigin {
    /// Made by us and removed by us.
    Ours,
    /// Given by path or process: never removed by us.
    Given,
    /// Given with its first endpoint: out of the books with its last.
    Lent,
    /// The host's own.
    Host,
}

/// A namespace: its document, and who is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    pub(crate) id: Guid,
    pub(crate) document: hcn::Namespace,
    pub(crate) origin: NamespaceOrigin,
    pub(crate) members: BTreeSet<Guid>,
    /// Counts joins, so that of equal priorities the earlier endpoint keeps the default route.
    pub(crate) joins: u32,
    pub(crate) order: u64,
}

impl Namespace {
    #[must_use]
    pub fn id(&self) -> Guid {
        self.id
    }

    #[must_use]
    pub fn origin(&self) -> NamespaceOrigin {
        self.origin
    }

    #[must_use]
    pub fn order(&self) -> u64 {
        self.order
    }

    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.document.params.path.as_deref()
    }

    pub fn members(&self) -> impl Iterator<Item = Guid> {
        self.members.iter().copied()
    }

    /// The document as it is stored: without the endpoints, whose own records say where they are.
    #[must_use]
    pub fn record(&self) -> &hcn::Namespace {
        &self.document
    }

    /// The document as it is answered.
    #[must_use]
    pub fn document(&self) -> hcn::Namespace {
        let mut document = self.document.clone();
        document.resources.extend(self.members.iter().map(|id| Resource::Endpoint(*id)));
        document
    }

    /// Adds or removes a container's id; false when nothing changed.
    pub fn set_container(&mut self, container: &str, present: bool) -> bool {
        let is_it = |resource: &Resource| matches!(resource, Resource::Container(id) if id == container);
        let there = self.document.resources.iter().any(is_it);
        if present && !there {
            self.document.resources.push(Resource::Container(container.to_owned()));
        } else if !present {
            self.document.resources.retain(|resource| !is_it(resource));
        }
        there != present
    }
}

impl NamespaceOrigin {
    /// Whether it belongs to somebody else, who may remove it at any time.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::Given | Self::Lent)
    }
}

pub(crate) fn origin_of(document: &hcn::Namespace) -> NamespaceOrigin {
    match document.kind {
        NamespaceType::HostDefault => NamespaceOrigin::Host,
        _ if document.params.path.is_some() || document.params.pid.is_some() => NamespaceOrigin::Given,
        _ => NamespaceOrigin::Ours,
    }
}
