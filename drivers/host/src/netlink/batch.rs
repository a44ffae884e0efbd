use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

use super::Writer;

/// What a request is about, for the error that may come of it: `"create" "link hns1a2b3c4d"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub operation: &'static str,
    pub object: String,
    /// Refusals that mean the wanted state is there already.
    pub fine: &'static [i32],
}

impl Subject {
    pub(crate) fn new(operation: &'static str, object: impl Into<String>) -> Self {
        Self { operation, object: object.into(), fine: &[] }
    }

    /// A refusal with one of these numbers is as good as success.
    pub(crate) const fn fine_if(mut self, errnos: &'static [i32]) -> Self {
        self.fine = errnos;
        self
    }
}

/// Messages that go to the kernel in one `send`.
///
/// Their sequence numbers count from 1: a socket is never used again after a conversation broke off, so no
/// answer to an older batch can be waiting.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) subjects: Vec<Subject>,
}

const LENGTH_AT: usize = 0;
const HEADER_LEN: usize = 16;

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The subject of a batch that is one question.
    pub(super) fn only_subject(&self) -> &Subject {
        debug_assert_eq!(self.subjects.len(), 1, "a question is one message");
        &self.subjects[0]
    }

    /// Adds an rtnetlink request that is answered.
    pub(crate) fn route(&mut self, message: RouteNetlinkMessage, flags: u16, subject: Subject) {
        self.subjects.push(subject);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = self.sequence();
        debug_assert!(matches!(message.payload, NetlinkPayload::InnerMessage(_)));
        message.finalize();
        let start = self.bytes.len();
        self.bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut self.bytes[start..]);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds a message of any kind; `flags` say whether it is answered.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        subject: Subject,
        fill: impl FnOnce(&mut Writer<'_>),
    ) {
        self.subjects.push(subject);
        let start = self.bytes.len();
        let sequence = self.sequence();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.bytes.len(), start + HEADER_LEN);
        fill(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("our messages are far below 4 GiB");
        self.bytes[start + LENGTH_AT..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The number of the message whose subject was pushed last.
    fn sequence(&self) -> u32 {
        u32::try_from(self.subjects.len()).expect("a batch has far fewer than 4 G messages")
    }
}
