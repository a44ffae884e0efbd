//! An operator sees what ports drop and which connections they know, by the names that he gave.

use std::net::UdpSocket;

use hns_testbed::{Process, eventually, needs, program, tcp};
use hns_tests::story_support::{Container, Scene, text};
use serde_json::{Value, json};

/// Two containers of one network, one of which speaks for an address that is not its own.
struct Street {
    scene: Scene,
    victim: Container,
    evil: Container,
}

const EVIL: &str = "10.7.0.99";

impl Street {
    #[track_caller]
    fn new() -> Self {
        let scene = Scene::new();
        scene.network("blue", 7, &[]);
        let (victim, evil) = (scene.container("blue", "victim", &[]), scene.container("blue", "evil", &[]));
        let mac = text(&victim.document, "MacAddress").replace('-', ":");
        scene.host.sh(&format!(
            "ip -n evil addr add {EVIL}/24 dev eth0
             ip -n evil neigh replace {} lladdr {mac} dev eth0 nud permanent",
            victim.v4()
        ));
        Self { scene, victim, evil }
    }

    /// Sends a packet with the wrong address: to the victim, whose station it knows, and to somebody it has to ask for.
    #[track_caller]
    fn lie(&self) {
        let known = format!("{}:9", self.victim.v4());
        self.evil.netns.enter(move || {
            let socket = UdpSocket::bind((EVIL, 0)).expect("the address is the container's");
            for to in [known.as_str(), "10.7.0.77:9"] {
                socket.send_to(b"lie", to).expect("the interface is up");
            }
        });
    }

    /// What `hnsctl drops` counts of the liar.
    #[track_caller]
    fn counted(&self, reason: &str) -> u64 {
        let table = self.scene.hnsd.hnsctl(&["drops"]);
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row[..3] == ["evil", "Out", reason])
            .map_or(0, |row| row[3].parse().expect("a number"))
    }

    #[track_caller]
    fn follow(&self, words: &[&str]) -> Process {
        let (hnsctl, socket) = (program("hnsctl"), self.scene.hnsd.socket());
        let (hnsctl, socket) = (hnsctl.display().to_string(), socket.display().to_string());
        let all = [&[&hnsctl, "--socket", &socket, "drops", "--follow"], words].concat();
        self.scene.host.spawn(&all)
    }
}

/// Ends a program as Ctrl-C does.
#[track_caller]
fn interrupt(scene: &Scene, mut process: Process) -> String {
    scene.host.sh(&format!("kill -INT {}", process.pid_in_host()));
    let status = eventually!(process.ended());
    assert!(status.success(), "{status}: {}", process.output());
    process.output()
}

#[test]
fn drops_are_counted_by_endpoint_and_reason() {
    needs!(root, "nft");
    let street = Street::new();
    let hnsd = &street.scene.hnsd;
    let none = hnsd.try_hnsctl(&["drops", "victim"]);
    assert_eq!((none.success(), none.stdout.as_str()), (true, ""), "{none}");
    assert_eq!(none.stderr, "no packets were dropped\n");
    assert_eq!(hnsd.hnsctl_json(&["drops", "victim"]), json!([]));
    for reason in ["spoofed-ip", "spoofed-arp"] {
        for _ in 0..2 {
            let before = street.counted(reason);
            eventually!({
                street.lie();
                street.counted(reason) > before
            });
        }
    }
    // The same by the beginning of the id, and as the daemon says it.
    let counts = hnsd.hnsctl_json(&["drops", &street.evil.id[..8]]);
    let count = counts.as_array().into_iter().flatten().find(|count| count["Reason"] == "spoofed-ip");
    let count = count.unwrap_or_else(|| panic!("no spoofed-ip in {counts:#}"));
    assert_eq!(count["Endpoint"], *street.evil.id);
    assert_eq!([&count["EndpointName"], &count["NetworkName"], &count["Direction"]], ["evil", "blue", "Out"]);
    assert!(count["Packets"].as_u64() >= Some(2), "{count:#}");
    assert_eq!(hnsd.hnsctl_json(&["drops", "victim"]), json!([]), "the filter holds");
    let wide = hnsd.hnsctl(&["drops", "evil", "-o", "wide"]);
    assert!(wide.contains("NETWORK") && wide.contains(&street.evil.id), "{wide}");
}

#[test]
fn dropped_packets_are_shown_as_they_are_dropped() {
    needs!(root, "nft");
    let street = Street::new();
    let (lines, words) = (street.follow(&["evil", "-o", "json"]), street.follow(&[]));
    let other = street.follow(&["victim"]);
    let packet = eventually!({
        street.lie();
        let output = lines.output();
        let mut packets = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        packets.find(|packet| packet["Reason"] == "spoofed-ip")
    });
    assert_eq!(
        [&packet["EndpointName"], &packet["NetworkName"], &packet["Direction"]],
        ["evil", "blue", "Out"]
    );
    let time = text(&packet, "Time");
    assert!(time.len() == "2026-01-02T03:04:05.678Z".len() && time.ends_with('Z'), "{time}");
    let told = &packet["Packet"];
    assert_eq!([&told["EtherType"], &told["Protocol"], &told["Source"]], ["ipv4", "udp", EVIL]);
    assert_eq!(told["Destination"], street.victim.v4().to_string());
    assert_eq!(told["DestinationPort"], 9);
    assert_eq!(told["SourceMac"], street.evil.document["MacAddress"]);
    // Ethernet, IPv4, UDP, three bytes.
    assert_eq!(packet["Length"], 14 + 20 + 8 + 3);
    let arrow = format!("-> {}:9  45 bytes", street.victim.v4());
    eventually!({
        street.lie();
        let output = words.output();
        let line = output.lines().find(|line| line.contains("  evil  Out  spoofed-ip  udp 10.7.0.99:"));
        line.filter(|line| line.ends_with(&arrow)).map(str::to_owned).ok_or(output)
    });
    eventually!({
        street.lie();
        let output = words.output();
        let asked = "  evil  Out  spoofed-arp  arp 10.7.0.99 -> 10.7.0.77  42 bytes  ";
        if output.contains(asked) { Ok(()) } else { Err(output) }
    });
    for process in [lines, words] {
        interrupt(&street.scene, process);
    }
    assert_eq!(interrupt(&street.scene, other), "", "the filter holds");
}

#[test]
fn connections_are_shown_where_a_port_knows_them() {
    needs!(root, "nft");
    let scene = Scene::new();
    let network = scene.network("blue", 7, &[]);
    let server = scene.container("blue", "server", &[]);
    let netns = scene.host.add_netns("guarded");
    let namespace =
        scene.hnsd.hnsctl_json(&["namespace", "create", "guarded", "--path", "/run/netns/guarded"]);
    let document = json!({
        "Name": "guarded", "SchemaVersion": {"Major": 2, "Minor": 0}, "HostComputeNetwork": network["ID"],
        "HostComputeNamespace": namespace["ID"], "AdditionalParams": {"AclDefaultIn": "Block"},
    });
    let made =
        scene.hnsd.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success();
    let own = text(&made["IpConfigurations"][0], "IpAddress");
    let none = scene.hnsd.try_hnsctl(&["flows", "guarded"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no connections are tracked\n"), "{none}");

    let _server = tcp::Echo::serve(&server.netns, (server.v4(), 80));
    let mut talk = eventually!(tcp::Conversation::open(&netns, (server.v4(), 80)));
    talk.say("hello").expect("what goes out is answered");
    let flows = scene.hnsd.hnsctl_json(&["flows", "guarded", "--protocol", "tcp"]);
    let flow = &flows[0];
    assert_eq!([&flow["EndpointName"], &flow["NetworkName"], &flow["Protocol"]], ["guarded", "blue", "tcp"]);
    assert_eq!([&flow["Local"], &flow["Remote"]], [&json!(own), &json!(server.v4().to_string())]);
    assert_eq!(flow["RemotePort"], 80);
    assert_eq!([&flow["Direction"], &flow["State"]], ["Out", "established"]);
    let table = scene.hnsd.hnsctl(&["flows", "guarded"]);
    let remote = format!("{}:80", server.v4());
    let row = table.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    assert_eq!([row[0], row[1], row[3], row[4], row[5]], ["guarded", "tcp", &remote, "Out", "established"]);
    for nothing in [["flows", "guarded", "--protocol", "udp"].as_slice(), &["flows", "server"]] {
        assert_eq!(scene.hnsd.try_hnsctl(nothing).stderr, "no connections are tracked\n", "{nothing:?}");
    }
    // What comes in uninvited is dropped, and told.
    let _closed = tcp::Echo::serve(&netns, (own.as_str(), 80));
    tcp::ask(&server.netns, (own.as_str(), 80)).expect_err("the default is Block");
    let drops = scene.hnsd.hnsctl(&["drops", "guarded"]);
    assert!(drops.lines().any(|line| line.starts_with("guarded   In         acl-in")), "{drops}");
}

#[test]
fn an_endpoint_that_is_not_there_is_named() {
    needs!(root, "nft");
    let scene = Scene::new();
    let unknown = scene.hnsd.try_hnsctl(&["drops", "nobody"]).expect_failure();
    assert!(unknown.contains(r#"there is no endpoint "nobody""#), "{unknown}");
}

#[test]
fn the_doctor_counts_the_ports_that_have_programs() {
    needs!(root, "nft");
    let street = Street::new();
    let finding = datapath(&street.scene);
    assert_eq!([&finding["Level"], &finding["Detail"]], ["Ok", "2 ports, each with its programs"]);
}

/// What the doctor finds about programs at ports.
#[track_caller]
fn datapath(scene: &Scene) -> Value {
    let findings = scene.get("/v2/doctor");
    let mut about =
        findings.as_array().into_iter().flatten().filter(|finding| finding["Check"] == "datapath");
    about.next().cloned().unwrap_or_else(|| panic!("nothing about the datapath in {findings:#}"))
}
