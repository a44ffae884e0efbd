use axum::Json;
use axum::extract::{Path, State};
use hns_abi::Direction;
use hns_hcn::{PortRules, RuleAction, RuleCount};
use hns_model::{ModelError, World};
use hns_net::Guid;
use hns_planner::port_policy;
use hns_vfp::Port;
use hns_vfp::model::Verdict;
use serde_json::Value;

use super::words;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// The rules of an endpoint's port in the order in which they are asked, with how often each decided, and what
/// decides when none does.
pub(super) async fn rules(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = body::guid(&id)?;
    let counts = api.perform(move |engine| engine.rule_counters(id)).await?;
    let port = wanted_port(&api.engine.world(), id)?;
    let default = |direction: Direction| port.as_ref().map(|port| fallback(port, direction));
    let rules = PortRules {
        rules: counts.iter().map(count).collect(),
        default_in: default(Direction::In),
        default_out: default(Direction::Out),
    };
    Ok(Json(rules.to_v2()))
}

/// The port's policy, whether the endpoint is attached or not.
fn wanted_port(world: &World, id: Guid) -> Result<Option<Port>, ModelError> {
    let endpoint = world.endpoint(id)?;
    Ok(port_policy(endpoint, world.network(endpoint.network())?, world))
}

fn fallback(port: &Port, direction: Direction) -> RuleAction {
    match port.acl[direction.index()].fallback {
        Verdict::Block => RuleAction::Block,
        Verdict::Allow => RuleAction::Allow,
    }
}

fn count(count: &hns_datapath::RuleCount) -> RuleCount {
    RuleCount {
        direction: words::direction(count.direction),
        rule: words::rule(&count.rule),
        packets: count.packets,
    }
}
