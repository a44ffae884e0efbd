//! One call, from the request's message to the answer's.

use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use prost::Message;
use tokio::net::UnixStream;

use super::CriError;

/// What stands before a message: a flag for compression, and the message's length.
const PREFIX: usize = 5;

/// Calls a method of `runtime.v1.RuntimeService` on a connection of its own.
pub(super) fn unary<Q: Message, A: Message + Default>(
    socket: &Path,
    call: &'static str,
    request: &Q,
) -> Result<A, CriError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a test has few threads and files");
    let answer = runtime.block_on(exchange(socket, call, framed(request)))?;
    A::decode(answer).map_err(|source| CriError::Answer { call, source })
}

fn framed(request: &impl Message) -> Bytes {
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests are short"));
    request.encode(&mut frame).expect("a buffer grows");
    frame.freeze()
}

async fn exchange(socket: &Path, call: &'static str, frame: Bytes) -> Result<Bytes, CriError> {
    let failed = |source| CriError::Exchange { call, source };
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| CriError::Connect { call, path: socket.to_owned(), source })?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
    // It ends with the runtime, after the answer; whatever breaks it breaks the exchange, which says so.
    tokio::spawn(connection);
    let mut sender = sender.ready().await.map_err(failed)?;
    let request = http::Request::post(format!("http://localhost/runtime.v1.RuntimeService/{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("all of it is well-formed");
    let (response, mut body) = sender.send_request(request, false).map_err(failed)?;
    body.send_data(frame, true).map_err(failed)?;
    let (head, mut answer) = response.await.map_err(failed)?.into_parts();
    let data = read(&mut answer).await.map_err(failed)?;
    // A call that fails at once has its status where the head is.
    let trailers = answer.trailers().await.map_err(failed)?;
    refused(call, trailers.as_ref().unwrap_or(&head.headers))?;
    Ok(data)
}

/// The one message of an answer, without its prefix.
async fn read(answer: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = answer.data().await {
        let piece = piece?;
        answer.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    all.advance(PREFIX.min(all.len()));
    Ok(all.freeze())
}

fn refused(call: &'static str, trailers: &HeaderMap) -> Result<(), CriError> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) => Ok(()),
        // 2 is "unknown", as of an answer without any status.
        code => {
            Err(CriError::Refused { call, code: code.unwrap_or(2), message: text("grpc-message").to_owned() })
        }
    }
}
