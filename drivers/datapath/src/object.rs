//! The programs and the layout of their maps, compiled by `build.rs` from `bpf/`.

/// An ELF object with the programs `port_out` and `port_in` and the maps of [`hns_abi::Map`].
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port.o"));
