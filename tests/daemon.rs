//! The daemon as a process: its settings, its single instance, what it says to systemd, its end, its default network.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hns_testbed::{Api, Hnsd, Host, Lab, Process, eventually, needs, program, tcp, udp};
use serde_json::{Value, json};

/// One way to say something to the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    File,
    Environment,
    Flag,
}

/// A daemon whose settings are all given by one means, in folders of its own.
struct Setting<'h> {
    host: &'h Host,
    folder: PathBuf,
    command: Command,
    file: String,
}

impl<'h> Setting<'h> {
    fn new(host: &'h Host, name: &str) -> Self {
        let folder = host.folder().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { host, folder, command: Command::new(program("hnsd")), file: String::new() }
    }

    fn say(&mut self, by: By, key: &str, value: &str) {
        match by {
            By::File if ["true", "false"].contains(&value) => self.file += &format!("{key} = {value}\n"),
            By::File if key == "default_prefix" => self.file += &format!("{key} = [\"{value}\"]\n"),
            By::File => self.file += &format!("{key} = \"{value}\"\n"),
            By::Environment => drop(self.command.env(format!("HNS_{}", key.to_uppercase()), value)),
            By::Flag => drop(self.command.arg(format!("--{}", key.replace('_', "-"))).arg(value)),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn launch(mut self) -> Process {
        let file = self.folder.join("hnsd.toml");
        std::fs::write(&file, &self.file).unwrap();
        self.command.arg("--config").arg(file);
        self.host.spawn_command(self.command)
    }
}

#[track_caller]
fn is_ready(daemon: &mut Process, socket: &str) {
    eventually!(within 10 s, {
        assert!(daemon.ended().is_none(), "{}", daemon.output());
        daemon.output().lines().any(|line| line == format!("hnsd is ready on {socket}"))
    });
}

/// How a daemon that refuses to run says so.
#[track_caller]
fn refusal(daemon: &mut Process) -> String {
    let status = eventually!(within 10 s, daemon.ended());
    assert!(!status.success(), "{}", daemon.output());
    daemon.output()
}

fn networks(socket: impl AsRef<Path>) -> Vec<(String, Vec<String>)> {
    let all = Api::connect(socket.as_ref()).unwrap().get("/v2/networks").unwrap().expect_success();
    let prefixes = |network: &Value| {
        let subnets = network["Ipams"][0]["Subnets"].as_array().unwrap().clone();
        subnets.iter().map(|subnet| subnet["IpAddressPrefix"].as_str().unwrap().to_owned()).collect()
    };
    let named = |network: &Value| (network["Name"].as_str().unwrap().to_owned(), prefixes(network));
    all.as_array().unwrap().iter().map(named).collect()
}

/// Puts the namespace `/run/netns/web` on the network `nat`, with these ports published: protocol, host's, container's.
#[track_caller]
fn attach(hnsd: &Hnsd, ports: &[(u8, u16, u16)]) {
    let mut api = hnsd.api();
    let nat = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].clone();
    let namespace = json!({"AdditionalParams": {"Path": "/run/netns/web"}});
    let namespace = api.post("/v2/namespaces", &namespace).unwrap().id();
    let policy = |(protocol, external, internal): &(u8, u16, u16)| {
        json!({"Type": "PortMapping",
            "Settings": {"Protocol": protocol, "ExternalPort": external, "InternalPort": internal}})
    };
    let policies: Vec<Value> = ports.iter().map(policy).collect();
    let endpoint =
        json!({"HostComputeNetwork": nat, "HostComputeNamespace": namespace, "Policies": policies});
    let _id = api.post("/v2/endpoints", &endpoint).unwrap().id();
}

#[test]
fn every_setting_counts_by_flag_by_environment_and_by_file() {
    needs!(root, "nft");
    let lab = Lab::new();
    for by in [By::File, By::Environment, By::Flag] {
        let host = lab.island(&format!("{by:?}"));
        host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true");
        let mut daemon = Setting::new(&host, "one");
        let (state, run, socket) = (daemon.path("s"), daemon.path("r"), daemon.path("elsewhere.sock"));
        for (key, value) in [("state_dir", &*state), ("run_dir", &*run), ("socket", &*socket)] {
            daemon.say(by, key, value);
        }
        daemon.say(by, "log_format", "json");
        daemon.say(by, "log", "warn");
        daemon.say(by, "group", "root");
        daemon.say(by, "read_group", "absent");
        daemon.say(by, "default_prefix", "10.51.0.0/24");
        daemon.say(by, "bridge_netfilter", "keep");
        let plugins = daemon.path("plugins");
        daemon.say(by, "docker", "on");
        daemon.say(by, "docker_plugins", &plugins);
        let mut daemon = daemon.launch();
        is_ready(&mut daemon, &socket);
        assert!(Path::new(&state).join("hns.db").is_file(), "{by:?}");
        assert!(Path::new(&plugins).join("nat.sock").exists(), "{by:?}");
        assert_eq!(networks(&socket), [("nat".to_owned(), vec!["10.51.0.0/24".to_owned()])], "{by:?}");
        let made = json!({"Type": "Host"});
        let made =
            Api::connect(Path::new(&socket)).unwrap().post("/v2/namespaces", &made).unwrap().expect_success();
        let made = made["AdditionalParams"]["Path"].as_str().unwrap().to_owned();
        assert!(made.starts_with(&run) && host.path(&made).exists(), "{by:?}: {made}");
        let log = daemon.output();
        let lines = || log.lines().filter(|line| !line.starts_with("hnsd is ready"));
        let levels: Vec<String> = lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["level"].as_str().unwrap().to_owned())
            .collect();
        // At the level asked for, the network that it has made is nothing to speak of.
        assert!(!log.contains("made the default network"), "{by:?}: {log}");
        assert!(levels.iter().all(|level| level == "WARN"), "{by:?}: {log}");
        // The group may connect, so the socket is its own.
        let mode = host.sh(&format!("stat -c '%a %G' {socket}"));
        assert_eq!(mode.trim(), "660 root", "{by:?}");
        let kept = host.try_sh("sysctl -n net.bridge.bridge-nf-call-iptables").stdout;
        assert!(kept.is_empty() || kept.trim() == "1", "{by:?}: {kept}");
        assert!(daemon.terminate().success());
        assert!(!Path::new(&socket).exists(), "the socket goes with its daemon");
    }
}

#[test]
fn docker_is_served_where_that_is_possible_and_not_where_it_is_unwanted() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let start = |name: &str, docker: &str, plugins: &str| {
        let mut daemon = Setting::new(&host, name);
        let (socket, plugins) = (daemon.path("hns.sock"), daemon.path(plugins));
        for (key, value) in [("state_dir", "s"), ("run_dir", "r")] {
            let path = daemon.path(value);
            daemon.say(By::Flag, key, &path);
        }
        daemon.say(By::Flag, "socket", &socket);
        // Each has a state of its own, and the one before has left its network.
        daemon.command.arg("--forget");
        daemon.say(By::Flag, "docker", docker);
        daemon.say(By::Flag, "docker_plugins", &plugins);
        (daemon.launch(), socket, PathBuf::from(plugins))
    };
    let (mut off, socket, plugins) = start("off", "off", "plugins");
    is_ready(&mut off, &socket);
    assert!(!plugins.exists());
    assert!(off.terminate().success());

    // Its settings lie where the folder of sockets should be.
    let (mut auto, socket, _) = start("auto", "auto", "hnsd.toml");
    is_ready(&mut auto, &socket);
    assert!(auto.output().contains("Docker is not served"), "{}", auto.output());
    assert!(auto.terminate().success());
    let (mut on, _, plugins) = start("on", "on", "hnsd.toml");
    let said = refusal(&mut on);
    assert!(said.contains("cannot serve Docker") && said.contains(plugins.to_str().unwrap()), "{said}");
}

#[test]
fn a_flag_counts_above_the_environment_and_that_above_the_file() {
    needs!(root, "nft");
    let lab = Lab::new();
    let orders: [(&[By], &str); 3] = [
        (&[By::File], "10.52.1.0/24"),
        (&[By::File, By::Environment], "10.52.2.0/24"),
        (&[By::File, By::Environment, By::Flag], "10.52.3.0/24"),
    ];
    for (said, counts) in orders {
        let host = lab.island(&format!("said{}", said.len()));
        let mut daemon = Setting::new(&host, "one");
        let socket = daemon.path("hns.sock");
        for (key, name) in [("state_dir", "s"), ("run_dir", "r"), ("socket", "hns.sock")] {
            let path = daemon.path(name);
            daemon.say(By::Flag, key, &path);
        }
        for (by, number) in said.iter().zip(1..) {
            daemon.say(*by, "default_prefix", &format!("10.52.{number}.0/24"));
        }
        let mut daemon = daemon.launch();
        is_ready(&mut daemon, &socket);
        assert_eq!(networks(&socket), [("nat".to_owned(), vec![counts.to_owned()])], "{said:?}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let cases = [
        (By::Flag, "default_prefix", "172.16/16", "172.16/16"),
        (By::Flag, "log_format", "poem", "poem"),
        (By::Environment, "default_network", "perhaps", "perhaps"),
        (By::Environment, "bridge_netfilter", "sometimes", "sometimes"),
        (By::File, "sockt", "/x", "sockt"),
        (By::File, "log", "no=such=filter", "no=such=filter"),
        (By::Flag, "state_dir", "/proc/nowhere", "/proc/nowhere"),
        (By::Flag, "colour", "blue", "--colour"),
    ];
    for (number, (by, key, value, word)) in cases.into_iter().enumerate() {
        let mut daemon = Setting::new(&host, &format!("case{number}"));
        for (path, name) in [("state_dir", "s"), ("run_dir", "r"), ("socket", "hns.sock")] {
            let file = daemon.path(name);
            if path != key {
                daemon.say(By::Flag, path, &file);
            }
        }
        daemon.say(by, key, value);
        let said = refusal(&mut daemon.launch());
        assert!(said.contains(word), "{by:?} {key}={value}: {said}");
    }
    let absent = host.spawn(&[program("hnsd").to_str().unwrap(), "--config", "/absent.toml"]);
    let mut absent = absent;
    assert!(refusal(&mut absent).contains("/absent.toml"));
    assert!(!host.links().iter().any(|link| link.starts_with("hns")), "{:?}", host.links());
}

#[test]
fn a_second_daemon_refuses_and_leaves_the_first_alone() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.host("h1");
    let web = host.add_netns("web");
    let mut hnsd = Hnsd::start(&host);
    attach(&hnsd, &[]);
    let before = (host.links(), host.sh("nft list ruleset"));

    // On the same state directory, by another socket.
    let mut second = Setting::new(&host, "second");
    second.say(By::Flag, "state_dir", hnsd.state_dir().to_str().unwrap());
    let (run, socket) = (second.path("r"), second.path("hns.sock"));
    second.say(By::Flag, "run_dir", &run);
    second.say(By::Flag, "socket", &socket);
    let said = refusal(&mut second.launch());
    assert!(said.contains(hnsd.state_dir().to_str().unwrap()) && said.contains("in use"), "{said}");

    // On the same socket, with a state directory of its own, which knows nothing of the first one's networks.
    let mut second = Setting::new(&host, "third");
    let (state, run) = (second.path("s"), second.path("r"));
    second.say(By::Flag, "state_dir", &state);
    second.say(By::Flag, "run_dir", &run);
    second.say(By::Flag, "socket", hnsd.socket().to_str().unwrap());
    let said = refusal(&mut second.launch());
    assert!(said.contains("another daemon listens on"), "{said}");

    // With everything of its own: in one network namespace it would take what is there for leftovers.
    let mut second = Setting::new(&host, "fourth");
    for name in ["state_dir", "run_dir", "socket"] {
        let path = second.path(name);
        second.say(By::Flag, name, &path);
    }
    let said = refusal(&mut second.launch());
    assert!(said.contains("another hnsd serves this network namespace"), "{said}");

    assert_eq!((host.links(), host.sh("nft list ruleset")), before);
    assert!(web.ping([172, 16, 0, 1]));
    assert_eq!(networks(hnsd.socket()).len(), 1);
    // What a killed daemon leaves behind stands in nobody's way.
    hnsd.kill9();
    assert!(hnsd.socket().exists());
    hnsd.start_again();
    assert_eq!(networks(hnsd.socket()).len(), 1);
}

#[test]
fn a_path_that_is_no_socket_is_not_removed() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let mut daemon = Setting::new(&host, "one");
    let precious = daemon.path("precious");
    std::fs::write(&precious, "data").unwrap();
    for (key, name) in [("state_dir", "s"), ("run_dir", "r"), ("socket", "precious")] {
        let path = daemon.path(name);
        daemon.say(By::Flag, key, &path);
    }
    let said = refusal(&mut daemon.launch());
    assert!(said.contains(&precious) && said.contains("not a socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let path = lab.folder().join("notify");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let size = notified.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    };
    let hnsd = Hnsd::builder(&host).env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut hnsd = hnsd.start();
    assert!(heard().lines().any(|line| line == "READY=1"));
    // Ready means that requests are answered.
    assert_eq!(networks(hnsd.socket()).len(), 1);
    assert!(hnsd.terminate().success(), "{}", hnsd.log());
    assert!(heard().lines().any(|line| line == "STOPPING=1"));
}

#[test]
fn after_its_end_traffic_goes_on() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("h1"), lab.host("outside"));
    let web = host.add_netns("web");
    let mut hnsd = Hnsd::start(&host);
    attach(&hnsd, &[(6, 8080, 80), (17, 5353, 53)]);
    let _tcp = tcp::Echo::serve(&web, "0.0.0.0:80");
    let _udp = udp::Echo::serve(&web, "0.0.0.0:53");
    let mut conversation = tcp::Conversation::open(&outside.netns(), (host.v4(), 8080)).unwrap();
    for ending in ["TERM", "KILL"] {
        if ending == "TERM" {
            let status = hnsd.terminate();
            assert!(status.success(), "{status}: {}", hnsd.log());
        } else {
            hnsd.kill9();
        }
        conversation.say(ending).unwrap();
        let seen = tcp::ask(&outside.netns(), (host.v4(), 8080)).unwrap();
        assert_eq!(seen.ip(), outside.v4());
        assert!(udp::ask(&outside.netns(), (host.v4(), 5353)).is_ok());
        assert!(web.ping(outside.v4()));
        hnsd.start_again();
        conversation.say("back").unwrap();
    }
}

#[test]
fn requests_under_way_are_finished_before_the_end() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let mut hnsd = Hnsd::start(&host);
    let mut api = hnsd.api();
    let nat = api.get("/v2/networks").unwrap().expect_success()[0]["ID"].clone();
    let worker = std::thread::spawn(move || {
        // Every request is either answered or never begun.
        let document = json!({"HostComputeNetwork": nat});
        let mut made = 0_usize;
        while let Ok(answer) = api.post("/v2/endpoints", &document) {
            assert_eq!(answer.status, 201, "{}", answer.text);
            made += 1;
        }
        made
    });
    eventually!(within 10 s, hnsd.api().get("/v2/endpoints?ids=true").unwrap().body.as_array().unwrap().len() > 20);
    assert!(hnsd.terminate().success(), "{}", hnsd.log());
    let made = worker.join().unwrap();
    hnsd.start_again();
    let there = hnsd.api().get("/v2/endpoints?ids=true").unwrap().body.as_array().unwrap().len();
    assert_eq!(there, made);
}

#[test]
fn the_default_network_can_be_configured_and_suppressed_and_stays_deleted() {
    needs!(root, "nft");
    let lab = Lab::new();
    let none = Hnsd::builder(&lab.island("h1")).arg("--default-network").arg("false").start();
    assert_eq!(networks(none.socket()), []);

    let both = Hnsd::builder(&lab.island("h2"))
        .config("default_prefix = [\"10.53.0.0/20\", \"fd00:53::/64\"]\n")
        .start();
    let prefixes = vec!["10.53.0.0/20".to_owned(), "fd00:53::/64".to_owned()];
    assert_eq!(networks(both.socket()), [("nat".to_owned(), prefixes)]);

    let mut hnsd = Hnsd::start(&lab.island("h3"));
    assert_eq!(networks(hnsd.socket()), [("nat".to_owned(), vec!["172.16.0.0/16".to_owned()])]);
    let nat = hnsd.api().get("/v2/networks").unwrap().body[0]["ID"].as_str().unwrap().to_owned();
    hnsd.restart();
    assert_eq!(hnsd.api().get("/v2/networks").unwrap().body[0]["ID"], nat.as_str());
    assert_eq!(hnsd.api().delete(&format!("/v2/networks/{nat}")).unwrap().status, 204);
    hnsd.restart();
    assert_eq!(networks(hnsd.socket()), []);
    hnsd.kill9();
    hnsd.start_again();
    assert_eq!(networks(hnsd.socket()), []);
    // Whoever wants it back makes it; nothing is special about its name.
    hnsd.hnsctl(&["network", "create", "nat"]);
    assert_eq!(networks(hnsd.socket()), [("nat".to_owned(), vec!["172.16.0.0/16".to_owned()])]);
}

#[test]
fn a_default_prefix_that_the_host_routes_elsewhere_is_named_at_the_start() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.host("h1");
    let mut refused = Hnsd::builder(&host).arg("--default-prefix").arg("198.18.0.0/16").launch();
    let said = refusal(&mut refused);
    assert!(said.contains("198.18.0.0/16") && said.contains("198.18.0.0/24"), "{said}");
    assert!(!host.links().iter().any(|link| link.starts_with("hns")), "{:?}", host.links());
    // Once the setting is right, the first start is still the first.
    let hnsd = Hnsd::builder(&host).arg("--default-prefix").arg("10.54.0.0/24").start();
    assert_eq!(networks(hnsd.socket()), [("nat".to_owned(), vec!["10.54.0.0/24".to_owned()])]);
}

/// T-V6-5: to the daemon, a kernel without IPv6 is one without its settings.
#[test]
fn a_host_without_ipv6_serves_ipv4_and_refuses_ipv6_by_name() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("h1"), lab.host("outside"));
    host.sh(
        "mkdir /run/settings; mount --bind --make-private /proc/sys/net /run/settings; mount -t tmpfs tmpfs /proc/sys/net
             for folder in $(ls /run/settings | grep -v ipv6); do
                 mkdir /proc/sys/net/$folder; mount --bind /run/settings/$folder /proc/sys/net/$folder
             done",
    );
    let web = host.add_netns("web");
    let hnsd = Hnsd::start(&host);
    attach(&hnsd, &[(6, 8080, 80)]);
    let _server = tcp::Echo::serve(&web, "0.0.0.0:80");
    eventually!(within 5 s, tcp::ask(&outside.netns(), (host.v4(), 8080)));
    assert!(tcp::ask(&host.netns(), "127.0.0.1:8080").is_ok());
    assert!(web.ping(outside.v4()));

    let before = (networks(hnsd.socket()), host.links());
    let mut api = hnsd.api();
    let six = json!({"IpAddressPrefix": "fd00:55::/64"});
    for subnets in [json!([six]), json!([{"IpAddressPrefix": "10.55.0.0/24"}, six])] {
        let document = json!({"Name": "six", "Ipams": [{"Subnets": subnets}]});
        let refused = api.post("/v2/networks", &document).unwrap();
        assert!((400..500).contains(&refused.status), "{} {}", refused.status, refused.text);
        assert!(refused.body["Error"].as_str().unwrap().contains("no IPv6"), "{}", refused.text);
        assert_eq!((networks(hnsd.socket()), host.links()), before);
    }
    let doctor = hnsd.try_hnsctl(&["doctor"]);
    assert!(doctor.stdout.contains("the kernel has no IPv6"), "{doctor}");
}

/// An administrator's `disable_ipv6` is about the interfaces that are there and those to come, not about our switches.
#[test]
fn a_host_whose_interfaces_have_ipv6_off_serves_both_families_and_changes_none_of_them() {
    needs!(root, "nft");
    let lab = Lab::new();
    let (host, outside) = (lab.host("h1"), lab.host("outside"));
    host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    let web = host.add_netns("web");
    let hnsd = Hnsd::builder(&host).arg("--default-prefix").arg("10.56.0.0/24,fd00:56::/64").start();
    attach(&hnsd, &[(6, 8080, 80)]);
    let _server = tcp::Echo::serve(&web, "[::]:80");
    eventually!(within 5 s, tcp::ask(&outside.netns(), (host.v4(), 8080)));
    assert!(web.ping("fd00:56::1".parse::<std::net::Ipv6Addr>().unwrap()));
    for interface in ["all", "default", "eth0"] {
        let off = host.sh(&format!("sysctl -n net.ipv6.conf.{interface}.disable_ipv6"));
        assert_eq!(off.trim(), "1", "{interface}");
    }
}
