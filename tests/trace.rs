//! What `hnsctl trace` says of a packet is what a real one then meets, under the same reason and the same rule.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{Process, eventually, needs, program, tcp, udp};
use hns_tests::story_support::{Container, Scene, text};
use serde_json::{Value, json};

/// A container that serves TCP on 80 and 81 and UDP on 53, two others on its network, and somebody who sees all drops.
struct Stage {
    scene: Scene,
    web: Container,
    friend: Container,
    foe: Container,
    drops: Process,
    _servers: Vec<tcp::Echo>,
    _names: Vec<udp::Echo>,
}

/// What is sent: from whom, to which port of `web`, 53 by UDP.
type Packet<'a> = (&'a Container, IpAddr, u16);

impl Stage {
    #[track_caller]
    fn new(options: &[&str]) -> Self {
        let scene = Scene::new();
        scene.network("blue", 7, options);
        let [web, friend, foe] = ["web", "friend", "foe"].map(|name| scene.container("blue", name, &[]));
        let places = web.addresses().into_iter().flat_map(|address| [(address, 80), (address, 81)]);
        let servers = places.map(|at| tcp::Echo::serve(&web.netns, at)).collect();
        let names =
            web.addresses().into_iter().map(|address| udp::Echo::serve(&web.netns, (address, 53))).collect();
        let (hnsctl, socket) = (program("hnsctl"), scene.hnsd.socket());
        let (hnsctl, socket) = (hnsctl.display().to_string(), socket.display().to_string());
        let drops = scene.host.spawn(&[&hnsctl, "--socket", &socket, "drops", "--follow", "-o", "json"]);
        let stage = Self { scene, web, friend, foe, drops, _servers: servers, _names: names };
        // The drops are followed once one of them is shown.
        let lie = raw::udp(("10.7.0.99".parse().expect("an address"), 1), (stage.web.v4().into(), 9), b"lie");
        eventually!({
            stage.inject(&stage.foe, &lie);
            stage.told(&stage.foe, &json!({"Reason": "spoofed-ip"}))
        });
        stage
    }

    /// A trace by the operator's words; whether it ends well.
    #[track_caller]
    fn trace(&self, words: &[&str]) -> (Value, bool) {
        let finished = self.scene.hnsd.try_hnsctl(&[&["trace", "-o", "json"], words].concat());
        let document = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished}"));
        (document, finished.success())
    }

    #[track_caller]
    fn inject(&self, from: &Container, packet: &[u8]) {
        let link = Link { to: self.web.mac(), from: from.mac() };
        Injector::open(&from.netns, "eth0").send(&link.packet(packet)).expect("the interface is up");
    }

    /// Whether a packet was dropped at the port of this container, with these fields.
    fn told(&self, at: &Container, fields: &Value) -> Result<(), String> {
        let output = self.drops.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |line: &Value| {
            let same = |(key, value): (&String, &Value)| line[key] == *value;
            line["Endpoint"] == *at.id && fields.as_object().into_iter().flatten().all(same)
        };
        if lines.any(|line| is_it(&line)) { Ok(()) } else { Err(output) }
    }

    /// Everything that a packet would have changed.
    #[track_caller]
    fn counts(&self) -> Value {
        let rules = |of: &Container| self.scene.get(&format!("/v2/endpoints/{}/rules", of.id));
        let drops = |of: &Container| self.scene.get(&format!("/v2/drops?endpoint={}", of.id));
        let of = [&self.web, &self.friend, &self.foe].map(|of| json!([rules(of), drops(of)]));
        let flows = self.scene.get("/v2/flows");
        let tuples = flows.as_array().into_iter().flatten().map(|flow| {
            ["Endpoint", "Protocol", "Local", "LocalPort", "Remote", "RemotePort", "State"]
                .map(|key| flow[key].clone())
        });
        json!([of, tuples.map(|tuple| json!(tuple)).collect::<Vec<_>>()])
    }

    /// Traces a packet and sends it: both say the same.
    #[track_caller]
    fn agree(&self, (from, to, port): Packet<'_>) -> Value {
        let (place, protocol) =
            (SocketAddr::new(to, port).to_string(), if port == 53 { "udp" } else { "tcp" });
        let words = ["--from", &from.name, "--to", &place, "--protocol", protocol];
        // Again when an earlier connection ended meanwhile.
        let (trace, arrives) = eventually!({
            let (before, traced) = (self.counts(), self.trace(&words));
            let after = self.counts();
            if before == after { Ok(traced) } else { Err(format!("left behind: {before:#}, {after:#}")) }
        });
        let asked =
            if port == 53 { udp::ask(&from.netns, (to, port)) } else { tcp::ask(&from.netns, (to, port)) };
        assert_eq!(arrives, asked.is_ok(), "{} -> {place}: {asked:?}, {trace:#}", from.name);
        if arrives {
            assert_eq!(
                (&trace["Verdict"], &trace["Reason"]),
                (&json!("Delivered"), &Value::Null),
                "{trace:#}"
            );
            assert_eq!(trace["Receiver"]["Endpoint"], *self.web.id);
            return trace;
        }
        assert_eq!(trace["Verdict"], "Dropped", "{trace:#}");
        let last = trace["Steps"].as_array().and_then(|steps| steps.last()).expect("a layer dropped it");
        assert_eq!((&last["Result"], &last["Reason"]), (&json!("Dropped"), &trace["Reason"]));
        let by = [&self.web, from].into_iter().find(|one| last["Endpoint"] == *one.id).expect("one of both");
        let fields = json!({"Reason": trace["Reason"], "Rule": last["Rule"], "Direction": last["Direction"]});
        eventually!(self.told(by, &fields));
        trace
    }
}

/// The id of the rule that decided last; null: the default.
fn decided(trace: &Value) -> Value {
    let asked = trace["Steps"].as_array().into_iter().flatten().rfind(|step| !step["RulesOf"].is_null());
    asked.map_or(json!("nothing"), |step| step["Rule"]["Id"].clone())
}

fn acl(action: &str, direction: &str, priority: u16, more: &Value) -> Value {
    let mut settings = json!({"Action": action, "Direction": direction, "Priority": priority});
    more.as_object().into_iter().flatten().for_each(|(key, value)| settings[key] = value.clone());
    json!({"Type": "ACL", "Settings": settings})
}

fn of(container: &Container) -> String {
    container.addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn a_trace_names_the_rule_that_a_packet_then_meets() {
    needs!(root, "nft");
    let stage = Stage::new(&[]);
    let (web, friend, foe) = (&stage.web, &stage.friend, &stage.foe);
    let check = |rows: &[(&Container, u16, Value)]| {
        for (from, port, rule) in rows {
            for to in web.addresses() {
                let trace = stage.agree((from, to, *port));
                assert_eq!(decided(&trace), *rule, "{} -> {to} port {port}: {trace:#}", from.name);
            }
        }
    };
    check(&[(friend, 80, json!("nothing")), (foe, 53, json!("nothing"))]);
    // In: by a rule, by another, and by the default, which closes what one rule has not opened.
    let rules = json!([
        acl("Block", "In", 100, &json!({"Id": "no-foe", "RemoteAddresses": of(foe)})),
        acl("Allow", "In", 200, &json!({"Id": "web", "Protocols": "6", "LocalPorts": "80"})),
    ]);
    stage.scene.modify_policies(web, "Update", &rules);
    check(&[(friend, 80, json!("web")), (foe, 80, json!("no-foe")), (friend, 53, Value::Null)]);
    // A tier comes before.
    let tier = json!({"Name": "first", "Direction": "In", "Order": 100, "TierAclRules": [
        {"Id": "not-81", "TierAclRuleAction": "Block", "Priority": 10, "Protocols": "6", "LocalPorts": "81"},
        {"Id": "on", "TierAclRuleAction": "Pass", "Priority": 20}]});
    stage.scene.modify_policies(web, "Add", &json!([{"Type": "TierAcl", "Settings": tier}]));
    check(&[(friend, 81, json!("not-81")), (friend, 80, json!("web")), (foe, 80, json!("no-foe"))]);
    // Out: the sender's rules, before the receiver is asked.
    let rules = json!([
        acl("Block", "Out", 100, &json!({"Id": "stay", "RemoteAddresses": of(web), "Protocols": "17"})),
        acl("Allow", "Out", 200, &json!({"Id": "all"})),
    ]);
    stage.scene.modify_policies(friend, "Update", &rules);
    check(&[(friend, 53, json!("stay")), (friend, 80, json!("web"))]);
}

#[test]
fn a_lie_is_traced_too() {
    needs!(root, "nft");
    let stage = Stage::new(&[]);
    let to = format!("{}:9", stage.web.v4());
    let words = ["--from", "friend", "--as", "10.7.0.98", "--to", &to, "--protocol", "udp"];
    let (trace, arrives) = stage.trace(&words);
    assert!(!arrives);
    assert_eq!((&trace["Verdict"], &trace["Reason"]), (&json!("Dropped"), &json!("spoofed-ip")), "{trace:#}");
    let packet =
        raw::udp(("10.7.0.98".parse().expect("an address"), 40_000), (stage.web.v4().into(), 9), &[]);
    stage.inject(&stage.friend, &packet);
    eventually!(stage.told(&stage.friend, &json!({"Reason": "spoofed-ip"})));
}

#[test]
fn a_known_connection_passes_where_a_new_one_would_not() {
    needs!(root, "nft");
    let stage = Stage::new(&[]);
    let (web, friend) = (&stage.web, &stage.friend);
    let rules = json!([acl("Allow", "In", 200, &json!({"Id": "web", "Protocols": "6", "LocalPorts": "80"}))]);
    stage.scene.modify_policies(web, "Update", &rules);
    for (to, like) in web.addresses().into_iter().zip(friend.addresses()) {
        let mut talk = eventually!(tcp::Conversation::open(&friend.netns, (to, 80)));
        talk.say("hello").expect("an answer");
        let flows = stage.scene.get(&format!("/v2/flows?endpoint={}&address={to}", web.id));
        let flow = flows.as_array().into_iter().flatten().find(|flow| flow["State"] == "established");
        let port = flow.and_then(|flow| flow["RemotePort"].as_u64()).unwrap_or_else(|| panic!("{flows:#}"));
        let back = SocketAddr::new(like, u16::try_from(port).expect("a port")).to_string();
        let (trace, arrives) = stage.trace(&["--from", "web:80", "--to", &back]);
        assert!(arrives, "{trace:#}");
        let known = trace["Steps"].as_array().into_iter().flatten().find(|step| step["Result"] == "Known");
        let known = known.unwrap_or_else(|| panic!("{trace:#}"));
        assert_eq!([&known["State"], &known["RulesOf"], &known["Direction"]], ["established", "In", "Out"]);
        assert_eq!(known["Rule"]["Id"], "web");
        talk.say("the trace has not hurt it").expect("an answer");
        // From another port it would be a connection of web's own.
        let (trace, arrives) = stage.trace(&["--from", "web:81", "--to", &back]);
        assert!(!arrives && trace["Reason"] == "acl-out", "{trace:#}");
    }
}

/// Where the ports' knowledge ends, the answer says so.
#[test]
fn beyond_the_ports_our_tables_elements_tell() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    scene.network("green", 8, &[]);
    scene.network("shut", 9, &["--type", "internal"]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let other = scene.container("green", "other", &[]);
    let shut = scene.container("shut", "shut", &[]);
    let _servers: Vec<_> = web
        .addresses()
        .into_iter()
        .flat_map(|at| [80, 81].map(|port| tcp::Echo::serve(&web.netns, (at, port))))
        .collect();
    let trace = |from: &str, to: &str| {
        let finished = scene.hnsd.try_hnsctl(&["trace", "-o", "json", "--from", from, "--to", to]);
        let document: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished}"));
        let said = [text(&document, "Verdict"), document["Reason"].as_str().unwrap_or_default().to_owned()];
        assert_eq!(finished.success(), matches!(said[0].as_str(), "Delivered" | "Passed"), "{finished}");
        (said, document["Notes"].to_string())
    };
    let says = |from: &str, to: SocketAddr, verdict: &str, reason: &str, note: &str| {
        let (said, notes) = trace(from, &to.to_string());
        assert_eq!(said, [verdict, reason], "{from} -> {to}: {notes}");
        assert!(notes.contains(note), "{from} -> {to}: {notes}");
    };
    let pairs = web.addresses().into_iter().zip(scene.outside.addresses()).zip(scene.host_addresses());
    for ((at, outside), host) in pairs {
        let place = |port| SocketAddr::new(at, port);
        let (client, local) = (outside.to_string(), host.to_string());
        // From outside by the mapping only, from the host to any port.
        says(&client, place(80), "Delivered", "", "published port 8080/tcp");
        says(&client, place(81), "Dropped", "closed_drops", "no port mapping");
        says(&local, place(81), "Delivered", "", "the host sends it");
        tcp::ask(&scene.outside.netns(), (host, 8080)).expect("it is published");
        tcp::ask(&scene.host.netns(), (at, 81)).expect("the host reaches its containers");
        // To the outside, to the host, and to its published port.
        let far = SocketAddr::new(outside, 80);
        says("web", far, "Passed", "", "with an address of the host");
        says("web", SocketAddr::new(host, 22), "Passed", "", "the host has this address");
        says("other", SocketAddr::new(host, 8080), "Passed", "", "port 8080/tcp of the host is published");
        // Of other networks.
        says("other", place(81), "Dropped", "closed_drops", "on another network");
        tcp::ask(&other.netns, place(81)).expect_err("networks are apart");
        says("shut", far, "Unsent", "", "no route");
        tcp::ask(&shut.netns, far).expect_err("an Internal network has no way out");
    }
    let (said, notes) = trace("web", "web");
    assert!(said[0] == "Unsent" && notes.contains("the endpoint's own"), "{said:?} {notes}");
    let (said, notes) = trace("web", "10.7.0.77");
    assert_eq!(said, ["Unsent", ""]);
    assert!(notes.contains("nobody on the network has 10.7.0.77"), "{notes}");
    let (said, notes) = trace("8.8.4.4", "shut");
    assert_eq!(said, ["Dropped", "internal_drops"], "{notes}");
    let (said, notes) = trace("10.8.0.200", "web:80");
    assert_eq!(said, ["Dropped", "stray_drops"], "{notes}");
    let (said, notes) = trace("web", "10.7.0.255");
    assert_eq!(said[0], "Passed", "{notes}");
}

#[test]
fn rules_judge_what_comes_in_by_a_mapping() {
    needs!(root, "nft");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let _servers: Vec<_> =
        web.addresses().into_iter().map(|at| tcp::Echo::serve(&web.netns, (at, 80))).collect();
    let clients = scene.outside.addresses();
    for (client, (at, host)) in
        clients.into_iter().zip(web.addresses().into_iter().zip(scene.host_addresses()))
    {
        tcp::ask(&scene.outside.netns(), (host, 8080)).expect("it is published");
        let rules = json!([
            acl("Block", "In", 100, &json!({"Id": "not-he", "RemoteAddresses": client.to_string()})),
            acl("Allow", "In", 200, &json!({})),
        ]);
        scene.modify_policies(&web, "Update", &rules);
        let to = SocketAddr::new(at, 80).to_string();
        let table = scene.hnsd.try_hnsctl(&["trace", "--from", &client.to_string(), "--to", &to]);
        assert!(!table.success(), "{table}");
        assert!(table.stdout.contains("dropped: acl-in  ACL 100 Block not-he"), "{table}");
        assert_eq!(table.stderr, "");
        tcp::ask(&scene.outside.netns(), (host, 8080)).expect_err("the rule blocks");
        scene.modify_policies(&web, "Reset", &json!([]));
    }
}

#[test]
fn what_cannot_be_traced_is_refused_by_the_field() {
    needs!(root, "nft");
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    scene.container("blue", "web", &[]);
    scene.container("blue", "db", &[]);
    let document = json!({"Name": "idle", "HostComputeNetwork": network["ID"], "SchemaVersion": {"Major": 2, "Minor": 0}});
    let made = scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers");
    assert_eq!(made.expect_success()["Name"], "idle");
    let cases: [(&[&str], &str); 9] = [
        (&["--from", "nobody", "--to", "10.7.0.9"], "there is no endpoint \"nobody\""),
        (&["--from", "idle", "--to", "web"], "From.Endpoint: endpoint"),
        (&["--from", "web", "--to", "idle"], "To.Endpoint: endpoint"),
        (&["--from", "192.0.2.1", "--to", "10.7.0.9"], "From: neither it nor To, 10.7.0.9, is an endpoint"),
        (&["--from", "10.7.0.3", "--to", "web"], "From.Address: 10.7.0.3 is that of endpoint"),
        (&["--from", "web", "--as", "10.7.0.9", "--to", "fd00:7::9"], "no two addresses of one family"),
        (&["--from", "web", "--to", "db", "--protocol", "tcp"], "To.Port: missing, and tcp has ports"),
        (&["--from", "web", "--to", "db:80", "--protocol", "icmp"], "To.Port: icmp has no ports"),
        (&["--from", "web", "--to", "10.7.0.9", "--protocol", "icmpv6"], "Protocol: icmpv6"),
    ];
    for (words, said) in cases {
        let stderr = scene.hnsd.try_hnsctl(&[&["trace"], words].concat()).expect_failure();
        assert!(stderr.contains(said) && stderr.contains("hint: "), "{words:?}: {stderr}");
    }
    let twice = scene.hnsd.try_hnsctl(&["trace", "--from", "web", "--to", "db:80", "--port", "81"]);
    assert_eq!(twice.status.code(), Some(2), "{twice}");
}

#[test]
fn a_trace_goes_on_after_the_daemon_was_restarted() {
    needs!(root, "nft");
    let mut stage = Stage::new(&[]);
    let rules = json!([acl("Block", "In", 100, &json!({"Id": "closed"}))]);
    stage.scene.modify_policies(&stage.web, "Update", &rules);
    stage.scene.hnsd.restart();
    let to = format!("{}:80", stage.web.v4());
    let (trace, arrives) = stage.trace(&["--from", "friend", "--to", &to]);
    assert!(!arrives && decided(&trace) == "closed", "{trace:#}");
}
