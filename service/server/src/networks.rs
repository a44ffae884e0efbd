use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use hns_hcn::{ModifyRequest, Network, NetworkResource};
use hns_model as model;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/networks", get(list).post(create))
        .route("/networks/{id}", get(query).delete(delete))
        .route("/networks/{id}/modify", post(modify))
        .route("/networks/{id}/endpoints", post(crate::endpoints::create_on_network))
}

pub(crate) fn view(network: &model::Network) -> Value {
    let mut document = network.document().to_v2();
    document["State"] = json!(1);
    let lost = network.adopted().filter(|_| !network.is_present());
    let trouble = lost.map(|bridge| format!("bridge {bridge} is gone, or leads to no LAN any more"));
    let trouble = trouble.or_else(|| network.trouble().map(str::to_owned));
    document["Health"] = json!({
        "Data": trouble.map(|trouble| json!({ "LastError": trouble })),
        "Extra": {
            "Switch": hns_planner::bridge_of(network).as_str(),
            "CurrentEndpointCount": network.endpoints().count(),
        },
    });
    document
}

async fn list(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Json<Value>, Refusal> {
    let enumeration = body::enumeration(raw.as_deref())?;
    let world = api.engine.world();
    let mut networks: Vec<_> = world.networks().collect();
    networks.sort_by_key(|network| network.order());
    let documents = networks.into_iter().map(view).collect();
    drop(world);
    Ok(Json(body::render(documents, &enumeration)))
}

async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let document = Network::from_v2(&body::json(body)?).map_err(Refusal::document("network"))?;
    let made = api.perform(move |engine| engine.create_network(document)).await?;
    Ok((StatusCode::CREATED, Json(shown(&api, &made)?)))
}

/// The answer to a change: the network as it is shown to everyone.
fn shown(api: &Api, network: &Network) -> Result<Value, Refusal> {
    match network.id {
        Some(id) => Ok(view(api.engine.world().network(id)?)),
        None => Ok(network.to_v2()),
    }
}

async fn query(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let (mut document, hosts) = {
        let world = api.engine.world();
        let network = world.network(id)?;
        (view(network), network.hosts(&world))
    };
    if !hosts.is_empty() {
        let heard = api.perform(move |engine| engine.heard(id)).await?;
        let sessions = api.engine.sessions(id);
        let host = |host: &IpAddr| {
            let mut told =
                json!({"ProviderAddress": host, "HeardSeconds": heard.get(host).map(Duration::as_secs)});
            if let Some(sessions) = &sessions {
                let agreed = sessions.get(host).and_then(|session| session.agreed);
                told["KeysAgreedSeconds"] = json!(agreed.map(|since| since.as_secs()));
            }
            told
        };
        document["Health"]["Extra"]["Hosts"] = hosts.iter().map(host).collect();
    }
    Ok(Json(document))
}

async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = body::guid(&id)?;
    api.perform(move |engine| engine.delete_network(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn modify(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let request = ModifyRequest::<NetworkResource>::from_v2(&body::json(body)?)
        .map_err(Refusal::document("modify request"))?;
    let changed = api.perform(move |engine| engine.modify_network(id, request)).await?;
    Ok(Json(shown(&api, &changed)?))
}
