//! The front doors: what an engine waits for with our drivers, and with its own.

use anyhow::Context;
use hns_testbed::engines::{Dockerd, Release};
use hns_testbed::{Hnsd, Host, Lab};
use serde_json::{Value, json};

use crate::cni::Cni;
use crate::contender::{Contender, Runner, SLOTS, Slot, make_namespaces};
use crate::docker;
use crate::netavark::Netavark;
use crate::samples::Samples;

/// How many endpoints are present, made through the same door.
const POPULATIONS: [usize; 2] = [0, 200];
const WARM_UP_ROUNDS: usize = 3;
/// The slots above these hold the population of the doors that take a namespace.
const MEASURED_SLOTS: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often each operation is measured for each population
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Only the doors whose name contains this word: CNI, netavark, connect, start
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

/// A door with our driver behind it, and with the engine's own.
struct Duel {
    name: &'static str,
    /// What both are the difference to, if they contain more than the network's part.
    floor: Option<Runner>,
    ours: Runner,
    theirs: Runner,
    /// How many times faster ours must be.
    times: f64,
    grow: Grow,
}

/// The middle times of one duel, in milliseconds.
struct Row {
    name: &'static str,
    present: usize,
    create: [f64; 2],
    delete: [f64; 2],
    times: f64,
    versions: [String; 2],
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new();
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word.as_str()));
    let mut duels = Vec::new();
    if wanted("CNI") {
        duels.push(cni(&lab)?);
    }
    if wanted("netavark") {
        duels.push(netavark(&lab)?);
    }
    let docker = ["Docker connect", "Docker start"].into_iter().any(wanted).then(|| DockerHost::start(&lab));
    if let Some(docker) = docker.transpose()? {
        duels.extend(docker.duels(&wanted)?);
    }
    let mut rows = Vec::new();
    for present in POPULATIONS {
        for duel in &mut duels {
            (duel.grow)(present).with_context(|| format!("{}: {present} endpoints", duel.name))?;
            rows.push(duel.fight(present, arguments.rounds)?);
        }
    }
    print(&rows, arguments.json);
    Ok(())
}

fn cni(lab: &Lab) -> anyhow::Result<Duel> {
    let (here, there) = (lab.host("cni-ours"), lab.host("cni-theirs"));
    let hnsd = Hnsd::start(&here);
    let ours = Cni::ours(&hnsd.socket());
    let theirs = Cni::new(&there.folder().join("cni").display().to_string())?;
    let version = theirs.version();
    let sides = Sides { ours: (here, "hns-cni", ours), theirs: (there, "bridge", theirs) };
    sides.duel("CNI ADD, DEL", version, hnsd)
}

fn netavark(lab: &Lab) -> anyhow::Result<Duel> {
    let (here, there) = (lab.host("netavark-ours"), lab.host("netavark-theirs"));
    let hnsd = Hnsd::start(&here);
    let config = |host: &Host| host.folder().join("netavark").display().to_string();
    let ours = Netavark::with_our_plugin(&config(&here), &hnsd.socket())?;
    let theirs = Netavark::new(&config(&there))?;
    let version = theirs.version();
    let sides = Sides { ours: (here, "hns-netavark", ours), theirs: (there, "bridge", theirs) };
    sides.duel("netavark setup, teardown", version, hnsd)
}

/// Two plugins that are programs, each in a host of its own.
struct Sides<C> {
    ours: (Host, &'static str, C),
    theirs: (Host, &'static str, C),
}

impl<C: Contender + Clone + Send + 'static> Sides<C> {
    fn duel(self, name: &'static str, version: String, hnsd: Hnsd) -> anyhow::Result<Duel> {
        let start = |(host, name, contender): &(Host, &'static str, C), version: String| {
            let contender = contender.clone();
            Runner::start(host, name, version, move |_| Ok(contender))
        };
        let ours = start(&self.ours, env!("CARGO_PKG_VERSION").to_owned())?;
        let theirs = start(&self.theirs, version)?;
        let mut sides = Some(self);
        let grow = Box::new(move |present| {
            let _alive = &hnsd;
            let Some(sides) = sides.take_if(|_| present > 0) else { return Ok(()) };
            [sides.ours, sides.theirs]
                .into_iter()
                .try_for_each(|(host, _, contender)| crowd(&host, contender, present))
        });
        Ok(Duel { name, floor: None, ours, theirs, times: 5.0, grow })
    }
}

/// Fills a host: each endpoint in a namespace of its own.
fn crowd<C: Contender + Send + 'static>(host: &Host, mut contender: C, present: usize) -> anyhow::Result<()> {
    make_namespaces(host, "p", present);
    host.inside(move || {
        (0..present).try_for_each(|number| {
            let port = 30_000 + u16::try_from(number).context("ports end at 65,535")?;
            // Beyond the slots of the measured ones, whose addresses and ids follow from their numbers.
            contender.create(&Slot { number: SLOTS + number, netns: format!("/run/netns/p{number}"), port })
        })
    })
}

/// Makes so many endpoints present on both sides.
type Grow = Box<dyn FnMut(usize) -> anyhow::Result<()>>;

/// One Docker daemon with a network of each kind.
struct DockerHost {
    host: Host,
    _hnsd: Hnsd,
    docker: Dockerd,
}

impl DockerHost {
    fn start(lab: &Lab) -> anyhow::Result<Self> {
        let host = lab.host("docker");
        let hnsd = Hnsd::start(&host);
        let docker = Dockerd::start(&host, Release::Newest);
        docker::network(&docker.socket(), "ours", "nat", "10.61.0.0/16", false)?;
        docker::network(&docker.socket(), "theirs", "bridge", "10.62.0.0/16", false)?;
        docker::network(&docker.socket(), docker::INSIDE, "bridge", "10.63.0.0/24", true)?;
        Ok(Self { host, _hnsd: hnsd, docker })
    }

    fn duels(self, wanted: &impl Fn(&str) -> bool) -> anyhow::Result<Vec<Duel>> {
        // The contenders are in the host, where this is its name.
        let socket = std::path::PathBuf::from("/run/docker.sock");
        let version = self.docker.run(&["version", "--format", "{{.Server.Version}}"]);
        let runner = |network: &'static str, make: Box<dyn FnOnce() -> anyhow::Result<AnyDocker> + Send>| {
            Runner::start(&self.host, network, version.clone(), move |_| make())
        };
        let connect = |network: &'static str, port: u16| {
            let socket = socket.clone();
            runner(
                network,
                Box::new(move || docker::Connect::new(&socket, network, port).map(AnyDocker::Connect)),
            )
        };
        let start = |network: &'static str, port: u16| {
            let socket = socket.clone();
            runner(
                network,
                Box::new(move || docker::Start::new(&socket, network, port).map(AnyDocker::Start)),
            )
        };
        let mut duels = Vec::new();
        let nothing = || -> Grow { Box::new(|_| Ok(())) };
        if wanted("Docker connect") {
            let (ours, theirs) = (connect("ours", 18_083)?, connect("theirs", 18_084)?);
            duels.push(Duel {
                name: "Docker connect, disconnect",
                floor: None,
                ours,
                theirs,
                times: 1.0,
                grow: nothing(),
            });
        }
        if wanted("Docker start") {
            let floor = Some(start("none", 0)?);
            let (ours, theirs) = (start("ours", 18_081)?, start("theirs", 18_082)?);
            duels.push(Duel {
                name: "Docker start, kill: network's part",
                floor,
                ours,
                theirs,
                times: 1.0,
                grow: nothing(),
            });
        }
        // The containers of the population serve all of Docker's duels; the first to grow makes them.
        if let Some(first) = duels.first_mut() {
            let docker = self;
            first.grow = Box::new(move |present| {
                // The whole of it, not the field alone: the daemon ends with it.
                let alive = &docker;
                let socket = alive.docker.socket();
                docker::populate(&socket, "ours", present)?;
                docker::populate(&socket, "theirs", present)
            });
        }
        Ok(duels)
    }
}

/// The two ways to measure Docker, which share the rest.
enum AnyDocker {
    Connect(docker::Connect),
    Start(docker::Start),
}

impl Contender for AnyDocker {
    fn create(&mut self, slot: &Slot) -> anyhow::Result<()> {
        match self {
            Self::Connect(connect) => connect.create(slot),
            Self::Start(start) => start.create(slot),
        }
    }

    fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        match self {
            Self::Connect(connect) => connect.delete(slot),
            Self::Start(start) => start.delete(slot),
        }
    }
}

impl Duel {
    /// Everyone takes a turn in each round: the machine's speed drifts, and so it drifts for all alike.
    fn fight(&mut self, present: usize, rounds: usize) -> anyhow::Result<Row> {
        for round in 0..WARM_UP_ROUNDS + rounds {
            let counts = round >= WARM_UP_ROUNDS;
            let slot = round % MEASURED_SLOTS;
            let mut runners: Vec<_> =
                self.floor.iter_mut().chain([&mut self.ours, &mut self.theirs]).collect();
            // Who is first finds what the last round left to do.
            let first = round % runners.len();
            runners.rotate_left(first);
            runners.iter_mut().try_for_each(|runner| runner.create(slot, counts))?;
            runners.iter_mut().try_for_each(|runner| runner.delete(slot, counts))?;
        }
        let mut floor = self.floor.as_mut().map(take);
        let [ours, theirs] =
            [&mut self.ours, &mut self.theirs].map(|runner| (take(runner), runner.version.clone()));
        let floor = floor.get_or_insert([0.0; 2]);
        Ok(Row {
            name: self.name,
            present,
            create: [ours.0[0] - floor[0], theirs.0[0] - floor[0]],
            delete: [ours.0[1] - floor[1], theirs.0[1] - floor[1]],
            times: self.times,
            versions: [ours.1, theirs.1],
        })
    }
}

/// Takes the middle times of create and delete out of a runner, in milliseconds.
fn take(runner: &mut Runner) -> [f64; 2] {
    let middle = |samples: Samples| samples.p50().map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    [middle(std::mem::take(&mut runner.creates)), middle(std::mem::take(&mut runner.deletes))]
}

impl Row {
    fn faster(&self) -> f64 {
        self.create[1] / self.create[0]
    }

    fn json(&self) -> Value {
        json!({
            "what": self.name, "endpoints_present": self.present, "versions": self.versions,
            "create_ms": {"ours": self.create[0], "theirs": self.create[1]},
            "delete_ms": {"ours": self.delete[0], "theirs": self.delete[1]},
            "times_faster": self.faster(), "at_least": self.times, "kept": self.faster() >= self.times,
        })
    }
}

#[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
fn print(rows: &[Row], as_json: bool) {
    if as_json {
        println!("{:#}", Value::Array(rows.iter().map(Row::json).collect()));
        return;
    }
    println!(
        "Middle times in milliseconds as the engine waits for them, for an endpoint with a published port."
    );
    println!("Both sides have as many endpoints present.\n");
    println!(
        "{:<36}{:>8}{:>10}{:>10}{:>10}{:>10}{:>9}",
        "", "present", "ours", "theirs", "ours", "theirs", "faster"
    );
    for row in rows {
        let verdict = if row.faster() >= row.times { "kept" } else { "MISSED" };
        println!(
            "{:<36}{:>8}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>8.1}x  {verdict} (at least {}x)",
            row.name,
            row.present,
            row.create[0],
            row.create[1],
            row.delete[0],
            row.delete[1],
            row.faster(),
            row.times,
        );
    }
    if let Some(versions) = rows.first().map(|row| &row.versions) {
        println!(
            "\nours {}; theirs: {}",
            versions[0],
            rows.iter()
                .map(|row| row.versions[1].as_str())
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
}
