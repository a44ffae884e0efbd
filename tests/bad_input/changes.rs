//! Namespaces, Modify requests and queries that cannot be.

use hns_testbed::needs;
use serde_json::{Value, json};

use super::{Row, UNKNOWN_ID, World, port_mapping, with};

#[test]
fn namespaces_and_changes_that_cannot_be_are_refused_by_name() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let good = world.good_namespace();
    let (namespace, endpoint) = (world.namespace.clone(), world.endpoint.clone());
    let path = |value: &str| with(&good, "/AdditionalParams/Path", json!(value));
    let invalid = 0x8007_0057;
    let hcn = 0x803B_0000;
    let table: Vec<(Value, u64, Vec<&str>)> = vec![
        (with(&good, "/Name", json!("x".repeat(300))), invalid, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{1b}[2Jb")), invalid, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{202e}b")), invalid, vec!["Name"]),
        (with(&good, "/Name", json!("a\u{2066}b")), invalid, vec!["Name"]),
        (with(&good, "/Type", json!("Galaxy")), invalid, vec!["Type", "Galaxy"]),
        (with(&good, "/Type", json!("Guest")), hcn + 0x15, vec!["Type", "Guest"]),
        (with(&good, "/Type", json!("HostDefault")), invalid, vec!["AdditionalParams"]),
        (with(&good, "/ID", json!(namespace)), hcn + 0x10, vec![&namespace]),
        (with(&good, "/ID", json!("9E3A")), hcn + 0x19, vec!["ID"]),
        (with(&good, "/Colour", json!(1)), invalid, vec!["Colour", "unknown field"]),
        (with(&good, "/Resources/0", json!({"Type": "Container"})), invalid, vec!["Resources[0].Data"]),
        (with(&good, "/Resources/0/Type", json!("Ship")), invalid, vec!["Resources[0].Type"]),
        (path("run/netns/free"), invalid, vec!["AdditionalParams.Path"]),
        (path("/run/netns/absent"), invalid, vec!["/run/netns/absent"]),
        (path("/etc/passwd"), invalid, vec!["/etc/passwd", "not a network namespace"]),
        (path("/run/netns"), invalid, vec!["/run/netns"]),
        (path("/proc/self/ns/mnt"), invalid, vec!["/proc/self/ns/mnt", "not a network namespace"]),
        (path("/run/netns/given"), invalid, vec!["/run/netns/given", &namespace]),
        (path("/proc/thread-self/ns/net"), invalid, vec!["the host's own"]),
        (with(&good, "/AdditionalParams", json!({"Pid": 0})), invalid, vec!["AdditionalParams.Pid"]),
        (with(&good, "/AdditionalParams", json!({"Pid": 4_000_000})), invalid, vec!["4000000"]),
    ];
    let mut rows: Vec<Row> =
        table.iter().map(|(body, code, words)| Row::post("/v2/namespaces", body, *code, words)).collect();

    let modify = |kind: &str, id: &str| format!("/v2/{kind}/{id}/modify");
    let request = |resource: &str, request: &str, settings: Value| json!({"ResourceType": resource, "RequestType": request, "Settings": settings});
    let of_namespace = modify("namespaces", &namespace);
    let of_endpoint = modify("endpoints", &endpoint);
    let of_network = modify("networks", &world.nat);
    let policies = |all: Value| json!({"Policies": all});
    let spare = json!({"HostComputeNetwork": world.nat});
    let spare = world.api.post("/v2/endpoints", &spare).unwrap().id();
    let other = world.api.post("/v2/namespaces", &json!({})).unwrap().id();
    let member = |id: &str| json!({"EndpointId": id});
    rows.extend([
        Row::post(&of_namespace, json!({"RequestType": "Add", "Settings": {}}), invalid, &["ResourceType"]),
        Row::post(
            &of_namespace,
            json!({"ResourceType": "Endpoint", "Settings": {}}),
            invalid,
            &["RequestType"],
        ),
        Row::post(
            &of_namespace,
            json!({"ResourceType": "Endpoint", "RequestType": "Add"}),
            invalid,
            &["Settings"],
        ),
        Row::post(&of_namespace, request("Endpoint", "Add", json!({})), invalid, &["Settings.EndpointId"]),
        Row::post(
            &of_namespace,
            request("Endpoint", "Add", json!({"Endpoint": spare})),
            invalid,
            &["Settings.Endpoint"],
        ),
        Row::hcn(&of_namespace, request("Endpoint", "Add", member("spare")), 0x19, &["Settings.EndpointId"]),
        Row::hcn(&of_namespace, request("Endpoint", "Add", member(UNKNOWN_ID)), 0x02, &[UNKNOWN_ID]),
        Row::hcn(&of_namespace, request("Endpoint", "Remove", member(UNKNOWN_ID)), 0x02, &[UNKNOWN_ID]),
        Row::post(&of_namespace, request("Endpoint", "Remove", member(&spare)), 0x8007_0490, &[&spare]),
        Row::hcn(&of_namespace, request("Endpoint", "Update", member(&spare)), 0x15, &["RequestType"]),
        Row::hcn(&of_namespace, request("Ship", "Add", json!({})), 0x15, &["ResourceType", "Ship"]),
        Row::hcn(
            modify("namespaces", &other),
            request("Endpoint", "Add", member(&endpoint)),
            0x2B,
            &[&endpoint, &namespace],
        ),
        Row::hcn(
            &of_endpoint,
            request("Port", "Add", json!({"PortId": UNKNOWN_ID})),
            0x15,
            &["ResourceType"],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Double", policies(json!([]))),
            0x15,
            &["RequestType", "Double"],
        ),
        Row::hcn(&of_endpoint, request("Policy", "Add", json!({"Policy": []})), 0x0C, &["Settings.Policy"]),
        Row::hcn(
            &of_endpoint,
            request(
                "Policy",
                "Add",
                policies(json!([{"Type": "Encryption", "Settings": {"EncryptionMethodType": "WireGuard"}}])),
            ),
            0x15,
            &["Policies[1].Type", "Encryption"],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Add", policies(json!([port_mapping(6, 0, 80)]))),
            0x2D,
            &["Settings.Policies[0].Settings.InternalPort"],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Add", policies(json!([port_mapping(6, 80, 9090)]))),
            0x13,
            &["9090/tcp", "socat"],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Add", policies(json!([port_mapping(6, 81, 8080)]))),
            0x13,
            &["8080/tcp", &endpoint],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Update", policies(json!([port_mapping(6, 80, 9090)]))),
            0x13,
            &["9090/tcp"],
        ),
        Row::hcn(
            &of_endpoint,
            request("Policy", "Remove", policies(json!([port_mapping(6, 80, 8088)]))),
            0x08,
            &[&endpoint, "PortMapping"],
        ),
        Row::hcn(
            &of_network,
            request("Policy", "Add", policies(json!([{"Type": "HostRoute"}]))),
            0x0E,
            &["Policies", "HostRoute"],
        ),
        Row::hcn(&of_network, request("DNS", "Add", json!({})), 0x15, &["RequestType"]),
        Row::hcn(
            &of_network,
            request("DNS", "Update", json!({"ServerList": ["here"]})),
            0x1E,
            &["Settings.ServerList[0]"],
        ),
        Row::hcn(&of_network, request("Subnet", "Add", json!({})), 0x15, &["ResourceType", "Subnet"]),
    ]);
    world.refuses(&rows);
}

#[test]
fn queries_that_cannot_be_read_are_refused_by_name() {
    needs!(root, "nft", "socat");
    let mut world = World::new();
    let table: Vec<(&str, u64, &str)> = vec![
        ("{", 0x1B, "query"),
        ("[1]", 0x1B, "query"),
        ("7", 0x1B, "query"),
        (r#"{"Filter":7}"#, 0x1B, "query.Filter"),
        (r#"{"Filter":"{"}"#, 0x1B, "query.Filter"),
        (r#"{"Filter":"[1]"}"#, 0x1B, "query.Filter"),
        (r#"{"Filter":"{}","Colour":1}"#, 0x1B, "query.Colour"),
        (r#"{"Flags":"Everything"}"#, 0x1B, "query.Flags"),
        (r#"{"SchemaVersion":2}"#, 0x1B, "query.SchemaVersion"),
        (r#"{"SchemaVersion":{"Major":"new"}}"#, 0x1B, "query.SchemaVersion.Major"),
        (r#"{"SchemaVersion":{"Major":1,"Minor":0}}"#, 0x15, "query.SchemaVersion"),
    ];
    let mut rows = Vec::new();
    for (query, code, word) in table {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for kind in ["networks", "endpoints", "namespaces"] {
            let mut row = Row::hcn(format!("/v2/{kind}?query={encoded}"), "", code, &[word]);
            row.method = "GET";
            rows.push(row);
        }
    }
    let mut row = Row::post("/v2/networks?colour=blue", "", 0x8007_0057, &["colour"]);
    row.method = "GET";
    rows.push(row);
    world.refuses(&rows);
}
