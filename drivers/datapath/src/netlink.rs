//! As much of rtnetlink as filters need: one request at a time, with its answers.
//!
//! The kernel handles a request inside `send`, so every answer already waits when `send` returns. Nothing here ever blocks
//! for it: an answer that is not there is an error.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NlasIterator,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::{DatapathError, KernelError};

const NESTED: u16 = 1 << 15;
const ALIGNMENT: usize = 4;
const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const ERROR_TEXT: u16 = 1;
/// The kernel never puts more into one datagram of a dump than the reader offers, up to 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// A dump that was disturbed by a change is asked for again this often, then taken as it is.
const DUMP_TRIES_MAX: usize = 4;

/// A message to the kernel.
#[derive(Debug)]
pub(crate) struct Request {
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
    /// For the error that may come of it: `"join" "link hnv1a2b3c4d"`.
    operation: &'static str,
    object: String,
}

impl Request {
    pub(crate) fn new(operation: &'static str, object: impl Into<String>, kind: u16, flags: u16) -> Self {
        Self { kind, flags, payload: Vec::new(), operation, object: object.into() }
    }

    /// A question about everything of a kind.
    pub(crate) fn dump(operation: &'static str, object: impl Into<String>, kind: u16) -> Self {
        Self::new(operation, object, kind, NLM_F_DUMP)
    }

    /// Bytes of the message's fixed part.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.payload.extend_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.open(kind);
        self.payload.extend_from_slice(value);
        self.close(start);
        self
    }

    /// A text with its closing zero, as the kernel reads names.
    pub(crate) fn text(mut self, kind: u16, value: &str) -> Self {
        let start = self.open(kind);
        self.payload.extend_from_slice(value.as_bytes());
        self.payload.push(0);
        self.close(start);
        self
    }

    pub(crate) fn ne32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.open(kind | NESTED);
        let mut filled = fill(self);
        filled.close(start);
        filled
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.payload.len();
        self.payload.extend_from_slice(&[0, 0]);
        self.payload.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.payload.len() - start).expect("our attributes are far below 64 KiB");
        self.payload[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.payload.resize(self.payload.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn message(&self, sequence: u32) -> Vec<u8> {
        let length =
            u32::try_from(HEADER_LEN + self.payload.len()).expect("our messages are far below 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.payload.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | self.flags).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    pub(crate) fn refused(self, source: KernelError) -> DatapathError {
        DatapathError::Kernel { operation: self.operation, object: self.object, source }
    }

    fn broken_off(&self, source: io::Error) -> DatapathError {
        DatapathError::Conversation { operation: self.operation, object: self.object.clone(), source }
    }
}

/// The payloads of what a request was answered with, or the kernel's refusal.
pub(crate) type Answer = Result<Vec<Vec<u8>>, KernelError>;

/// A socket that belongs to the namespace in which it was opened, wherever its thread goes later.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    received: Vec<u8>,
}

impl Netlink {
    /// A socket of the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, DatapathError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(DatapathError::Socket)?;
        socket.bind_auto().map_err(DatapathError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(DatapathError::Socket)?;
        socket.set_cap_ack(true).map_err(DatapathError::Socket)?;
        socket.set_ext_ack(true).map_err(DatapathError::Socket)?;
        socket.set_netlink_get_strict_chk(true).map_err(DatapathError::Socket)?;
        Ok(Self { socket, sequence: 0, received: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Asks, and hands on a refusal that is not one of `fine` as an error.
    pub(crate) fn execute(&mut self, request: Request, fine: &[i32]) -> Result<(), DatapathError> {
        match self.ask(&request)? {
            Err(source) if !fine.contains(&source.errno) => Err(request.refused(source)),
            _ => Ok(()),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer, DatapathError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (answer, disturbed) = self.converse(request)?;
            if !disturbed || tries == DUMP_TRIES_MAX {
                return Ok(answer);
            }
        }
    }

    /// The answer, and whether something changed while the kernel gave it, so that it may have holes.
    fn converse(&mut self, request: &Request) -> Result<(Answer, bool), DatapathError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.message(self.sequence), 0).map_err(|source| request.broken_off(source))?;
        let (mut found, mut disturbed, mut outcome) = (Vec::new(), false, None);
        while outcome.is_none() {
            self.received.clear();
            self.socket
                .recv(&mut self.received, libc::MSG_DONTWAIT)
                .map_err(|source| request.broken_off(source))?;
            each_message(&self.received, |message| {
                // An answer to a conversation that broke off may still be waiting.
                if message.sequence != self.sequence {
                    return;
                }
                disturbed |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => outcome = Some(message.outcome()),
                    _ => found.push(message.payload.to_vec()),
                }
            });
        }
        Ok((outcome.unwrap_or(Ok(())).map(|()| found), disturbed))
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// One message of a datagram.
#[derive(Debug)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// What an error, an acknowledgment or a dump's end says.
    fn outcome(&self) -> Result<(), KernelError> {
        let errno = -self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if errno <= 0 {
            return Ok(());
        }
        let explanation = if self.kind == NLMSG_ERROR { self.explanation() } else { None };
        Err(KernelError { errno, explanation })
    }

    /// The extended acknowledgment follows the request's header and, unless it was capped, its payload.
    fn explanation(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let mut start = 4 + HEADER_LEN;
        if self.flags & NLM_F_CAPPED == 0 {
            let length = u32::from_ne_bytes(self.payload.get(4..8)?.try_into().ok()?);
            start = 4 + usize::try_from(length).ok()?.next_multiple_of(ALIGNMENT);
        }
        Attributes::after(start, self.payload).text(ERROR_TEXT).map(str::to_owned)
    }
}

/// Splits a datagram into its messages.
fn each_message<'a>(mut datagram: &'a [u8], mut see: impl FnMut(Message<'a>)) {
    while let Some(header) = datagram.first_chunk::<HEADER_LEN>() {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
        let Some(payload) = datagram.get(HEADER_LEN..length) else { return };
        see(Message { kind: half(4), flags: half(6), sequence: word(8), payload });
        datagram = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
}

/// The attributes of a message or nest that was received. What is malformed is as good as absent: the kernel sends none of
/// it, and attributes that we do not know are none of our business.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those that follow a message's fixed part of `header` bytes.
    pub(crate) fn after(header: usize, message: &'a [u8]) -> Self {
        Self(message.get(header..).unwrap_or_default())
    }

    fn get(self, kind: u16) -> Option<&'a [u8]> {
        const ATTRIBUTE_HEADER_LEN: usize = 4;
        let bytes = self.0;
        let mut start = 0;
        for found in NlasIterator::new(bytes).map_while(Result::ok) {
            // The library's iterator hides the lifetime of the bytes, so the value is cut out again here.
            let value = start + ATTRIBUTE_HEADER_LEN..start + ATTRIBUTE_HEADER_LEN + found.value_length();
            if found.kind() == kind {
                return bytes.get(value);
            }
            start = value.end.next_multiple_of(ALIGNMENT);
        }
        None
    }

    pub(crate) fn nest(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    pub(crate) fn ne32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// The text up to the closing zero.
    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.get(kind)?.split(|byte| *byte == 0).next()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let request = Request::new("ask", "something", 44, 0)
            .raw(&[9, 9, 9, 9])
            .text(1, "hns")
            .nest(2, |nest| nest.ne32(3, 7).bytes(4, &[1, 2, 3, 4, 5]))
            .bytes(5, &[]);
        let bytes = request.message(7);
        let mut seen = 0;
        each_message(&bytes, |message| {
            seen += 1;
            assert_eq!((message.kind, message.sequence), (44, 7));
            let attributes = Attributes::after(4, message.payload);
            assert_eq!(attributes.text(1), Some("hns"));
            let nest = attributes.nest(2).unwrap();
            assert_eq!(nest.ne32(3), Some(7));
            assert_eq!(nest.get(4), Some(&[1, 2, 3, 4, 5][..]));
            assert_eq!(attributes.get(5), Some(&[][..]));
            assert_eq!(attributes.get(6), None);
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_message_cut_short_has_fewer_attributes() {
        let mut payload = Request::new("ask", "something", 44, 0).text(1, "a").ne32(2, 1).payload;
        payload.truncate(payload.len() - 2);
        let attributes = Attributes::after(0, &payload);
        assert_eq!(attributes.text(1), Some("a"));
        assert_eq!(attributes.get(2), None);
    }
}
