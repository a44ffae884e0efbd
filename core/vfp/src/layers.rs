//! The layers a packet passes, from the container outwards; inwards in the opposite order.
//!
//! To add one: a file here, its place in [`Layer::ALL`] and in `interpreter`, the header of the same name in `bpf/layers`.

pub mod acl;
pub mod meter;
pub mod security;

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    Security,
    Acl,
    Meter,
}

impl Layer {
    /// As a packet from the container meets them.
    pub const ALL: [Self; 3] = [Self::Security, Self::Acl, Self::Meter];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Acl => "acl",
            Self::Meter => "meter",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
