//! Connections led to a proxy inside a container: a table of its own in the container's namespace.
//!
//! Each vNIC has a chain a direction, named by its number there, so that two endpoints in one namespace do not meet
//! and what a removed one left behind means nothing to the next. Only a connection's first packet passes here.
//! Whoever may change rules in the container may change these: they are the container's own, not a barrier around it.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use hns_net::{Cidr, Family};
use hns_planner::{Direction, Redirect, User};
use nix::unistd;

use crate::nat::{table, wire};
use crate::netlink::{self, Netlink};
use crate::{HostError, ruleset};

const TABLE: &str = "hns_proxy";

/// Leads connections of the link `index` as these say, and no others. The calling thread must be in the link's
/// namespace; `present` are the numbers of all links there.
pub(crate) fn set(
    index: u32,
    redirects: &[Redirect],
    present: &BTreeSet<u32>,
    started: impl FnOnce(u32),
) -> Result<(), HostError> {
    let mut netfilter = Netlink::open(netlink::Family::Netfilter)?;
    let ours = |chain: &ruleset::Chain| chain.family == wire::family::INET && chain.table == TABLE;
    let mut chains = ruleset::chains(&mut netfilter)?;
    chains.retain(ours);
    if redirects.is_empty() && chains.is_empty() {
        return Ok(());
    }
    let here = |chain: &str| chain.split_once('_').and_then(|(_, index)| index.parse().ok());
    let gone = |chain: &str| here(chain).is_none_or(|of: u32| of == index || !present.contains(&of));
    let stale: Vec<&str> = chains.iter().map(|chain| chain.name.as_str()).filter(|name| gone(name)).collect();
    table::load(&render(index, redirects, &stale)?, started)
}

/// One transaction.
fn render(index: u32, redirects: &[Redirect], stale: &[&str]) -> Result<String, HostError> {
    let mut text = format!("add table inet {TABLE}\n");
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for chain in stale {
        line(format!("flush chain inet {TABLE} {chain}"));
        line(format!("delete chain inet {TABLE} {chain}"));
    }
    for direction in [Direction::Inbound, Direction::Outbound] {
        let mut rules = Vec::new();
        for redirect in redirects.iter().filter(|redirect| redirect.direction == direction) {
            let user = redirect.exceptions.user.as_ref().map(number).transpose()?;
            rules.extend(
                [Family::V4, Family::V6].into_iter().filter_map(|family| rule(redirect, family, user)),
            );
        }
        if rules.is_empty() {
            continue;
        }
        let (name, hook, side) = match direction {
            Direction::Inbound => ("in", "prerouting", "iif"),
            Direction::Outbound => ("out", "output", "oif"),
        };
        let chain = format!("inet {TABLE} {name}_{index}");
        line(format!("add chain {chain} {{ type nat hook {hook} priority -100; policy accept; }}"));
        for rule in rules {
            line(format!("add rule {chain} {side} {index} {rule}"));
        }
    }
    Ok(text)
}

fn number(user: &User) -> Result<u32, HostError> {
    match user {
        User::Number(number) => Ok(*number),
        User::Name(name) => match unistd::User::from_name(name) {
            Ok(Some(found)) => Ok(found.uid.as_raw()),
            Ok(None) | Err(_) => Err(HostError::NoSuchUser { name: name.clone() }),
        },
    }
}

/// What of this family is led to the proxy, if anything is.
fn rule(redirect: &Redirect, family: Family, user: Option<u32>) -> Option<String> {
    let (protocol, header) = match family {
        Family::V4 => ("ipv4", "ip"),
        Family::V6 => ("ipv6", "ip6"),
    };
    let (local, remote, local_port, remote_port) = match redirect.direction {
        Direction::Inbound => ("daddr", "saddr", "dport", "sport"),
        Direction::Outbound => ("saddr", "daddr", "sport", "dport"),
    };
    if redirect.transports.is_empty() {
        return None;
    }
    let mut rule = format!("meta nfproto {protocol} meta l4proto {}", set_of(&redirect.transports));
    let mut test = |what: &str, list: String| {
        // Writing to a String cannot fail.
        let _ = write!(rule, " {what} {list}");
    };
    for (side, prefixes) in [(local, &redirect.local), (remote, &redirect.remote)] {
        if !prefixes.is_empty() {
            let same = of_family(prefixes, family);
            if same.is_empty() {
                return None;
            }
            test(&format!("{header} {side}"), set_of(&same));
        }
    }
    let excepted = of_family(&redirect.exceptions.remote, family);
    if !excepted.is_empty() {
        test(&format!("{header} {remote} !="), set_of(&excepted));
    }
    for (side, ports) in [(local_port, &redirect.local_ports), (remote_port, &redirect.remote_ports)] {
        if !ports.is_empty() {
            test(&format!("th {side}"), set_of(ports));
        }
    }
    if !redirect.exceptions.destination_ports.is_empty() {
        test("th dport !=", set_of(&redirect.exceptions.destination_ports));
    }
    if let Some(user) = user {
        test("meta skuid !=", user.to_string());
    }
    test("redirect to", format!(":{}", redirect.port));
    Some(rule)
}

fn of_family(prefixes: &[Cidr], family: Family) -> Vec<Cidr> {
    prefixes.iter().copied().filter(|prefix| prefix.family() == family).collect()
}

/// nft itself merges what overlaps.
fn set_of(members: &[impl Display]) -> String {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", members.join(", "))
}

#[cfg(test)]
mod tests {
    use hns_net::Transport;
    use hns_planner::Exceptions;

    use super::*;

    fn outbound() -> Redirect {
        Redirect {
            direction: Direction::Outbound,
            port: 15001,
            transports: vec![Transport::Tcp],
            local: Vec::new(),
            local_ports: Vec::new(),
            remote: Vec::new(),
            remote_ports: Vec::new(),
            exceptions: Exceptions::default(),
        }
    }

    #[test]
    fn a_redirect_is_a_rule_a_family_that_it_can_mean() {
        let mut redirect = outbound();
        assert_eq!(
            rule(&redirect, Family::V6, None).unwrap(),
            "meta nfproto ipv6 meta l4proto { tcp } redirect to :15001"
        );
        redirect.remote = vec!["10.0.0.0/8".parse().unwrap()];
        redirect.remote_ports = vec!["80-90".parse().unwrap(), "443".parse().unwrap()];
        redirect.exceptions.remote = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        redirect.exceptions.destination_ports = vec!["85".parse().unwrap()];
        assert_eq!(rule(&redirect, Family::V6, None), None);
        assert_eq!(
            rule(&redirect, Family::V4, Some(1337)).unwrap(),
            "meta nfproto ipv4 meta l4proto { tcp } ip daddr { 10.0.0.0/8 } ip daddr != { 10.1.0.0/16 } \
             th dport { 80-90, 443 } th dport != { 85 } meta skuid != 1337 redirect to :15001"
        );
        redirect.transports.clear();
        assert_eq!(rule(&redirect, Family::V4, None), None);
    }

    #[test]
    fn sides_change_with_the_direction() {
        let remote = vec!["10.0.0.0/8".parse().unwrap()];
        let local_ports = vec!["80".parse().unwrap()];
        let redirect = Redirect { direction: Direction::Inbound, remote, local_ports, ..outbound() };
        let inbound = rule(&redirect, Family::V4, None).unwrap();
        assert!(inbound.contains("ip saddr { 10.0.0.0/8 } th dport { 80 }"), "{inbound}");
    }

    #[test]
    fn a_user_that_is_nobody_is_named() {
        let user = Some(User::Name("no such user".to_owned()));
        let redirect = Redirect { exceptions: Exceptions { user, ..Exceptions::default() }, ..outbound() };
        let error = render(7, &[redirect], &[]).unwrap_err();
        assert!(matches!(error, HostError::NoSuchUser { .. }), "{error:?}");
    }

    #[test]
    fn without_redirects_only_what_is_stale_goes() {
        let text = render(7, &[], &["out_7"]).unwrap();
        assert_eq!(
            text,
            "add table inet hns_proxy\nflush chain inet hns_proxy out_7\ndelete chain inet hns_proxy out_7\n"
        );
    }
}
