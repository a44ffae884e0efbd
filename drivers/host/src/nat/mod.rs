//! WinNAT and the firewall around it: the nftables table `inet hns`, and `bridge hns` for what is bridged.
//!
//! `table.nft` and `bridge.nft` are the tables as text, loaded once and together; [`element`] says in which of their sets each
//! [`Element`](hns_planner::Element) lives and how it looks on the wire; [`batch`] changes and reads the sets
//! over netlink.

pub(crate) mod batch;
pub(crate) mod element;
pub(crate) mod table;
pub(crate) mod wire;
