//! WinNAT and the firewall around it: one nftables table, `inet hns`.
//!
//! `table.nft` is the table as text, loaded once; [`element`] says in which of its sets each
//! [`Element`](hns_planner::Element) lives and how it looks on the wire; [`batch`] changes and reads the sets
//! over netlink. A second table, `bridge hns` (`bridge.nft`), comes with the first guarded port or quiet
//! endpoint.

pub(crate) mod batch;
pub(crate) mod element;
pub(crate) mod table;
pub(crate) mod wire;
