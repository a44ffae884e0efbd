//! Where the maps are held while no daemon runs: a folder of the bpf file system.
//!
//! ```text
//! /sys/fs/bpf/hns/v2/embryonic established …     what packets leave behind: lives on from daemon to daemon
//!                    ports rules chunks …        policy: each daemon fills maps of its own and puts them here when its
//!                                                programs take over
//!                    link-7-adapter_in …         what holds programs to an adapter and to the uplink of an external switch
//! ```
//!
//! The folder's number is that of what is shared with the programs: a daemon that speaks another begins anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use hns_abi::Map;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{DatapathError, Missing};

/// Raised whenever a key or value of the maps that live on changes, or what it means.
pub const VERSION: u32 = 2;

/// Where the kernel offers a place to mount the bpf file system.
const KERNELS_PLACE: &str = "/sys/fs/bpf";
/// In front of a map's name until it takes the place of the older one.
const NEXT: &str = "next-";
/// In front of the names of what holds programs to a link.
const LINK: &str = "link-";

/// Whether a map's entries are made by packets, and therefore outlive the daemon.
pub(crate) const fn lives_on(map: Map) -> bool {
    matches!(
        map,
        Map::Embryonic
            | Map::Established
            | Map::Strays
            | Map::Tallies
            | Map::Fragments
            | Map::Drops
            | Map::Events
    )
}

/// The folder of this version.
#[derive(Debug)]
pub(crate) struct Pins {
    base: PathBuf,
    folder: PathBuf,
}

impl Pins {
    /// Makes the folder, and mounts the bpf file system where there is none.
    pub(crate) fn open(base: &Path) -> Result<Self, DatapathError> {
        if !on_bpf(base) {
            let place = Path::new(KERNELS_PLACE);
            let place = if base.starts_with(place) { place } else { base };
            mount_at(place)?;
        }
        let folder = base.join(format!("v{VERSION}"));
        fs::create_dir_all(&folder).map_err(|source| failed("make", &folder, source))?;
        Ok(Self { base: base.to_owned(), folder })
    }

    pub(crate) fn path(&self, map: Map) -> PathBuf {
        self.folder.join(map.name())
    }

    /// Where the programs of an adapter are held to it. No dots: the file system refuses them.
    pub(crate) fn link(&self, ifindex: u32, program: &str) -> PathBuf {
        self.folder.join(format!("{LINK}{ifindex}-{program}"))
    }

    /// The numbers of the links at which programs are held here.
    pub(crate) fn links(&self) -> Result<Vec<(u32, PathBuf)>, DatapathError> {
        let fail = |source| failed("list", &self.folder, source);
        let entries = fs::read_dir(&self.folder).map_err(fail)?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix(LINK)?.split('-').next()?.parse().ok());
            found.extend(number.map(|number| (number, entry.path())));
        }
        Ok(found)
    }

    /// The map that an older daemon left.
    pub(crate) fn left(&self, map: Map) -> Result<Option<MapData>, DatapathError> {
        let path = self.path(map);
        if !path.exists() {
            return Ok(None);
        }
        MapData::from_pin(&path).map(Some).map_err(|error| failed("open", &path, io::Error::other(error)))
    }

    /// Puts maps of policy in the place of the older daemon's, and removes what older versions left.
    pub(crate) fn replace<'a>(
        &self,
        maps: impl Iterator<Item = (Map, &'a MapData)>,
    ) -> Result<(), DatapathError> {
        for (map, data) in maps {
            let next = self.folder.join(format!("{NEXT}{}", map.name()));
            remove(&next)?;
            data.pin(&next).map_err(|error| failed("pin", &next, io::Error::other(error)))?;
            let path = self.path(map);
            fs::rename(&next, &path).map_err(|source| failed("replace", &path, source))?;
        }
        self.remove_other_versions()
    }

    fn remove_other_versions(&self) -> Result<(), DatapathError> {
        let list = |folder: &Path| {
            let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            entries.map_err(|source| failed("list", folder, source))
        };
        for version in list(&self.base)?.iter().map(fs::DirEntry::path) {
            let is_version = version.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
            });
            if !is_version || version == self.folder {
                continue;
            }
            for pin in list(&version)? {
                remove(&pin.path())?;
            }
            fs::remove_dir(&version).map_err(|source| failed("remove", &version, source))?;
        }
        Ok(())
    }
}

pub(crate) fn failed(operation: &'static str, path: &Path, source: io::Error) -> DatapathError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return DatapathError::Unavailable { missing: Missing::Permission, source };
    }
    DatapathError::Pins { operation, path: path.to_owned(), source }
}

pub(crate) fn remove(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, source)),
        _ => Ok(()),
    }
}

/// Whether `path`, or where it would be made, is on a bpf file system.
fn on_bpf(path: &Path) -> bool {
    path.ancestors()
        .find_map(|ancestor| statfs(ancestor).ok())
        .is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_at(place: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(place).map_err(|source| failed("make", place, source))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), place, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| match errno {
        nix::Error::ENODEV => DatapathError::Unavailable { missing: Missing::Kernel, source: errno.into() },
        other => failed("mount a bpf file system at", place, other.into()),
    })
}
