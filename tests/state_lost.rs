//! State that is lost or damaged: the daemon refuses with a remedy, and whoever has a network keeps it meanwhile.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use hns_testbed::{Api, Finished, Hnsd, Host, Lab, Netns, eventually, needs, program, udp};
use hns_tests::story_support::guide;
use serde_json::{Value, json};

/// A daemon with two networks, and a container that somebody outside and another container reach.
struct Stage {
    hnsd: Hnsd,
    host: Host,
    client: Netns,
    server: std::net::Ipv4Addr,
    _echo: udp::Echo,
    lab: Lab,
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
        Self { hnsd, host, client, server, _echo: echo, lab }
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
fn files_that_go_away_under_the_daemon_are_noticed_and_what_it_knows_is_written_down() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let stream = stage.stream();
    let state = stage.hnsd.state_dir();
    let network = json!({"Name": "late", "Type": "Internal"});
    let refused = |stage: &Stage| {
        let answer = stage.hnsd.api().post("/v2/networks", &network).unwrap();
        assert_eq!(answer.status, 500, "{answer:?}");
        answer.body.to_string()
    };

    // That of the start, so that no other is in the making.
    eventually!(within 10 s, state.join("hns.db.backup").exists());
    // Away for a while, the file alone and the whole folder, and back: it goes on by itself.
    let aside = stage.host.folder().join("aside");
    for path in [state.join("hns.db"), state.join("hns.db-wal"), state.clone()] {
        fs::rename(&path, &aside).unwrap();
        says(&refused(&stage), &["was removed while in use", "what exists goes on to work"]);
        says(&doctor(&stage), &["Problem  state", "changes are refused"]);
        let green = stage.hnsd.try_hnsctl(&["network", "create", "green"]).stderr;
        let words = [
            "error: cannot write the record of network \"green\": state file ",
            "hint: what exists",
            "code: ",
        ];
        says(&green, &words);
        fs::rename(&aside, &path).unwrap();
        assert!(!doctor(&stage).contains("changes are refused"));
    }
    post(&mut stage.hnsd.api(), "networks", &json!({"Name": "between", "Type": "Internal"}));

    // Another file in its place is not the one that is written to.
    fs::rename(state.join("hns.db"), &aside).unwrap();
    fs::copy(&aside, state.join("hns.db")).unwrap();
    says(&refused(&stage), &["was replaced by another one"]);
    fs::rename(&aside, state.join("hns.db")).unwrap();

    // Deleted for good: the daemon still knows everything.
    for file in fs::read_dir(&state).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    refused(&stage);
    eventually!(within 10 s, state.join("hns.db.backup").exists());
    assert!(stage.hnsd.terminate().success());
    says(&stage.hnsd.refuses_to_start_again(), &["hnsd recover"]);
    says(
        &recover(&stage, &["--yes"]).expect_success(),
        &["hns.db: empty", "hns.db.backup: sound", "start hnsd"],
    );
    stage.hnsd.start_again();
    assert_eq!(stage.names("networks"), ["nat", "inner", "between"]);
    assert_eq!(stage.names("endpoints"), ["client", "web"]);
    is_whole(stream);
}

fn recover(stage: &Stage, options: &[&str]) -> Finished {
    let (program, state) = (program("hnsd"), stage.hnsd.state_dir());
    let run = stage.hnsd.run_dir();
    let words = [program.to_str().unwrap(), "recover", "--state-dir", state.to_str().unwrap(), "--run-dir"];
    stage.host.try_run(&[&words[..], &[run.to_str().unwrap()], options].concat())
}

/// Damages a state file in one way.
type Damage = fn(&Path);

fn truncate(file: &Path) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_len(5_000).unwrap();
}

fn garble(file: &Path) {
    let file = File::options().write(true).open(file).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0xa5; 3_000], length / 2).unwrap();
}

/// Nothing that SQLite would notice.
fn garble_a_document(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(8).rposition(|window| window == b"\"Schema\"").unwrap();
    bytes[at..at + 8].copy_from_slice(b"12345678");
    fs::write(file, bytes).unwrap();
}

fn overwrite_everything(file: &Path) {
    fs::write(file, "certainly no database, but as long as one would have to be to be taken for one")
        .unwrap();
}

/// A start writes a backup behind it; one of before has what there was before.
fn is_written_since(backup: &Path, moment: SystemTime) -> bool {
    fs::metadata(backup).and_then(|found| found.modified()).is_ok_and(|written| written > moment)
}

#[test]
fn damaged_state_is_recovered_without_anybody_losing_a_packet() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let state = stage.hnsd.state_dir();
    let (file, backup) = (state.join("hns.db"), state.join("hns.db.backup"));
    let damages: [Damage; 4] = [truncate, garble, garble_a_document, overwrite_everything];
    // So that there is a middle.
    for number in 0..12 {
        let network = json!({"Name": format!("n{number}"), "Type": "Internal"});
        post(&mut stage.hnsd.api(), "networks", &network);
    }
    let (networks, endpoints) = (stage.names("networks"), stage.names("endpoints"));
    let mut started = SystemTime::now();
    stage.hnsd.restart();
    let stream = stage.stream();
    for (number, damage) in (1..).zip(damages) {
        eventually!(within 10 s, is_written_since(&backup, started));
        assert!(stage.hnsd.terminate().success());
        damage(&file);
        let damaged = fs::read(&file).unwrap();
        let before = stage.shown();
        says(&stage.hnsd.refuses_to_start_again(), &["hns", "hnsd recover", "nothing is deleted"]);
        let looked_at = recover(&stage, &[]);
        assert!(!looked_at.success());
        says(&looked_at.to_string(), &["damaged: ", "would be restored: ", "give --yes"]);
        assert_eq!(fs::read(&file).unwrap(), damaged, "looking changes nothing");
        assert_eq!(stage.shown(), before);

        let recovered = recover(&stage, &["--yes"]).expect_success();
        says(&recovered, &["14 networks", "2 of the 2 ports on this host are among them", "start hnsd"]);
        let aside = state.join(format!("hns.db.damaged-{number}"));
        assert_eq!(fs::read(aside).unwrap(), damaged, "it is kept");
        started = SystemTime::now();
        stage.hnsd.start_again();
        assert_eq!(sorted(stage.names("networks")), sorted(networks.clone()));
        assert_eq!(sorted(stage.names("endpoints")), sorted(endpoints.clone()));
    }
    is_whole(stream);
    // A state that is sound is left alone.
    assert!(stage.hnsd.terminate().success());
    says(&recover(&stage, &["--yes"]).expect_success(), &["nothing to recover"]);
    stage.hnsd.start_again();
    says(&recover(&stage, &["--yes"]).to_string(), &["in use by another daemon"]);
}

#[test]
fn a_backup_is_recovered_to_a_host_without_a_state_directory() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let state = stage.hnsd.state_dir();
    assert!(stage.hnsd.terminate().success());
    let backup = stage.lab.folder().join("brought.db");
    fs::copy(state.join("hns.db"), &backup).unwrap();
    fs::remove_dir_all(&state).unwrap();
    let absent = stage.lab.folder().join("absent.db");
    let said = recover(&stage, &["--from", absent.to_str().unwrap(), "--yes"]).expect_failure();
    assert!(said.contains(&format!("there is no {}", absent.display())), "{said}");
    assert!(!state.exists());
    let said = recover(&stage, &["--from", backup.to_str().unwrap(), "--yes"]).expect_success();
    says(&said, &["restored", "hns.db"]);
    stage.hnsd.start_again();
    assert_eq!(stage.names("endpoints"), ["client", "web"]);
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn a_backup_that_is_too_old_says_what_it_would_cost() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let state = stage.hnsd.state_dir();
    eventually!(within 10 s, state.join("hns.db.backup").exists());
    let old = stage.host.folder().join("old.db");
    fs::copy(state.join("hns.db.backup"), &old).unwrap();
    let (late, _) = container(&stage.host, &mut stage.hnsd.api(), "late");
    assert!(stage.hnsd.terminate().success());
    let said = recover(&stage, &["--from", old.to_str().unwrap()]).to_string();
    says(
        &said,
        &["on this host are among them", "the start after this removes the other", "hnv", "give --yes"],
    );
    stage.hnsd.start_again();
    assert!(late.ping(stage.server), "nothing was changed");
    let absent = recover(&stage, &["--from", "/absent.db"]).to_string();
    says(&absent, &["in use by another daemon"]);
}

/// The page is followed with a damaged file, by somebody for whom `systemctl` is this test.
#[test]
fn the_guide_is_followed_word_by_word() {
    needs!(root, "nft", "ip");
    let mut stage = Stage::new();
    let state = stage.hnsd.state_dir();
    for number in 0..12 {
        let network = json!({"Name": format!("n{number}"), "Type": "Internal"});
        post(&mut stage.hnsd.api(), "networks", &network);
    }
    let started = SystemTime::now();
    stage.hnsd.restart();
    eventually!(within 10 s, is_written_since(&state.join("hns.db.backup"), started));
    assert!(stage.hnsd.terminate().success());
    garble(&state.join("hns.db"));
    let _said = stage.hnsd.refuses_to_start_again();
    let mut run = |command: &str| {
        let lab = state.display().to_string();
        let mut finished = match command {
            "systemctl start hnsd" => {
                stage.hnsd.start_again();
                stage.host.try_sh("true")
            }
            "hnsd recover --yes" => recover(&stage, &["--yes"]),
            "hnsctl doctor" => stage.hnsd.try_hnsctl(&["doctor"]),
            "journalctl -u hnsd -o cat -n 2" => {
                stage.host.try_sh(&format!("tail -n 2 {}", stage.hnsd.log_file().display()))
            }
            other => panic!("the page says {other}, which this test does not know"),
        };
        finished.stdout = finished.stdout.replace(&lab, "/var/lib/hns");
        finished
    };
    guide::follow("recovery.md", &mut run, |path, _| panic!("the page writes {path}"));
    assert_eq!(stage.names("networks").len(), 14);
}
