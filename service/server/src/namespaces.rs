use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use hns_hcn::{ModifyRequest, Namespace, NamespaceResource};
use serde_json::Value;

use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/namespaces", get(list).post(create))
        .route("/namespaces/{id}", get(query).delete(delete))
        .route("/namespaces/{id}/modify", post(modify))
}

async fn list(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Json<Value>, Refusal> {
    let enumeration = body::enumeration(raw.as_deref())?;
    let documents = {
        let world = api.engine.world();
        let mut namespaces: Vec<_> = world.namespaces().collect();
        namespaces.sort_by_key(|namespace| namespace.order());
        namespaces.into_iter().map(|namespace| namespace.document().to_v2()).collect()
    };
    Ok(Json(body::render(documents, &enumeration)))
}

async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let document = Namespace::from_v2(&body::json(body)?).map_err(Refusal::document("namespace"))?;
    let made = api.perform(move |engine| engine.create_namespace(document)).await?;
    Ok((StatusCode::CREATED, Json(made.to_v2())))
}

async fn query(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    Ok(Json(api.engine.world().namespace(id)?.document().to_v2()))
}

async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = body::guid(&id)?;
    api.perform(move |engine| engine.delete_namespace(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn modify(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let request = ModifyRequest::<NamespaceResource>::from_v2(&body::json(body)?)
        .map_err(Refusal::document("modify request"))?;
    let changed = api.perform(move |engine| engine.modify_namespace(id, &request)).await?;
    Ok(Json(changed.to_v2()))
}
