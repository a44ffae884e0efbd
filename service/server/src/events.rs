use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hns_hcn::ErrorCode;
use hns_reconciler::{Event, EventStream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::answer::Refusal;
use crate::api::Api;
use crate::body;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/events", get(events))
}

/// How many lines wait for a slow reader before the sender waits for it.
pub(crate) const LINES_WAITING_MAX: usize = 64;

/// One notification a line, for as long as the client listens. `?from=REVISION` resumes after it.
async fn events(State(api): State<Api>, RawQuery(raw): RawQuery) -> Result<Response, Refusal> {
    let from = revision(raw.as_deref().unwrap_or_default())?;
    let stream = api.engine.stream_events(from).map_err(|error| {
        Refusal::new(ErrorCode::INVALID_PARAMETER, error.to_string())
            .with_status(StatusCode::GONE)
            .with_hint("read the objects anew, then follow the events without a revision")
    })?;
    let (lines, waiting) = mpsc::channel(LINES_WAITING_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = forward(stream, lines) => {}
            () = api.stopping.cancelled() => {}
        }
    });
    let body = Body::new(StreamBody::new(Lines(waiting)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn revision(raw: &str) -> Result<Option<u64>, Refusal> {
    let mut from = None;
    for (name, value) in body::pairs(raw) {
        let wrong = || {
            let text = format!("parameter {name}={value}: expected from=REVISION, a whole number");
            Refusal::new(ErrorCode::INVALID_PARAMETER, text)
        };
        from = Some(if name == "from" { value.parse().map_err(|_| wrong())? } else { return Err(wrong()) });
    }
    Ok(from)
}

pub(crate) type Line = Result<Frame<Bytes>, std::convert::Infallible>;

async fn forward(mut stream: EventStream, lines: mpsc::Sender<Line>) {
    for event in std::mem::take(&mut stream.past) {
        if lines.send(line(&event)).await.is_err() {
            return;
        }
    }
    loop {
        match stream.live.recv().await {
            Ok(event) => {
                if lines.send(line(&event)).await.is_err() {
                    return;
                }
            }
            // A reader that lags beyond the history is cut off; it resumes and is told what it missed.
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

fn line(event: &Event) -> Line {
    let mut text = event.notification.to_v2(event.revision).to_string();
    text.push('\n');
    Ok(Frame::data(Bytes::from(text)))
}

/// Lines as they come.
pub(crate) struct Lines(pub mpsc::Receiver<Line>);

impl futures_core::Stream for Lines {
    type Item = Line;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Line>> {
        self.0.poll_recv(context)
    }
}
