use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchownat, geteuid, linkat, mkfifo};
use tar::{Entry, Header};

use super::archive::{Allowance, Refusal, Source, inner_path};
use super::beneath::{Beneath, Folder};
use super::error::ContainerError;
use super::removal::remove;

/// The name that empties a folder of what lower layers put there, and the beginning of names that remove one entry.
const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
/// What AUFS notes about itself and Docker has always left out.
const METADATA: &[u8] = b".wh..wh.";

/// Unpacks a layer over what is in `root`. Never touches anything outside of it, wherever names and links of the layer
/// point.
pub fn apply(source: Source, root: &Path, allowance: &mut Allowance) -> Result<(), ContainerError> {
    unpack(source, root, allowance, Whiteouts::Applied, geteuid().is_root())
}

/// Unpacks an archive that is no layer: names are just names, and everything is ours.
pub fn unpack_parts(source: Source, root: &Path, allowance: &mut Allowance) -> Result<(), ContainerError> {
    unpack(source, root, allowance, Whiteouts::JustNames, false)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    Applied,
    JustNames,
}

fn unpack(
    mut source: Source,
    root: &Path,
    allowance: &mut Allowance,
    whiteouts: Whiteouts,
    keeps_owners: bool,
) -> Result<(), ContainerError> {
    source.archive().set_preserve_permissions(whiteouts == Whiteouts::Applied);
    source.archive().set_preserve_ownerships(keeps_owners);
    source.archive().set_unpack_xattrs(keeps_owners);
    let beneath =
        Beneath::open(root).map_err(|source| ContainerError::Read { path: root.to_owned(), source })?;
    let mut layer = Layer { root: beneath, keeps_owners, unpacked: HashSet::new() };
    source.for_each(allowance, |path, entry| {
        if whiteouts == Whiteouts::Applied && layer.applied_whiteout(path)? {
            return Ok(());
        }
        layer.unpack(path, entry)
    })
}

struct Layer {
    root: Beneath,
    keeps_owners: bool,
    /// What came from this layer, by its real path, which its own whiteouts do not remove.
    unpacked: HashSet<PathBuf>,
}

impl Layer {
    /// Whether `path` was a whiteout. Then it is applied.
    fn applied_whiteout(&self, path: &Path) -> Result<bool, Refusal> {
        let (folder, name) = split(path);
        let Some(removed) = name.as_os_str().as_bytes().strip_prefix(WHITEOUT) else { return Ok(false) };
        if matches!(removed, b"" | b"." | b"..") {
            return Err(Refusal::Never("it is a whiteout of no entry"));
        }
        let is_opaque = name.as_os_str().as_bytes() == OPAQUE;
        if !is_opaque && name.as_os_str().as_bytes().starts_with(METADATA) {
            return Ok(true);
        }
        match self.root.folder(folder) {
            // Nothing of lower layers is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(folder) if is_opaque => self.clear(&folder.own_path(), &folder.real_path()?)?,
            Ok(folder) => remove(&folder.entry(Path::new(OsStr::from_bytes(removed))))?,
        }
        Ok(true)
    }

    /// Removes what lower layers put into the folder `at`, which is really `real`.
    fn clear(&self, at: &Path, real: &Path) -> io::Result<()> {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            let real = real.join(entry.file_name());
            if !self.unpacked.contains(&real) {
                remove(&entry.path())?;
            } else if entry.file_type()?.is_dir() {
                self.clear(&entry.path(), &real)?;
            }
        }
        Ok(())
    }

    fn unpack<R: Read>(&mut self, path: &Path, entry: &mut Entry<'_, R>) -> Result<(), Refusal> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        if kind.is_character_special() || kind.is_block_special() {
            // A container has devices of its own, mounted over the image's `/dev`.
            let is_hidden = path.starts_with("dev");
            return if is_hidden { Ok(()) } else { Err(Refusal::Never("it is a device outside of /dev")) };
        }
        let (above, name) = split(path);
        let folder = self.root.made_folder(above)?;
        let place = folder.entry(name);
        make_way(&place, kind.is_dir() || entry.path_bytes().ends_with(b"/"))?;
        if kind.is_hard_link() {
            self.link(&link_target(entry)?, &folder, name)?;
        } else if kind.is_fifo() {
            mkfifo(&place, Mode::S_IRUSR).map_err(io::Error::from)?;
            self.give(&folder, name, entry.header())?;
            fs::set_permissions(&place, Permissions::from_mode(entry.header().mode()? & 0o777))?;
        } else {
            entry.unpack(&place)?;
        }
        self.unpacked.insert(folder.real_path()?.join(name));
        Ok(())
    }

    fn link(&self, target: &Path, folder: &Folder, name: &Path) -> Result<(), Refusal> {
        let (above, target) = split(target);
        let above = self.root.folder(above)?;
        // Without a flag the target itself is linked, also where it is a symbolic link.
        let linked = linkat(above.handle(), target, folder.handle(), name, AtFlags::empty());
        Ok(linked.map_err(io::Error::from)?)
    }

    fn give(&self, folder: &Folder, name: &Path, header: &Header) -> io::Result<()> {
        if !self.keeps_owners {
            return Ok(());
        }
        let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
        let (uid, gid) = (Uid::from_raw(number(header.uid()?)?), Gid::from_raw(number(header.gid()?)?));
        let given = fchownat(folder.handle(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW);
        given.map_err(io::Error::from)
    }
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, Refusal> {
    const NOWHERE: Refusal = Refusal::Never("it is a link to nothing");
    let target = entry.link_name()?.ok_or(NOWHERE)?;
    inner_path(&target)?.ok_or(NOWHERE)
}

/// The folder and the name in it of a path below the root.
fn split(path: &Path) -> (&Path, &Path) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().map_or(Path::new(""), Path::new))
}

/// Removes what is in the way of an entry of another kind: only a folder stays when a folder comes.
fn make_way(place: &Path, is_dir: bool) -> io::Result<()> {
    match place.symlink_metadata() {
        Ok(there) if is_dir && there.is_dir() => Ok(()),
        Ok(_) => remove(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
