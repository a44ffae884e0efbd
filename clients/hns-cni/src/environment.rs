use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use hns_net::IfName;

use crate::failure::Failure;
use crate::version::Version;

/// `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    /// Each with the version it came with.
    const ALL: [(Self, &'static str, Version); 6] = [
        (Self::Add, "ADD", Version::V0_1_0),
        (Self::Del, "DEL", Version::V0_1_0),
        (Self::Check, "CHECK", Version::V0_4_0),
        (Self::Gc, "GC", Version::V1_1_0),
        (Self::Status, "STATUS", Version::V1_1_0),
        (Self::Version, "VERSION", Version::V0_1_0),
    ];

    /// The oldest version of the specification that has this verb.
    pub(crate) fn since(self) -> Version {
        Self::ALL.iter().find(|(verb, ..)| *verb == self).map_or(Version::NEWEST, |(.., since)| *since)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(verb, ..)| *verb == self).map_or("", |(_, name, _)| name)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The interface that a verb is about: the key of everything that an ADD makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub container_id: String,
    pub interface: IfName,
}

/// The environment of a call, as far as it is this plugin's business.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    container_id: Option<String>,
    netns: Option<PathBuf>,
    interface: Option<String>,
    args: String,
    path: String,
    socket: Option<PathBuf>,
    netns_override: bool,
}

impl Environment {
    /// Reads the variables through `variable`; empty ones count as unset, as the reference library has it.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            container_id: text("CNI_CONTAINERID"),
            netns: set("CNI_NETNS").map(PathBuf::from),
            interface: text("CNI_IFNAME"),
            args: text("CNI_ARGS").unwrap_or_default(),
            path: text("CNI_PATH").unwrap_or_default(),
            socket: set("HNS_SOCKET").map(PathBuf::from),
            netns_override: text("CNI_NETNS_OVERRIDE").is_some_and(|value| value == "1" || value == "true"),
        }
    }

    /// `CNI_COMMAND`, or nothing when a human calls.
    pub fn verb(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Verb>, Failure> {
        let Some(command) = variable("CNI_COMMAND").filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let command = command.to_string_lossy();
        let found = Verb::ALL.iter().find(|(_, name, _)| *name == command).map(|(verb, ..)| *verb);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = Verb::ALL.iter().map(|(_, name, _)| *name).collect();
            let problem = format!("{command:?} is not one of {}", known.join(", "));
            Failure::Environment { variable: "CNI_COMMAND", problem }
        })
    }

    /// The container and the interface, which ADD, DEL and CHECK need.
    pub fn attachment(&self) -> Result<Attachment, Failure> {
        let container_id = self.container_id.clone().ok_or_else(|| missing("CNI_CONTAINERID"))?;
        if !is_identifier(&container_id) {
            let problem = format!("{container_id:?} is not an identifier: {IDENTIFIER}");
            return Err(Failure::Environment { variable: "CNI_CONTAINERID", problem });
        }
        let interface = self.interface.as_deref().ok_or_else(|| missing("CNI_IFNAME"))?;
        let interface = interface.parse().map_err(|error: hns_net::IfNameError| Failure::Environment {
            variable: "CNI_IFNAME",
            problem: error.to_string(),
        })?;
        Ok(Attachment { container_id, interface })
    }

    /// The container's namespace, which is there and is not the one this plugin runs in.
    pub fn namespace(&self) -> Result<&Path, Failure> {
        let path = self.netns.as_deref().ok_or_else(|| missing("CNI_NETNS"))?;
        if !path.is_absolute() {
            let problem = format!("{} is not an absolute path", path.display());
            return Err(Failure::Environment { variable: "CNI_NETNS", problem });
        }
        let there =
            identity(path).map_err(|source| Failure::NoNamespace { path: path.to_owned(), source })?;
        let own = identity(Path::new("/proc/self/ns/net")).ok();
        if own == Some(there) && !self.netns_override {
            let problem = format!("{} is the host's own namespace, not a container's", path.display());
            return Err(Failure::Environment { variable: "CNI_NETNS", problem });
        }
        Ok(path)
    }

    /// The parameters as an IPAM plugin is given them, all but the verb.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let pairs = [
            ("CNI_CONTAINERID", self.container_id.as_ref().map(OsStr::new)),
            ("CNI_NETNS", self.netns.as_ref().map(|path| path.as_os_str())),
            ("CNI_IFNAME", self.interface.as_ref().map(OsStr::new)),
            ("CNI_ARGS", Some(OsStr::new(&self.args))),
            ("CNI_PATH", Some(OsStr::new(&self.path))),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// `CNI_ARGS` as it came.
    pub fn args(&self) -> &str {
        &self.args
    }

    /// `CNI_PATH` as it came: folders separated by colons.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `HNS_SOCKET`.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

fn missing(variable: &'static str) -> Failure {
    Failure::Environment { variable, problem: "not set, but this verb needs it".to_owned() }
}

/// Which namespace a file stands for, whatever path leads there.
pub(crate) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

pub(crate) const IDENTIFIER: &str =
    "a letter or digit, then letters, digits, underscores, dots and hyphens (CNI specification)";

/// What the specification allows as the id of a container and as the name of a network.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn verbs_are_known_by_their_exact_names() {
        for (verb, name, _) in Verb::ALL {
            assert_eq!(Environment::verb(|_| Some(name.into())).unwrap(), Some(verb));
        }
        assert_eq!(Environment::verb(|_| None).unwrap(), None);
        let failure = Environment::verb(|_| Some("add".into())).unwrap_err();
        assert_eq!(failure.code(), 4);
        assert_eq!(
            failure.to_string(),
            "environment variable CNI_COMMAND: \"add\" is not one of ADD, DEL, CHECK, GC, STATUS, VERSION"
        );
    }

    #[test]
    fn an_attachment_needs_an_identifier_and_an_interface_name() {
        let good = variables(&[("CNI_CONTAINERID", "default-web.1_x"), ("CNI_IFNAME", "eth0")]);
        let attachment = Environment::read(good).attachment().unwrap();
        assert_eq!(
            (attachment.container_id.as_str(), attachment.interface.as_str()),
            ("default-web.1_x", "eth0")
        );
        for (id, name, variable) in [
            ("", "eth0", "CNI_CONTAINERID"),
            ("-web", "eth0", "CNI_CONTAINERID"),
            ("web/1", "eth0", "CNI_CONTAINERID"),
            ("web", "", "CNI_IFNAME"),
            ("web", "..", "CNI_IFNAME"),
            ("web", "eth 0", "CNI_IFNAME"),
            ("web", "abcdefghijklmnop", "CNI_IFNAME"),
        ] {
            let pairs: &[(&str, &str)] = &[("CNI_CONTAINERID", id), ("CNI_IFNAME", name)];
            let find = |wanted: &str| {
                pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| OsString::from(value))
            };
            let failure = Environment::read(find).attachment().unwrap_err();
            assert_eq!(failure.code(), 4);
            assert!(failure.to_string().contains(variable), "{failure}");
        }
    }

    #[test]
    fn the_namespace_is_there_and_is_not_the_hosts_own() {
        let at = |path: &'static str| {
            Environment::read(move |name| (name == "CNI_NETNS").then(|| OsString::from(path)))
        };
        assert_eq!(at("/run/netns/nobody-made-this").namespace().unwrap_err().code(), 3);
        assert_eq!(at("netns").namespace().unwrap_err().code(), 4);
        assert_eq!(at("").namespace().unwrap_err().code(), 4);
        let own = at("/proc/self/ns/net").namespace().unwrap_err();
        assert!(own.to_string().contains("the host's own namespace"), "{own}");
        let meant = variables(&[("CNI_NETNS", "/proc/self/ns/net"), ("CNI_NETNS_OVERRIDE", "1")]);
        assert_eq!(Environment::read(meant).namespace().unwrap(), Path::new("/proc/self/ns/net"));
    }
}
