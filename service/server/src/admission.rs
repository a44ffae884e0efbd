//! An endpoint's create that brings the documents of its network and namespace in place of their ids: a container
//! runtime's whole request in one.

use axum::Json;
use axum::http::StatusCode;
use hns_hcn::{DocumentError, Endpoint, ErrorCode, Namespace, Network};
use hns_reconciler::{Admission, WantedNetwork};
use serde_json::Value;

use crate::answer::Refusal;
use crate::api::Api;
use crate::endpoints::shown;

const NETWORK: &str = "HostComputeNetwork";
const NAMESPACE: &str = "HostComputeNamespace";

/// Keys with which a network document only says which network is meant.
const NAMING_KEYS: [&str; 4] = ["ID", "Name", "Owner", "SchemaVersion"];

/// What stands around an endpoint, as documents.
pub(crate) struct Around {
    network: Option<WantedNetwork>,
    namespace: Option<Namespace>,
}

impl Around {
    /// Takes the documents out of an endpoint's document; nothing when it names both by their ids.
    pub fn take_from(document: &mut Value) -> Result<Option<Self>, Refusal> {
        let network = take(document, NETWORK).map(wanted_network).transpose()?;
        let namespace = take(document, NAMESPACE).map(wanted_namespace).transpose()?;
        Ok((network.is_some() || namespace.is_some()).then_some(Self { network, namespace }))
    }

    pub async fn admit(self, api: Api, endpoint: Endpoint) -> Result<(StatusCode, Json<Value>), Refusal> {
        let shows = (self.network.is_some(), self.namespace.is_some());
        let admission = Admission { network: self.network, namespace: self.namespace, endpoint };
        let made = api.perform(move |engine| engine.admit_endpoint(admission)).await?;
        let mut answer = shown(&api, &made);
        let world = api.engine.world();
        if let Some(network) = made.network.filter(|_| shows.0) {
            answer[NETWORK] = crate::networks::view(world.network(network)?);
        }
        if let Some(namespace) = made.namespace.filter(|_| shows.1) {
            answer[NAMESPACE] = world.namespace(namespace)?.document().to_v2();
        }
        Ok((StatusCode::CREATED, Json(answer)))
    }
}

/// The document that stands for an id, in any letter case of the key (hcn-api 1.3).
fn take(document: &mut Value, key: &str) -> Option<Value> {
    let fields = document.as_object_mut()?;
    let key = fields.iter().find(|(k, value)| k.eq_ignore_ascii_case(key) && value.is_object())?.0.clone();
    fields.shift_remove(&key)
}

/// The fault of a document that stands in a field of the endpoint's.
fn within(field: &str) -> impl Fn(DocumentError) -> Refusal {
    move |error| {
        let path = format!("{field}.{}", error.field);
        let error = DocumentError { field: path.trim_end_matches('.').to_owned(), ..error };
        Refusal::document("endpoint")(error)
    }
}

fn wanted_network(document: Value) -> Result<WantedNetwork, Refusal> {
    let fields = document.as_object();
    let names_only = fields.is_some_and(|fields| {
        fields.keys().all(|key| NAMING_KEYS.iter().any(|known| key.eq_ignore_ascii_case(known)))
    });
    let network = Network::from_v2(&document).map_err(within(NETWORK))?;
    if network.id.is_none() && network.name.is_empty() {
        let problem = "a network needs a name or an ID to be found by";
        return Err(Refusal::document("endpoint")(DocumentError::new(
            format!("{NETWORK}.Name"),
            problem,
            ErrorCode::INVALID_NETWORK,
        )));
    }
    Ok(if names_only {
        WantedNetwork::Named { id: network.id, name: network.name }
    } else {
        WantedNetwork::Like(Box::new(network))
    })
}

fn wanted_namespace(document: Value) -> Result<Namespace, Refusal> {
    let namespace = Namespace::from_v2(&document).map_err(within(NAMESPACE))?;
    if namespace.params.path.is_none() && namespace.params.pid.is_none() {
        let problem = "a namespace given in place of its ID needs a Path or a Pid";
        return Err(Refusal::document("endpoint")(DocumentError::new(
            format!("{NAMESPACE}.AdditionalParams.Path"),
            problem,
            ErrorCode::INVALID_PARAMETER,
        )));
    }
    Ok(namespace)
}
