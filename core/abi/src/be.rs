use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A port number in network order.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Be16 {
    pub bytes: u16,
}

impl Be16 {
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self { bytes: number.to_be() }
    }

    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be(self.bytes)
    }
}
