//! Archives that nobody vouches for, read entry by entry within limits.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::read::GzDecoder;
use tar::{Archive, Entry};

use super::error::ContainerError;

/// How much an image may hold, all its layers together.
const BYTES_MAX: u64 = 16 << 30;
const ENTRIES_MAX: u64 = 1_000_000;

/// How long the headers before an entry may be. They are read into memory: long names, extended attributes.
const HEADERS_LENGTH_MAX: u64 = 1 << 20;

pub type Content = Metered<Box<dyn Read>>;

/// What an image may still unpack.
#[derive(Debug)]
pub struct Allowance {
    bytes_max: u64,
    entries_max: u64,
    bytes: u64,
    entries: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new(BYTES_MAX, ENTRIES_MAX)
    }
}

impl Allowance {
    pub const fn new(bytes_max: u64, entries_max: u64) -> Self {
        Self { bytes_max, entries_max, bytes: 0, entries: 0 }
    }

    /// Takes one entry of this size, or says which limit is passed.
    fn take(&mut self, size: u64) -> Result<(), String> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.entries > self.entries_max {
            return Err(format!("{} entries", self.entries_max));
        }
        if self.bytes > self.bytes_max {
            return Err(format!("{} bytes", self.bytes_max));
        }
        Ok(())
    }
}

/// A tar file, plain or gzip.
pub struct Source {
    /// How it is called when something is wrong with it.
    name: PathBuf,
    archive: Archive<Content>,
    left: Rc<Cell<u64>>,
}

impl Source {
    pub fn new(name: PathBuf, file: File) -> Result<Self, ContainerError> {
        let left = Rc::new(Cell::new(u64::MAX));
        let content =
            decompressed(file).map_err(|source| ContainerError::Read { path: name.clone(), source })?;
        Ok(Self { name, archive: Archive::new(Metered { content, left: left.clone() }), left })
    }

    pub const fn archive(&mut self) -> &mut Archive<Content> {
        &mut self.archive
    }

    /// Hands every entry to `act`, with its path below the root: entries for the root itself are left out.
    pub fn for_each(
        mut self,
        allowance: &mut Allowance,
        mut act: impl FnMut(&Path, &mut Entry<'_, Content>) -> Result<(), Refusal>,
    ) -> Result<(), ContainerError> {
        let name = &self.name;
        let broken = |source| ContainerError::Unpack { path: name.clone(), source };
        let mut entries = self.archive.entries().map_err(broken)?;
        loop {
            self.left.set(HEADERS_LENGTH_MAX);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry.map_err(broken)?;
            self.left.set(u64::MAX);
            let path = entry.path().map_err(broken)?.into_owned();
            let taken = allowance.take(entry.size()).map_err(Refusal::Limit);
            let done = taken.and_then(|()| inner_path(&path)).and_then(|inner| match inner {
                Some(inner) => act(&inner, &mut entry),
                None => Ok(()),
            });
            // What nobody has read is passed over here, where it does not count as a header.
            let done = done.and_then(|()| Ok(io::copy(&mut entry, &mut io::sink()).map(drop)?));
            done.map_err(|refusal| refusal.of(name, &path))?;
        }
    }
}

/// Why an entry is not unpacked.
#[derive(Debug)]
pub enum Refusal {
    Failed(io::Error),
    Never(&'static str),
    Limit(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Refusal {
    fn of(self, archive: &Path, entry: &Path) -> ContainerError {
        let (archive, entry) = (archive.to_owned(), entry.to_owned());
        match self {
            Self::Failed(source) => ContainerError::UnpackEntry { archive, entry, source },
            Self::Never(reason) => ContainerError::EntryRefused { archive, entry, reason },
            Self::Limit(limit) => ContainerError::ArchiveLimit { archive, entry, limit },
        }
    }
}

/// A path below the root; nothing for the root itself. What climbs is refused, even where it would come back.
pub fn inner_path(path: &Path) -> Result<Option<PathBuf>, Refusal> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Refusal::Never("its path has `..`")),
        }
    }
    Ok(Some(inner).filter(|inner| inner.file_name().is_some()))
}

fn decompressed(mut file: File) -> io::Result<Box<dyn Read>> {
    let mut magic = [0; 2];
    let length = file.read(&mut magic)?;
    file.rewind()?;
    let file = io::BufReader::with_capacity(1 << 16, file);
    let is_gzip = length == 2 && magic == [0x1F, 0x8B];
    Ok(if is_gzip { Box::new(GzDecoder::new(file)) } else { Box::new(file) })
}

/// Content that ends with an error when more is read than is `left`.
pub struct Metered<R> {
    content: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        let left = self.left.get().checked_sub(length as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other(format!("the headers of an entry are longer than {HEADERS_LENGTH_MAX} bytes"))
        })?);
        Ok(length)
    }
}
