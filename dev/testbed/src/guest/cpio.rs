//! An archive as the kernel unpacks it at its start: cpio in the "newc" format (Documentation/driver-api/early-userspace/
//! buffer-format.rst of the kernel).

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive in memory.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    present: BTreeSet<PathBuf>,
}

impl Archive {
    /// A folder, with those above it.
    pub fn folder(&mut self, path: impl AsRef<Path>) {
        let mut above = PathBuf::new();
        for part in relative(path.as_ref()).components() {
            above.push(part);
            if self.present.insert(above.clone()) {
                self.entry(&above, FOLDER, &[]);
            }
        }
    }

    /// An executable file; the first one of a name stays.
    pub fn file(&mut self, path: impl AsRef<Path>, content: &[u8]) {
        self.put(path.as_ref(), PROGRAM, content);
    }

    /// A symbolic link; the first entry of a name stays.
    pub fn link(&mut self, path: impl AsRef<Path>, target: &str) {
        self.put(path.as_ref(), LINK, target.as_bytes());
    }

    fn put(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let path = relative(path);
        if let Some(above) = path.parent() {
            self.folder(above);
        }
        if self.present.insert(path.clone()) {
            self.entry(&path, mode, content);
        }
    }

    /// The bytes with the entry that ends an archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    /// Thirteen numbers of eight hexadecimal digits, the name with its zero byte, the content; both end at a multiple of four.
    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.as_os_str().as_encoded_bytes();
        let size = u32::try_from(content.len()).expect("a file of a guest is small");
        let name_size = u32::try_from(name.len() + 1).expect("a name is short");
        let links = if mode == FOLDER { 2 } else { 1 };
        let numbers = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Names in an archive begin below its root.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_above_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("/usr/bin/ip", b"12345");
        archive.link("/usr/bin/tc", "ip");
        archive.file("/usr/bin/ip", b"another");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let at = |needle: &str| text.find(needle).unwrap();
        assert!(at("usr\0") < at("usr/bin\0") && at("usr/bin\0") < at("usr/bin/ip\0"));
        assert_eq!(text.matches("070701").count(), 5, "two folders, a file, a link, the end");
        assert!(text.contains("12345\x00\x00\x00070701"), "the content is aligned to four bytes");
        assert_eq!(bytes.len() % 4, 0);
    }
}
