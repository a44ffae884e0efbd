use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use hns_hcn::{PortOwner, Trace, TraceRequest, TraceResult, TraceStep, TraceVerdict};
use hns_model::World;
use hns_net::Guid;
use hns_reconciler::Fate;
use hns_vfp::interpreter::Event;

use super::{live, words};
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// What would become of a packet that nobody has sent; with `?follow=true` what becomes of those that are sent from now on.
pub(super) async fn trace(
    State(api): State<Api>,
    RawQuery(raw): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    if body::follow(raw.as_deref().unwrap_or_default())? {
        return live::follow(&api, &body::json(body)?).await;
    }
    let request = TraceRequest::from_v2(&body::json(body)?).map_err(Refusal::document("trace"));
    let request = request.map_err(|refusal| refusal.with_hint("hnsctl trace --help shows examples"))?;
    let trace = api.perform(move |engine| engine.trace(&request)).await?;
    let world = api.engine.world();
    Ok(Json(view(&trace, &world).to_v2()).into_response())
}

fn view(trace: &hns_reconciler::Trace, world: &World) -> Trace {
    let (verdict, reason, receiver) = match trace.fate {
        Fate::Delivered(endpoint) => (TraceVerdict::Delivered, None, Some(owner(world, endpoint))),
        Fate::Passed => (TraceVerdict::Passed, None, None),
        Fate::Dropped(reason) => (TraceVerdict::Dropped, Some(reason.word()), None),
        Fate::Refused(counter) => (TraceVerdict::Dropped, Some(counter.word()), None),
        Fate::Unsent => (TraceVerdict::Unsent, None, None),
    };
    Trace {
        verdict,
        reason: reason.map(str::to_owned),
        packet: words::packet(&trace.packet),
        steps: trace.steps.iter().map(|step| step_view(step, world)).collect(),
        receiver,
        notes: trace.beyond.iter().map(ToString::to_string).collect(),
    }
}

fn step_view(traced: &hns_reconciler::TraceStep, world: &World) -> TraceStep {
    let step = &traced.step;
    let (result, state, reason) = match &step.event {
        Event::Passed => (TraceResult::Passed, None, None),
        // What is blocked is told as the drop that follows it.
        Event::Judged { .. } => (TraceResult::Allowed, None, None),
        Event::Observed { .. } => (TraceResult::Observed, None, None),
        Event::Known { state, .. } => (TraceResult::Known, Some(words::state(*state)), None),
        Event::Related { .. } | Event::Fragment => (TraceResult::Known, None, None),
        Event::Dropped(reason) => (TraceResult::Dropped, None, Some(reason.word())),
    };
    TraceStep {
        owner: owner(world, step.endpoint),
        direction: words::direction(step.direction),
        layer: step.layer.word().to_owned(),
        result,
        rules_of: traced.rules_of.map(words::direction),
        rule: traced.rule.as_ref().map(words::rule),
        state: state.map(str::to_owned),
        reason: reason.map(str::to_owned),
    }
}

/// Whose port it is; of one that was removed a moment ago its id alone.
pub(super) fn owner(world: &World, endpoint: Guid) -> PortOwner {
    words::owner(world, endpoint).unwrap_or_else(|| PortOwner {
        endpoint,
        name: String::new(),
        network: String::new(),
    })
}
