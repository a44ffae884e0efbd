use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::patience::{Answer, PatientBody, PatientStream};

/// What a connection may keep of what it was sent and of what it sends: the longest head, with a filter in its URL, and
/// the most that a half-sent one costs.
const BUFFER_MAX: usize = 16 << 10;

/// Answers the requests of one connection by `routes`, until either side ends it. Once `stopping` is cancelled, the
/// request that is under way is the last.
///
/// A peer that keeps a head, a body or a connection waiting is not waited for (see `patience.rs`).
pub async fn converse(stream: UnixStream, routes: Router, stopping: CancellationToken) {
    // Until there is something to read, a connection is a descriptor and no buffer.
    let (stream, progress) = PatientStream::new(stream);
    tokio::select! {
        readable = stream.first_bytes() => if readable.is_err() { return },
        () = stopping.cancelled() => return,
    }
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = progress.head_read();
        let answer = routes.call(request.map(PatientBody::new));
        async move {
            let answer = answer.await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, _answering: answering }))
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_MAX)
        // It would count the time between two requests as well.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use http_body_util::StreamBody;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::events::Lines;

    const HALF_A_HEAD: &str = "GET /short HTTP/1.1\r\nHost: h";
    const WHOLE: &str = "GET /short HTTP/1.1\r\nHost: hns\r\n\r\n";

    /// The peer's end of a conversation, on a clock that stands still while anybody has something to do.
    fn begin() -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let routes = Router::new()
            .route("/short", get(|| async { "short" }))
            .route("/body", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/endless", get(endless));
        tokio::spawn(converse(ours, routes, CancellationToken::new()));
        theirs
    }

    /// One word now, one in an hour.
    async fn endless() -> Body {
        let (lines, waiting) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..2 {
                let _sent = lines.send(Ok(hyper::body::Frame::data(Bytes::from("word")))).await;
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
        });
        Body::new(StreamBody::new(Lines(waiting)))
    }

    /// What comes until the connection is closed, and after how many seconds that is.
    async fn hear_out(mut peer: UnixStream) -> (String, u64) {
        let (begin, mut heard) = (Instant::now(), Vec::new());
        let _closed = peer.read_to_end(&mut heard).await;
        (String::from_utf8(heard).unwrap(), begin.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_ten_seconds() {
        let mut peer = begin();
        peer.write_all(HALF_A_HEAD.as_bytes()).await.unwrap();
        assert_eq!(hear_out(peer).await, (String::new(), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
        let mut peer = begin();
        let begun = Instant::now();
        for byte in HALF_A_HEAD.bytes() {
            if peer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((10..13).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_kept_for_five_minutes() {
        assert_eq!(hear_out(begin()).await, (String::new(), 300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_the_next_request_as_long_as_for_the_first() {
        let mut peer = begin();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(200)).await;
            peer.write_all(WHOLE.as_bytes()).await.unwrap();
        }
        let (heard, seconds) = hear_out(peer).await;
        assert_eq!((heard.matches("200 OK").count(), seconds), (3, 300), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_the_next_request_has_ten_seconds_too() {
        let mut peer = begin();
        peer.write_all(WHOLE.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        peer.write_all(HALF_A_HEAD.as_bytes()).await.unwrap();
        let (heard, seconds) = hear_out(peer).await;
        assert_eq!((heard.matches("200 OK").count(), seconds), (1, 10), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_body_is_waited_for_half_a_minute_and_answered() {
        let mut peer = begin();
        peer.write_all(b"POST /body HTTP/1.1\r\nHost: hns\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
        let (heard, seconds) = hear_out(peer).await;
        assert!(heard.starts_with("HTTP/1.1 400") && heard.contains("within 30 seconds"), "{heard}");
        assert_eq!(seconds, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_lives_however_rarely_something_happens() {
        let mut peer = begin();
        peer.write_all(b"GET /endless HTTP/1.1\r\nHost: hns\r\n\r\n").await.unwrap();
        let (heard, seconds) = hear_out(peer).await;
        assert_eq!(heard.matches("word").count(), 2, "{heard}");
        // Its end, an hour after the second word, makes it a connection like any other.
        assert_eq!(seconds, 2 * 3600 + 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_fits_no_buffer_is_refused() {
        let mut peer = begin();
        let head = format!("GET /short?{} HTTP/1.1\r\n", "a".repeat(2 * BUFFER_MAX));
        peer.write_all(head.as_bytes()).await.unwrap();
        let (heard, seconds) = hear_out(peer).await;
        assert!(heard.starts_with("HTTP/1.1 431") && seconds == 0, "{seconds} {heard}");
    }
}
