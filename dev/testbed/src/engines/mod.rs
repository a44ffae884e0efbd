//! Real container engines in a host: Docker, Podman, containerd.
//!
//! ```text
//!   machine                        target/engines/{oldest,newest}: unpacked by dev/engines/fetch, never written to
//!    └─ Host                       network, mount and pid namespace; hnsd and hnsctl run here
//!        └─ EngineRoot             a mount namespace of its own; its / is the unpacked folder under an overlay
//!             /run                 the host's, with mounts passing both ways: sockets, /run/netns, /run/docker/netns
//!             /proc /sys /dev      the host's
//!             the lab's folder     under the same path as everywhere; so is the folder with our programs
//!             /var/lib/{docker,..} on a tmpfs: an engine cannot stack its overlays on ours
//! ```
//!
//! ```no_run
//! use hns_testbed::engines::{Dockerd, IMAGE, Release};
//! use hns_testbed::{Hnsd, Lab, needs};
//!
//! needs!(root, engines);
//! let lab = Lab::new();
//! let host = lab.host("a");
//! let hnsd = Hnsd::start(&host);
//! let docker = Dockerd::start(&host, Release::Newest);
//! docker.run(&["run", "-d", "--name", "web", "-p", "8080:80", IMAGE]);
//! ```
//!
//! Everything dies with the host, and nothing is left on the machine.

mod cgroups;
mod containerd;
mod cri;
mod dockerd;
mod podman;
mod root;

pub(crate) use cgroups::{remove as remove_cgroups, remove_of_lab as remove_cgroups_of_lab};
pub use containerd::Containerd;
pub use cri::{Cri, CriError, DnsConfig, Pod, PortMapping};
pub use dockerd::{Dockerd, DockerdBuilder};
pub use podman::Podman;
pub use root::{EngineRoot, Release};

/// The image that every engine of the bed has: busybox. Without a command it serves a page, [`PAGE`], on port 80; it ends
/// at once when it is stopped.
pub const IMAGE: &str = "busybox";

/// Its name in full, for those who do not guess (containerd).
pub const IMAGE_IN_FULL: &str = "docker.io/library/busybox:latest";

/// Where it lies in every root.
const IMAGE_ARCHIVE: &str = "/image.tar";

/// What that page says.
pub const PAGE: &str = "a page of a container\n";

/// Why there are no engines, or `None` when there are.
pub(crate) fn absent() -> Option<String> {
    let fetched = root::folder().join("recipe");
    (!fetched.is_file()).then(|| "needs the container engines that dev/engines/fetch unpacks".to_owned())
}
