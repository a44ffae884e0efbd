//! One connection that does random things until it breaks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::chance::Chance;
use super::memory::Certainty;
use super::{ADAPTER, World, list, text};
use crate::{Answer, Api, ApiError};

/// Published ports are taken from here; the system's own choices lie above.
const PORTS: std::ops::Range<u64> = 20_000..30_000;
/// More networks than this only make the rounds slower.
const NETWORKS_MAX: usize = 5;

pub(super) struct Client {
    api: Api,
    world: Arc<World>,
    chance: Chance,
}

#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
}

impl Client {
    pub(super) fn new(api: Api, world: Arc<World>, chance: Chance) -> Self {
        Self { api, world, chance }
    }

    pub(super) fn work(mut self) -> Done {
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
        match self.chance.below(20) {
            0..=6 => self.create_endpoint(),
            7..=9 => self.delete("/v2/endpoints/"),
            10 => self.create_network(),
            11 => self.delete("/v2/networks/"),
            12 => self.create_namespace(),
            13 => self.delete("/v2/namespaces/"),
            14..=15 => self.publish(),
            16 => self.close(),
            17..=18 => self.attach(),
            _ => self.detach(),
        }
    }

    fn send(&mut self, method: &str, path: &str, document: &Value) -> Result<Answer, ApiError> {
        let body = if document.is_null() { String::new() } else { document.to_string() };
        let answer = self.api.send(method, path, &body)?;
        self.world.answers.fetch_add(1, Ordering::Relaxed);
        assert!(answer.status < 500, "{method} {path} {document}: {} {}", answer.status, answer.text);
        Ok(answer)
    }

    fn create(&mut self, kind: &str, document: &Value) -> Result<bool, ApiError> {
        let answer = self.send("POST", &format!("/v2/{kind}"), document)?;
        if answer.status == 201 {
            self.world.memory.created(&format!("/v2/{kind}/{}", text(&answer.body["ID"])), &answer.body);
        }
        Ok(answer.status == 201)
    }

    fn create_network(&mut self) -> Result<bool, ApiError> {
        if self.world.memory.there("/v2/networks/").len() >= NETWORKS_MAX {
            return Ok(false);
        }
        let kind = self.chance.of(&["NAT", "Internal", "Private", "Transparent"]).copied();
        let name = format!("n{:x}", self.chance.next());
        let mut document = json!({"Name": name, "Type": kind});
        if kind == Some("Transparent") {
            self.put_on_the_lan(&mut document);
        } else {
            document["AdditionalParams"] = json!({"EnableIPv6": self.chance.below(2) == 0});
        }
        self.create("networks", &document)
    }

    /// On one of two external switches, which such networks share.
    fn put_on_the_lan(&mut self, document: &mut Value) {
        let mut policies =
            vec![json!({"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": ADAPTER}})];
        if self.chance.below(2) == 0 {
            policies.push(json!({"Type": "VLAN", "Settings": {"IsolationId": 7}}));
        }
        let prefix = format!("10.200.{}.0/24", self.chance.below(200));
        document["Policies"] = Value::Array(policies);
        document["Ipams"] = json!([{"Subnets": [{"IpAddressPrefix": prefix}]}]);
    }

    fn create_namespace(&mut self) -> Result<bool, ApiError> {
        self.create("namespaces", &json!({"Type": "Host"}))
    }

    fn create_endpoint(&mut self) -> Result<bool, ApiError> {
        let networks = self.world.memory.there("/v2/networks/");
        let other = self
            .chance
            .of(&networks)
            .filter(|_| self.chance_of_half())
            .and_then(|path| path.rsplit('/').next());
        let mut document =
            json!({"HostComputeNetwork": other.unwrap_or(&self.world.network), "Policies": []});
        if self.chance.below(4) > 0 {
            document["HostComputeNamespace"] = json!(self.namespace());
        }
        // Quiet ports have rules of their own.
        document["Flags"] = json!(if self.chance.below(8) == 0 { 2 } else { 0 });
        let mappings = if other.is_some() { 0 } else { self.chance.below(3) };
        document["Policies"] = (0..mappings).map(|_| self.mapping().1).collect();
        self.create("endpoints", &document)
    }

    fn chance_of_half(&self) -> bool {
        self.world.answers.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// One of the given namespaces, or one that was made.
    fn namespace(&mut self) -> String {
        let made = self.world.memory.there("/v2/namespaces/");
        let made =
            self.chance.of(&made).filter(|_| self.chance_of_half()).and_then(|path| path.rsplit('/').next());
        let given = made.is_none().then(|| self.chance.of(&self.world.namespaces).cloned()).flatten();
        made.map(str::to_owned).or(given).unwrap_or_default()
    }

    fn delete(&mut self, kind: &str) -> Result<bool, ApiError> {
        let Some(path) = self.pick(kind) else { return Ok(false) };
        self.world.memory.note(&path, Certainty::Open);
        let answer = self.send("DELETE", &path, &Value::Null)?;
        let gone = answer.status == 204 || answer.status == 404;
        self.world.memory.note(&path, if gone { Certainty::Gone } else { Certainty::There });
        Ok(gone)
    }

    fn publish(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let (port, mapping) = self.mapping();
        let Some(request) = self.world.memory.begin_new(&path, port) else { return Ok(false) };
        let done = self.change_policies(&path, "Add", &mapping)?.status == 200;
        let is = if done { Certainty::There } else { Certainty::Gone };
        self.world.memory.end(&path, port, request, is);
        Ok(done)
    }

    fn close(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let endpoint = self.send("GET", &path, &Value::Null)?.body;
        let Some(mapping) = self.chance.of(list(&endpoint["Policies"])) else { return Ok(false) };
        let port = mapping["Settings"]["ExternalPort"].as_u64().unwrap_or_default();
        let request = self.world.memory.begin(&path, port);
        let answer = self.change_policies(&path, "Remove", mapping)?;
        // Not found: whoever else asked for the same has had it. Refused for another reason, it is still there.
        let gone = answer.status == 200 || answer.status == 404;
        let is = if gone { Certainty::Gone } else { Certainty::There };
        self.world.memory.end(&path, port, request, is);
        Ok(answer.status == 200)
    }

    fn change_policies(&mut self, path: &str, request: &str, mapping: &Value) -> Result<Answer, ApiError> {
        let request =
            json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": [mapping]}});
        self.send("POST", &format!("{path}/modify"), &request)
    }

    fn attach(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let namespace = self.namespace();
        self.change_member(&namespace, "Add", path.rsplit('/').next())
    }

    fn detach(&mut self) -> Result<bool, ApiError> {
        let Some(path) = self.pick("/v2/endpoints/") else { return Ok(false) };
        let endpoint = self.send("GET", &path, &Value::Null)?.body;
        let namespace = text(&endpoint["HostComputeNamespace"]).to_owned();
        self.change_member(&namespace, "Remove", endpoint["ID"].as_str())
    }

    fn change_member(
        &mut self,
        namespace: &str,
        request: &str,
        endpoint: Option<&str>,
    ) -> Result<bool, ApiError> {
        let request =
            json!({"ResourceType": "Endpoint", "RequestType": request, "Settings": {"EndpointId": endpoint}});
        Ok(self.send("POST", &format!("/v2/namespaces/{namespace}/modify"), &request)?.status == 200)
    }

    fn mapping(&mut self) -> (u64, Value) {
        let port = PORTS.start + self.chance.below(PORTS.end - PORTS.start);
        // One of each port: with both, one would still be there when the other is closed.
        let protocol = if port.is_multiple_of(2) { 6 } else { 17 };
        let settings = json!({"Protocol": protocol, "InternalPort": 80, "ExternalPort": port});
        (port, json!({"Type": "PortMapping", "Settings": settings}))
    }

    /// Something that is known to be there.
    fn pick(&mut self, prefix: &str) -> Option<String> {
        self.chance.of(&self.world.memory.there(prefix)).cloned()
    }
}
