//! The numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h` that we speak.

use crate::netlink::Writer;

pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const BATCH_BEGIN: u16 = 0x10;
pub(crate) const BATCH_END: u16 = 0x11;

pub(crate) const fn message(kind: u16) -> u16 {
    SUBSYSTEM << 8 | kind
}

pub(crate) const NEW_CHAIN: u16 = 3;
pub(crate) const GET_CHAIN: u16 = 4;
pub(crate) const NEW_RULE: u16 = 6;
pub(crate) const GET_RULE: u16 = 7;
pub(crate) const DELETE_RULE: u16 = 8;
pub(crate) const GET_SET: u16 = 10;
pub(crate) const NEW_ELEMENT: u16 = 12;
pub(crate) const GET_ELEMENT: u16 = 13;
pub(crate) const DELETE_ELEMENT: u16 = 14;
pub(crate) const NEW_GENERATION: u16 = 15;

/// `struct nfgenmsg`.
pub(crate) const HEADER_LEN: usize = 4;

/// The first attribute of every message about a table or what is in one names the table.
pub(crate) const ANY_TABLE: u16 = 1;

pub(crate) mod family {
    pub(crate) const UNSPECIFIED: u8 = 0;
    pub(crate) const INET: u8 = 1;
    pub(crate) const IPV4: u8 = 2;
    pub(crate) const BRIDGE: u8 = 7;
    pub(crate) const IPV6: u8 = 10;

    pub(crate) const fn name(family: u8) -> &'static str {
        match family {
            INET => "inet",
            IPV4 => "ip",
            BRIDGE => "bridge",
            IPV6 => "ip6",
            3 => "arp",
            5 => "netdev",
            _ => "unknown",
        }
    }
}

pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const ITEM: u16 = 1;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const TIMEOUT: u16 = 4;
    pub(crate) const KEY_END: u16 = 10;
    pub(crate) const VALUE: u16 = 1;
}

pub(crate) mod set {
    pub(crate) const NAME: u16 = 2;
}

pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const KIND: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const POLICY_DROP: u32 = 0;
}

pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const POSITION: u16 = 6;
    pub(crate) const HANDLE: u16 = 3;
}

/// Opens a message with its `nfgenmsg`.
pub(crate) fn header(writer: &mut Writer<'_>, family: u8, resource: u16) {
    let [high, low] = resource.to_be_bytes();
    writer.raw(&[family, 0, high, low]);
}
