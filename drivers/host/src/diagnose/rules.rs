//! Other programs' rules that can stop our networks.

use std::collections::BTreeSet;
use std::fs;

use hns_abi::MARK_RULED;
use hns_net::IfName;

use super::finding;
use crate::group::Role;
use crate::input_drops;
use crate::nat::table::NAME;
use crate::nat::wire::family;
use crate::netlink::Netlink;
use crate::reserved_chain::{self, PREFIX};
use crate::ruleset::{self, Chain, Direction, FORWARD, INPUT, IPTABLES_FILTER, PREROUTING, Rule, Verdict};
use crate::{Finding, HostError, Level};

/// Tables of the old iptables, which nf_tables does not show.
const LEGACY_TABLES: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
const FOREIGN: &str = "foreign-rules";

/// `known`: switches, and the devices of tunnels.
pub(crate) fn findings(netlink: &mut Netlink, known: &[IfName]) -> Result<Vec<Finding>, HostError> {
    let tunnels: Vec<u16> = known.iter().filter_map(tunnel_of).collect();
    let chains: Vec<Chain> =
        ruleset::chains(netlink)?.into_iter().filter(|chain| chain.table != NAME).collect();
    let rules = ruleset::rules(netlink, None)?;
    let mut findings = Vec::new();
    for chain in &chains {
        let finding = match chain.hook {
            Some(FORWARD) => forward(chain, &chains, &rules),
            Some(PREROUTING) => passing(chain, "prerouting", "ports that are published", &rules),
            Some(INPUT) => input(netlink, chain, &rules, &tunnels)?,
            _ => None,
        };
        findings.extend(finding);
    }
    findings.extend(legacy());
    if findings.is_empty() {
        findings.push(finding(FOREIGN, Level::Ok, "no rule of another program can stop our networks"));
    }
    Ok(findings)
}

fn forward(chain: &Chain, chains: &[Chain], rules: &[Rule]) -> Option<Finding> {
    let drops = stops_reached(chain, rules);
    if !chain.drops_by_default && drops.is_empty() {
        return None;
    }
    let what = describe(chain, &drops);
    let reserved = reserved_for(chain, chains);
    if let Some(open) = [Some(chain), reserved].into_iter().flatten().find(|chain| is_opened(chain, rules)) {
        let detail = format!("{what}; our networks are accepted in {}", open.path());
        return Some(finding(FOREIGN, Level::Ok, detail));
    }
    if let Some(reserved) = reserved {
        let hint = format!("restart hnsd, or: {}", way_through(reserved));
        return Some(finding(FOREIGN, Level::Problem, what).hint(hint));
    }
    let level = if chain.drops_by_default { Level::Problem } else { Level::Warn };
    Some(finding(FOREIGN, level, what).hint(way_through(chain)))
}

/// Chains that a packet of ours passes before ours: their word counts, so they are worth knowing.
fn passing(chain: &Chain, hook: &str, concerns: &str, rules: &[Rule]) -> Option<Finding> {
    let drops = stops_reached(chain, rules);
    if !chain.drops_by_default && drops.is_empty() {
        return None;
    }
    let detail = format!("{} (hook {hook}: it decides over {concerns})", describe(chain, &drops));
    Some(finding(FOREIGN, Level::Warn, detail))
}

/// What is closed there by name is closed for published ports, too.
fn input(
    netlink: &mut Netlink,
    chain: &Chain,
    rules: &[Rule],
    tunnels: &[u16],
) -> Result<Option<Finding>, HostError> {
    let drops = if input_drops::decides_over_input(chain) {
        input_drops::of_chain(netlink, chain)?
    } else {
        Vec::new()
    };
    let mut finding = passing(chain, "input", "containers that speak to the host itself", rules);
    if let Some(finding) = &mut finding {
        if !drops.is_empty() {
            let list = input_drops::describe(&drops);
            finding.detail.push_str(&format!("; it also holds for published ports: {list}"));
        }
        if chain.drops_by_default {
            finding.detail.push_str("; its policy does not hold for published ports");
        }
        if let Some(udp_port) = tunnels.first() {
            let what =
                format!("; it decides over what other hosts of overlays send as well (UDP port {udp_port})");
            finding.detail.push_str(&what);
            finding.hint = Some(format!(
                "where peers are not heard (hnsctl network peer ls): {}",
                way_in(chain, *udp_port)
            ));
        }
    }
    Ok(finding)
}

/// The UDP port of the device of tunnels in clear.
fn tunnel_of(name: &IfName) -> Option<u16> {
    match Role::of(name.as_str()) {
        Some(Role::Tunnel { device }) if !device.encrypted => Some(device.udp_port),
        _ => None,
    }
}

fn way_in(chain: &Chain, udp_port: u16) -> String {
    match tool_of(chain) {
        Some(tool) => format!("{tool} -I {} -p udp --dport {udp_port} -j ACCEPT", chain.name),
        None => format!("nft insert rule {} udp dport {udp_port} accept", chain.path()),
    }
}

/// What the chain's rules are written with, where that is not nft.
fn tool_of(chain: &Chain) -> Option<&'static str> {
    let tool = match chain.family {
        family::IPV4 => "iptables",
        family::IPV6 => "ip6tables",
        _ => return None,
    };
    (chain.table == IPTABLES_FILTER).then_some(tool)
}

fn describe(chain: &Chain, drops: &BTreeSet<String>) -> String {
    let mut what = format!("chain {}", chain.path());
    if chain.drops_by_default {
        what.push_str(" drops by policy");
    }
    if !drops.is_empty() {
        let and = if chain.drops_by_default { " and" } else { "" };
        let list: Vec<&str> = drops.iter().map(String::as_str).collect();
        what.push_str(&format!("{and} has rules that drop or reject, in {}", list.join(", ")));
    }
    what
}

/// The chains reached from `base` with a rule that can stop a packet of our switches.
fn stops_reached(base: &Chain, rules: &[Rule]) -> BTreeSet<String> {
    let mut stops = BTreeSet::new();
    let mut reached = BTreeSet::from([base.name.clone()]);
    let mut waiting = vec![base.name.clone()];
    while let Some(name) = waiting.pop() {
        let of_chain =
            |rule: &&Rule| rule.family == base.family && rule.table == base.table && rule.chain == name;
        for rule in rules.iter().filter(of_chain).filter(|rule| rule.may_concern(PREFIX)) {
            match &rule.verdict {
                Verdict::Drop | Verdict::Reject => {
                    stops.insert(name.clone());
                }
                Verdict::Enter(next) => {
                    if reached.insert(next.clone()) {
                        waiting.push(next.clone());
                    }
                }
                Verdict::Accept | Verdict::Return | Verdict::None => {}
            }
        }
    }
    stops
}

/// The chain kept for others that comes before this one's decision, where Docker made one.
fn reserved_for<'a>(chain: &Chain, chains: &'a [Chain]) -> Option<&'a Chain> {
    if chain.table != IPTABLES_FILTER || chain.name != "FORWARD" {
        return None;
    }
    chains.iter().find(|other| other.family == chain.family && reserved_chain::is_reserved(other))
}

/// Whether a chain accepts our switches on both sides.
fn is_opened(chain: &Chain, rules: &[Rule]) -> bool {
    [Direction::In, Direction::Out].iter().all(|direction| {
        rules.iter().any(|rule| rule.is_in(chain) && reserved_chain::accepts_us(rule, *direction))
    })
}

fn way_through(chain: &Chain) -> String {
    if let Some(tool) = tool_of(chain) {
        return reserved_chain::as_iptables(tool, &chain.name);
    }
    let path = chain.path();
    let insert = format!("nft insert rule {path}");
    format!(
        "{insert} iifname '{PREFIX}*' meta mark and {MARK_RULED:#x} == {MARK_RULED:#x} accept; {insert} oifname '{PREFIX}*' accept"
    )
}

fn legacy() -> Option<Finding> {
    let names: Vec<String> = LEGACY_TABLES.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let filters = names.iter().any(|names| names.lines().any(|name| name == IPTABLES_FILTER));
    filters.then(|| {
        finding(FOREIGN, Level::Warn, "the old iptables has a filter table, whose rules are not seen here")
            .hint(format!(
                "look at: iptables-legacy -S FORWARD; let us through with {}",
                reserved_chain::as_iptables("iptables-legacy", "FORWARD")
            ))
    })
}
