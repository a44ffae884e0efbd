//! Documents that are wrong in type, range, family or reference are refused by the field's name, and nothing changes.
//!
//! The rows of wrong types are made from good documents, by walking every field of them; those of wrong values are written
//! out, each with HCN's code and the words that its error must say.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

#[path = "bad_input/changes.rs"]
mod changes;
#[path = "bad_input/endpoints.rs"]
mod endpoints;
#[path = "bad_input/networks.rs"]
mod networks;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hns_testbed::{Answer, Api, Hnsd, Host, Lab, Process, eventually, needs};
use serde_json::{Value, json};

const ENDPOINT_ID: &str = "11111111-2222-4333-8444-555555555555";
const UNKNOWN_ID: &str = "99999999-9999-4999-8999-999999999999";

/// A host with a daemon, a network of each type, a namespace and an attached endpoint with a published port.
struct World {
    _lab: Lab,
    host: Host,
    hnsd: Hnsd,
    api: Api,
    nat: String,
    internal: String,
    private: String,
    namespace: String,
    endpoint: String,
    _listener: Process,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("h1");
        let _kept_by_its_name = (host.add_netns("given"), host.add_netns("free"));
        let listener = host.spawn(&["socat", "TCP-LISTEN:9090,fork", "SYSTEM:true"]);
        eventually!(within 5 s, host.sh("ss -Hltn sport = :9090").contains("9090"));
        let hnsd = Hnsd::start(&host);
        let mut api = hnsd.api();
        let nat = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].as_str().unwrap().to_owned();
        let mut network = |name: &str, subnet: &str| {
            let subnets = json!([{"IpAddressPrefix": subnet}]);
            let document = json!({"Name": name, "Type": name, "Ipams": [{"Subnets": subnets}]});
            api.post("/v2/networks", &document).unwrap().id()
        };
        let (internal, private) = (network("Internal", "10.40.0.0/24"), network("Private", "10.41.0.0/24"));
        let namespace = json!({"AdditionalParams": {"Path": "/run/netns/given"}});
        let namespace = api.post("/v2/namespaces", &namespace).unwrap().id();
        let endpoint = json!({"ID": ENDPOINT_ID, "Name": "holder", "HostComputeNetwork": nat, "MacAddress": "02-00-00-00-00-09",
            "HostComputeNamespace": namespace, "IpConfigurations": [{"IpAddress": "172.16.0.9"}],
            "AdditionalParams": {"InterfaceName": "lan0"}, "Policies": [port_mapping(6, 80, 8080)]});
        let endpoint = api.post("/v2/endpoints", &endpoint).unwrap().id();
        Self { _lab: lab, host, hnsd, api, nat, internal, private, namespace, endpoint, _listener: listener }
    }

    /// What the daemon shows.
    fn objects(&mut self) -> [Value; 3] {
        ["networks", "namespaces", "endpoints"]
            .map(|kind| self.api.get(&format!("/v2/{kind}")).unwrap().expect_success())
    }

    /// What the kernel shows, line by line: links, addresses, routes, rules, namespaces.
    fn kernel(&self) -> BTreeSet<String> {
        // Without what the kernel itself changes when a link has come up.
        self.host.sh("(ip -o link; ip -o address; ip route show table all; ip -6 route show table all; nft -s list ruleset
            ls /run/netns; ip -n given -o address; ip -n free -o address) | sed -e 's/<[A-Z_,0-9-]*>//; s/ state [A-Z]*//; s/ linkdown//'")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Performs requests that must all be refused, and compares what is there before and after.
    fn refuses<'r>(&mut self, rows: impl IntoIterator<Item = &'r Row>) {
        let (kernel, objects) = (self.kernel(), self.objects());
        let mut wrong = Vec::new();
        for row in rows {
            let answer = self.api.send(row.method, &row.path, &row.body).unwrap();
            wrong.extend(row.complaint(&answer).map(|why| {
                format!("{why}\n    {} {}\n    {} {}", row.path, row.body, answer.status, answer.text)
            }));
            let now = self.objects();
            assert_eq!(now, objects, "changed by {} {}", row.path, row.body);
        }
        assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
        self.kernel_is_still(&kernel);
    }

    #[track_caller]
    fn kernel_is_still(&self, before: &BTreeSet<String>) {
        let now = self.kernel();
        let changed: Vec<&String> = now.symmetric_difference(before).collect();
        assert!(changed.is_empty(), "{changed:#?}\n{}", self.hnsd.log());
    }

    fn good_network(&self) -> Value {
        json!({"ID": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11", "Name": "good", "Owner": "tests", "Type": "NAT", "Flags": 8, "Policies": [],
            "MacPool": {"Ranges": [{"StartMacAddress": "02-00-00-00-10-00", "EndMacAddress": "02-00-00-00-1F-FF"}]},
            "Dns": {"Domain": "lab.test", "Search": ["a.test"], "ServerList": ["192.0.2.53"], "Options": ["ndots:2"]},
            "Ipams": [{"Type": "Static", "Subnets": [
                {"ID": "0D4F2C54-8B9A-4E67-B6E2-6A2E6D0D9C01", "IpAddressPrefix": "10.42.0.0/24", "Flags": 0, "Policies": [],
                    "Routes": [{"NextHop": "10.42.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 0}],
                    "IpSubnets": [{"ID": "7C0A8B66-0F0B-4C0E-8E0A-52D6B1F3A902", "IpAddressPrefix": "10.42.0.0/24", "Flags": 0}]},
                {"IpAddressPrefix": "fd00:42::/64"}]}],
            "AdditionalParams": {"Mtu": 1400, "IpRange": ["10.42.0.128/25"], "AuxAddresses": {"printer": "10.42.0.9"},
                "GatewayMode": {"IPv4": "nat", "IPv6": "routed"}, "EnableIPv4": true, "EnableIPv6": true},
            "Version": 64_424_509_440_u64, "State": 1, "Health": {"Extra": {}}, "SchemaVersion": {"Major": 2, "Minor": 0}})
    }

    fn good_endpoint(&self) -> Value {
        json!({"ID": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "Name": "good", "Owner": "tests", "Flags": 2,
            "HostComputeNetwork": self.nat, "HostComputeNamespace": self.namespace, "MacAddress": "02-00-00-00-00-07",
            "IpConfigurations": [{"IpAddress": "172.16.0.7", "PrefixLength": 16, "IpSubnetId": "7C0A8B66-0F0B-4C0E-8E0A-52D6B1F3A902"}],
            "Routes": [{"NextHop": "172.16.0.1", "DestinationPrefix": "0.0.0.0/0", "Metric": 5}],
            "Dns": {"Domain": "lab.test", "Search": ["a.test"], "ServerList": ["192.0.2.53"], "Options": ["ndots:2"]},
            "Policies": [
                {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8000, "PortCount": 2, "VIP": "198.18.0.1", "Flags": 0}},
                {"Type": "InterfaceParameters", "Settings": {"Mtu": 1400}}],
            "AdditionalParams": {"InterfaceName": "lan1", "GatewayPriority": 5},
            "Version": 64_424_509_440_u64, "State": 1, "Health": {"Extra": {}}, "SchemaVersion": {"Major": 2, "Minor": 0}})
    }

    fn good_namespace(&self) -> Value {
        json!({"ID": "9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22", "Name": "good", "Owner": "tests", "NamespaceId": 7, "Type": "Host",
            "NamespaceGuid": "2C1B7B8E-6B36-4B77-B7A0-7F4B7C7B9A10", "CreateWithCompartment": true, "ReadyOnCreate": true,
            "Resources": [{"Type": "Container", "Data": {"ID": "c1"}}], "AdditionalParams": {"Path": "/run/netns/free"},
            "Version": 64_424_509_440_u64, "State": 1, "Health": {"Extra": {}}, "SchemaVersion": {"Major": 2, "Minor": 0}})
    }
}

fn port_mapping(protocol: u8, internal: u16, external: u16) -> Value {
    json!({"Type": "PortMapping", "Settings": {"Protocol": protocol, "InternalPort": internal, "ExternalPort": external}})
}

/// A request that must be refused, and how.
struct Row {
    method: &'static str,
    path: String,
    body: String,
    /// Absent: any of HCN's codes for a wrong document.
    code: Option<u64>,
    words: Vec<String>,
}

impl Row {
    fn post(path: impl Into<String>, body: impl ToString, code: u64, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { method: "POST", path: path.into(), body: body.to_string(), code: Some(code), words }
    }

    /// A row whose code has HCN's facility, written by its last four digits.
    fn hcn(path: impl Into<String>, body: impl ToString, code: u64, words: &[&str]) -> Self {
        Self::post(path, body, 0x803B_0000 + code, words)
    }

    fn complaint(&self, answer: &Answer) -> Option<String> {
        let error = answer.body["Error"].as_str().unwrap_or_default();
        let code = answer.body["ErrorCode"].as_u64().unwrap_or_default();
        if !(400..500).contains(&answer.status) {
            return Some(format!("not refused: {}", answer.status));
        }
        let of_documents = matches!(code >> 16, 0x803B | 0x8007);
        if self.code.map_or(!of_documents, |wanted| wanted != code) {
            return Some(format!("code {code:#x}, not {:#x?}", self.code));
        }
        let missing = self.words.iter().find(|word| !error.contains(word.as_str()));
        missing.map(|word| format!("the error does not say {word:?}"))
    }
}

/// A copy of a document with one field set, by its JSON pointer; its parent must be there.
#[track_caller]
fn with(document: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Array(members) if key == "-" => members.push(value),
        Value::Array(members) => members[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    changed
}

/// Every place in a document: its JSON pointer, the path that errors call it by, and what is there.
fn places(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String, Value)>) {
    if !pointer.is_empty() {
        found.push((pointer.to_owned(), path.to_owned(), value.clone()));
    }
    match value {
        Value::Object(fields) => {
            for (key, below) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                places(below, &format!("{pointer}/{key}"), &path, found);
            }
        }
        Value::Array(members) => {
            for (place, below) in members.iter().enumerate() {
                places(below, &format!("{pointer}/{place}"), &format!("{path}[{place}]"), found);
            }
        }
        _ => {}
    }
}

/// Values that cannot stand where this one stands.
fn wrong_types(good: &Value) -> Vec<Value> {
    match good {
        Value::String(_) => vec![json!(70_000), json!(true), json!(["x"]), json!({"x": 1})],
        Value::Number(_) => {
            vec![
                json!("many"),
                json!(true),
                json!([1]),
                json!({"x": 1}),
                json!(-100_000),
                json!(1.5),
                json!(1e30),
            ]
        }
        Value::Bool(_) => vec![json!("yes"), json!(1), json!([true]), json!({"x": 1})],
        Value::Array(_) => vec![json!("x"), json!(7), json!(true), json!({"x": 1})],
        Value::Object(_) => vec![json!("x"), json!(7), json!(true), json!([1])],
        Value::Null => Vec::new(),
    }
}

fn rows_of_wrong_types(path: &str, good: &Value) -> Vec<Row> {
    let mut found = Vec::new();
    places(good, "", "", &mut found);
    let mut rows = Vec::new();
    for (pointer, field, there) in found {
        // What others left about an object is carried along unread.
        if pointer.starts_with("/Health/") {
            continue;
        }
        for wrong in wrong_types(&there) {
            let wrong_is_object = wrong.is_object();
            let body = with(good, &pointer, wrong).to_string();
            // In place of these ids a document may stand, whose own fields are named then.
            let is_document = field.starts_with("HostComputeN") && wrong_is_object;
            let words = vec![if is_document { format!(": {field}.x: ") } else { format!(": {field}: ") }];
            rows.push(Row { method: "POST", path: path.to_owned(), body, code: None, words });
        }
    }
    rows
}

/// A document that is good is taken; so what the rows change in it is what they are refused for.
#[track_caller]
fn is_taken(world: &mut World, path: &str, good: &Value) {
    let before = world.objects();
    let id = world.api.post(path, good).unwrap().id();
    assert_eq!(world.api.delete(&format!("{path}/{id}")).unwrap().status, 204);
    assert_eq!(world.objects(), before);
    // The reaper's part of the deletion comes a moment later.
    eventually!(within 5 s, !world.host.try_sh("ip -n given link show lan1").success());
}

#[test]
fn every_field_of_every_document_is_refused_in_a_wrong_type() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let documents = [
        ("/v2/networks", world.good_network()),
        ("/v2/endpoints", world.good_endpoint()),
        ("/v2/namespaces", world.good_namespace()),
    ];
    for (path, good) in &documents {
        is_taken(&mut world, path, good);
        let rows = rows_of_wrong_types(path, good);
        assert!(rows.len() > 60, "{path}: only {} rows", rows.len());
        world.refuses(&rows);
    }
}

#[test]
fn every_field_of_every_request_is_refused_in_a_wrong_type() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let policy = json!({"ResourceUri": "", "ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": [
        {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8000, "PortCount": 1, "VIP": "198.18.0.1", "Flags": 0}}]}});
    let dns = json!({"ResourceType": "DNS", "RequestType": "Update",
        "Settings": {"Domain": "x", "Search": ["a"], "ServerList": ["192.0.2.1"], "Options": ["b"]}});
    let container =
        json!({"ResourceType": "Container", "RequestType": "Add", "Settings": {"ContainerId": "c1"}});
    let member = json!({"ResourceType": "Endpoint", "RequestType": "Remove", "Settings": {"EndpointId": world.endpoint}});
    let trace = json!({"From": {"Endpoint": world.endpoint, "Address": "10.0.0.1"}, "To": {"Address": "10.0.0.2", "Port": 80},
        "Protocol": "tcp", "SourcePort": 4000, "IcmpType": 8, "IcmpCode": 0});
    let requests = [
        (format!("/v2/networks/{}/modify", world.nat), dns),
        (format!("/v2/endpoints/{}/modify", world.endpoint), policy),
        (format!("/v2/namespaces/{}/modify", world.namespace), container),
        (format!("/v2/namespaces/{}/modify", world.namespace), member),
        ("/v2/trace".to_owned(), trace),
    ];
    for (path, request) in requests {
        let rows: Vec<Row> = rows_of_wrong_types(&path, &request);
        world.refuses(&rows);
    }
}

/// Sends bytes that may be no HTTP at all, and gives what comes back until the daemon closes.
fn raw(hnsd: &Hnsd, path: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(hnsd.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: hns\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The daemon may refuse before it has read everything.
    let _refused_early = stream.write_all(body);
    let mut answer = Vec::new();
    let _reset_after_the_answer = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_that_are_no_documents_are_refused() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let (kernel, objects) = (world.kernel(), world.objects());
    let paths = [
        "/v2/networks".to_owned(),
        "/v2/endpoints".to_owned(),
        "/v2/namespaces".to_owned(),
        format!("/v2/networks/{}/endpoints", world.nat),
        format!("/v2/networks/{}/modify", world.nat),
        format!("/v2/endpoints/{}/modify", world.endpoint),
        format!("/v2/namespaces/{}/modify", world.namespace),
        "/v2/trace".to_owned(),
    ];
    let deep = "[".repeat(200_000);
    let deep_object = "{\"Dns\":".repeat(100_000);
    let huge = format!("{{\"Name\":\"{}\"}}", "x".repeat(5 << 20));
    let bodies: [(&str, &[u8]); 12] = [
        ("empty", b""),
        ("white space", b" \n"),
        ("cut off", b"{\"Name\":\"a\""),
        ("words", b"create a network, please"),
        ("not UTF-8", b"{\"Name\":\"\xff\xfe\"}"),
        ("a lone surrogate", b"{\"Name\":\"\\ud800\"}"),
        ("a list", b"[]"),
        ("a number", b"5"),
        ("two documents", b"{} {}"),
        ("deeply nested lists", deep.as_bytes()),
        ("deeply nested objects", deep_object.as_bytes()),
        ("huge", huge.as_bytes()),
    ];
    for path in &paths {
        for (what, body) in bodies {
            let answer = raw(&world.hnsd, path, body);
            let status = if what == "huge" { " 413 " } else { " 400 " };
            let head = answer.lines().next().unwrap_or_default();
            assert!(head.contains(status), "{path}, {what}: {}", &answer[..answer.len().min(500)]);
            let document: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            assert_eq!(document["Success"], false, "{document}");
            let object = ["a list", "a number"].contains(&what);
            assert!(object || document["ErrorCode"] == 0x803B_001B_u64, "{path}, {what}: {document}");
        }
    }
    assert_eq!(world.objects(), objects);
    world.kernel_is_still(&kernel);
}
