//! How the structs lie in memory and what the constants are, for the test that compares them with the C header.

use std::mem::{offset_of, size_of};

use crate as abi;

/// A struct by its name in C: its bytes, and its fields with their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub fields: Vec<(&'static str, usize)>,
}

macro_rules! layouts {
    ($($c:literal $name:ident { $($field:ident),* })*) => {
        /// All structs of `bpf/lib/abi.h`.
        #[must_use]
        pub fn layouts() -> Vec<Layout> {
            vec![$(Layout {
                name: $c,
                size: size_of::<abi::$name>(),
                fields: vec![$((stringify!($field), offset_of!(abi::$name, $field))),*],
            }),*]
        }
    };
}

layouts! {
    "addr" Addr { b }
    "port" Port { id, ifindex, network, generation, flags, zero, ruleset, fallback, mac, adopt_until, own }
    "address_key" AddressKey { network, addr }
    "station_key" StationKey { network, mac, zero }
    "uplink_key" UplinkKey { ifindex, vlan }
    "uplink" Uplink { adapter, vlan, port, network, mac, flags }
    "overlay" Overlay { tunnel, router, flags, provider, udp_port, zero }
    "tunnel_end" TunnelEnd { provider, udp_port, zero }
    "vni_key" VniKey { tunnel, vni }
    "route_key" RouteKey { prefixlen, network, addr }
    "route" Route { provider, vni, station, flags }
    "ruleset" Ruleset { chunks, first, miss, sets }
    "address_class_key" AddressClassKey { prefixlen, space, addr }
    "port_class_key" PortClassKey { prefixlen, space, protocol, zero, port }
    "set_class_key" SetClassKey { prefixlen, space, addr }
    "set_row_key" SetRowKey { space, class }
    "chunk" Chunk { w }
    "rule_key" RuleKey { ruleset, position }
    "rule_entry" RuleEntry { action, next }
    "hit_key" HitKey { port, ruleset, position }
    "flow_key" FlowKey { network, port, protocol, zero, addr, number }
    "flow_side" FlowSide { seen, packets, port, generation, position, origin, state, flags, icmp, zero }
    "flow" Flow { opened, side }
    "fragment_key" FragmentKey { port, id, direction, protocol, zero, source, destination }
    "fragment" Fragment { seen, generation, zero }
    "meter_key" MeterKey { port, direction }
    "meter" Meter { arrival, picoseconds_per_byte, burst }
    "drop_key" DropKey { port, reason, direction }
    "drop_event" DropEvent {
        time, port, ifindex, reason, direction, ruleset, position, length, captured, zero, header
    }
    "watch" Watch { source, destination, source_port, destination_port, protocol, zero }
    "sighting" Sighting {
        time, port, ifindex, watches, target, reason, direction, onward, asked, by, state, zero, ruleset, position, observed,
        missed, length, captured, header
    }
}

macro_rules! constants {
    ($($name:ident)*) => {
        /// The constants that have the same name in both languages.
        #[must_use]
        pub fn constants() -> Vec<(&'static str, u64)> {
            vec![$((stringify!($name), abi::$name as u64)),*]
        }
    };
}

constants! {
    MARK_PASSED MARK_RULED MARK_WIRED PRIORITY_PASSED
    PORT_BLOCKED PORT_GUARD_SPOOF PORT_GUARD_RA PORT_GUARD_DHCP PORT_STATEFUL PORT_QUIET PORT_PLAIN_REDIRECT
    PORT_METER_IN PORT_METER_OUT PORT_MORE_ADDRESSES PORT_RULED PORT_CONFINED PORT_EXTERNAL PORT_BEHIND_HOST4 PORT_BEHIND_HOST6 PORT_OVERLAY PORT_REFLECTED PORT_READS_IN
    PORT_OWN_ADDRESSES OWNER_HOST OWNER_ROUTER OF_THE_HOST
    ACTION_BLOCK ACTION_ALLOW ACTION_PASS ACTION_OBSERVE
    CHUNK_WORDS CHUNK_BITS RULES_MAX CHUNKS_PER_ROW TIERS_MAX
    DIM_LOCAL DIM_REMOTE DIM_LOCAL_PORT DIM_REMOTE_PORT DIM_LOCAL_SETS DIM_REMOTE_SETS DIMENSIONS
    FLOW_NEW FLOW_REPLIED FLOW_ESTABLISHED FLOW_CLOSING FLOW_CLOSED
    FLOW_FIN_IN FLOW_FIN_OUT FLOW_ADOPTED
    PORTS_MAX LOW_IFINDEXES ADDRESSES_MAX UPLINKS_MAX EXITS_MAX OVERLAYS_MAX VNIS_MAX ROUTES_MAX HEARD_MAX HEARD_EVERY RULESETS_MAX CLASSES_MAX SET_SPACES_MAX SET_CLASSES_MAX SET_ROWS_MAX HITS_MAX DIRECTORY_MAX CHUNKS_MAX RULE_ENTRIES_MAX EMBRYONIC_MAX ESTABLISHED_MAX STRAYS_MAX FLOWS_OF_A_PORT_MAX
    FRAGMENTS_MAX METERS_MAX DROPS_MAX EVENTS_BYTES
    EVENT_HEADER EVENTS_PER_SECOND
    WATCHES_MAX SIGHTINGS_BYTES SIGHTINGS_PER_SECOND
    ASKED_NOTHING ASKED_RULES ASKED_KNOWN ASKED_RELATED ASKED_FRAGMENT
    ONWARD_NOWHERE ONWARD_CONTAINER ONWARD_PORT ONWARD_SWITCH ONWARD_HOST ONWARD_WIRE ONWARD_TUNNEL ONWARD_ANSWER
    UPLINK_ONE_MAC UPLINK_REFLECTED OVERLAY_HOSTED OVERLAY_DIRECT ROUTE_ON_LINK TUNNEL_SOURCES TUNNEL_SOURCES_END
    CB_REASON CB_TARGET CB_RULESET CB_POSITION CB_BEYOND BEYOND_WIRE BEYOND_HOST BEYOND_BOTH
}
