//! The CNI plugin (specification 0.3.1 to 1.1.0, and the shapes before).
//!
//! ```text
//!   environment + stdin
//!     environment   CNI_COMMAND and its parameters
//!     conf/         the configuration, of whichever plugin it was written for      one file a dialect
//!     delegate      an IPAM plugin of others, if the configuration names one
//!     request       one document for one request: endpoint, network, namespace
//!     plugin        the verbs: ADD · DEL · CHECK · GC · STATUS · VERSION
//!     result        the answer, in the configuration's version
//!   stdout
//! ```
//!
//! To add a key that has an effect, read it in `conf` and use it in `request`; one without, put it into its dialect's
//! table. A library, so that tests and the fuzzer reach the parser.
//!
//! Never here: state of its own (a DEL computes the endpoint's id from the names it is given), links or rules (the
//! daemon makes them), a second request on the way of an ADD.

mod about;
mod check;
mod conf;
mod delegate;
mod environment;
mod failure;
mod inspection;
mod object;
mod plugin;
mod request;
mod result;
mod told;
mod version;

pub use about::{HELP, about};
pub use conf::{Conf, Outline, decode};
pub use environment::{Attachment, Environment, Verb};
pub use failure::Failure;
pub use plugin::{Call, Outcome, SOCKET};
pub use version::Version;
