//! One endpoint's life, measured with more and more of our endpoints present.

use anyhow::Context;
use hns_testbed::{Api, Hnsd, Host, Lab};
use serde_json::Value;

use crate::at_once::AtOnce;
use crate::cni::Cni;
use crate::contender::{Runner, make_namespaces};
use crate::kernel::Kernel;
use crate::netavark::Netavark;
use crate::ours::{self, Ours};
use crate::report::{Report, Row, Stage};

/// How many of our endpoints are present while one more is measured.
const POPULATIONS: [usize; 3] = [0, 500, 5000];
/// So many of them are on the network that is measured: more ports than one Linux bridge can have.
const ON_ONE_NETWORK: usize = 1500;
const ON_EACH_OTHER: usize = 500;
const WARM_UP_ROUNDS: usize = 8;
/// A peer takes part in each so many rounds: it needs a hundred times as long.
const PEER_EVERY: usize = 6;
/// The first contenders, which are no peers of ours.
pub const OF_EVERY_ROUND: usize = 3;
/// Of each endpoint of the one with rules, which is alone on its host.
const ACLS: u16 = 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Endpoints that are created and deleted for each population
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// So many are created before as many are deleted; 1 shows how a delete's aftermath slows the next create
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=32))]
    batch: u16,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Without CNI and netavark
    #[arg(long)]
    no_peers: bool,
    /// Only many clients at once
    #[arg(long)]
    at_once: bool,
    /// Only the empty host and this many endpoints
    #[arg(long, value_name = "ENDPOINTS")]
    only: Option<usize>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut report = Report::default();
    if !arguments.at_once {
        report.stages = one_by_one(arguments)?;
    }
    report.at_once = Some(AtOnce::measure(&Lab::new())?);
    report.print(arguments.json);
    Ok(())
}

/// One client's endpoints, with more and more of ours present.
fn one_by_one(arguments: &Arguments) -> anyhow::Result<Vec<Stage>> {
    let lab = Lab::new();
    let host = lab.host("ours");
    let hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let network = ours::network(&mut api, "bench0", "10.100.0.0/16").context("making a network")?;
    let ruled = Hnsd::start(&lab.host("ruled"));
    let network_of_ruled =
        ours::network(&mut ruled.api(), "bench0", "10.100.0.0/16").context("making a network")?;
    let mut runners = vec![
        start_ours(&hnsd, "hnsd", &network, Vec::new())?,
        start_kernel(&lab.host("kernel"))?,
        start_ours(&ruled, "hnsd, ACLs", &network_of_ruled, ours::acls(ACLS))?,
    ];
    if !arguments.no_peers {
        runners.extend([start_cni(&lab.host("cni"))?, start_netavark(&lab.host("netavark"))?]);
    }

    let mut population = Population { api, networks: vec![network], present: 0 };
    let mut stages = Vec::new();
    let wanted = arguments.only.map_or(POPULATIONS.to_vec(), |only| vec![0, only]);
    for present in wanted {
        population.grow(&host, present)?;
        measure(&mut runners, arguments)?;
        let rows = runners.iter_mut().map(Row::take).collect();
        stages.push(Stage { present, resident_kib: hnsd.resident_kib(), rows });
    }
    Ok(stages)
}

/// In each round everyone takes a turn: the machine's speed drifts, and so it drifts for all alike. A batch of rounds
/// creates, then the same batch deletes.
fn measure(runners: &mut [Runner], arguments: &Arguments) -> anyhow::Result<()> {
    let rounds: Vec<usize> = (0..WARM_UP_ROUNDS + arguments.rounds).collect();
    let counts = |round: usize| round >= WARM_UP_ROUNDS;
    for batch in rounds.chunks(usize::from(arguments.batch)) {
        for &round in batch {
            turn(runners, round, |runner| runner.create(round, counts(round)))?;
        }
        for &round in batch {
            turn(runners, round, |runner| runner.delete(round, counts(round)))?;
        }
    }
    Ok(())
}

/// Ours, without rules and with some, and the kernel take part in every round, the peers in some.
fn turn(
    runners: &mut [Runner],
    round: usize,
    act: impl Fn(&mut Runner) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let taking_part = if round.is_multiple_of(PEER_EVERY) { runners.len() } else { OF_EVERY_ROUND };
    runners[..taking_part].iter_mut().try_for_each(act)
}

fn start_ours(hnsd: &Hnsd, name: &'static str, network: &str, rules: Vec<Value>) -> anyhow::Result<Runner> {
    let (socket, network) = (hnsd.socket(), network.to_owned());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Runner::start(hnsd.host(), name, version, move |slots| Ours::new(&socket, network, rules, slots))
}

fn start_kernel(host: &Host) -> anyhow::Result<Runner> {
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Runner::start(host, "kernel", version, |_| Kernel::new())
}

fn start_cni(host: &Host) -> anyhow::Result<Runner> {
    let data = host.folder().join("cni").display().to_string();
    let cni = Cni::new(&data)?;
    Runner::start(host, "CNI", cni.version(), move |_| Ok(cni))
}

fn start_netavark(host: &Host) -> anyhow::Result<Runner> {
    let config = host.folder().join("netavark").display().to_string();
    let netavark = Netavark::new(&config)?;
    Runner::start(host, "netavark", netavark.version(), move |_| Ok(netavark))
}

/// Our endpoints that are simply there, each in a namespace of its own and with a published port.
struct Population {
    api: Api,
    networks: Vec<String>,
    present: usize,
}

impl Population {
    fn grow(&mut self, host: &Host, wanted: usize) -> anyhow::Result<()> {
        let prefix = format!("from{}-", self.present);
        make_namespaces(host, &prefix, wanted.saturating_sub(self.present));
        for number in self.present..wanted {
            let network = self.network_of(number)?;
            let path = format!("/run/netns/{prefix}{}", number - self.present);
            let namespace = ours::register(&mut self.api, &path)?;
            let port = 30_000 + u16::try_from(number).context("ports end at 65,535")?;
            ours::create(&mut self.api, &network, &namespace, port)
                .with_context(|| format!("endpoint {number} of the population"))?;
        }
        self.present = self.present.max(wanted);
        Ok(())
    }

    /// The first ones on the measured network, the others by the hundreds on more networks, made as they fill up.
    fn network_of(&mut self, number: usize) -> anyhow::Result<String> {
        let index = if number < ON_ONE_NETWORK { 0 } else { 1 + (number - ON_ONE_NETWORK) / ON_EACH_OTHER };
        while self.networks.len() <= index {
            let next = self.networks.len();
            let subnet = format!("10.{}.0.0/16", 100 + next);
            self.networks.push(ours::network(&mut self.api, &format!("bench{next}"), &subnet)?);
        }
        Ok(self.networks[index].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_can_be_measured() {
        hns_testbed::needs!(root, "ip");
        let lab = Lab::new();
        let mut runner = start_kernel(&lab.host("kernel")).unwrap();
        for round in 0..3 {
            runner.create(round, round > 0).unwrap();
            runner.delete(round, round > 0).unwrap();
        }
        assert_eq!((runner.creates.count(), runner.deletes.count()), (2, 2));
    }
}
