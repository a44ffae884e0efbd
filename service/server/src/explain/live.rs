use std::sync::Arc;

use axum::response::Response;
use hns_datapath::{Onward as Way, Question, Sighting};
use hns_hcn::{LiveTraceRequest, Onward, SeenPacket, TraceResult, TraceStep};
use hns_model::World;
use hns_vfp::layers::Layer;
use serde_json::Value;

use super::trace::owner;
use super::{lines, words};
use crate::answer::Refusal;
use crate::api::Api;

/// What becomes of real packets, one a line.
pub(super) async fn follow(api: &Api, document: &Value) -> Result<Response, Refusal> {
    let request = LiveTraceRequest::from_v2(document).map_err(Refusal::document("trace"));
    let request = request.map_err(|refusal| refusal.with_hint("hnsctl trace --help shows examples"))?;
    let stream = api.perform(move |engine| engine.trace_live(&request)).await?;
    let engine = Arc::clone(&api.engine);
    Ok(lines::follow(api, stream, move |sighting, missed| {
        let missed = missed() + u64::from(sighting.missed);
        Some(view(sighting, missed, &engine.world()).to_v2())
    }))
}

fn view(sighting: &Sighting, missed: u64, world: &World) -> SeenPacket {
    let (onward, receiver) = match sighting.onward {
        Way::Dropped(_) => (None, None),
        Way::Container => (Some(Onward::Container), None),
        Way::Port(to) => (Some(Onward::Port), to.map(|endpoint| owner(world, endpoint))),
        Way::Switch => (Some(Onward::Switch), None),
        Way::Host => (Some(Onward::Host), None),
        Way::Wire => (Some(Onward::Wire), None),
        Way::Tunnel(_) => (Some(Onward::Tunnel), None),
        Way::Answer => (Some(Onward::Answer), None),
    };
    SeenPacket {
        time: words::time(sighting.at),
        step: step(sighting, world),
        observed: sighting.observed.as_ref().map(words::rule),
        onward,
        host: match sighting.onward {
            Way::Tunnel(end) => end.map(|end| {
                let network =
                    world.endpoint(sighting.endpoint).and_then(|endpoint| world.network(endpoint.network()));
                network.map_or(end, |network| network.host_of(end))
            }),
            _ => None,
        },
        receiver,
        length: sighting.length,
        packet: words::packet(&sighting.packet),
        missed,
    }
}

fn step(sighting: &Sighting, world: &World) -> TraceStep {
    let asked = sighting.asked.as_ref();
    let state = asked.and_then(|asked| match asked.question {
        Question::Known(state) => Some(state.word().to_owned()),
        Question::Rules | Question::Related | Question::Fragment => None,
    });
    let (layer, result, reason) = match (sighting.onward, asked.map(|asked| asked.question)) {
        (Way::Dropped(reason), _) => (Layer::of(reason), TraceResult::Dropped, Some(reason)),
        (_, None) => (Layer::Security, TraceResult::Passed, None),
        (_, Some(Question::Rules)) => (Layer::Acl, TraceResult::Allowed, None),
        (_, Some(Question::Known(_) | Question::Related | Question::Fragment)) => {
            (Layer::Acl, TraceResult::Known, None)
        }
    };
    TraceStep {
        owner: owner(world, sighting.endpoint),
        direction: words::direction(sighting.direction),
        layer: layer.word().to_owned(),
        result,
        rules_of: asked
            .filter(|asked| asked.question != Question::Fragment)
            .map(|asked| words::direction(asked.by)),
        rule: asked.and_then(|asked| asked.rule.as_ref()).map(words::rule),
        state,
        reason: reason.map(|reason| reason.word().to_owned()),
    }
}
