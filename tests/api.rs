//! The v2 face: codes, round trips, queries, tolerant reading, events, statistics, and who may do what.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hns_testbed::{Answer, Api, Hnsd, Lab, eventually, needs};
use serde_json::{Value, json};

const NETWORK_NOT_FOUND: u64 = 0x803B_0001;
const ENDPOINT_NOT_FOUND: u64 = 0x803B_0002;
const ELEMENT_NOT_FOUND: u64 = 0x8007_0490;
const ACCESS_DENIED: u64 = 0x8007_0005;
const NOBODY: &str = "00000000-0000-0000-0000-00000000000F";

fn get(api: &mut Api, path: &str) -> Value {
    api.get(path).unwrap().expect_success()
}

fn post(api: &mut Api, path: &str, document: &Value) -> Value {
    api.post(path, document).unwrap().expect_success()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The answer to a query, which is written as an operator would and encoded here.
fn query(api: &mut Api, kind: &str, query: &str) -> Answer {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    api.get(&format!("/v2/{kind}?query={encoded}")).unwrap()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: u64, words: &[&str]) {
    assert_eq!((answer.status, &answer.body["ErrorCode"]), (status, &json!(code)), "{}", answer.text);
    assert_eq!(answer.body["Success"], false);
    for word in words {
        assert!(text(&answer.body["Error"]).contains(word), "{} does not say {word:?}", answer.text);
    }
}

#[test]
fn each_verb_has_its_status_and_what_is_gone_is_not_found() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let cases = [
        ("networks", json!({"Name": "one"}), NETWORK_NOT_FOUND),
        (
            "endpoints",
            json!({"HostComputeNetwork": get(&mut api, "/v2/networks")[0]["ID"]}),
            ENDPOINT_NOT_FOUND,
        ),
        ("namespaces", json!({}), ELEMENT_NOT_FOUND),
    ];
    for (kind, document, not_found) in cases {
        let made = api.post(&format!("/v2/{kind}"), &document).unwrap();
        assert_eq!(made.status, 201, "{}", made.text);
        let path = format!("/v2/{kind}/{}", text(&made.body["ID"]));
        let shown = api.get(&path).unwrap();
        assert_eq!((shown.status, shown.body), (200, made.body.clone()));
        assert!(get(&mut api, &format!("/v2/{kind}")).as_array().unwrap().contains(&made.body));
        // GUIDs in a path may come in any letter case.
        assert_eq!(api.get(&path.to_lowercase()).unwrap().body, made.body);

        let gone = api.delete(&path).unwrap();
        assert_eq!((gone.status, gone.text.as_str()), (204, ""));
        refused(&api.get(&path).unwrap(), 404, not_found, &[text(&made.body["ID"])]);
        refused(&api.delete(&path).unwrap(), 404, not_found, &[text(&made.body["ID"])]);
        let request = json!({"ResourceType": if kind == "namespaces" { "Endpoint" } else { "Policy" },
            "RequestType": "Add", "Settings": {"EndpointId": NOBODY}});
        let request = if kind == "namespaces" {
            request
        } else {
            json!({"ResourceType": "Policy", "RequestType": "Add", "Settings": {"Policies": []}})
        };
        let modified = api.post(&format!("{path}/modify"), &request).unwrap();
        assert_eq!(modified.status, 404, "{}", modified.text);
        refused(&api.get(&format!("/v2/{kind}/nonsense")).unwrap(), 400, 0x803B_0019, &["nonsense"]);
    }
    assert_eq!(api.get("/v2/nothing").unwrap().status, 404);
    assert_eq!(api.get("/").unwrap().status, 404);
    assert_eq!(api.send("PUT", "/v2/networks", "{}").unwrap().status, 405);
    let version = get(&mut api, "/v2/version");
    assert!(version["Major"].as_u64() >= Some(15), "{version}");
    assert_eq!(get(&mut api, "/v2/features")["API"]["V2"], true);
}

#[test]
fn modify_answers_with_the_changed_document() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let nat = get(&mut api, "/v2/networks")[0]["ID"].clone();
    let network = format!("/v2/networks/{}", text(&nat));
    let dns =
        json!({"ResourceType": "DNS", "RequestType": "Update", "Settings": {"ServerList": ["192.0.2.1"]}});
    let changed = api.post(&format!("{network}/modify"), &dns).unwrap();
    assert_eq!((changed.status, &changed.body["Dns"]), (200, &dns["Settings"]));

    let endpoint = post(&mut api, "/v2/endpoints", &json!({"HostComputeNetwork": nat}));
    let path = format!("/v2/endpoints/{}", text(&endpoint["ID"]));
    let mapping =
        json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}});
    let modify = |request: &str, policies: &Value| json!({"ResourceType": "Policy", "RequestType": request, "Settings": {"Policies": policies}});
    let changed = api.post(&format!("{path}/modify"), &modify("Add", &json!([mapping]))).unwrap();
    assert_eq!((changed.status, &changed.body["Policies"]), (200, &json!([mapping])));
    assert_eq!(get(&mut api, &path), changed.body);
    let changed = post(&mut api, &format!("{path}/modify"), &modify("Remove", &json!([mapping])));
    assert_eq!(changed["Policies"], json!([]));

    let namespace = post(&mut api, "/v2/namespaces", &json!({}));
    let modify_namespace = format!("/v2/namespaces/{}/modify", text(&namespace["ID"]));
    let member = |request: &str| json!({"ResourceType": "Endpoint", "RequestType": request, "Settings": {"EndpointId": endpoint["ID"]}});
    let joined = api.post(&modify_namespace, &member("Add")).unwrap();
    assert_eq!(joined.status, 200);
    assert_eq!(joined.body["Resources"], json!([{"Type": "Endpoint", "Data": {"ID": endpoint["ID"]}}]));
    assert_eq!(get(&mut api, &path)["HostComputeNamespace"], namespace["ID"]);
    // Clients repeat the call when they retry (rule Q13).
    assert_eq!(api.post(&modify_namespace, &member("Add")).unwrap().body, joined.body);
    let left = post(&mut api, &modify_namespace, &member("Remove"));
    assert_eq!(left["Resources"], json!([]));
    refused(
        &api.post(&modify_namespace, &member("Remove")).unwrap(),
        404,
        ELEMENT_NOT_FOUND,
        &[text(&endpoint["ID"])],
    );
}

/// API-1: what Query returns can be fed to Create on another host.
#[test]
fn what_a_query_returns_can_be_posted_to_another_daemon() {
    needs!(root, "nft");
    let lab = Lab::new();
    let start = |name: &str| {
        let host = lab.island(name);
        let _kept_by_its_name = host.add_netns("given");
        Hnsd::builder(&host).env("HNS_DEFAULT_NETWORK", "false").start()
    };
    let (here, there) = (start("h1"), start("h2"));
    let (mut from, mut to) = (here.api(), there.api());
    let rich = json!({"Name": "rich", "Type": "NAT", "Owner": "tests", "Flags": 8, "Dns": {"Domain": "lab.test"},
        "MacPool": {"Ranges": [{"StartMacAddress": "02-00-00-00-10-00", "EndMacAddress": "02-00-00-00-1F-FF"}]},
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.31.0.0/24"}, {"IpAddressPrefix": "fd00:31::/64"}]}],
        "AdditionalParams": {"Mtu": 1400, "IpRange": ["10.31.0.128/25"], "AuxAddresses": {"printer": "10.31.0.9"}}});
    let rich = post(&mut from, "/v2/networks", &rich);
    for kind in ["NAT", "Internal", "Private"] {
        post(&mut from, "/v2/networks", &json!({"Name": kind, "Type": kind}));
    }
    let given = json!({"AdditionalParams": {"Path": "/run/netns/given"}});
    let given = post(&mut from, "/v2/namespaces", &given);
    post(&mut from, "/v2/namespaces", &json!({"Type": "HostDefault"}));
    post(&mut from, "/v2/namespaces", &json!({"Type": "Host"}));
    let mapping = json!({"Type": "PortMapping", "Settings": {"Protocol": 17, "InternalPort": 53}});
    let attached = json!({"Name": "dns", "HostComputeNetwork": rich["ID"], "HostComputeNamespace": given["ID"],
        "Policies": [mapping], "Flags": 2, "AdditionalParams": {"InterfaceName": "lan0", "Ours": [1, 2]}});
    post(&mut from, "/v2/endpoints", &attached);
    post(&mut from, "/v2/endpoints", &json!({"HostComputeNetwork": rich["ID"]}));

    for kind in ["networks", "namespaces", "endpoints"] {
        let path = format!("/v2/{kind}");
        let documents = get(&mut from, &path);
        for document in documents.as_array().unwrap() {
            let made = to.post(&path, document).unwrap();
            assert_eq!(made.status, 201, "{document}\n{}", made.text);
        }
        let comparable = |mut documents: Value| {
            for document in documents.as_array_mut().unwrap() {
                document.as_object_mut().unwrap().remove("Health");
                // Endpoints join when they come, and each daemon has a folder of its own for what it makes.
                document.as_object_mut().unwrap().remove("Resources");
                if let Some(path) = document["AdditionalParams"].get_mut("Path") {
                    *path = json!(text(path).rsplit('/').next().unwrap());
                }
            }
            documents
        };
        assert_eq!(comparable(get(&mut to, &path)), comparable(documents), "{kind}");
    }
    let paths = get(&mut to, "/v2/namespaces");
    let made_here =
        |one: &&Value| text(&one["AdditionalParams"]["Path"]).starts_with(there.run_dir().to_str().unwrap());
    let with_path =
        paths.as_array().unwrap().iter().filter(|one| one["AdditionalParams"]["Path"].is_string());
    assert_eq!(with_path.filter(made_here).count(), 1, "{paths:#}");
}

#[test]
fn queries_filter_by_the_names_of_both_views() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let nat = get(&mut api, "/v2/networks")[0].clone();
    let other = post(&mut api, "/v2/networks", &json!({"Name": "Other", "Type": "Internal"}));
    let namespace = post(&mut api, "/v2/namespaces", &json!({}));
    let attached =
        json!({"Name": "same", "HostComputeNetwork": nat["ID"], "HostComputeNamespace": namespace["ID"]});
    let attached = post(&mut api, "/v2/endpoints", &attached);
    let idle = post(&mut api, "/v2/endpoints", &json!({"Name": "same", "HostComputeNetwork": other["ID"]}));
    let envelope = |filter: &Value| {
        json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Filter": filter.to_string()}).to_string()
    };
    let (nat, other) = (get(&mut api, "/v2/networks")[0].clone(), get(&mut api, "/v2/networks")[1].clone());
    let nat_id = text(&nat["ID"]);

    let everything = json!([nat, other]);
    let networks: Vec<(String, Value)> = vec![
        (String::new(), everything.clone()),
        ("{}".to_owned(), everything.clone()),
        (r#"{"Filter":""}"#.to_owned(), everything.clone()),
        (r#"{"Filter":"{}"}"#.to_owned(), everything.clone()),
        (r#"{"SchemaVersion":{"Major":2,"Minor":0},"Flags":1}"#.to_owned(), everything),
        (envelope(&json!({"Name": "nat"})), json!([nat])),
        (envelope(&json!({"name": "Other"})), json!([other])),
        (envelope(&json!({"Name": "other"})), json!([])),
        (envelope(&json!({"ID": nat_id.to_lowercase()})), json!([nat])),
        (envelope(&json!({"ID": NOBODY})), json!([])),
        (envelope(&json!({"ID": ""})), json!([])),
        (envelope(&json!({"Type": "Internal", "Name": "Other"})), json!([other])),
        (envelope(&json!({"Type": "Internal", "Name": "nat"})), json!([])),
        (envelope(&json!({"Colour": "blue"})), json!([])),
        // Microsoft's samples send the filter bare.
        (r#"{"Name":"nat"}"#.to_owned(), json!([nat])),
    ];
    for (filter, expected) in networks {
        assert_eq!(query(&mut api, "networks", &filter).expect_success(), expected, "{filter}");
    }
    let endpoints: Vec<(Value, Value)> = vec![
        (json!({"VirtualNetwork": nat_id.to_lowercase()}), json!([attached])),
        (json!({"HostComputeNetwork": other["ID"]}), json!([idle])),
        (json!({"HostComputeNamespace": namespace["ID"]}), json!([attached])),
        (json!({"State": 3}), json!([attached])),
        (json!({"State": 1}), json!([idle])),
        (json!({"State": 2}), json!([])),
        // Names of endpoints are not unique (rule Q3); they come in the order of creation.
        (json!({"Name": "same"}), json!([attached, idle])),
        (json!({"ID": idle["ID"], "Name": "same"}), json!([idle])),
        (json!({"ID": idle["ID"], "Name": "different"}), json!([])),
    ];
    for (filter, expected) in endpoints {
        assert_eq!(query(&mut api, "endpoints", &envelope(&filter)).expect_success(), expected, "{filter}");
    }
    assert_eq!(query(&mut api, "namespaces", &envelope(&json!({"ID": ""}))).expect_success(), json!([]));
    assert_eq!(get(&mut api, "/v2/endpoints?ids=true"), json!([attached["ID"], idle["ID"]]));
    assert_eq!(get(&mut api, "/v2/networks?ids=true&query=%7B%22Name%22%3A%22nat%22%7D"), json!([nat["ID"]]));
    assert_eq!(get(&mut api, "/v2/networks?ids=false"), json!([nat, other]));
}

/// Reading is tolerant exactly where clients need it (hcn-api 1.3).
#[test]
fn documents_are_read_as_clients_write_them() {
    needs!(root, "nft");
    let lab = Lab::new();
    let hnsd = Hnsd::start(&lab.island("h1"));
    let mut api = hnsd.api();
    let types = [
        (json!(0), "NAT"),
        (json!("nAt"), "NAT"),
        (json!("internal"), "Internal"),
        (json!(6), "Private"),
        (json!(null), "NAT"),
    ];
    for (number, (written, canonical)) in types.iter().enumerate() {
        let made = post(&mut api, "/v2/networks", &json!({"Name": format!("t{number}"), "Type": written}));
        assert_eq!(made["Type"], *canonical);
    }
    // As Go's omitempty and PowerShell leave it, with old names of fields, in any letter case.
    let written = json!({"name": "odd", "TYPE": "NAT", "flags": "EnableNonPersistent", "MacPool": {}, "Dns": {}, "Policies": null,
        "SchemaVersion": {"Major": 0, "Minor": 0}, "Health": {"Extra": {}}, "Owner": "",
        "Ipams": [{"Type": 0, "Subnets": [{"AddressPrefix": "10.32.0.0/24", "IpSubnets": null, "Policies": [],
            "Routes": [{"NextHop": "10.32.0.1", "DestinationPrefix": "0.0.0.0/0"}, {}]}, null]}, ]});
    let network = post(&mut api, "/v2/networks", &written);
    assert_eq!((&network["Name"], &network["Flags"]), (&json!("odd"), &json!(8)));
    assert_eq!(network["Ipams"][0]["Subnets"][0]["IpAddressPrefix"], "10.32.0.0/24");

    let written = json!({"Id": "5b1c5a0e-1d2e-4c7a-9a52-3f1f2b0c7d11", "HostComputeNetwork": text(&network["ID"]).to_lowercase(),
        "HostComputeNamespace": "00000000-0000-0000-0000-000000000000", "MacAddress": "02:aa:BB:cc:dd:01",
        "IpConfigurations": [{}], "Routes": [{}], "Flags": "None", "Dns": {"Suffix": "lab.test", "ServerList": [""]},
        "Policies": [{}, {"Type": "PORTMAPPING", "Data": {"protocol": "6", "InternalPort": "80", "ExternalPort": "8081", "VIP": ""}},
            {"type": "PortMapping", "Protocol": 17, "InternalPort": 53, "ExternalPort": 5353}]});
    let endpoint = post(&mut api, "/v2/endpoints", &written);
    assert_eq!(endpoint["ID"], "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11");
    assert_eq!(endpoint["MacAddress"], "02-AA-BB-CC-DD-01");
    assert_eq!(endpoint["IpConfigurations"], json!([{"IpAddress": "10.32.0.2", "PrefixLength": 24}]));
    assert_eq!(endpoint["Dns"], json!({"Domain": "lab.test"}));
    // Settings are kept as they were written (rule Q22); only the type's spelling is ours.
    let policies = endpoint["Policies"].as_array().unwrap();
    assert_eq!(policies[0]["Type"], "PortMapping");
    assert_eq!(policies[0]["Settings"], written["Policies"][1]["Data"]);
    assert_eq!(policies[1]["Settings"], json!({"Protocol": 17, "InternalPort": 53, "ExternalPort": 5353}));

    let numbers = json!({"ResourceType": 1, "RequestType": "remove", "Settings": {"Policies": [
        {"Type": "PortMapping", "Settings": {"ExternalPort": 8081, "InternalPort": 80, "Protocol": 6}}]}});
    let path = format!("/v2/endpoints/{}/modify", text(&endpoint["ID"]));
    assert_eq!(post(&mut api, &path, &numbers)["Policies"].as_array().unwrap().len(), 1);
    let namespace =
        post(&mut api, "/v2/namespaces", &json!({"Type": "", "SchemaVersion": {"Major": 0, "Minor": 0}}));
    let by_number = json!({"ResourceType": 1, "RequestType": 0, "Settings": {"EndpointId": written["Id"]}});
    let joined = post(&mut api, &format!("/v2/namespaces/{}/modify", text(&namespace["ID"])), &by_number);
    assert_eq!(joined["Resources"][0]["Data"]["ID"], endpoint["ID"]);
}

/// A connection on which the daemon tells what happens.
struct Events(BufReader<UnixStream>);

impl Events {
    fn listen(hnsd: &Hnsd, parameters: &str) -> Self {
        let mut stream = UnixStream::connect(hnsd.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
            .write_all(format!("GET /v2/events{parameters} HTTP/1.1\r\nHost: hns\r\n\r\n").as_bytes())
            .unwrap();
        let mut events = Self(BufReader::new(stream));
        // After the head of the answer the subscription stands.
        let head = events.line();
        assert!(head.contains(" 200 "), "{head}");
        while !events.line().is_empty() {}
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next notification: revision, type, object.
    fn next(&mut self) -> (u64, String, String) {
        loop {
            // Between the notifications stand the sizes of HTTP's chunks.
            let Ok(event) = serde_json::from_str::<Value>(&self.line()) else { continue };
            if event.is_object() {
                let words =
                    [&event["Type"], &event["Notification"]["ID"]].map(|value| text(value).to_owned());
                let [kind, id] = words;
                return (event["Revision"].as_u64().unwrap(), kind, id);
            }
        }
    }
}

#[test]
fn every_change_is_told_and_a_reader_resumes_where_it_was() {
    needs!(root, "nft");
    let lab = Lab::new();
    let mut hnsd = Hnsd::start(&lab.island("h1"));
    let mut events = Events::listen(&hnsd, "");
    let mut api = hnsd.api();
    let network = post(&mut api, "/v2/networks", &json!({"Name": "told"}))["ID"].clone();
    let namespace = post(&mut api, "/v2/namespaces", &json!({}))["ID"].clone();
    let endpoint = json!({"HostComputeNetwork": network, "HostComputeNamespace": namespace});
    let endpoint = post(&mut api, "/v2/endpoints", &endpoint)["ID"].clone();
    let member =
        json!({"ResourceType": "Endpoint", "RequestType": "Remove", "Settings": {"EndpointId": endpoint}});
    let modify = format!("/v2/namespaces/{}/modify", text(&namespace));
    post(&mut api, &modify, &member);
    for path in [format!("networks/{}", text(&network)), format!("namespaces/{}", text(&namespace))] {
        assert_eq!(api.delete(&format!("/v2/{path}")).unwrap().status, 204);
    }
    let expected = [
        ("NetworkPreCreate", &network),
        ("NetworkCreate", &network),
        ("NamespaceCreate", &namespace),
        ("NetworkEndpointAttached", &endpoint),
        ("NetworkEndpointDetached", &endpoint),
        ("NetworkPreDelete", &network),
        ("NetworkDelete", &network),
        ("NamespaceDelete", &namespace),
    ];
    let mut seen = Vec::new();
    for (kind, id) in expected {
        let event = events.next();
        assert_eq!((event.1.as_str(), event.2.as_str()), (kind, text(id)), "after {seen:?}");
        assert!(
            seen.last().is_none_or(|last: &(u64, String, String)| last.0 < event.0),
            "{event:?} after {seen:?}"
        );
        seen.push(event);
    }

    let mut resumed = Events::listen(&hnsd, &format!("?from={}", seen[3].0));
    for event in &seen[4..] {
        assert_eq!(resumed.next(), *event);
    }
    // Both go on with what happens next.
    let later = post(&mut api, "/v2/namespaces", &json!({}))["ID"].clone();
    for reader in [&mut events, &mut resumed] {
        let event = reader.next();
        assert_eq!((event.1.as_str(), event.2.as_str()), ("NamespaceCreate", text(&later)));
    }

    // A restart forgets the history: whoever resumes from before it is told to read everything anew.
    hnsd.restart();
    let mut api = hnsd.api();
    let gone = api.get(&format!("/v2/events?from={}", seen[3].0)).unwrap();
    assert_eq!(gone.status, 410, "{}", gone.text);
    assert!(gone.body["Hint"].is_string(), "{}", gone.text);
    refused(&api.get("/v2/events?from=then").unwrap(), 400, 0x8007_0057, &["from=then"]);
    refused(&api.get("/v2/events?since=1").unwrap(), 400, 0x8007_0057, &["since"]);
    // Revisions go on rising, so that a reader never takes the new for the old.
    let mut events = Events::listen(&hnsd, "");
    post(&mut api, "/v2/namespaces", &json!({}));
    assert!(events.next().0 > seen[7].0);
}

#[test]
fn statistics_count_what_the_container_sends_and_receives() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let web = host.add_netns("web");
    let nat = get(&mut api, "/v2/networks")[0]["ID"].clone();
    let namespace =
        post(&mut api, "/v2/namespaces", &json!({"AdditionalParams": {"Path": "/run/netns/web"}}));
    let endpoint = post(&mut api, "/v2/endpoints", &json!({"HostComputeNetwork": nat}))["ID"].clone();
    let stats = format!("/v2/endpoints/{}/stats", text(&endpoint));
    let idle = get(&mut api, &stats);
    assert_eq!(
        (&idle["EndpointId"], &idle["BytesSent"], &idle["PacketsReceived"]),
        (&endpoint, &json!(0), &json!(0))
    );

    let member =
        json!({"ResourceType": "Endpoint", "RequestType": "Add", "Settings": {"EndpointId": endpoint}});
    post(&mut api, &format!("/v2/namespaces/{}/modify", text(&namespace["ID"])), &member);
    let before = get(&mut api, &stats);
    let ping = web.command("ping").args(["-n", "-c3", "-i0.2", "-s1000", "172.16.0.1"]).output().unwrap();
    assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
    let after = get(&mut api, &stats);
    let grown = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    // Directions are the endpoint's own, not those of the switch's port.
    assert!(grown("PacketsSent") >= 3 && grown("PacketsReceived") >= 3, "{before} {after}");
    assert!(grown("BytesSent") >= 3 * 1000 && grown("BytesReceived") >= 3 * 1000, "{before} {after}");
    let nobody = api.get(&format!("/v2/endpoints/{NOBODY}/stats")).unwrap();
    refused(&nobody, 404, ENDPOINT_NOT_FOUND, &[NOBODY]);
}

#[test]
fn credentials_of_the_peer_decide_who_may_write_and_who_may_look() {
    needs!(root, "nft", "setpriv");
    let lab = Lab::new();
    let host = lab.island("h1");
    // Users and groups of this host alone: files of the lab, mounted over the machine's in the host's view.
    std::fs::write(lab.folder().join("passwd"), "root:x:0:0::/root:/bin/sh\nwriter:x:4001:4001::/:/bin/sh\nreader:x:4002:4002::/:/bin/sh\nnobody:x:4003:4003::/:/bin/sh\n").unwrap();
    std::fs::write(lab.folder().join("group"), "root:x:0:\nhns:x:4100:writer\nhns-read:x:4200:reader\n")
        .unwrap();
    let folder = lab.folder().display();
    host.sh(&format!("mount --bind {folder}/passwd /etc/passwd; mount --bind {folder}/group /etc/group"));
    let hnsd = Hnsd::start(&host);
    // (user, group, further groups of the process, may look, may write)
    let cases = [
        ("0", "0", "--clear-groups", true, true),
        ("4001", "4001", "--init-groups", true, true),
        ("4002", "4002", "--init-groups", true, false),
        ("4003", "4003", "--init-groups", false, false),
        // The group database counts even for a process that has dropped its groups; and a process in the group counts
        // even for a user that nobody knows.
        ("4001", "4001", "--clear-groups", true, true),
        ("4999", "4100", "--clear-groups", true, true),
        ("4999", "4200", "--clear-groups", true, false),
    ];
    for (user, group, groups, may_look, may_write) in cases {
        let as_user = |words: &[&str]| hnsd.try_hnsctl_as(user, group, groups, words);
        let looked = as_user(&["network", "ls"]);
        assert_eq!(looked.success(), may_look, "{user}:{group} {groups}: {looked}");
        let name = format!("by-{user}-{group}{groups}");
        let wrote = as_user(&["network", "create", &name]);
        assert_eq!(wrote.success(), may_write, "{user}:{group} {groups}: {wrote}");
        let there = text(&json!(hnsd.hnsctl(&["network", "ls"]))).contains(&name);
        assert_eq!(there, may_write, "{user}:{group} {groups}");
        // What only asks may be asked by whoever may look.
        let traced = as_user(&["trace", "--from", "192.0.2.1", "--to", "192.0.2.2"]);
        assert_eq!(traced.stderr.contains("is an endpoint"), may_look, "{user}:{group} {groups}: {traced}");
        if !may_write {
            let group = if may_look { "group hns" } else { "group hns-read" };
            let said = if may_look { &wrote } else { &looked };
            assert!(said.stderr.contains(group), "{said}");
        }
    }
}

#[test]
fn without_our_groups_only_root_may_speak() {
    needs!(root, "nft", "setpriv", "socat");
    let lab = Lab::new();
    let host = lab.island("h1");
    let mut hnsd =
        Hnsd::builder(&host).env("HNS_GROUP", "absent").env("HNS_READ_GROUP", "absent-too").start();
    let socket = hnsd.socket().display().to_string();
    let look = || hnsd.try_hnsctl_as("4999", "4999", "--clear-groups", &["network", "ls"]);
    let said = look().expect_failure();
    assert!(said.contains("ermission denied"), "{said}");
    assert_eq!(get(&mut hnsd.api(), "/v2/networks").as_array().unwrap().len(), 1);

    // A stranger that got hold of an open socket is refused by name all the same.
    host.sh(&format!("chmod 666 {socket}"));
    let said = look().expect_failure();
    assert!(said.contains("4999"), "{said}");
    let request = format!(
        "printf 'GET /v2/networks HTTP/1.0\\r\\n\\r\\n' | setpriv --reuid=4999 --regid=4999 --clear-groups socat -,ignoreeof UNIX-CONNECT:{socket}"
    );
    let answer = host.sh(&request);
    assert!(answer.starts_with("HTTP/1.0 403") && answer.contains(&ACCESS_DENIED.to_string()), "{answer}");
    let mut stranger = hnsd.api();
    assert!(hnsd.terminate().success());
    eventually!(within 5 s, stranger.get("/v2/networks").is_err());
}
