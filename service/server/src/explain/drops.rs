use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hns_datapath::{DropEvent, DropStream};
use hns_hcn::ErrorCode;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::words;
use crate::answer::Refusal;
use crate::api::Api;
use crate::body;
use crate::events::{LINES_WAITING_MAX, Line, Lines};

/// The counters; with `?follow=true` samples of what is dropped from now on, one a line.
pub(super) async fn drops(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Response, Refusal> {
    if follows(raw.as_deref().unwrap_or_default())? {
        return follow(&api);
    }
    let counts = api.perform(hns_reconciler::Engine::drops).await?;
    let render = |count: hns_datapath::DropCount| {
        json!({
            "Endpoint": count.endpoint.map(|id| id.to_string()),
            "Direction": words::direction(count.direction),
            "Reason": count.reason.word(),
            "Packets": count.packets,
        })
    };
    Ok(Json(counts.into_iter().map(render).collect::<Value>()).into_response())
}

fn follows(raw: &str) -> Result<bool, Refusal> {
    let mut follows = false;
    for (name, value) in body::pairs(raw) {
        follows = match (name.as_str(), value.as_str()) {
            ("follow", "true" | "1" | "") => true,
            ("follow", "false" | "0") => false,
            _ => {
                let text = format!("parameter {name}={value}: expected follow=true");
                return Err(Refusal::new(ErrorCode::INVALID_PARAMETER, text));
            }
        };
    }
    Ok(follows)
}

fn follow(api: &Api) -> Result<Response, Refusal> {
    let stream = api.engine.follow_drops()?;
    let (lines, waiting) = mpsc::channel(LINES_WAITING_MAX);
    let stopper = stream.stopper();
    let (stopping, reader) = (api.stopping.clone(), lines.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = reader.closed() => {}
            () = stopping.cancelled() => {}
        }
        stopper.stop();
    });
    // The stream blocks, and lives as long as its reader.
    tokio::task::spawn_blocking(move || forward(&stream, &lines));
    let body = Body::new(StreamBody::new(Lines(waiting)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn forward(stream: &DropStream, lines: &mpsc::Sender<Line>) {
    while let Some(event) = stream.next_event() {
        if lines.blocking_send(line(&event, stream.missed())).is_err() {
            return;
        }
    }
}

/// `missed`: how many events the reader was too slow for since the last line.
fn line(event: &DropEvent, missed: u64) -> Line {
    let mut document = json!({
        "Time": words::time(event.at),
        "Endpoint": event.endpoint.map(|id| id.to_string()),
        "Direction": words::direction(event.direction),
        "Reason": event.reason.word(),
        "Rule": event.rule.as_ref().map(words::rule),
        "Packet": words::packet(&event.packet),
        "Length": event.length,
    });
    if missed > 0 {
        document["Missed"] = json!(missed);
    }
    Ok(Frame::data(Bytes::from(format!("{document}\n"))))
}
