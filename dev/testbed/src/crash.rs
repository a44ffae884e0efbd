//! Killing the daemon at random points of random operations, and looking for what is lost and what is left over.
//!
//! Each round: some clients create, change and delete at random until the daemon is killed under them; it is started again;
//! then everything that was acknowledged must be there, and the kernel must hold exactly what the documents say.
//!
//! What an operation whose answer never came has done is open: either is right, but documents and kernel must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Answer, Api, ApiError, Hnsd, Host, eventually};

const CLIENTS: u64 = 3;
/// Namespaces that exist before and outlive everything, one endpoint each at most.
const GIVEN_NAMESPACES: u64 = 12;
/// Published ports are taken from here, so that a number from here in the ruleset is a published port.
const PORTS: std::ops::Range<u64> = 20_000..30_000;
/// The longest time that a daemon lives under its clients.
const LONGEST_LIFE: Duration = Duration::from_millis(80);

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

/// Starts a daemon in `host` and kills it `rounds` times.
///
/// # Panics
/// When something acknowledged is lost or something is left over, with the round and the seed.
#[track_caller]
pub fn rounds(host: &Host, seed: u64, rounds: u32) -> Report {
    let mut hnsd = Hnsd::start(host);
    let mut chance = Chance::new(seed);
    let mut api = hnsd.api();
    let world = Arc::new(prepare(host, &mut api));
    drop(api);
    let mut report = Report { rounds, ..Report::default() };
    for round in 0..rounds {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (api, world, chance) = (hnsd.api(), Arc::clone(&world), Chance::new(chance.next()));
                std::thread::spawn(move || Client { api, world, chance }.work())
            })
            .collect();
        pause(LONGEST_LIFE.mul_f64(chance.part()));
        hnsd.kill9();
        for client in clients {
            let done = client.join().expect("a client ends with its connection");
            report.acknowledged += done.acknowledged;
            report.refused += done.refused;
            report.unanswered += done.unanswered;
        }
        let begin = Instant::now();
        hnsd.start_again();
        report.slowest_start = report.slowest_start.max(begin.elapsed());
        let context = format!("round {round} of seed {seed}");
        world.settle(&hnsd, &context);
        check_kernel(&hnsd, &context);
    }
    report
}

#[expect(clippy::disallowed_methods, reason = "the daemon is killed at a random time, not at an event")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn prepare(host: &Host, api: &mut Api) -> World {
    let subnets = json!([{"IpAddressPrefix": "10.77.0.0/16"}, {"IpAddressPrefix": "fd00:77::/64"}]);
    let network = json!({"Name": "crash", "Type": "NAT", "Ipams": [{"Type": "Static", "Subnets": subnets}]});
    let network = must(api.post("/v2/networks", &network)).id();
    let mut namespaces = Vec::new();
    for number in 0..GIVEN_NAMESPACES {
        let _kept_by_its_name = host.add_netns(&format!("given{number}"));
        let path = format!("/run/netns/given{number}");
        let document = json!({"Type": "Host", "AdditionalParams": {"Path": path}});
        namespaces.push(must(api.post("/v2/namespaces", &document)).id());
    }
    World { network, namespaces, known: Mutex::default() }
}

#[track_caller]
fn must(answer: Result<Answer, ApiError>) -> Answer {
    answer.unwrap_or_else(|error| panic!("the daemon runs: {error}"))
}

/// What the clients know to be there: an object's path in the API, or nothing about an id they never heard.
#[derive(Debug)]
struct World {
    network: String,
    namespaces: Vec<String>,
    known: Mutex<BTreeMap<String, Certainty>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// Its creation was acknowledged.
    There,
    /// Its deletion was acknowledged.
    Gone,
    /// Its deletion was asked for and never answered.
    Open,
}

impl World {
    fn note(&self, path: &str, certainty: Certainty) {
        self.known.lock().expect("no client panics").insert(path.to_owned(), certainty);
    }

    /// Compares with the daemon's documents, and takes over what was open.
    #[track_caller]
    fn settle(&self, hnsd: &Hnsd, context: &str) {
        let mut api = hnsd.api();
        let mut there = BTreeSet::new();
        for kind in ["networks", "endpoints", "namespaces"] {
            let all = must(api.get(&format!("/v2/{kind}"))).expect_success();
            there.extend(ids(&all).map(|id| format!("/v2/{kind}/{id}")));
        }
        let mut known = self.known.lock().expect("no client panics");
        for (path, certainty) in &*known {
            match certainty {
                Certainty::There => assert!(there.contains(path), "{context}: lost {path}\n{}", hnsd.log()),
                Certainty::Gone => {
                    assert!(!there.contains(path), "{context}: came back: {path}\n{}", hnsd.log());
                }
                Certainty::Open => {}
            }
        }
        let ours = there.into_iter().filter(|path| !self.is_fixed(path));
        *known = ours.map(|path| (path, Certainty::There)).collect();
    }

    /// What was there before the first round is not the clients' to delete; nor is the daemon's own network.
    fn is_fixed(&self, path: &str) -> bool {
        let id = path.rsplit('/').next().unwrap_or_default();
        self.namespaces.iter().any(|fixed| fixed == id) || (path.starts_with("/v2/networks/"))
    }
}

fn ids(documents: &Value) -> impl Iterator<Item = &str> {
    documents.as_array().into_iter().flatten().filter_map(|document| document["ID"].as_str())
}

/// One connection that does random things until it breaks.
struct Client {
    api: Api,
    world: Arc<World>,
    chance: Chance,
}

#[derive(Debug, Default)]
struct Done {
    acknowledged: u64,
    refused: u64,
    unanswered: u64,
}

impl Client {
    fn work(mut self) -> Done {
        let mut done = Done::default();
        loop {
            match self.step() {
                Ok(true) => done.acknowledged += 1,
                Ok(false) => done.refused += 1,
                Err(_) => {
                    done.unanswered += 1;
                    return done;
                }
            }
        }
    }

    /// One random operation; whether it was acknowledged.
    fn step(&mut self) -> Result<bool, ApiError> {
        match self.chance.below(10) {
            0..=4 => self.create_endpoint(),
            5..=6 => self.delete(),
            7 => self.create_namespace(),
            8 => self.publish(),
            _ => self.detach(),
        }
    }

    fn create_endpoint(&mut self) -> Result<bool, ApiError> {
        let mut document = json!({"Policies": []});
        if self.chance.below(4) > 0 {
            let namespaces = &self.world.namespaces;
            let index = self.chance.below(GIVEN_NAMESPACES);
            document["HostComputeNamespace"] = json!(namespaces[usize::try_from(index).expect("a dozen")]);
        }
        for _ in 0..self.chance.below(3) {
            let policy = self.mapping();
            document["Policies"].as_array_mut().expect("made above").push(policy);
        }
        let path = format!("/v2/networks/{}/endpoints", self.world.network);
        let answer = self.api.post(&path, &document)?;
        Ok(self.created("endpoints", &answer))
    }

    fn create_namespace(&mut self) -> Result<bool, ApiError> {
        let answer = self.api.post("/v2/namespaces", &json!({"Type": "Host"}))?;
        Ok(self.created("namespaces", &answer))
    }

    fn created(&self, kind: &str, answer: &Answer) -> bool {
        let made = answer.status == 201;
        if let (true, Some(id)) = (made, answer.body["ID"].as_str()) {
            self.world.note(&format!("/v2/{kind}/{id}"), Certainty::There);
        }
        made
    }

    fn delete(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/") else { return Ok(false) };
        self.world.note(&path, Certainty::Open);
        let answer = self.api.delete(&path)?;
        let gone = answer.status == 204 || answer.status == 404;
        self.world.note(&path, if gone { Certainty::Gone } else { Certainty::There });
        Ok(gone)
    }

    fn publish(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let mapping = self.mapping();
        let request =
            json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": [mapping]}});
        Ok(self.api.post(&format!("{path}/modify"), &request)?.status == 200)
    }

    fn detach(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let endpoint = self.api.get(&path)?.body;
        let Some(namespace) = endpoint["HostComputeNamespace"].as_str() else { return Ok(false) };
        let request = json!({"ResourceType": "Endpoint", "RequestType": "Remove",
            "Settings": {"EndpointId": endpoint["ID"]}});
        Ok(self.api.post(&format!("/v2/namespaces/{namespace}/modify"), &request)?.status == 200)
    }

    fn mapping(&mut self) -> Value {
        let port = PORTS.start + self.chance.below(PORTS.end - PORTS.start);
        let protocol = [6, 17][usize::try_from(self.chance.below(2)).expect("two")];
        json!({"Type": "PortMapping",
            "Settings": {"Protocol": protocol, "InternalPort": 80, "ExternalPort": port}})
    }

    /// Something that is there, so that no two clients delete one thing.
    fn pick(&mut self, prefix: &str) -> Option<String> {
        let known = self.world.known.lock().expect("no client panics");
        let there = known.iter().filter(|(path, is)| path.starts_with(prefix) && **is == Certainty::There);
        let all: Vec<&String> = there.map(|(path, _)| path).collect();
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        Some(all[usize::try_from(self.chance.below(count)).expect("an index")].clone())
    }
}

/// The kernel holds what the documents say: ports, addresses, published ports, namespaces, and nothing else of ours.
#[track_caller]
fn check_kernel(hnsd: &Hnsd, context: &str) {
    let mut api = hnsd.api();
    let endpoints = must(api.get("/v2/endpoints")).expect_success();
    let namespaces = must(api.get("/v2/namespaces")).expect_success();
    let wanted = documented(&endpoints, &namespaces);
    // The reaper removes links a moment after the answer; until then they count as ports.
    eventually!(within 10 s, {
        let seen = observed(hnsd, &wanted);
        let lacking: Vec<&String> = wanted.difference(&seen).collect();
        let left_over: Vec<&String> = seen.difference(&wanted).collect();
        if seen == wanted { Ok(()) } else { Err(format!("{context}: lacking {lacking:?}, left over {left_over:?}")) }
    });
}

/// What documents and kernel must agree on, each fact as a sentence.
type Facts = BTreeSet<String>;

fn documented(endpoints: &Value, namespaces: &Value) -> Facts {
    let path_of: BTreeMap<&str, &str> = list(namespaces)
        .iter()
        .map(|namespace| (text(&namespace["ID"]), text(&namespace["AdditionalParams"]["Path"])))
        .collect();
    let mut facts = Facts::new();
    let mut ports = 0;
    for endpoint in list(endpoints) {
        let Some(path) = path_of.get(text(&endpoint["HostComputeNamespace"])) else { continue };
        ports += 1;
        facts.extend(
            list(&endpoint["IpConfigurations"]).iter().map(|ip| has_address(path, text(&ip["IpAddress"]))),
        );
        let mappings = list(&endpoint["Policies"]).iter();
        facts.extend(
            mappings.filter_map(|policy| policy["Settings"]["ExternalPort"].as_u64()).map(is_published),
        );
    }
    facts.extend(
        path_of.values().filter(|path| !path.starts_with("/run/netns/given")).map(|path| is_made(path)),
    );
    facts.insert(format!("{ports} ports"));
    facts
}

#[track_caller]
fn observed(hnsd: &Hnsd, wanted: &Facts) -> Facts {
    let host = hnsd.host();
    let mut facts = observed_in_table(host, wanted);
    let ports = host.links().iter().filter(|name| name.starts_with("hnv")).count();
    facts.insert(format!("{ports} ports"));
    let folder = hnsd.run_dir().join("netns");
    let entries = std::fs::read_dir(host.path(&folder)).into_iter().flatten().flatten();
    let made: Vec<String> =
        entries.map(|entry| folder.join(entry.file_name()).display().to_string()).collect();
    facts.extend(made.iter().map(|path| is_made(path)));
    for path in
        made.into_iter().chain((0..GIVEN_NAMESPACES).map(|number| format!("/run/netns/given{number}")))
    {
        facts.extend(addresses(host, Path::new(&path)).iter().map(|address| has_address(&path, address)));
    }
    facts
}

/// The published ports in our table, and the addresses in it that no endpoint has.
#[track_caller]
fn observed_in_table(host: &Host, wanted: &Facts) -> Facts {
    let table = host.try_run(&["nft", "-j", "list", "table", "inet", "hns"]);
    let table: Value = serde_json::from_str(&table.stdout).unwrap_or_default();
    let (mut numbers, mut words) = (BTreeSet::new(), BTreeSet::new());
    for set in list(&table["nftables"]) {
        leaves(&set["set"]["elem"], &mut numbers, &mut words);
        leaves(&set["map"]["elem"], &mut numbers, &mut words);
    }
    let is_known = |word: &str| wanted.iter().any(|fact| fact.ends_with(&format!(" has {word}")));
    let strays = words.into_iter().filter(|word| is_an_endpoints(word) && !is_known(word));
    let published = numbers.into_iter().filter(|number| PORTS.contains(number)).map(is_published);
    published.chain(strays.map(|word| format!("a set element has {word}"))).collect()
}

fn has_address(path: &str, address: &str) -> String {
    format!("{path} has {address}")
}

fn is_published(port: u64) -> String {
    format!("port {port} is published")
}

fn is_made(path: &str) -> String {
    format!("{path} is there")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An address on the network of [`prepare`] that is not its gateway.
fn is_an_endpoints(word: &str) -> bool {
    let gateway = word == "10.77.0.1" || word == "fd00:77::1";
    (word.starts_with("10.77.") || word.starts_with("fd00:77::"))
        && !gateway
        && !word.contains('/')
        && word != "10.77.0.0"
        && word != "fd00:77::"
}

/// Every number and every word below a value, whatever the tables look like.
fn leaves(value: &Value, numbers: &mut BTreeSet<u64>, words: &mut BTreeSet<String>) {
    match value {
        Value::Number(number) => numbers.extend(number.as_u64()),
        Value::String(word) => words.extend([word.clone()]),
        Value::Array(all) => all.iter().for_each(|one| leaves(one, numbers, words)),
        Value::Object(all) => all.values().for_each(|one| leaves(one, numbers, words)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The addresses of the crash network that a namespace has.
#[track_caller]
fn addresses(host: &Host, path: &Path) -> Vec<String> {
    let output = host.netns_at(path).command("ip").args(["-j", "address"]).output().expect("ip is there");
    let links: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let links = links.as_array().cloned().unwrap_or_default();
    let all = links.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
    all.map(|address| text(&address["local"]).to_owned()).filter(|address| is_an_endpoints(address)).collect()
}

/// A small generator of random numbers that can be repeated (xorshift64*).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        // A state of nought would stay nought.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    /// A number from 0 to 1.
    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}
