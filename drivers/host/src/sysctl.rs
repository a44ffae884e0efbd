//! The kernel's settings under `/proc/sys/net`, of the namespace the calling thread is in.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hns_net::IfName;
use hns_planner::Forwarding;

use rustix::fs::OFlags;

use crate::{HostError, procfs};

const NET: &str = "/proc/sys/net";

/// The switches of br_netfilter, which sends bridged frames through the IP rules.
pub(crate) const BRIDGE_CALLS: [&str; 3] =
    ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables", "bridge/bridge-nf-call-arptables"];

/// The value, or nothing where the kernel has no such setting.
pub(crate) fn read(name: &str) -> Result<Option<String>, HostError> {
    let mut text = String::new();
    let outcome = open(name, OFlags::RDONLY).and_then(|mut file| file.read_to_string(&mut text));
    match outcome {
        Ok(_) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostError::File { operation: "read", path: Path::new(NET).join(name), source }),
    }
}

fn open(name: &str, flags: OFlags) -> io::Result<fs::File> {
    procfs::open(&format!("sys/net/{name}"), flags)
}

/// Writes the value; says whether the kernel has such a setting.
fn write(name: &str, value: &str) -> Result<bool, HostError> {
    match open(name, OFlags::WRONLY).and_then(|mut file| file.write_all(value.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(HostError::File { operation: "write", path: Path::new(NET).join(name), source }),
    }
}

/// Writes the value unless it is there already; says whether the kernel has such a setting.
pub(crate) fn set(name: &str, value: &str) -> Result<bool, HostError> {
    match read(name)? {
        None => Ok(false),
        Some(now) if now == value => Ok(true),
        Some(_) => write(name, value),
    }
}

fn is_on(name: &str) -> Result<bool, HostError> {
    Ok(read(name)?.is_some_and(|value| value != "0"))
}

/// Leaves a link without IPv6; one that is gone, or a kernel without IPv6, has nothing to be left without.
pub(crate) fn disable_ipv6(interface: &IfName) -> Result<(), HostError> {
    write(&format!("ipv6/conf/{interface}/disable_ipv6"), "1").map(drop)
}

/// Leaves the calling thread's namespace, and every link that comes to be in it, without IPv6.
pub(crate) fn disable_all_ipv6() -> Result<(), HostError> {
    set("ipv6/conf/default/disable_ipv6", "1")?;
    set("ipv6/conf/all/disable_ipv6", "1").map(drop)
}

/// Leaves a bridge that is no port of the host's without IPv6, and keeps what comes in by it from being forwarded. The
/// rules close it as well: this is what stands while others have flushed them.
pub(crate) fn close(interface: &IfName) -> Result<(), HostError> {
    disable_ipv6(interface)?;
    write(&format!("ipv4/conf/{interface}/forwarding"), "0").map(drop)
}

/// Lets the kernel tell how it would forward what came in by a link.
pub(crate) fn forward_from(interface: &IfName) -> Result<(), HostError> {
    set(&format!("ipv4/conf/{interface}/forwarding"), "1").map(drop)
}

/// Whether any of what [`close`] does is undone.
pub(crate) fn is_open(interface: &IfName) -> Result<bool, HostError> {
    let has_ipv6 = read(&format!("ipv6/conf/{interface}/disable_ipv6"))?.is_some_and(|value| value == "0");
    Ok(has_ipv6 || is_on(&format!("ipv4/conf/{interface}/forwarding"))?)
}

/// Whether the kernel has IPv6 at all (no, with `ipv6.disable=1`).
pub(crate) fn has_ipv6() -> bool {
    Path::new(NET).join("ipv6").exists()
}

pub(crate) fn forwarding() -> Result<Forwarding, HostError> {
    Ok(Forwarding { v4: is_on("ipv4/ip_forward")?, v6: is_on("ipv6/conf/all/forwarding")? })
}

/// Turns forwarding on for the families asked for.
pub(crate) fn forward(wanted: Forwarding) -> Result<(), HostError> {
    if wanted.v4 {
        set("ipv4/ip_forward", "1")?;
    }
    if wanted.v6 && !is_on("ipv6/conf/all/forwarding")? {
        if !has_ipv6() {
            return Err(HostError::NoIpv6);
        }
        keep_router_discovery()?;
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A host that forwards ignores router advertisements unless told to accept them even so (2). Whoever had 1
/// got its own default route by them, and would lose it. `all` has no effect here, but on what reads it.
fn keep_router_discovery() -> Result<(), HostError> {
    let folder = PathBuf::from(NET).join("ipv6/conf");
    let fail = |source| HostError::File { operation: "list", path: folder.clone(), source };
    for entry in fs::read_dir(&folder).map_err(fail)? {
        let interface = entry.map_err(fail)?.file_name();
        let name = format!("ipv6/conf/{}/accept_ra", interface.to_string_lossy());
        if read(&name)?.as_deref() == Some("1") {
            set(&name, "2")?;
        }
    }
    Ok(())
}

pub(crate) fn routes_loopback(interface: &IfName) -> Result<bool, HostError> {
    is_on(&format!("ipv4/conf/{interface}/route_localnet"))
}

pub(crate) fn set_routes_loopback(interface: &IfName, wanted: bool) -> Result<(), HostError> {
    set(&format!("ipv4/conf/{interface}/route_localnet"), if wanted { "1" } else { "0" }).map(drop)
}

/// Neither a switch nor a container on it takes configuration from what a container may send.
pub(crate) fn ignore_router_advertisements(interface: &IfName) -> Result<(), HostError> {
    write(&format!("ipv6/conf/{interface}/accept_ra"), "0").map(drop)
}

/// Lets the interface have IPv6 addresses where the host's default is that none has.
pub(crate) fn enable_ipv6(interface: &IfName) -> Result<(), HostError> {
    set(&format!("ipv6/conf/{interface}/disable_ipv6"), "0").map(drop)
}

/// Whether bridged frames pass the host's IP rules.
pub(crate) fn bridges_call_ip_rules() -> bool {
    // Unreadable is as good as absent: the module is not loaded.
    is_on(BRIDGE_CALLS[0]).unwrap_or(false)
}
