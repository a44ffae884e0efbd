use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;
use tar::Archive;

/// The name that empties a folder of what lower layers put there, and the beginning of names that remove one entry.
const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";

/// Unpacks a layer over what is in `root`, an absolute path without links. Never touches anything outside of it,
/// wherever names and links of the layer point.
pub fn apply<R: Read>(mut archive: Archive<R>, root: &Path) -> io::Result<()> {
    let is_root = geteuid().is_root();
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(is_root);
    archive.set_unpack_xattrs(is_root);
    let mut layer = Layer { root, unpacked: HashSet::new() };
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = inner_path(&entry.path()?) else { continue };
        let kind = entry.header().entry_type();
        // A container has devices of its own in `/dev`.
        let is_device = kind.is_character_special() || kind.is_block_special();
        if is_device || layer.applied_whiteout(&path)? {
            continue;
        }
        layer.make_way(&path, kind.is_dir())?;
        entry.unpack_in(root)?;
        layer.unpacked.insert(path);
    }
    Ok(())
}

struct Layer<'a> {
    root: &'a Path,
    /// What came from this layer, which its own whiteouts do not remove.
    unpacked: HashSet<PathBuf>,
}

impl Layer<'_> {
    /// Whether `path` was a whiteout. Then it is applied.
    fn applied_whiteout(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().map_or(&[][..], OsStr::as_bytes);
        let folder = path.parent().unwrap_or(Path::new(""));
        let Some(removed) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if !self.is_inside(folder) {
            return Ok(true);
        }
        if name == OPAQUE {
            self.clear(folder)?;
        } else if !removed.is_empty() {
            remove(&self.root.join(folder).join(OsStr::from_bytes(removed)))?;
        }
        Ok(true)
    }

    /// Removes what lower layers put into `folder`.
    fn clear(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if !self.unpacked.contains(&path) {
                remove(&entry.path())?;
            } else if entry.file_type()?.is_dir() {
                self.clear(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what is in the way of an entry of another kind: only a folder stays when a folder comes.
    fn make_way(&self, path: &Path, is_dir: bool) -> io::Result<()> {
        if !self.is_inside(path.parent().unwrap_or(Path::new(""))) {
            return Ok(());
        }
        let place = self.root.join(path);
        match place.symlink_metadata() {
            Ok(there) if is_dir && there.is_dir() => Ok(()),
            Ok(_) => remove(&place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a folder is there and no link on the way leads out of the root.
    fn is_inside(&self, folder: &Path) -> bool {
        self.root.join(folder).canonicalize().is_ok_and(|real| real.starts_with(self.root))
    }
}

/// A path below the root, if it is one: nothing for the root itself, and for paths that climb.
fn inner_path(path: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(inner).filter(|inner| inner.file_name().is_some())
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
