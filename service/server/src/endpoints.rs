use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use hns_hcn::{DocumentError, Endpoint, EndpointResource, ErrorCode, ModifyRequest};
use hns_model as model;
use hns_net::Guid;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::admission::Around;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/endpoints", get(list).post(create))
        .route("/endpoints/{id}", get(query).delete(delete))
        .route("/endpoints/{id}/modify", post(modify))
        .route("/endpoints/{id}/stats", get(stats))
}

/// How many lists are made at one time: each may be of thousands of documents, and whoever asks for many waits for himself.
static LISTS: Semaphore = Semaphore::const_new(2);

/// An endpoint as it is at one moment, to be rendered when the world is others' again.
struct Snapshot {
    endpoint: model::Endpoint,
    state: model::EndpointState,
    trouble: Option<String>,
    /// When its leases of the LAN are looked at, which end.
    now: u64,
}

impl Snapshot {
    fn take(world: &model::World, endpoint: &model::Endpoint, now: u64) -> Self {
        Self {
            now,
            endpoint: endpoint.clone(),
            state: world.state_of(endpoint),
            trouble: world.trouble_of(endpoint).map(str::to_owned),
        }
    }

    fn render(&self) -> Value {
        let mut document = self.endpoint.document().to_v2();
        document["State"] = json!(self.state as u16);
        let mut extra = json!({});
        if let Some(attachment) = self.endpoint.attachment() {
            extra = json!({ "Interface": attachment.interface.as_str(), "Port": attachment.port.as_str() });
            if let Some(sandbox) = attachment.sandbox() {
                extra["Sandbox"] = json!(sandbox);
            }
        }
        for lease in self.endpoint.leases() {
            let (name, giver) = match lease.kind() {
                model::LeaseKind::Dhcp => ("DhcpLease", "Server"),
                model::LeaseKind::Dhcp6 => ("Dhcp6Lease", "Server"),
                model::LeaseKind::Advertised => ("AdvertisedLease", "Router"),
            };
            let mut shown = json!({
                giver: lease.server.address,
                "Dns": { "ServerList": lease.dns, "Domain": lease.domain, "Search": lease.search },
            });
            let mut addresses = lease.addresses.iter().map(ToString::to_string);
            if let Some(first) = addresses.next() {
                shown["Address"] = json!(first);
            }
            if addresses.len() > 0 {
                shown["Further"] = addresses.collect();
            }
            if let model::Grant::Advertised { is_managed: true } = lease.grant {
                shown["Managed"] = json!(true);
            }
            if let Some(left) = lease.term.rest(self.now) {
                shown["Seconds"] = json!(lease.term.lifetime);
                shown["SecondsLeft"] = json!(left);
            }
            extra[name] = shown;
        }
        let data = self.trouble.as_ref().map(|trouble| json!({ "LastError": trouble }));
        document["Health"] = json!({ "Data": data, "Extra": extra });
        document
    }
}

async fn list(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Json<Value>, Refusal> {
    let enumeration = body::enumeration(raw.as_deref())?;
    let _turn = LISTS.acquire().await;
    let now = api.engine.now();
    let snapshots: Vec<Snapshot> = {
        let world = api.engine.world();
        // Look-ups by id are lists to the clients (rule Q5), and must not cost a list.
        let pinned = enumeration.query.id();
        let mut endpoints: Vec<_> = match pinned {
            Some(id) => {
                world.endpoint(id).ok().filter(|endpoint| endpoint.is_settled()).into_iter().collect()
            }
            None => world.endpoints().collect(),
        };
        endpoints.sort_by_key(|endpoint| endpoint.order());
        endpoints.into_iter().map(|endpoint| Snapshot::take(&world, endpoint, now)).collect()
    };
    let rendered = tokio::task::spawn_blocking(move || {
        let documents = snapshots.iter().map(Snapshot::render).collect();
        body::render(documents, &enumeration)
    });
    Ok(Json(rendered.await.map_err(|_| Refusal::new(ErrorCode::FAIL, "the list was not made"))?))
}

async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let mut document = body::json(body)?;
    if let Value::Array(documents) = &document
        && !documents.is_empty()
    {
        return create_remotes(api, documents).await;
    }
    let around = Around::take_from(&mut document)?;
    let endpoint = Endpoint::from_v2(&document).map_err(Refusal::document("endpoint"))?;
    match around {
        Some(around) => around.admit(api, endpoint).await,
        None => create_from(api, endpoint).await,
    }
}

/// Containers of other hosts, of which there may be thousands: all of them, or none (ours).
async fn create_remotes(api: Api, documents: &[Value]) -> Result<(StatusCode, Json<Value>), Refusal> {
    let endpoints: Result<Vec<Endpoint>, DocumentError> = documents.iter().map(Endpoint::from_v2).collect();
    let endpoints = endpoints.map_err(Refusal::document("endpoint"))?;
    let made = api.perform(move |engine| engine.create_remote_endpoints(endpoints)).await?;
    Ok((StatusCode::CREATED, Json(made.iter().map(|one| shown(&api, one)).collect())))
}

/// HcnCreateEndpoint: the path names the network, and the document may not name another.
pub(crate) async fn create_on_network(
    State(api): State<Api>,
    Path(network): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let network = body::guid(&network)?;
    let mut document = Endpoint::from_v2(&body::json(body)?).map_err(Refusal::document("endpoint"))?;
    if let Some(other) = document.network.filter(|other| *other != network) {
        let problem = format!("{other} is not the network of the path, {network}");
        let error = DocumentError::new("HostComputeNetwork", problem, ErrorCode::INVALID_ENDPOINT);
        return Err(Refusal::document("endpoint")(error));
    }
    document.network = Some(network);
    create_from(api, document).await
}

async fn create_from(api: Api, document: Endpoint) -> Result<(StatusCode, Json<Value>), Refusal> {
    let made = api.perform(move |engine| engine.create_endpoint(document)).await?;
    Ok((StatusCode::CREATED, Json(shown(&api, &made))))
}

/// The answer to a change. The endpoint may be gone again by now; the answer then shows what was made.
pub(crate) fn shown(api: &Api, made: &Endpoint) -> Value {
    let now = api.engine.now();
    let world = api.engine.world();
    let shown = made.id.and_then(|id| world.endpoint(id).ok());
    shown.map_or_else(|| made.to_v2(), |endpoint| Snapshot::take(&world, endpoint, now).render())
}

/// An endpoint that exists for everyone.
fn settled(api: &Api, id: Guid) -> Result<Value, Refusal> {
    let now = api.engine.now();
    let world = api.engine.world();
    let endpoint = world.endpoint(id)?;
    if endpoint.is_settled() {
        Ok(Snapshot::take(&world, endpoint, now).render())
    } else {
        Err(model::ModelError::EndpointNotFound(id).into())
    }
}

async fn query(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    Ok(Json(settled(&api, id)?))
}

async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = body::guid(&id)?;
    api.perform(move |engine| engine.delete_endpoint(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn modify(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let request = ModifyRequest::<EndpointResource>::from_v2(&body::json(body)?)
        .map_err(Refusal::document("modify request"))?;
    let changed = api.perform(move |engine| engine.modify_endpoint(id, request)).await?;
    Ok(Json(shown(&api, &changed)))
}

async fn stats(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    settled(&api, id)?;
    let stats = api.perform(move |engine| engine.endpoint_stats(id)).await?;
    Ok(Json(json!({
        "EndpointId": id.to_string(),
        "InstanceId": id.to_string(),
        "BytesReceived": stats.bytes_received,
        "BytesSent": stats.bytes_sent,
        "PacketsReceived": stats.packets_received,
        "PacketsSent": stats.packets_sent,
        "DroppedPacketsIncoming": stats.dropped_received,
        "DroppedPacketsOutgoing": stats.dropped_sent,
    })))
}
