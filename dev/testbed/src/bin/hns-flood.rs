//! Opens connections to a unix socket and keeps them, until it is killed: what a user does who means ill. Whose
//! connections they are is decided by whoever starts it.
//!
//! ```text
//! hns-flood SOCKET COUNT idle|half
//! ```
//!
//! `half` sends half the head of a request on each. When all have been opened once it says `flooding`. From then on it
//! opens those again that the other side has closed, as fast as it can.

#![expect(clippy::print_stdout, reason = "it tells whoever started it that the flood has begun")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

const HALF_A_HEAD: &[u8] = b"GET /v2/networks HTTP/1.1\r\nHost: hns\r\nX-Padding: aaaaaaaa";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (socket, count, half) = match words.as_slice() {
        [socket, count, kind] if kind == "idle" || kind == "half" => (socket, count.parse(), kind == "half"),
        _ => {
            println!("hns-flood SOCKET COUNT idle|half");
            return ExitCode::FAILURE;
        }
    };
    let Ok(count) = count else {
        println!("COUNT is a number");
        return ExitCode::FAILURE;
    };
    let mut connections: Vec<Option<UnixStream>> = (0..count).map(|_| open(socket, half).ok()).collect();
    println!("flooding");
    loop {
        for connection in &mut connections {
            if !connection.as_mut().is_some_and(is_open) {
                *connection = open(socket, half).ok();
            }
        }
    }
}

fn open(socket: &str, half: bool) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_nonblocking(true)?;
    if half {
        stream.write_all(HALF_A_HEAD)?;
    }
    Ok(stream)
}

/// Whether the other side still holds it, as far as it has said.
fn is_open(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
