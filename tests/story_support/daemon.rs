//! What stories ask of one daemon, on stages with one host or several.

use hns_testbed::Hnsd;
use serde_json::{Value, json};

use super::{Container, text};

/// What the daemon answers to a GET.
#[must_use]
#[track_caller]
pub fn get(hnsd: &Hnsd, path: &str) -> Value {
    hnsd.api().get(path).expect("the daemon answers").expect_success()
}

/// The bridge of a network.
#[must_use]
#[track_caller]
pub fn switch(hnsd: &Hnsd, network: &Value) -> String {
    let shown = get(hnsd, &format!("/v2/networks/{}", text(network, "ID")));
    text(&shown["Health"]["Extra"], "Switch")
}

/// A namespace of the daemon's host with a new endpoint of the same name, at these addresses.
#[track_caller]
pub fn container_at(hnsd: &Hnsd, network: &str, name: &str, addresses: &[String]) -> Container {
    let netns = hnsd.host().add_netns(name);
    hnsd.hnsctl(&["namespace", "create", name, "--path", &format!("/run/netns/{name}")]);
    let mut words = vec!["endpoint", "create", "--network", network, "--name", name, "--namespace", name];
    addresses.iter().for_each(|address| words.extend(["--ip", address]));
    Container::new(name, netns, hnsd.hnsctl_json(&words))
}

/// Sends a Modify of an endpoint's policies.
#[track_caller]
pub fn modify_policies(hnsd: &Hnsd, endpoint: &Container, request: &str, policies: &Value) -> Value {
    let document = json!({
        "ResourceType": "Policy", "RequestType": request, "Settings": { "Policies": policies },
    });
    let path = format!("/v2/endpoints/{}/modify", endpoint.id);
    hnsd.api().post(&path, &document).expect("the daemon answers").expect_success()
}

/// Replaces the rules of a container.
#[track_caller]
pub fn rules(hnsd: &Hnsd, container: &Container, policies: &Value) {
    let _changed = modify_policies(hnsd, container, "Update", policies);
}

/// How many packets of the endpoint with this id were dropped for this reason.
#[must_use]
#[track_caller]
pub fn dropped(hnsd: &Hnsd, endpoint: &str, reason: &str) -> u64 {
    let drops = get(hnsd, &format!("/v2/drops?endpoint={endpoint}"));
    let of_reason = drops.as_array().into_iter().flatten().filter(|drop| drop["Reason"] == reason);
    of_reason.filter_map(|drop| drop["Packets"].as_u64()).sum()
}
