use std::io;
use std::path::PathBuf;

use hns_client::ClientError;
use nix::sys::signal::Signal;

#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{name:?} is no name for a container")]
    Name { name: String },
    #[error("there is a container {name} already")]
    NameTaken { name: String },
    #[error("there is no container {name}")]
    NotFound { name: String },
    #[error("{} has no command of its own", root.display())]
    NoCommand { root: PathBuf },
    #[error("neither crun nor runc is installed")]
    NoRuntime,
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not JSON", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is neither a root folder nor an image", path.display())]
    NotARoot { path: PathBuf },
    #[error("image {} has no {part}", path.display())]
    IncompleteImage { path: PathBuf, part: &'static str },
    #[error("image {} has a layer of type {media_type}", path.display())]
    LayerType { path: PathBuf, media_type: String },
    #[error("cannot unpack {}", path.display())]
    Unpack {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot unpack {entry:?} of {}", archive.display())]
    UnpackEntry {
        archive: PathBuf,
        entry: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has {entry:?}, and that is refused: {reason}", archive.display())]
    EntryRefused { archive: PathBuf, entry: PathBuf, reason: &'static str },
    #[error("{} is too large: with {entry:?} there are more than {limit}", archive.display())]
    ArchiveLimit { archive: PathBuf, entry: PathBuf, limit: String },
    #[error("{} is no regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than {length_max} bytes", path.display())]
    TooLong { path: PathBuf, length_max: u64 },
    #[error("the image has no user {user:?}")]
    NoSuchUser { user: String },
    #[error("the daemon has not said where namespace {namespace} is")]
    NamespaceWithoutPath { namespace: String },
    #[error("cannot start {}", program.display())]
    StartRuntime {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot {verb} container {name}: {said}", program.display())]
    Runtime { program: PathBuf, verb: &'static str, name: String, said: String },
    #[error("cannot prepare the mounts of the runtime")]
    PrivateMounts {
        #[source]
        source: io::Error,
    },
    #[error("there is no program {}", program.display())]
    RuntimeMissing { program: PathBuf },
    #[error("this host cannot hold a container to its devices: it has no control group for them")]
    NoDeviceControl,
    #[error("{signal} came before the container was started")]
    Interrupted { signal: Signal },
    #[error("cannot watch for signals")]
    Signals {
        #[source]
        source: io::Error,
    },
}

impl ContainerError {
    pub fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Client(error) => return error.hint(),
            Self::Name { .. } => "use letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
            Self::NameTaken { name } => return Some(format!("`hnsctl stop {name}` removes it")),
            Self::NotFound { .. } => "`hnsctl ps` shows what there is",
            Self::NoCommand { .. } => "give one behind --, such as `-- sh`",
            Self::NoRuntime => "install it, `apt-get install crun`, or name one with --runtime",
            Self::NotARoot { .. } => "pass a folder, or a file of `docker save` or `docker export`",
            Self::EntryRefused { .. } | Self::ArchiveLimit { .. } => {
                "unpack it yourself if you trust it, and pass the folder"
            }
            Self::LayerType { .. } => "pass a file of `docker save`, whose layers are plain or gzip",
            Self::PrivateMounts { .. } => {
                "containers are started as root, where control groups can be mounted"
            }
            Self::RuntimeMissing { .. } => "install it, or leave out --runtime",
            Self::NoDeviceControl => {
                "mount version 2 on /sys/fs/cgroup, or the controller `devices` on /sys/fs/cgroup/devices"
            }
            _ => return None,
        };
        Some(fixed.to_owned())
    }
}
