/// The maps, by the names they have in the object and under the folder they are pinned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    Slots,
    HighSlots,
    Ports,
    Addresses,
    Stations,
    Uplinks,
    Exits,
    Overlays,
    TunnelEnds,
    Vnis,
    Routes,
    Heard,
    Rulesets,
    AddressClasses,
    PortClasses,
    SetSpaces,
    SetClasses,
    SetRows,
    Directory,
    Chunks,
    Rules,
    Hits,
    Embryonic,
    Established,
    Strays,
    Tallies,
    Fragments,
    Meters,
    Drops,
    Events,
    Watching,
    Watches,
    Sightings,
}

impl Map {
    pub const ALL: &[Self] = &[
        Self::Slots,
        Self::HighSlots,
        Self::Ports,
        Self::Addresses,
        Self::Stations,
        Self::Uplinks,
        Self::Exits,
        Self::Overlays,
        Self::TunnelEnds,
        Self::Vnis,
        Self::Routes,
        Self::Heard,
        Self::Rulesets,
        Self::AddressClasses,
        Self::PortClasses,
        Self::SetSpaces,
        Self::SetClasses,
        Self::SetRows,
        Self::Directory,
        Self::Chunks,
        Self::Rules,
        Self::Hits,
        Self::Embryonic,
        Self::Established,
        Self::Strays,
        Self::Tallies,
        Self::Fragments,
        Self::Meters,
        Self::Drops,
        Self::Events,
        Self::Watching,
        Self::Watches,
        Self::Sightings,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::HighSlots => "high_slots",
            Self::Ports => "ports",
            Self::Addresses => "addresses",
            Self::Stations => "stations",
            Self::Uplinks => "uplinks",
            Self::Exits => "exits",
            Self::Overlays => "overlays",
            Self::TunnelEnds => "tunnel_ends",
            Self::Vnis => "vnis",
            Self::Routes => "routes",
            Self::Heard => "heard",
            Self::Rulesets => "rulesets",
            Self::AddressClasses => "address_classes",
            Self::PortClasses => "port_classes",
            Self::SetSpaces => "set_spaces",
            Self::SetClasses => "set_classes",
            Self::SetRows => "set_rows",
            Self::Directory => "directory",
            Self::Chunks => "chunks",
            Self::Rules => "rules",
            Self::Hits => "hits",
            Self::Embryonic => "embryonic",
            Self::Established => "established",
            Self::Strays => "strays",
            Self::Tallies => "tallies",
            Self::Fragments => "fragments",
            Self::Meters => "meters",
            Self::Drops => "drops",
            Self::Events => "events",
            Self::Watching => "watching",
            Self::Watches => "watches",
            Self::Sightings => "sightings",
        }
    }
}

// Elements of the maps: one list for the programs, which declare them, and for the daemon, which must not plan for more.
pub const PORTS_MAX: u32 = 65_536;
/// Links with lower numbers are indexes of `slots`.
pub const LOW_IFINDEXES: u32 = 65_536;
pub const ADDRESSES_MAX: u32 = 262_144;
/// Adapters and VLANs, and the bridges' ports; external switches.
pub const UPLINKS_MAX: u32 = 16_384;
pub const EXITS_MAX: u32 = 8_192;
pub const OVERLAYS_MAX: u32 = 8_192;
pub const VNIS_MAX: u32 = 65_536;
/// Prefixes on other hosts, of all overlays.
pub const ROUTES_MAX: u32 = 262_144;
/// Hosts of overlays from which something came.
pub const HEARD_MAX: u32 = 16_384;
pub const RULESETS_MAX: u32 = 131_072;
/// Of addresses, and of ports.
pub const CLASSES_MAX: u32 = 2_097_152;
/// Networks with address sets.
pub const SET_SPACES_MAX: u32 = 8_192;
/// Of the addresses in sets, which a change writes anew beside what they were, and of the rows that they lead to.
pub const SET_CLASSES_MAX: u32 = 2_097_152;
pub const SET_ROWS_MAX: u32 = 1_048_576;
pub const HITS_MAX: u32 = 262_144;
pub const DIRECTORY_MAX: u32 = 1 << 22;
pub const CHUNKS_MAX: u32 = 1 << 18;
pub const RULE_ENTRIES_MAX: u32 = 1_048_576;
pub const EMBRYONIC_MAX: u32 = 65_536;
pub const ESTABLISHED_MAX: u32 = 524_288;
pub const STRAYS_MAX: u32 = 16_384;
/// In `established`: one container does not fill the table of all.
pub const FLOWS_OF_A_PORT_MAX: u32 = 65_536;
pub const FRAGMENTS_MAX: u32 = 16_384;
pub const METERS_MAX: u32 = 131_072;
pub const DROPS_MAX: u32 = 65_536;
pub const EVENTS_BYTES: u32 = 1_048_576;
/// Connections that are watched at one time, all watchers together.
pub const WATCHES_MAX: u32 = 16;
pub const SIGHTINGS_BYTES: u32 = 1_048_576;
