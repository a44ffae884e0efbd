//! How long it takes until the programs of a port, or of many, have other rules and other sets.
//!
//! ```text
//!   rules   10,000 on one port; then one of them changed
//!   sets    50,000 addresses, named by the rules of 100 ports; then one address more
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hns_datapath::{Datapath, RealDatapath, Settings};
use hns_net::{Cidr, Guid, IfName, Mac};
use hns_testbed::Lab;
use hns_vfp::model::{Acl, Action, Addresses, Guards, Match, Origin, Port, Rule, Sets, Verdict, both};

use crate::report::Promise;
use crate::samples::Samples;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often everything is programmed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

const RULES: u32 = 10_000;
const MEMBERS: u32 = 50_000;
const PORTS: u32 = 100;
const SET: &str = "many";

/// What was measured, each with its limit in milliseconds.
#[derive(Default)]
struct Times {
    rules: Samples,
    one_rule: Samples,
    set: Samples,
    one_member: Samples,
}

#[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new();
    let host = lab.island("programming");
    host.sh(&format!(
        "for n in $(seq {PORTS}); do ip link add hnv$n type veth peer name p$n; done; mount -t tmpfs none /run"
    ));
    let rounds = arguments.rounds;
    let times = host.netns().enter(move || measure(rounds))?;
    for promise in times.promises() {
        print!("{}", promise.text());
    }
    Ok(())
}

fn measure(rounds: u16) -> anyhow::Result<Times> {
    let datapath = RealDatapath::start(&Settings { pins: "/run/hns-bench-bpf".into() })?;
    let mut times = Times::default();
    for _ in 0..rounds {
        of_rules(&datapath, &mut times)?;
        of_sets(&datapath, &mut times)?;
        datapath.collect()?;
    }
    Ok(times)
}

fn of_rules(datapath: &RealDatapath, times: &mut Times) -> anyhow::Result<()> {
    let (name, mut rules) = (link(1)?, (0..RULES).map(|n| from(addresses(n))).collect::<Vec<_>>());
    datapath.set_port(&name, &port(1, Vec::new()))?;
    let whole = port(1, rules.clone());
    times.rules.add(timed(|| datapath.set_port(&name, &whole))?);
    rules[RULES as usize / 2].action = Action::Allow;
    let changed = port(1, rules);
    times.one_rule.add(timed(|| datapath.set_port(&name, &changed))?);
    datapath.set_port(&name, &port(1, Vec::new()))?;
    Ok(())
}

fn of_sets(datapath: &RealDatapath, times: &mut Times) -> anyhow::Result<()> {
    datapath.set_sets(network(), &Arc::default())?;
    for n in 1..=PORTS {
        datapath.set_port(&link(n)?, &port(n, vec![from(Addresses::Sets(vec![SET.to_owned()]))]))?;
    }
    let members = |count| (0..count).map(|n| Cidr::host(address(n))).collect();
    let sets = [MEMBERS, MEMBERS + 1].map(|count| Arc::new(Sets::new([(SET.to_owned(), members(count))])));
    times.set.add(timed(|| datapath.set_sets(network(), &sets[0]))?);
    times.one_member.add(timed(|| datapath.set_sets(network(), &sets[1]))?);
    Ok(())
}

fn timed<E>(work: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
    let begin = Instant::now();
    work().map(|()| begin.elapsed())
}

fn link(n: u32) -> anyhow::Result<IfName> {
    format!("hnv{n}").parse().context("a name of a link")
}

fn network() -> Guid {
    Guid::from_bytes([7; 16])
}

fn address(n: u32) -> std::net::IpAddr {
    std::net::Ipv4Addr::from(0x0b00_0000 + 2 * n).into()
}

fn addresses(n: u32) -> Addresses {
    Addresses::Prefixes(vec![Cidr::host(address(n))])
}

fn from(remote: Addresses) -> Rule {
    Rule {
        id: String::new(),
        origin: Origin::Endpoint,
        priority: 100,
        action: Action::Block,
        matches: Match { remote, ..Match::default() },
    }
}

fn port(n: u32, rules: Vec<Rule>) -> Arc<Port> {
    let acl = Acl { tiers: Vec::new(), rules, fallback: Verdict::Allow };
    Arc::new(Port {
        endpoint: Guid::from_bytes([u8::try_from(n).unwrap_or(0); 16]),
        network: network(),
        mac: Mac::from_u64(0x0200_0000_0000 + u64::from(n)),
        addresses: Vec::new(),
        guards: Guards::ALL,
        blocked: false,
        quiet: false,
        plain_redirect: false,
        ruled: false,
        confined: None,
        external: None,
        reflected: false,
        overlay: false,
        behind_host: [false; 2],
        acl: both(acl, Acl::open()),
        meters: [None; 2],
    })
}

impl Times {
    fn promises(&self) -> impl Iterator<Item = Promise> {
        let rows = [
            ("10,000 rules on one port, p50 ms", &self.rules, 150.0),
            ("one rule among 10,000, p50 ms", &self.one_rule, 100.0),
            ("a set of 50,000 addresses named by 100 ports, p50 ms", &self.set, 150.0),
            ("one member more, p50 ms", &self.one_member, 2.0),
        ];
        rows.into_iter().filter_map(|(what, samples, limit)| {
            let middle = samples.p50()?.as_secs_f64() * 1000.0;
            Some(Promise::at_most(what, middle, limit))
        })
    }
}
