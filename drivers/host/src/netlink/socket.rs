use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

use super::{Attributes, Batch, Subject};
use crate::{HostError, KernelError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Route,
    Netfilter,
}

/// A netlink socket that belongs to the namespace in which it was opened, wherever its thread goes later.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    port: u32,
    received: Vec<u8>,
    /// Whether an answer to a dump was taken as it is, with parts that may be missing.
    patchy: bool,
}

/// The kernel never puts more into one datagram of a dump than the reader offers, up to 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Large enough for a transaction with some 10,000 elements.
const SEND_BYTES: i32 = 4 * 1024 * 1024;
/// A dump that was disturbed by a change is asked for again this often, then taken as it is.
const DUMP_TRIES_MAX: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_LEN: usize = 16;
const ERROR_TEXT: u16 = 1;

impl Netlink {
    pub(crate) fn open(family: Family) -> Result<Self, HostError> {
        let (kind, protocol) = match family {
            Family::Route => ("rtnetlink", NETLINK_ROUTE),
            Family::Netfilter => ("netfilter netlink", NETLINK_NETFILTER),
        };
        let fail = |source| HostError::Socket { kind, source };
        let mut socket = Socket::new(protocol).map_err(fail)?;
        let port = socket.bind_auto().map_err(fail)?.port_number();
        socket.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
        socket.set_cap_ack(true).map_err(fail)?;
        socket.set_ext_ack(true).map_err(fail)?;
        if family == Family::Route {
            // Without strict checking the kernel ignores what a dump asks to be filtered by.
            socket.set_netlink_get_strict_chk(true).map_err(fail)?;
        } else {
            widen_send_buffer(&socket).map_err(fail)?;
        }
        Ok(Self { socket, port, received: Vec::with_capacity(RECEIVE_BYTES), patchy: false })
    }

    /// By which the kernel names this socket in the messages it causes.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// Sends the batch; fails with the first refusal that its subject does not call fine. All requests are
    /// handled in any case.
    pub(crate) fn execute(&mut self, batch: &Batch) -> Result<(), HostError> {
        let outcomes = self.outcomes(batch)?;
        for (subject, outcome) in batch.subjects.iter().zip(outcomes) {
            let Err(source) = outcome else { continue };
            if !subject.fine.contains(&source.errno) {
                return Err(refused(subject, source));
            }
        }
        Ok(())
    }

    /// Sends the batch; says how each request fared. One that asked for no answer and got none went well.
    pub(crate) fn outcomes(&mut self, batch: &Batch) -> Result<Vec<Result<(), KernelError>>, HostError> {
        let mut outcomes = vec![Ok(()); batch.subjects.len()];
        let Some(first) = batch.subjects.first() else { return Ok(outcomes) };
        self.send(&batch.bytes, first)?;
        while self.receive(first, libc::MSG_DONTWAIT)? {
            each_message(&self.received, |message| {
                if message.kind == NLMSG_ERROR
                    && let Some(outcome) = outcome_at(&mut outcomes, message.sequence)
                {
                    *outcome = message.outcome();
                }
            });
        }
        Ok(outcomes)
    }

    /// Sends one request and hands on what it is answered with: the kinds and payloads of all messages.
    pub(crate) fn ask(
        &mut self,
        question: &Batch,
        mut answer: impl FnMut(u16, &[u8]),
    ) -> Result<(), HostError> {
        let end = self.converse(question, &mut answer)?;
        end.outcome.map_err(|source| refused(question.only_subject(), source))
    }

    /// As [`ask`](Self::ask), for a dump: collects what `read` makes of the messages, and asks again while
    /// changes disturb it.
    pub(crate) fn dump<T>(
        &mut self,
        question: &Batch,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, HostError> {
        let mut found = Vec::new();
        let mut whole = false;
        for _ in 0..DUMP_TRIES_MAX {
            found.clear();
            let end = self.converse(question, &mut |_, payload| found.extend(read(payload)))?;
            match end.outcome {
                // nf_tables ends a dump that a transaction disturbed with EINTR.
                Err(KernelError { errno: libc::EINTR, .. }) => {}
                Err(source) => return Err(refused(question.only_subject(), source)),
                Ok(()) if !end.disturbed => {
                    whole = true;
                    break;
                }
                Ok(()) => {}
            }
        }
        self.patchy |= !whole;
        Ok(found)
    }

    /// Whether a dump since the last time this was asked was never whole.
    pub(crate) const fn was_patchy(&mut self) -> bool {
        std::mem::replace(&mut self.patchy, false)
    }

    fn converse(&mut self, question: &Batch, answer: &mut dyn FnMut(u16, &[u8])) -> Result<End, HostError> {
        let subject = question.only_subject();
        self.send(&question.bytes, subject)?;
        let mut disturbed = false;
        let mut outcome = None;
        while outcome.is_none() {
            if !self.receive(subject, libc::MSG_DONTWAIT)? {
                return Err(broken_off(subject, io::ErrorKind::UnexpectedEof.into()));
            }
            each_message(&self.received, |message| {
                disturbed |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR => outcome = Some(message.outcome()),
                    NLMSG_DONE => outcome = Some(message.done_with()),
                    kind => answer(kind, message.payload),
                }
            });
        }
        Ok(End { outcome: outcome.unwrap_or(Ok(())), disturbed })
    }

    fn send(&self, bytes: &[u8], subject: &Subject) -> Result<(), HostError> {
        self.socket.send(bytes, 0).map(drop).map_err(|source| broken_off(subject, source))
    }

    /// Fills `received` with the next datagram; says whether there was one.
    fn receive(&mut self, subject: &Subject, flags: i32) -> Result<bool, HostError> {
        self.received.clear();
        match self.socket.recv(&mut self.received, flags) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(source) => Err(broken_off(subject, source)),
        }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How a conversation ended.
#[derive(Debug)]
struct End {
    outcome: Result<(), KernelError>,
    /// Whether something changed while the kernel answered, so that the answer may have holes.
    disturbed: bool,
}

fn widen_send_buffer(socket: &Socket) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    // The plain option is cut to the host's limit; the forced one needs CAP_NET_ADMIN in the host's user
    // namespace, which a daemon in a container lacks.
    let size = usize::try_from(SEND_BYTES).unwrap_or_default();
    setsockopt(socket, sockopt::SndBufForce, &size)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &size))
        .map_err(io::Error::from)
}

fn outcome_at(
    outcomes: &mut [Result<(), KernelError>],
    sequence: u32,
) -> Option<&mut Result<(), KernelError>> {
    outcomes.get_mut(usize::try_from(sequence.checked_sub(1)?).ok()?)
}

pub(crate) fn refused(subject: &Subject, source: KernelError) -> HostError {
    HostError::Kernel { operation: subject.operation, object: subject.object.clone(), source }
}

fn broken_off(subject: &Subject, source: io::Error) -> HostError {
    HostError::Conversation { operation: subject.operation, object: subject.object.clone(), source }
}

/// One message of a datagram.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub port: u32,
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// What an error or acknowledgment says.
    fn outcome(&self) -> Result<(), KernelError> {
        let errno = -self.leading_number();
        if errno == 0 {
            return Ok(());
        }
        Err(KernelError { errno, explanation: self.explanation() })
    }

    /// A dump's end carries an error number, too.
    fn done_with(&self) -> Result<(), KernelError> {
        match self.leading_number() {
            0.. => Ok(()),
            negative => Err(KernelError::new(-negative)),
        }
    }

    fn leading_number(&self) -> i32 {
        self.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
    }

    /// The extended acknowledgment follows the request's header and, unless it was capped, its payload.
    fn explanation(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let mut start = 4 + HEADER_LEN;
        if self.flags & NLM_F_CAPPED == 0 {
            let length = u32::from_ne_bytes(self.payload.get(4..8)?.try_into().ok()?);
            start = 4 + usize::try_from(length).ok()?.next_multiple_of(4);
        }
        Attributes::after(start, self.payload).text(ERROR_TEXT).map(str::to_owned)
    }
}

/// Splits a datagram into its messages.
pub(crate) fn each_message<'a>(mut datagram: &'a [u8], mut see: impl FnMut(Message<'a>)) {
    while let Some(header) = datagram.first_chunk::<HEADER_LEN>() {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
        let Some(payload) = datagram.get(HEADER_LEN..length) else { return };
        see(Message { kind: half(4), flags: half(6), sequence: word(8), port: word(12), payload });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
