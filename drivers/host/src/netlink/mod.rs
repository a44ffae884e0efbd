//! Talking netlink, synchronously: batches of requests with one answer each, and dumps.
//!
//! The kernel handles a request inside `send`, so every answer already waits when `send` returns. Nothing here
//! ever blocks for it: an answer that is not there is an error.

pub(crate) mod attr;
pub(crate) mod batch;
pub(crate) mod pool;
pub(crate) mod socket;

pub(crate) use attr::{Attributes, Writer};
pub(crate) use batch::{Batch, Subject};
pub(crate) use pool::{Pool, Senders};
pub(crate) use socket::{Family, Netlink};
