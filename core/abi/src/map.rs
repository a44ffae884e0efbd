/// The maps, by the names they have in the object and under the folder they are pinned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    Ports,
    Addresses,
    Stations,
    Rulesets,
    AddressClasses,
    PortClasses,
    Directory,
    Chunks,
    Rules,
    Embryonic,
    Established,
    Bindings,
    Fragments,
    Services,
    Choices,
    Backends,
    Affinities,
    Meters,
    Drops,
    Events,
}

impl Map {
    pub const ALL: &[Self] = &[
        Self::Ports,
        Self::Addresses,
        Self::Stations,
        Self::Rulesets,
        Self::AddressClasses,
        Self::PortClasses,
        Self::Directory,
        Self::Chunks,
        Self::Rules,
        Self::Embryonic,
        Self::Established,
        Self::Bindings,
        Self::Fragments,
        Self::Services,
        Self::Choices,
        Self::Backends,
        Self::Affinities,
        Self::Meters,
        Self::Drops,
        Self::Events,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Addresses => "addresses",
            Self::Stations => "stations",
            Self::Rulesets => "rulesets",
            Self::AddressClasses => "address_classes",
            Self::PortClasses => "port_classes",
            Self::Directory => "directory",
            Self::Chunks => "chunks",
            Self::Rules => "rules",
            Self::Embryonic => "embryonic",
            Self::Established => "established",
            Self::Bindings => "bindings",
            Self::Fragments => "fragments",
            Self::Services => "services",
            Self::Choices => "choices",
            Self::Backends => "backends",
            Self::Affinities => "affinities",
            Self::Meters => "meters",
            Self::Drops => "drops",
            Self::Events => "events",
        }
    }
}
