//! What an endpoint's container shows of it, compared with what was asked for.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use hns_net::Mac;
use hns_planner::{Difference, Route};
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/endpoints/{id}/check", get(check))
}

async fn check(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let examination = api.perform(move |engine| engine.examine_endpoint(id)).await?;
    let trouble = examination.trouble.map(|trouble| difference("Health", Value::Null, Value::Null, trouble));
    let differences: Vec<Value> =
        trouble.into_iter().chain(examination.differences.iter().map(render)).collect();
    let addresses: Vec<String> = examination.addresses.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "EndpointId": id.to_string(), "Addresses": addresses, "Differences": differences })))
}

fn difference(property: &str, wanted: Value, found: Value, detail: String) -> Value {
    json!({ "Property": property, "Wanted": wanted, "Found": found, "Detail": detail })
}

fn render(one: &Difference) -> Value {
    let (property, wanted, found) = match one {
        Difference::Namespace { .. } => ("Namespace", Value::Null, Value::Null),
        Difference::Port { name } => ("Port", json!(name.as_str()), Value::Null),
        Difference::Interface { wanted, .. } => ("Interface", json!(wanted.as_str()), Value::Null),
        Difference::Name { wanted, found } => ("Interface", json!(wanted.as_str()), json!(found)),
        Difference::Down { .. } => ("Up", json!(true), json!(false)),
        Difference::Arp { .. } => ("Arp", json!(true), json!(false)),
        Difference::Mac { wanted, found, .. } => ("MacAddress", mac(*wanted), found.map_or(Value::Null, mac)),
        Difference::Mtu { wanted, found, .. } => ("Mtu", json!(wanted), json!(found)),
        Difference::Address { wanted, found } => {
            ("Address", json!(wanted.to_string()), json!(found.map(|found| found.to_string())))
        }
        Difference::Route { wanted, found } => {
            ("Route", route(wanted), found.as_ref().map_or(Value::Null, route))
        }
    };
    difference(property, wanted, found, one.to_string())
}

fn mac(mac: Mac) -> Value {
    json!(mac.to_string())
}

fn route(route: &Route) -> Value {
    json!({
        "DestinationPrefix": route.destination.to_string(),
        "NextHop": route.via.map(|via| via.to_string()),
        "Metric": route.metric,
    })
}
