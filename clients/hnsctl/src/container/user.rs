use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::beneath::Beneath;
use super::error::ContainerError;

/// How much of a list of users is read.
const LENGTH_MAX: u64 = 4 << 20;

/// Who the container's first process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// Reads what an image's configuration says: `user`, `uid`, `user:group`; names are those of the image.
    pub fn resolve(text: &str, root: &Path) -> Result<Self, ContainerError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        if user.is_empty() {
            return Ok(Self::default());
        }
        let unknown = || ContainerError::NoSuchUser { user: text.to_owned() };
        let entry = find(root, "etc/passwd", user)?;
        let field = |place: usize| entry.as_ref().and_then(|fields| fields.get(place)?.parse().ok());
        let uid = user.parse().ok().or_else(|| field(2)).ok_or_else(unknown)?;
        let gid = match group {
            None => field(3).unwrap_or(0),
            Some(group) => {
                let entry = find(root, "etc/group", group)?;
                let named = entry.as_ref().and_then(|fields| fields.get(2)?.parse().ok());
                group.parse().ok().or(named).ok_or_else(unknown)?
            }
        };
        Ok(Self { uid, gid })
    }
}

/// The line of `name`, which may also be the number in its third field.
fn find(root: &Path, file: &str, name: &str) -> Result<Option<Vec<String>>, ContainerError> {
    let path = root.join(file);
    let Some(text) =
        text_of(root, Path::new(file)).map_err(|source| ContainerError::Read { path, source })?
    else {
        return Ok(None);
    };
    let lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    Ok(lines.into_iter().find(|fields| {
        fields.first().is_some_and(|own| own == name) || fields.get(2).is_some_and(|number| number == name)
    }))
}

/// A file of the image, wherever its links lead inside. What is no file, such as a FIFO, names nobody.
fn text_of(root: &Path, file: &Path) -> io::Result<Option<String>> {
    let opened = match Beneath::open(root)?.regular_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let read = |file: File| io::read_to_string(file.take(LENGTH_MAX));
    opened.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_list_of_users_is_a_file_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(folder.path().join("passwd"), "web:x:1:1::/:/bin/sh\n").unwrap();
        let resolved = || User::resolve("web", &root);
        let passwd = root.join("etc/passwd");
        std::os::unix::fs::symlink("../../passwd", &passwd).unwrap();
        assert!(matches!(resolved(), Err(ContainerError::NoSuchUser { .. })), "it leads out");
        fs::remove_file(&passwd).unwrap();
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(resolved(), Err(ContainerError::NoSuchUser { .. })), "nobody writes into a FIFO");
        fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("/lists/passwd", &passwd).unwrap();
        fs::create_dir(root.join("lists")).unwrap();
        fs::write(root.join("lists/passwd"), "web:x:33:44::/:/bin/sh\n").unwrap();
        assert_eq!(resolved().unwrap(), User { uid: 33, gid: 44 }, "as inside the container");
    }

    #[test]
    fn names_and_numbers_are_those_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n").unwrap();
        fs::write(root.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let cases = [
            ("", (0, 0)),
            ("web", (33, 44)),
            ("33", (33, 44)),
            ("1000", (1000, 0)),
            ("web:staff", (33, 50)),
            ("7:8", (7, 8)),
        ];
        for (text, (uid, gid)) in cases {
            assert_eq!(User::resolve(text, root.path()).unwrap(), User { uid, gid }, "{text}");
        }
        for unknown in ["nobody", "web:nobody"] {
            assert!(matches!(User::resolve(unknown, root.path()), Err(ContainerError::NoSuchUser { .. })));
        }
    }
}
