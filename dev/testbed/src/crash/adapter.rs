//! What an adapter that networks share with the host shows of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::ADAPTER;
use crate::Host;

/// Where the daemon holds programs to links, in a folder of its version.
const PINS: &str = "/sys/fs/bpf/hns";

pub(super) fn lets_in(mac: &str) -> String {
    format!("{ADAPTER} lets in {}", mac.replace('-', ":").to_lowercase())
}

/// What an external switch asks of the adapter and of the port of its bridge that stands for the wire.
pub(super) fn shared_by(uplink: &str) -> [String; 4] {
    let all_multicast = format!("{ADAPTER} lets in all multicast");
    let [adapter_in, adapter_out] = ["adapter_in", "adapter_out"].map(|program| holds(ADAPTER, program));
    [all_multicast, adapter_in, adapter_out, holds(uplink, "uplink_out")]
}

fn holds(link: &str, program: &str) -> String {
    format!("{program} is held to {link}")
}

/// What there is of all this.
pub(super) fn shown(host: &Host) -> Vec<String> {
    let entries = host.sh(&format!("bridge fdb show dev {ADAPTER}"));
    let is_ours = |line: &&str| line.contains("self permanent") && !is_group(line);
    let stations = entries.lines().filter(is_ours).filter_map(|line| line.split(' ').next());
    let mut shown: Vec<String> = stations.map(lets_in).collect();
    if host.sh(&format!("ip link show dev {ADAPTER}")).contains("ALLMULTI") {
        shown.push(format!("{ADAPTER} lets in all multicast"));
    }
    let numbers = numbers(host);
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let pins = entries(host.path(PINS)).flat_map(|version| entries(version.path()));
    shown.extend(pins.filter_map(|pin| {
        let name = pin.file_name().into_string().ok()?;
        let (number, program) = name.strip_prefix("link-")?.split_once('-')?;
        let gone = "a link that is gone".to_owned();
        Some(holds(numbers.get(number).unwrap_or(&gone), program))
    }));
    shown
}

/// Of IPv4 or IPv6: the kernel's own.
fn is_group(line: &str) -> bool {
    line.starts_with("33:33:") || line.starts_with("01:00:5e:")
}

/// The links of the host by number.
fn numbers(host: &Host) -> BTreeMap<String, String> {
    let listed = host.sh("ip -o link");
    let named = listed.lines().filter_map(|line| {
        let (number, rest) = line.split_once(": ")?;
        let name = rest.split([':', '@']).next()?;
        Some((number.to_owned(), name.to_owned()))
    });
    named.collect()
}
