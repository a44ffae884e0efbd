//! Values of the network, parsed once and valid ever after.
//!
//! A raw `u32` or `String` stops at the edge of the program; behind it stand these types. Each has one
//! `FromStr`, one `Display` that gives back what `FromStr` takes, and no way to hold a value the network
//! does not have. To add one: a file of its own here, a newtype with a private field, and a property
//! `parse ∘ render = id` in `tests/prop_values.rs`.
//!
//! Never here: I/O, clocks, randomness.

mod cidr;
mod guid;
mod if_name;
mod mac;
mod mtu;
mod ports;
mod public_key;
mod uplink;
mod vlan;
mod vni;

pub use cidr::{Cidr, CidrError, Family, IfAddr};
pub use guid::{Guid, GuidError};
pub use if_name::{IfName, IfNameError};
pub use mac::{Mac, MacError, MacRange};
pub use mtu::{Mtu, MtuError};
pub use ports::{PortRange, PortRangeError, Transport, TransportError};
pub use public_key::{PublicKey, PublicKeyError};
pub use uplink::{Uplink, UplinkMode};
pub use vlan::{VlanId, VlanIdError};
pub use vni::{Vni, VniError};
