//! Killing the daemon at random points of random operations, and looking for what is lost and what is left over.
//!
//! Each round: some clients create, change and delete at random until the daemon is killed under them; it is started again;
//! then everything that was acknowledged must be there ([`memory`]), and the kernel must hold exactly what the documents
//! say ([`facts`]).
//!
//! What an operation whose answer never came has done is open: either is right, but documents and kernel must agree.

mod adapter;
mod chance;
mod client;
mod facts;
mod memory;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Answer, Api, ApiError, Hnsd, Host, Netns};
use chance::Chance;
use client::Client;
use memory::Memory;

const CLIENTS: u64 = 4;
/// Which networks share with the host.
const ADAPTER: &str = "eth0";
/// Namespaces that exist before and outlive everything.
const GIVEN_NAMESPACES: usize = 10;
/// The daemon is killed at most so many answers and, after them, so many microseconds after its start.
const ANSWERS_BEFORE_THE_END: u64 = 60;
const MICROSECONDS_BEFORE_THE_END: u64 = 3_000;

/// What some rounds came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How often the daemon was killed.
    pub rounds: u32,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations that were refused, as a busy port or namespace is.
    pub refused: u64,
    /// Operations whose answer never came.
    pub unanswered: u64,
    /// The longest time from the start to "ready".
    pub slowest_start: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed {} times: {} operations acknowledged, {} refused, {} unanswered; nothing lost, nothing left over; \
             ready again after at most {:.0?}",
            self.rounds, self.acknowledged, self.refused, self.unanswered, self.slowest_start
        )
    }
}

/// What the clients of all rounds share.
#[derive(Debug)]
struct World {
    /// A dual stack network that is never deleted.
    network: String,
    /// The ids of the given namespaces.
    namespaces: Vec<String>,
    memory: Memory,
    answers: AtomicU64,
}

/// Starts a daemon in `host` and kills it `rounds` times.
///
/// # Panics
/// When something acknowledged is lost or something is left over, with the round and the seed.
#[track_caller]
pub fn rounds(host: &Host, seed: u64, rounds: u32) -> Report {
    let mut hnsd = Hnsd::builder(host).env("HNS_DEFAULT_NETWORK", "false").start();
    let mut chance = Chance::new(seed);
    let world = Arc::new(prepare(host, &mut hnsd.api()));
    let mut report = Report { rounds, ..Report::default() };
    for round in 0..rounds {
        let context = format!("round {round} of seed {seed}");
        let begin = world.answers.load(Ordering::Relaxed);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| Client::new(hnsd.api(), Arc::clone(&world), Chance::new(chance.next())))
            .map(|client| std::thread::spawn(move || client.work()))
            .collect();
        wait(
            &world.answers,
            begin + chance.below(ANSWERS_BEFORE_THE_END),
            chance.below(MICROSECONDS_BEFORE_THE_END),
        );
        hnsd.kill9();
        for client in clients {
            let done = client
                .join()
                .unwrap_or_else(|_| panic!("{context}: a client fell; hnsd said:\n{}", hnsd.log()));
            report.acknowledged += done.acknowledged;
            report.refused += done.refused;
            report.unanswered += done.unanswered;
        }
        let begin = Instant::now();
        hnsd.start_again();
        report.slowest_start = report.slowest_start.max(begin.elapsed());
        world.memory.compare(&mut hnsd.api(), &context, &hnsd);
        facts::compare(&hnsd, &context);
        works(&hnsd, &mut chance, &context);
    }
    report
}

/// Spins, since neither an answer nor a microsecond can be slept for.
fn wait(answers: &AtomicU64, wanted: u64, microseconds: u64) {
    let begin = Instant::now();
    while answers.load(Ordering::Relaxed) < wanted && begin.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    let end = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

fn prepare(host: &Host, api: &mut Api) -> World {
    let subnets = json!([{"IpAddressPrefix": "10.77.0.0/16"}, {"IpAddressPrefix": "fd00:77::/64"}]);
    let network = json!({"Name": "crash", "Type": "NAT", "Ipams": [{"Type": "Static", "Subnets": subnets}]});
    let network = must(api.post("/v2/networks", &network)).id();
    let namespaces = (0..GIVEN_NAMESPACES).map(|number| {
        let _kept_by_its_name = host.add_netns(&format!("given{number}"));
        let path = format!("/run/netns/given{number}");
        let document = json!({"Type": "Host", "AdditionalParams": {"Path": path}});
        must(api.post("/v2/namespaces", &document)).id()
    });
    let namespaces: Vec<String> = namespaces.collect();
    let memory = Memory::of_fixed(namespaces.iter().chain([&network]));
    World { network, namespaces, memory, answers: AtomicU64::new(0) }
}

#[track_caller]
fn must(answer: Result<Answer, ApiError>) -> Answer {
    answer.unwrap_or_else(|error| panic!("the daemon runs: {error}"))
}

/// What is there does what it is for: an attached endpoint reaches its gateway, and every network hands out the first
/// address that nobody has.
#[track_caller]
fn works(hnsd: &Hnsd, chance: &mut Chance, context: &str) {
    let mut api = hnsd.api();
    let networks = must(api.get("/v2/networks")).expect_success();
    let endpoints = must(api.get("/v2/endpoints")).expect_success();
    for network in list(&networks) {
        let Some(expected) = first_free(network, list(&endpoints)) else { continue };
        let made =
            must(api.post("/v2/endpoints", &json!({"HostComputeNetwork": network["ID"]}))).expect_success();
        let given = text(&made["IpConfigurations"][0]["IpAddress"]);
        assert_eq!(given, expected.to_string(), "{context}: an address of {} leaked", network["Name"]);
        let gone = must(api.delete(&format!("/v2/endpoints/{}", text(&made["ID"]))));
        assert_eq!(gone.status, 204, "{context}: {}", gone.text);
    }
    let namespaces = must(api.get("/v2/namespaces")).expect_success();
    if let Some((netns, gateway)) =
        somebody(hnsd, list(&networks), list(&endpoints), list(&namespaces), chance)
    {
        assert!(netns.ping(gateway), "{context}: no answer from {gateway}");
    }
}

/// The lowest IPv4 address of a network that no endpoint has; networks without IPv4 have none to tell.
fn first_free(network: &Value, endpoints: &[Value]) -> Option<Ipv4Addr> {
    let gateway = list(&network["Ipams"][0]["Subnets"]).iter().find_map(|subnet| {
        let prefix: Ipv4Addr = text(&subnet["IpAddressPrefix"]).split('/').next()?.parse().ok()?;
        Some((prefix, text(&subnet["Routes"][0]["NextHop"]).parse::<Ipv4Addr>().ok()))
    });
    let (prefix, gateway) = gateway?;
    let of_network = endpoints.iter().filter(|endpoint| endpoint["HostComputeNetwork"] == network["ID"]);
    let taken: Vec<Ipv4Addr> = of_network
        .flat_map(|endpoint| list(&endpoint["IpConfigurations"]))
        .filter_map(|one| text(&one["IpAddress"]).parse().ok())
        .chain(gateway)
        .collect();
    (1..).map(|offset| Ipv4Addr::from(u32::from(prefix) + offset)).find(|address| !taken.contains(address))
}

/// One attached endpoint of a NAT network, alone in its namespace, and its gateway.
fn somebody(
    hnsd: &Hnsd,
    networks: &[Value],
    endpoints: &[Value],
    namespaces: &[Value],
    chance: &mut Chance,
) -> Option<(Netns, Ipv4Addr)> {
    let alone = namespaces.iter().filter(|namespace| list(&namespace["Resources"]).len() == 1);
    let candidates: Vec<(Netns, Ipv4Addr)> = alone
        .filter_map(|namespace| {
            let endpoint = endpoints.iter().find(|one| one["HostComputeNamespace"] == namespace["ID"])?;
            let network = networks.iter().find(|one| one["ID"] == endpoint["HostComputeNetwork"])?;
            let subnet = &network["Ipams"][0]["Subnets"][0];
            let gateway =
                text(&subnet["Routes"][0]["NextHop"]).parse().ok().filter(|_| network["Type"] == "NAT")?;
            Some((hnsd.host().netns_at(text(&namespace["AdditionalParams"]["Path"])), gateway))
        })
        .collect();
    let count = u64::try_from(candidates.len()).ok().filter(|count| *count > 0)?;
    candidates.into_iter().nth(usize::try_from(chance.below(count)).ok()?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
