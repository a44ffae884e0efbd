//! What the clients were told, and whether it is so after the restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::{list, must, text};
use crate::{Api, Hnsd};

/// What the clients know of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Its creation was acknowledged.
    There,
    /// Its deletion was acknowledged.
    Gone,
    /// Something was asked for that never was answered.
    Open,
}

#[derive(Debug, Clone)]
struct Known {
    is: Certainty,
    /// Of an endpoint: with its network it goes too.
    network: Option<String>,
    /// Of an endpoint: its published ports, each with the last request about it.
    ports: BTreeMap<u64, (Certainty, Request)>,
}

/// A request about a port, by number. What it came to says something only while no other was begun: of two answers that are
/// given at once, the later one may be read first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Request(u64);

/// Objects by their path in the API.
#[derive(Debug)]
pub(super) struct Memory {
    known: Mutex<BTreeMap<String, Known>>,
    requests: AtomicU64,
    /// Ids of what is there from the first round to the last.
    fixed: BTreeSet<String>,
}

impl Memory {
    pub(super) fn of_fixed<'a>(ids: impl Iterator<Item = &'a String>) -> Self {
        Self { known: Mutex::default(), requests: AtomicU64::new(1), fixed: ids.cloned().collect() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a document that was answered.
    pub(super) fn created(&self, path: &str, document: &Value) {
        let network = document["HostComputeNetwork"].as_str().map(str::to_owned);
        let ports = ports_of(document)
            .into_iter()
            .map(|port| (port, (Certainty::There, Request::default())))
            .collect();
        self.lock().insert(path.to_owned(), Known { is: Certainty::There, network, ports });
    }

    pub(super) fn note(&self, path: &str, is: Certainty) {
        if let Some(known) = self.lock().get_mut(path) {
            known.is = is;
        }
    }

    /// From now on nobody knows what the port is.
    pub(super) fn begin(&self, path: &str, port: u64) -> Request {
        let request = Request(self.requests.fetch_add(1, Ordering::Relaxed));
        if let Some(known) = self.lock().get_mut(path) {
            known.ports.insert(port, (Certainty::Open, request));
        }
        request
    }

    /// The same for a port that the endpoint is to get; nothing where it has it, since a refusal would say nothing then.
    pub(super) fn begin_new(&self, path: &str, port: u64) -> Option<Request> {
        let is_known = self.lock().get(path).is_some_and(|known| known.ports.contains_key(&port));
        (!is_known).then(|| self.begin(path, port))
    }

    /// What a request about a port came to.
    pub(super) fn end(&self, path: &str, port: u64, request: Request, is: Certainty) {
        let mut known = self.lock();
        let port = known.get_mut(path).and_then(|known| known.ports.get_mut(&port));
        if let Some(port) = port.filter(|(_, last)| *last == request) {
            port.0 = is;
        }
    }

    /// The paths of a kind that are known to be there.
    pub(super) fn there(&self, prefix: &str) -> Vec<String> {
        let known = self.lock();
        let there = known.iter().filter(|(path, one)| path.starts_with(prefix) && one.is == Certainty::There);
        there.map(|(path, _)| path.clone()).collect()
    }

    /// Compares with the daemon's documents, and takes over what was open.
    #[track_caller]
    pub(super) fn compare(&self, api: &mut Api, context: &str, hnsd: &Hnsd) {
        let mut there = BTreeMap::new();
        for kind in ["networks", "endpoints", "namespaces"] {
            let all = must(api.get(&format!("/v2/{kind}"))).expect_success();
            there.extend(
                list(&all).iter().map(|one| (format!("/v2/{kind}/{}", text(&one["ID"])), one.clone())),
            );
        }
        let mut known = self.lock();
        for (path, one) in &*known {
            let document = there.get(path);
            match one.is {
                Certainty::There if document.is_none() => {
                    let with_its_network = one.network.as_ref().is_some_and(|network| {
                        known
                            .get(&format!("/v2/networks/{network}"))
                            .is_some_and(|network| network.is != Certainty::There)
                    });
                    assert!(with_its_network, "{context}: lost {path}\n{}", hnsd.log());
                }
                Certainty::Gone => {
                    assert!(document.is_none(), "{context}: came back: {path}\n{}", hnsd.log());
                }
                Certainty::There | Certainty::Open => {}
            }
            if let Some(document) = document {
                one.compare_ports(&ports_of(document), &format!("{context}: {path}"));
            }
        }
        let is_fixed = |path: &str| self.fixed.contains(path.rsplit('/').next().unwrap_or_default());
        known.clear();
        drop(known);
        for (path, document) in there.iter().filter(|(path, _)| !is_fixed(path)) {
            self.created(path, document);
        }
    }
}

impl Known {
    #[track_caller]
    fn compare_ports(&self, published: &BTreeSet<u64>, context: &str) {
        for (port, (is, _)) in &self.ports {
            match is {
                Certainty::There => assert!(published.contains(port), "{context}: lost port {port}"),
                Certainty::Gone => assert!(!published.contains(port), "{context}: port {port} came back"),
                Certainty::Open => {}
            }
        }
        for port in published {
            assert!(self.ports.contains_key(port), "{context}: nobody asked for port {port}");
        }
    }
}

fn ports_of(document: &Value) -> BTreeSet<u64> {
    list(&document["Policies"])
        .iter()
        .filter_map(|policy| policy["Settings"]["ExternalPort"].as_u64())
        .collect()
}
