//! What an operator should know about this host: `hnsctl doctor`.

mod neighbours;
mod rules;

use std::fs;

use hns_net::IfName;

use crate::group::{OURS, REAP, Role};
use crate::link::{self, Link};
use crate::netlink::Netlink;
use crate::{Finding, HostError, Level, sysctl};

pub(crate) use rules::findings as foreign_rules;

fn finding(check: &'static str, level: Level, detail: impl Into<String>) -> Finding {
    Finding { check, level, detail: detail.into(), hint: None }
}

impl Finding {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The kernel, its settings and the tools we start.
pub(crate) fn kernel(ipv6: bool) -> Result<Vec<Finding>, HostError> {
    let mut findings = vec![release(), nft(), ipv6_support(ipv6), forwarding("ipv4/ip_forward", "IPv4")?];
    if ipv6 {
        findings.push(forwarding("ipv6/conf/all/forwarding", "IPv6")?);
    }
    findings.push(bridge_netfilter()?);
    findings.extend(neighbours::findings()?);
    Ok(findings)
}

fn release() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    finding("kernel", Level::Ok, format!("Linux {}", release.trim_end()))
}

fn nft() -> Finding {
    match crate::nat::table::nft_version() {
        Ok(version) => finding("nft", Level::Ok, version),
        Err(_) => finding("nft", Level::Problem, "the program nft cannot be started")
            .hint("install the package nftables; our table is loaded with it"),
    }
}

fn ipv6_support(ipv6: bool) -> Finding {
    if ipv6 {
        finding("ipv6", Level::Ok, "available")
    } else {
        finding("ipv6", Level::Warn, "the kernel has no IPv6: networks are IPv4 only")
            .hint("remove ipv6.disable=1 from the kernel's command line")
    }
}

fn forwarding(setting: &str, family: &str) -> Result<Finding, HostError> {
    let on = sysctl::read(setting)?.is_some_and(|value| value != "0");
    if on {
        return Ok(finding("forwarding", Level::Ok, format!("{family} is forwarded")));
    }
    let detail = format!("{family} is not forwarded");
    Ok(finding("forwarding", Level::Warn, detail).hint(format!(
        "it is turned on with the first network that needs it; net.{} is 0 now",
        dots(setting)
    )))
}

/// As sysctl(8) writes a name.
fn dots(setting: &str) -> String {
    setting.replace('/', ".")
}

fn bridge_netfilter() -> Result<Finding, HostError> {
    let mut on = Vec::new();
    for setting in sysctl::BRIDGE_CALLS {
        if sysctl::read(setting)?.is_some_and(|value| value != "0") {
            on.push(format!("net.{}", dots(setting)));
        }
    }
    if on.is_empty() {
        return Ok(finding("bridge-netfilter", Level::Ok, "bridged frames pass no IP rules"));
    }
    let detail =
        format!("frames between containers of one network pass the host's IP rules: {}", on.join(", "));
    Ok(finding("bridge-netfilter", Level::Warn, detail).hint(
        "ports published on [::1] need it off; if no other engine relies on it, set bridge_netfilter = \"off\"",
    ))
}

/// Devices of ours that are neither among `known`, switches and the devices of tunnels, nor belong to one of them.
pub(crate) fn leaks(netlink: &mut Netlink, known: &[IfName]) -> Result<Vec<Finding>, HostError> {
    let ours = link::list(netlink, |message| matches!(Link::group_of(message), OURS | REAP))?;
    let known = |name: &IfName| known.contains(name);
    let mut known_bridges = Vec::new();
    for link in &ours {
        if let Some(Role::Segment { switch, .. }) = Role::of(&link.name)
            && known(&switch)
        {
            known_bridges.push(link.index);
        }
    }
    let leaked = |link: &&Link| match Role::of(&link.name) {
        Some(Role::Segment { switch, .. } | Role::Trunk { switch, .. } | Role::Uplink { switch }) => {
            !known(&switch)
        }
        Some(Role::Tunnel { device }) => !known(&device.name()),
        Some(Role::Port) => {
            link.group == OURS && !link.bridge.is_some_and(|bridge| known_bridges.contains(&bridge))
        }
        None => true,
    };
    let mut findings: Vec<Finding> = ours
        .iter()
        .filter(leaked)
        .map(|link| {
            finding("leaks", Level::Warn, format!("link {} belongs to no network", link.name))
                .hint(format!("restart hnsd, which removes it, or: ip link delete {}", link.name))
        })
        .collect();
    if findings.is_empty() {
        findings.push(finding("leaks", Level::Ok, format!("{} links, all in use", ours.len())));
    }
    Ok(findings)
}
