//! The world of one test: a scratch folder, a LAN, and the hosts that are plugged into it.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::{Addresses, Host};

/// An address behind the LAN's router: "the internet" of a lab.
pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The same for IPv6.
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x198, 0x51, 0, 0, 0, 0, 1);

const SCRATCH_PREFIX: &str = "hns-lab-";

/// One lab; everything in it goes away with its last handle.
#[derive(Debug)]
pub struct Lab {
    scratch: Arc<Scratch>,
    router: Host,
    hosts: Cell<u8>,
}

impl Lab {
    /// Makes the LAN: a switch with a router that holds its gateway addresses and [`FAR_V4`], [`FAR_V6`].
    ///
    /// # Panics
    /// Without root; say `needs!(root)` first.
    #[must_use]
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "making a lab takes root and may panic")]
    pub fn new() -> Self {
        let scratch = Arc::new(Scratch::new());
        let router = Host::boot(&scratch, "router", None);
        // The switch must forward frames as a switch does: no netfilter of the router's own sees them.
        router.sh("for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ -e $f ] && echo 0 > $f; done
             ip link add br0 type bridge
             ip addr add 198.18.0.254/24 dev br0
             ip addr add fd00:198:18::fe/64 dev br0 nodad
             ip addr add 198.51.100.1/32 dev lo
             ip addr add fd00:198:51::1/128 dev lo nodad
             ip link set br0 up
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        Self { scratch, router, hosts: Cell::new(0) }
    }

    /// A new host on the LAN, with the next free address on its `eth0` and the router as its gateway.
    ///
    /// # Panics
    /// When the kernel refuses, or after 250 hosts.
    #[must_use]
    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        let number = self.hosts.get() + 1;
        assert!(number <= 250, "a lab's LAN has 250 addresses");
        self.hosts.set(number);
        let addresses = Addresses {
            v4: Ipv4Addr::new(198, 18, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 0, u16::from(number)),
        };
        let host = Host::boot(&self.scratch, name, Some(addresses));
        self.plug_in(&host);
        host
    }

    /// Lays the cable of a host on the LAN, which has none, or has lost it.
    ///
    /// # Panics
    /// When the kernel refuses, or the host was never on the LAN.
    #[track_caller]
    pub fn plug_in(&self, host: &Host) {
        let (v4, v6) = (host.v4(), host.v6());
        let [.., number] = v4.octets();
        self.router.sh_outside(&format!(
            "ip link add p{number} type veth peer name eth0 netns {}; ip link set p{number} master br0 up",
            host.pid()
        ));
        host.sh(&format!(
            "ip addr add {v4}/24 dev eth0
             ip addr add {v6}/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 198.18.0.254
             ip -6 route add default via fd00:198:18::fe"
        ));
        // A port that has just come up forwards at once (no spanning tree), but its carrier comes by a work queue.
        crate::eventually!(within 5 s, host.sh("cat /sys/class/net/eth0/carrier").trim() == "1");
    }

    /// A new host without any cable.
    #[must_use]
    #[track_caller]
    pub fn island(&self, name: &str) -> Host {
        Host::boot(&self.scratch, name, None)
    }

    /// The router, which is also the switch: its `br0` sees every frame of the LAN.
    #[must_use]
    pub fn router(&self) -> &Host {
        &self.router
    }

    /// A folder of this lab's own, seen by the test and by every host under the same path; removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

/// A folder that is removed with its last user.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    #[track_caller]
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let base = std::env::temp_dir();
        remove_leftovers(&base);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{SCRATCH_PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next lab; a panic here would hide the test's own.
        let _left_for_the_next = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of tests that were killed: those whose process is gone.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SCRATCH_PREFIX)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            crate::engines::remove_cgroups_of_lab(&entry.path());
            let _used_by_another = std::fs::remove_dir_all(entry.path());
        }
    }
}
