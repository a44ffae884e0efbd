use std::collections::HashMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use hns_abi::Direction;
use hns_datapath::FlowFilter;
use hns_hcn::{ErrorCode, Flow, IpProtocol, PortOwner};
use serde_json::Value;

use super::words;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// So many connections are listed unless more are asked for: a full table would take gigabytes to tell.
const LISTED: usize = 10_000;

/// The connections that ports track: `?endpoint=GUID`, `?address=IP`, `?protocol=tcp`, `?limit=N`.
pub(super) async fn flows(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Json<Value>, Refusal> {
    let filter = filter(raw.as_deref().unwrap_or_default())?;
    let flows = api.perform(move |engine| engine.flows(&filter)).await?;
    let world = api.engine.world();
    let mut owners = HashMap::new();
    let mut owner = |id| owners.entry(id).or_insert_with(|| words::owner(&world, id)).clone();
    // Without an owner: its endpoint was removed meanwhile.
    let views = flows.iter().filter_map(|flow| Some(view(flow, owner(flow.endpoint)?).to_v2()));
    Ok(Json(views.collect()))
}

fn filter(raw: &str) -> Result<FlowFilter, Refusal> {
    let mut filter = FlowFilter { limit: Some(LISTED), ..FlowFilter::default() };
    for (name, value) in body::pairs(raw) {
        let wrong = |expected: &str| {
            let text = format!("parameter {name}={value}: expected {expected}");
            Refusal::new(ErrorCode::INVALID_PARAMETER, text)
        };
        match name.as_str() {
            "endpoint" => {
                filter.endpoint = Some(value.parse().map_err(|_| wrong("the GUID of an endpoint"))?);
            }
            "address" => filter.address = Some(value.parse().map_err(|_| wrong("an IP address"))?),
            "protocol" => {
                let IpProtocol(number) =
                    value.parse().map_err(|_| wrong("tcp, udp, icmp or another IP protocol"))?;
                filter.protocol = Some(number);
            }
            "limit" => filter.limit = Some(value.parse().map_err(|_| wrong("a whole number"))?),
            _ => return Err(wrong("endpoint, address, protocol or limit")),
        }
    }
    Ok(filter)
}

fn view(flow: &hns_datapath::Flow, owner: PortOwner) -> Flow {
    Flow {
        owner,
        protocol: IpProtocol(flow.protocol),
        sides: words::sides(&flow.tuple),
        direction: words::direction(flow.origin),
        state: flow.state.word().to_owned(),
        adopted: flow.adopted,
        packets_in: flow.packets[Direction::In.index()],
        packets_out: flow.packets[Direction::Out.index()],
        idle_seconds: flow.idle.as_secs(),
        rule: flow.rule.as_ref().map(words::rule),
    }
}
