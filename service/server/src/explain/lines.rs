//! Events of the datapath as an answer that goes on, one document a line.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hns_datapath::Stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::events::{LINES_WAITING_MAX, Line, Lines};

/// Writes a line for each event that `render` has one for, until the reader goes away or the daemon stops; the stream ends then.
/// `render` may ask how many events the reader was too slow for since it last did.
pub(super) fn follow<E: Send + 'static>(
    api: &Api,
    stream: Stream<E>,
    render: impl Fn(&E, &dyn Fn() -> u64) -> Option<Value> + Send + 'static,
) -> Response {
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
    tokio::task::spawn_blocking(move || forward(&stream, &lines, render));
    let body = Body::new(StreamBody::new(Lines(waiting)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn forward<E>(
    stream: &Stream<E>,
    lines: &mpsc::Sender<Line>,
    render: impl Fn(&E, &dyn Fn() -> u64) -> Option<Value>,
) {
    while let Some(event) = stream.next_event() {
        if let Some(document) = render(&event, &|| stream.missed())
            && lines.blocking_send(Ok(Frame::data(Bytes::from(format!("{document}\n"))))).is_err()
        {
            return;
        }
    }
}
