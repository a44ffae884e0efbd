//! State that is lost or damaged: the daemon refuses with a remedy, and whoever has a network keeps it meanwhile.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::fs;

use hns_testbed::{Api, Hnsd, Host, Lab, Netns, eventually, needs, udp};
use serde_json::{Value, json};

/// A daemon with two networks, and a container that somebody outside and another container reach.
struct Stage {
    hnsd: Hnsd,
    host: Host,
    client: Netns,
    server: std::net::Ipv4Addr,
    _echo: udp::Echo,
    _lab: Lab,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("h1");
        let hnsd = Hnsd::builder(&host).start();
        let mut api = hnsd.api();
        post(&mut api, "networks", &json!({"Name": "inner", "Type": "Internal"}));
        let (client, _) = container(&host, &mut api, "client");
        let (web, server) = container(&host, &mut api, "web");
        let echo = udp::Echo::serve(&web, "0.0.0.0:53");
        eventually!(within 5 s, udp::ask(&client, (server, 53)));
        Self { hnsd, host, client, server, _echo: echo, _lab: lab }
    }

    fn stream(&self) -> udp::Stream {
        udp::Stream::start(&self.client, (self.server, 53), 500)
    }

    /// Everything of the host's network that a start may touch, less what the kernel itself sees late of a carrier.
    fn shown(&self) -> String {
        let carrier = "sed 's/NO-CARRIER,//; s/state [A-Z]*//; s/ linkdown//'";
        self.host.sh(&format!("{{ ip -o link; ip -o -4 addr; ip route; nft -s list ruleset; sysctl -a 2>/dev/null | grep -E 'forward|bridge-nf'; }} | {carrier}"))
    }

    fn names(&self, kind: &str) -> Vec<String> {
        let all = self.hnsd.api().get(&format!("/v2/{kind}")).unwrap().expect_success();
        all.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    }
}

#[track_caller]
fn post(api: &mut Api, kind: &str, document: &Value) -> Value {
    api.post(&format!("/v2/{kind}"), document).unwrap().expect_success()
}

/// A container on the network `nat`.
#[track_caller]
fn container(host: &Host, api: &mut Api, name: &str) -> (Netns, std::net::Ipv4Addr) {
    let netns = host.add_netns(name);
    let namespace = json!({"Name": name, "AdditionalParams": {"Path": format!("/run/netns/{name}")}});
    let namespace = post(api, "namespaces", &namespace)["ID"].clone();
    let nat = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].clone();
    let endpoint = json!({"Name": name, "HostComputeNetwork": nat, "HostComputeNamespace": namespace});
    let endpoint = post(api, "endpoints", &endpoint);
    let address = endpoint["IpConfigurations"][0]["IpAddress"].as_str().unwrap().parse().unwrap();
    (netns, address)
}

/// Ends a stream of packets of which every one must have come back.
#[track_caller]
fn is_whole(stream: udp::Stream) {
    let report = stream.stop();
    assert!(report.sent > 20 && report.lost == 0, "{report:?}");
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no \"{word}\" in:\n{text}");
    }
}

#[test]
fn a_start_without_records_refuses_to_remove_what_is_in_use() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let stream = stage.stream();
    assert!(stage.hnsd.terminate().success());
    let (state, aside) = (stage.hnsd.state_dir(), stage.host.folder().join("aside"));
    let before = stage.shown();
    fs::rename(&state, &aside).unwrap();
    // Without the folder, with an empty one, and with the database that the start before has made.
    for _ in 0..3 {
        let said = stage.hnsd.refuses_to_start_again();
        let folder = state.display().to_string();
        says(
            &said,
            &["2 switches, 2 ports (hns", "hnv", "traffic goes on", &folder, "hnsd recover", "--forget"],
        );
        assert_eq!(stage.shown(), before, "nothing was touched");
    }
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    stage.hnsd.start_again();
    assert_eq!(stage.names("networks"), ["nat", "inner"]);
    assert_eq!(stage.names("endpoints"), ["client", "web"]);
    is_whole(stream);
}

#[test]
fn forgetting_removes_what_is_left_once_and_is_refused_where_there_are_records() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    stage.hnsd.kill9();
    fs::remove_dir_all(stage.hnsd.state_dir()).unwrap();
    stage.hnsd.start_again_with("--forget");
    assert_eq!(stage.names("networks"), ["nat"]);
    assert!(stage.names("endpoints").is_empty());
    eventually!(within 5 s, stage.host.sh("ip -o link | grep -c hnv || true").trim() == "0");
    assert_eq!(stage.host.sh("ip -o link show type bridge | wc -l").trim(), "1");
    assert!(stage.hnsd.terminate().success());

    // Left in a unit file, it would decide about the next loss, too.
    let mut again = Hnsd::builder(&stage.host).arg("--forget").launch();
    let status = eventually!(within 10 s, again.ended());
    assert!(!status.success());
    says(&again.output(), &["there are records, and nothing to forget", "hint: start without --forget"]);
    stage.hnsd.start_again();
    assert_eq!(stage.names("networks"), ["nat"]);
}

/// What a daemon says of its state, as `hnsctl doctor` shows it.
fn doctor(stage: &Stage) -> String {
    stage.hnsd.try_hnsctl(&["doctor"]).stdout
}

#[test]
fn files_that_go_away_under_the_daemon_are_noticed_and_it_goes_on_when_they_are_back() {
    needs!(root, "nft", "ip");
    let stage = Stage::new();
    let stream = stage.stream();
    let state = stage.hnsd.state_dir();
    let network = json!({"Name": "late", "Type": "Internal"});
    let refused = |stage: &Stage| {
        let answer = stage.hnsd.api().post("/v2/networks", &network).unwrap();
        assert_eq!(answer.status, 500, "{answer:?}");
        answer.body.to_string()
    };

    // Away for a while, the file alone and the whole folder, and back: it goes on by itself.
    let aside = stage.host.folder().join("aside");
    for path in [state.join("hns.db"), state.join("hns.db-wal"), state.clone()] {
        fs::rename(&path, &aside).unwrap();
        says(&refused(&stage), &["was removed while in use", "what exists goes on to work"]);
        says(&doctor(&stage), &["Problem  state", "changes are refused"]);
        fs::rename(&aside, &path).unwrap();
        assert!(!doctor(&stage).contains("changes are refused"));
    }
    post(&mut stage.hnsd.api(), "networks", &json!({"Name": "between", "Type": "Internal"}));

    // Another file in its place is not the one that is written to.
    fs::rename(state.join("hns.db"), &aside).unwrap();
    fs::copy(&aside, state.join("hns.db")).unwrap();
    says(&refused(&stage), &["was replaced by another one"]);
    fs::rename(&aside, state.join("hns.db")).unwrap();

    assert_eq!(stage.names("endpoints"), ["client", "web"]);
    is_whole(stream);
}
