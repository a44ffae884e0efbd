use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use hns_datapath::DropEvent;
use hns_hcn::{DropCount, DroppedPacket, ErrorCode};
use hns_net::Guid;
use hns_reconciler::Engine;
use serde_json::Value;

use super::{lines, words};
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

/// The counters; with `?follow=true` samples of what is dropped from now on, one a line. `?endpoint=GUID`: of this one.
pub(super) async fn drops(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Response, Refusal> {
    let asked = Asked::from_query(raw.as_deref().unwrap_or_default())?;
    if let Some(endpoint) = asked.endpoint {
        api.engine.world().endpoint(endpoint)?;
    }
    if asked.follow {
        return follow(&api, asked.endpoint);
    }
    let mut counts = api.perform(Engine::drops).await?;
    counts.retain(|count| asked.is_about(count.endpoint));
    let world = api.engine.world();
    let render = |count: &hns_datapath::DropCount| {
        let owner = count.endpoint.and_then(|endpoint| words::owner(&world, endpoint));
        let (direction, reason) = (words::direction(count.direction), count.reason.word().to_owned());
        DropCount { owner, direction, reason, packets: count.packets }.to_v2()
    };
    Ok(Json(counts.iter().map(render).collect::<Value>()).into_response())
}

#[derive(Default)]
struct Asked {
    follow: bool,
    /// Absent: of all, and of ports that are nobody's.
    endpoint: Option<Guid>,
}

impl Asked {
    fn from_query(raw: &str) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for (name, value) in body::pairs(raw) {
            let wrong = |expected: &str| {
                let text = format!("parameter {name}={value}: expected {expected}");
                Refusal::new(ErrorCode::INVALID_PARAMETER, text)
            };
            match (name.as_str(), value.as_str()) {
                ("follow", "true" | "1" | "") => asked.follow = true,
                ("follow", "false" | "0") => asked.follow = false,
                ("follow", _) => return Err(wrong("true or false")),
                ("endpoint", id) => {
                    asked.endpoint = Some(id.parse().map_err(|_| wrong("the GUID of an endpoint"))?);
                }
                _ => return Err(wrong("endpoint or follow")),
            }
        }
        Ok(asked)
    }

    fn is_about(&self, endpoint: Option<Guid>) -> bool {
        self.endpoint.is_none() || self.endpoint == endpoint
    }
}

fn follow(api: &Api, only: Option<Guid>) -> Result<Response, Refusal> {
    let asked = Asked { follow: true, endpoint: only };
    let engine = Arc::clone(&api.engine);
    Ok(lines::follow(api, api.engine.follow_drops()?, move |event: &DropEvent, missed| {
        asked.is_about(event.endpoint).then(|| line(event, missed(), &engine))
    }))
}

/// `missed`: how many events the reader was too slow for since the last line.
fn line(event: &DropEvent, missed: u64, engine: &Engine) -> Value {
    let dropped = DroppedPacket {
        time: words::time(event.at),
        owner: event.endpoint.and_then(|endpoint| words::owner(&engine.world(), endpoint)),
        direction: words::direction(event.direction),
        reason: event.reason.word().to_owned(),
        rule: event.rule.as_ref().map(words::rule),
        length: event.length,
        packet: words::packet(&event.packet),
        missed,
    };
    dropped.to_v2()
}
