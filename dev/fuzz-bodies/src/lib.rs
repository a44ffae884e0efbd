//! What the fuzzer does with one input, a function a target. `dev/fuzz` hands them random inputs; the test beside this hands
//! them the inputs that the fuzzer starts from and those that once brought it down, with the compiler that everybody has.
//!
//! To add a target: a function here, its row in [`TARGETS`], a program of its name in `dev/fuzz/fuzz_targets`, and a seed.

mod advertisements;
mod cni;
mod dhcp6;
mod documents;
mod leases;
mod requests;

pub use advertisements::advertisements;
pub use cni::cni;
pub use dhcp6::dhcp6;
pub use documents::documents;
pub use leases::leases;
pub use requests::requests;

/// Takes any bytes; panics when something is wrong.
pub type Body = fn(&[u8]);

/// Every target, by the name of its program.
pub const TARGETS: [(&str, Body); 6] = [
    ("advertisements", advertisements),
    ("cni", cni),
    ("dhcp6", dhcp6),
    ("documents", documents),
    ("leases", leases),
    ("requests", requests),
];
