//! What documents and kernel must agree on: links, namespaces, addresses, and every element of our tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use nix::sys::statfs::{NSFS_MAGIC, statfs};
use serde_json::Value;

use super::{GIVEN_NAMESPACES, adapter, list, must, text};
use crate::{Hnsd, Host, Netns, eventually};

/// Each fact is a sentence.
type Facts = BTreeSet<String>;

/// The kernel holds what the documents say, and nothing else of ours.
#[track_caller]
pub(super) fn compare(hnsd: &Hnsd, context: &str) {
    let mut api = hnsd.api();
    let [networks, endpoints, namespaces] = ["networks", "endpoints", "namespaces"]
        .map(|kind| must(api.get(&format!("/v2/{kind}"))).expect_success());
    let folder = hnsd.run_dir().join("netns");
    let documents =
        Documents { folder: &folder, networks: &networks, endpoints: &endpoints, namespaces: &namespaces };
    let wanted = documents.facts();
    // The reaper removes links a moment after the answer; until then they are there.
    eventually!(within 10 s, {
        let mut seen = links_and_addresses(hnsd.host(), &folder);
        seen.extend(adapter::shown(hnsd.host()));
        seen.extend(elements(hnsd.host(), &documents.words()));
        let lacking: Vec<&String> = wanted.difference(&seen).collect();
        let left_over: Vec<&String> = seen.difference(&wanted).collect();
        if seen == wanted { Ok(()) } else {
            Err(format!("{context}: lacking {lacking:#?}, left over {left_over:#?}\nhnsd said:\n{}", hnsd.log()))
        }
    });
}

struct Documents<'a> {
    /// Where the daemon holds the namespaces that it makes.
    folder: &'a Path,
    networks: &'a Value,
    endpoints: &'a Value,
    namespaces: &'a Value,
}

impl Documents<'_> {
    fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        let mut switches = BTreeMap::new();
        for network in list(self.networks) {
            facts.insert(has_link("the host", switch_of(network)));
            switches.insert(text(&network["ID"]), switch_of(network));
            if is_on_the_lan(network) {
                let uplink = switch_of(network).replacen("hns", "hnw", 1);
                facts.insert(has_link("the host", &uplink));
                facts.insert(format!("{uplink} is in {}", switch_of(network)));
                facts.extend(adapter::shared_by(&uplink));
            }
        }
        let on_the_lan = |endpoint: &Value| {
            let id = text(&endpoint["HostComputeNetwork"]);
            list(self.networks).iter().any(|network| text(&network["ID"]) == id && is_on_the_lan(network))
        };
        let paths = self.paths();
        for path in paths.values().filter(|path| Path::new(path).starts_with(self.folder)) {
            facts.insert(is_there(path));
        }
        for endpoint in list(self.endpoints) {
            let Some(path) = paths.get(text(&endpoint["HostComputeNamespace"])) else { continue };
            let switch = &switches[text(&endpoint["HostComputeNetwork"])];
            let (port, interface) = names_of(endpoint);
            facts.insert(has_link("the host", port));
            facts.insert(format!("{port} is in {switch}"));
            facts.insert(has_link(path, interface));
            facts.extend(addresses_of(endpoint).map(|address| has_address(path, interface, &address)));
            facts.extend(publications_of(endpoint));
            if on_the_lan(endpoint) {
                facts.insert(adapter::lets_in(text(&endpoint["MacAddress"])));
            }
        }
        facts
    }

    /// Where each namespace is.
    fn paths(&self) -> BTreeMap<&str, &str> {
        let all = list(self.namespaces).iter();
        all.map(|one| (text(&one["ID"]), text(&one["AdditionalParams"]["Path"]))).collect()
    }

    /// The addresses and names of links that elements of our sets may have.
    fn words(&self) -> BTreeSet<String> {
        let paths = self.paths();
        let attached = || {
            list(self.endpoints).iter().filter(|one| paths.contains_key(text(&one["HostComputeNamespace"])))
        };
        let of_endpoints = attached().flat_map(|endpoint| {
            let port = names_of(endpoint).0.to_owned();
            addresses_of(endpoint).map(|address| address.to_string()).chain([port])
        });
        let of_networks = list(self.networks).iter().flat_map(|network| {
            let subnets = list(&network["Ipams"][0]["Subnets"]).iter();
            let prefixes = subnets.filter_map(|subnet| text(&subnet["IpAddressPrefix"]).split('/').next());
            prefixes.map(str::to_owned).chain([switch_of(network).to_owned()])
        });
        of_endpoints.chain(of_networks).collect()
    }
}

fn switch_of(network: &Value) -> &str {
    text(&network["Health"]["Extra"]["Switch"])
}

fn is_on_the_lan(network: &Value) -> bool {
    network["Type"] == "Transparent"
}

/// Of an attached endpoint: its port and its interface.
fn names_of(endpoint: &Value) -> (&str, &str) {
    let extra = &endpoint["Health"]["Extra"];
    (text(&extra["Port"]), text(&extra["Interface"]))
}

fn addresses_of(endpoint: &Value) -> impl Iterator<Item = IpAddr> {
    list(&endpoint["IpConfigurations"]).iter().filter_map(|one| text(&one["IpAddress"]).parse().ok())
}

fn publications_of(endpoint: &Value) -> impl Iterator<Item = String> {
    list(&endpoint["Policies"]).iter().flat_map(move |policy| {
        let settings = &policy["Settings"];
        let protocol = if settings["Protocol"] == 6 { "tcp" } else { "udp" };
        addresses_of(endpoint)
            .map(move |address| is_published(protocol, &settings["ExternalPort"], &address.to_string()))
    })
}

fn links_and_addresses(host: &Host, folder: &Path) -> Facts {
    let mut facts = Facts::new();
    for name in host.links().iter().filter(|name| name.starts_with("hn")) {
        facts.insert(has_link("the host", name));
        let controller = std::fs::read_link(host.path(format!("/sys/class/net/{name}/master")));
        let controller =
            controller.ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        facts.extend(controller.map(|switch| format!("{name} is in {switch}")));
    }
    let entries = std::fs::read_dir(host.path(folder)).into_iter().flatten().flatten();
    let made: Vec<String> =
        entries.map(|entry| folder.join(entry.file_name()).display().to_string()).collect();
    facts.extend(made.iter().map(|path| is_there(path)));
    let given = (0..GIVEN_NAMESPACES).map(|number| format!("/run/netns/given{number}"));
    for path in made.into_iter().chain(given) {
        facts.extend(inside(host, &path));
    }
    facts
}

/// The links of a namespace but `lo`, and their addresses but those that the kernel gives by itself.
fn inside(host: &Host, path: &str) -> Facts {
    let path_outside = host.path(path);
    // What is no namespace has been told by its name already.
    let is_namespace = statfs(&path_outside).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC);
    let netns = Netns::open(&path_outside).ok().filter(|_| is_namespace);
    let Some(netns) = netns else { return Facts::new() };
    let interfaces = netns.enter(|| nix::ifaddrs::getifaddrs().map(Vec::from_iter)).unwrap_or_default();
    let mut facts = Facts::new();
    for interface in interfaces.into_iter().filter(|interface| interface.interface_name != "lo") {
        facts.insert(has_link(path, &interface.interface_name));
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        let is_own =
            |address: &IpAddr| matches!(address, IpAddr::V6(v6) if Ipv6Addr::is_unicast_link_local(v6));
        let address = v4.or(v6).filter(|address| !is_own(address));
        facts.extend(address.map(|address| has_address(path, &interface.interface_name, &address)));
    }
    facts
}

/// Who is published, and elements that speak of nobody who is there.
#[track_caller]
fn elements(host: &Host, known: &BTreeSet<String>) -> Facts {
    let table = host.run(&["nft", "-j", "list", "ruleset"]);
    let table: Value = serde_json::from_str(&table).unwrap_or_default();
    let mut facts = Facts::new();
    for object in list(&table["nftables"]) {
        let set = if object["set"].is_object() { &object["set"] } else { &object["map"] };
        let name = text(&set["name"]);
        for element in list(&set["elem"]) {
            if ["publish4", "publish6"].contains(&name) {
                let (key, to) = (list(&element[0]["concat"]), list(&element[1]["concat"]));
                facts.insert(is_published(text(&key[0]), &key[1], text(&to[0])));
            }
            let mut words = BTreeSet::new();
            leaves(element, &mut words);
            let strays = words.iter().filter(|word| names_somebody(word) && !known.contains(*word));
            facts.extend(strays.map(|word| format!("set {name} speaks of {word}")));
        }
    }
    facts
}

/// Whether a word of an element is an address or one of our links.
fn names_somebody(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.starts_with("hns") || word.starts_with("hnv")
}

/// Every word below a value.
fn leaves(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(word) => words.extend([word.clone()]),
        Value::Array(all) => all.iter().for_each(|one| leaves(one, words)),
        Value::Object(all) => all.values().for_each(|one| leaves(one, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn has_link(home: &str, link: &str) -> String {
    format!("{home} has the link {link}")
}

fn has_address(path: &str, interface: &str, address: &IpAddr) -> String {
    format!("{path} has {address} on {interface}")
}

fn is_published(protocol: &str, port: &Value, address: &str) -> String {
    format!("{protocol} port {port} leads to {address}")
}

fn is_there(path: &str) -> String {
    format!("{path} is there")
}
