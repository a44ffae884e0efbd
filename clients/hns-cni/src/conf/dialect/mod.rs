//! Whose configuration it is, told by its `type`, and what becomes of the keys that only that plugin has.
//!
//! Keys with an effect are read by the parser, for every dialect the same; these tables hold the others. To take the
//! configurations of one more plugin, add a file with its table.

mod azure;
mod microsoft;
mod ours;
mod win;

use hns_hcn::NetworkType;

use crate::failure::Failure;
use crate::object::Found;

/// Which type of network a plugin's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    For(NetworkType),
    /// The network is named after its type.
    ByName,
    /// `mode` says it.
    ByMode,
}

/// What becomes of a key that no parser takes.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// True of every network here, or of no consequence on Linux.
    Harmless,
    /// Cannot be honoured unless it is false or empty.
    Refused(&'static str),
}

struct Key {
    name: &'static str,
    meaning: Meaning,
}

struct Dialect {
    /// The plugin's file names, without `.exe`.
    types: &'static [(&'static str, Stands)],
    keys: &'static [Key],
    /// Keys inside `optionalFlags`.
    flags: &'static [Key],
}

const fn harmless(name: &'static str) -> Key {
    Key { name, meaning: Meaning::Harmless }
}

const fn refused(name: &'static str, why: &'static str) -> Key {
    Key { name, meaning: Meaning::Refused(why) }
}

const ALL: [&Dialect; 4] = [&ours::DIALECT, &microsoft::DIALECT, &win::DIALECT, &azure::DIALECT];

/// The network types that a configuration can name, spelled as HCN does.
const KINDS: [NetworkType; 7] = [
    NetworkType::Nat,
    NetworkType::Internal,
    NetworkType::Private,
    NetworkType::Transparent,
    NetworkType::L2Bridge,
    NetworkType::L2Tunnel,
    NetworkType::Overlay,
];

/// The network type of this name, in any letter case.
pub(super) fn kind_named(name: &str) -> Option<NetworkType> {
    let name = if name.eq_ignore_ascii_case("hns-overlay") { "overlay" } else { name };
    KINDS.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
}

pub(super) fn kind_names() -> String {
    KINDS.map(|kind| kind.name().to_ascii_lowercase()).join(", ")
}

/// The tables that a configuration is read by.
pub(super) struct Reading {
    pub stands: Stands,
    dialects: Vec<&'static Dialect>,
}

impl Reading {
    /// The plugin's own table before ours. `hns-cni`, and whatever it was renamed to, takes the keys of all, so that a
    /// configuration for Windows works once its `type` is replaced.
    pub fn of_type(plugin: &str) -> Self {
        let name = plugin.to_ascii_lowercase();
        let name = name.strip_suffix(".exe").unwrap_or(&name);
        for dialect in ALL.into_iter().skip(1) {
            if let Some((_, stands)) = dialect.types.iter().find(|(known, _)| *known == name) {
                return Self { stands: *stands, dialects: vec![dialect, &ours::DIALECT] };
            }
        }
        Self { stands: Stands::For(NetworkType::Nat), dialects: ALL.to_vec() }
    }

    /// Judges a key that no parser took.
    pub fn judge(&self, found: &Found<'_>) -> Result<(), Failure> {
        judge(self.dialects.iter().flat_map(|dialect| dialect.keys), found)
    }

    /// Judges a key of `optionalFlags`.
    pub fn judge_flag(&self, found: &Found<'_>) -> Result<(), Failure> {
        judge(self.dialects.iter().flat_map(|dialect| dialect.flags), found)
    }
}

fn judge(mut keys: impl Iterator<Item = &'static Key>, found: &Found<'_>) -> Result<(), Failure> {
    match keys.find(|key| key.name.eq_ignore_ascii_case(found.key)).map(|key| key.meaning) {
        Some(Meaning::Harmless) => Ok(()),
        Some(Meaning::Refused(_)) if found.is_empty() => Ok(()),
        Some(Meaning::Refused(why)) => Err(found.unsupported(why)),
        None => Err(found.unsupported("hns-cni knows no such key; docs/reference/cni.md lists them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn verdict(plugin: &str, key: &str, value: &Value) -> Result<(), Failure> {
        Reading::of_type(plugin).judge(&Found { path: key.to_owned(), key, value })
    }

    #[test]
    fn a_plugins_name_says_the_type_of_its_networks() {
        for (plugin, stands) in [
            ("hns-cni", Stands::For(NetworkType::Nat)),
            ("renamed-by-its-operator", Stands::For(NetworkType::Nat)),
            ("nat", Stands::For(NetworkType::Nat)),
            ("NAT.exe", Stands::For(NetworkType::Nat)),
            ("win-bridge", Stands::For(NetworkType::L2Bridge)),
            ("win-overlay.exe", Stands::For(NetworkType::Overlay)),
            ("sdnbridge", Stands::For(NetworkType::L2Bridge)),
            ("sdnoverlay", Stands::For(NetworkType::Overlay)),
            ("l2tunnel", Stands::For(NetworkType::L2Tunnel)),
            ("wincni.exe", Stands::ByName),
            ("azure-vnet", Stands::ByMode),
        ] {
            assert_eq!(Reading::of_type(plugin).stands, stands, "{plugin}");
        }
    }

    #[test]
    fn a_key_belongs_to_its_dialect_and_ours_takes_them_all() {
        let level = json!("info");
        assert!(verdict("azure-vnet", "logLevel", &level).is_ok());
        assert!(verdict("hns-cni", "logLevel", &level).is_ok());
        assert_eq!(verdict("win-bridge", "logLevel", &level).unwrap_err().code(), 2);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_only_when_it_asks_for_something() {
        assert!(verdict("hns-cni", "promiscMode", &json!(false)).is_ok());
        let failure = verdict("hns-cni", "promiscMode", &json!(true)).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().starts_with("promiscMode = true is not supported"), "{failure}");
    }

    #[test]
    fn no_dialect_knows_a_key_twice() {
        for dialect in ALL {
            for keys in [dialect.keys, dialect.flags] {
                for (place, key) in keys.iter().enumerate() {
                    let twice = keys[..place].iter().any(|other| other.name.eq_ignore_ascii_case(key.name));
                    assert!(!twice, "{}", key.name);
                }
            }
        }
    }

    #[test]
    fn the_reference_lists_every_key() {
        let page = include_str!("../../../../../docs/reference/cni.md");
        for dialect in ALL {
            let types = dialect.types.iter().map(|(name, _)| *name);
            for name in types.chain(dialect.keys.iter().chain(dialect.flags).map(|key| key.name)) {
                assert!(page.contains(&format!("`{name}`")), "{name} is missing");
            }
        }
    }

    #[test]
    fn network_types_are_found_in_any_letter_case() {
        assert_eq!(kind_named("NAT"), Some(NetworkType::Nat));
        assert_eq!(kind_named("l2Bridge"), Some(NetworkType::L2Bridge));
        assert_eq!(kind_named("hns-overlay"), Some(NetworkType::Overlay));
        assert_eq!(kind_named("ics"), None);
        assert_eq!(kind_names(), "nat, internal, private, transparent, l2bridge, l2tunnel, overlay");
    }
}
