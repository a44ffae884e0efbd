//! Methods on endpoints, one a file.

mod create;
mod delete;
mod join;
mod ports;
mod publish;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use join::{join, leave};
pub(crate) use publish::{publish, withdraw};
