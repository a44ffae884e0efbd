//! The host notices nothing: neither of the first network, nor of the last, nor of what becomes of the daemon and its programs.

use std::net::IpAddr;

use hns_testbed::udp::{Echo, Report, Stream};
use hns_testbed::{Hnsd, Host, Netns, eventually, needs};

use crate::stage::{ON_THE_LAN, Stage, container, network};

const A_SECOND: u32 = 1000;

/// Streams of the host itself, in both families and directions, each of whose packets must come back.
pub struct Traffic {
    streams: Vec<(String, Stream)>,
    _echoes: Vec<Echo>,
}

impl Traffic {
    pub fn between(pairs: &[(&str, &Netns, &Netns, IpAddr)]) -> Self {
        let echoes: Vec<Echo> = pairs.iter().map(|(_, _, to, at)| Echo::serve(to, (*at, 7))).collect();
        for ((_, from, ..), echo) in pairs.iter().zip(&echoes) {
            eventually!(hns_testbed::udp::ask(from, echo.address()));
        }
        let start = |((name, from, ..), echo): (&(&str, &Netns, &Netns, IpAddr), &Echo)| {
            ((*name).to_owned(), Stream::start(from, echo.address(), A_SECOND))
        };
        Self { streams: pairs.iter().zip(&echoes).map(start).collect(), _echoes: echoes }
    }

    #[track_caller]
    pub fn all_came_back(self) {
        for (name, stream) in self.streams {
            let report: Report = stream.stop();
            assert!(report.sent > 100 && report.lost == 0, "{name}: {report:?}");
        }
    }
}

fn of_the_host(stage: &Stage) -> Traffic {
    let (here, client) = (stage.here.host().netns(), stage.client.netns());
    let [here4, here6] = stage.here.host().addresses();
    let [client4, client6] = stage.client.addresses();
    Traffic::between(&[
        ("out", &here, &client, client4),
        ("out6", &here, &client, client6),
        ("in", &client, &here, here4),
        ("in6", &client, &here, here6),
    ])
}

/// What the host shows of itself, which is as it was when everything of ours is gone.
fn looks(host: &Host) -> String {
    host.sh("ip -o -d link show dev eth0; ip -o addr; ip route show table all; ip -6 route show table all; ip rule
         bridge fdb show dev eth0; ip maddr show dev eth0; find /sys/fs/bpf -name 'link-*'
         cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
         for f in /proc/sys/net/ipv[46]/conf/eth0/*; do [ -r $f ] && echo $f $(cat $f 2>/dev/null); done; true")
}

fn pins(hnsd: &Hnsd) -> String {
    hnsd.host().sh("find /sys/fs/bpf -name 'link-*' | sort")
}

#[test]
fn the_host_loses_nothing_while_networks_come_and_go() {
    needs!(root, "nft", "bpftool");
    let mut stage = Stage::bare();
    // What is said once, and what the first look at anything brings about, is there before.
    assert!(stage.here.host().ping(stage.client.v4()) && stage.here.host().ping(stage.client.v6()));
    let before = looks(stage.here.host());
    let traffic = of_the_host(&stage);
    for round in 0..3 {
        network(&stage.here, "corp", &ON_THE_LAN);
        let web = container(&stage.here, &format!("web{round}"), 101);
        eventually!(web.netns.ping(stage.client.v4()));
        stage.here.kill9();
        stage.here.start_again();
        eventually!(stage.client.ping(web.v6()));
        stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    }
    traffic.all_came_back();
    assert_eq!(pins(&stage.here), "");
    eventually!(!stage.here.host().links().iter().any(|link| link.starts_with("hn")));
    assert_eq!(looks(stage.here.host()), before);
}

#[test]
fn a_daemon_that_is_killed_and_started_interrupts_nobody() {
    needs!(root, "nft", "bpftool");
    let mut stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let db = container(&stage.here, "db", 102);
    let (here, client) = (stage.here.host().netns(), stage.client.netns());
    let [here4, here6] = stage.here.host().addresses();
    let traffic = Traffic::between(&[
        ("client to web", &client, &web.netns, web.v4().into()),
        ("client to web6", &client, &web.netns, web.v6().into()),
        ("host to db", &here, &db.netns, db.v4().into()),
        ("host to db6", &here, &db.netns, db.v6().into()),
        ("web to host", &web.netns, &here, here4),
        ("web to host6", &web.netns, &here, here6),
    ]);
    for _ in 0..3 {
        stage.here.kill9();
        stage.here.start_again();
    }
    stage.here.restart();
    traffic.all_came_back();
}

#[test]
fn a_missing_program_closes_containers_and_costs_the_host_nothing() {
    needs!(root, "nft", "bpftool");
    let mut stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let reaches = |stage: &Stage| {
        [web.netns.ping(stage.client.v4()), stage.client.ping(web.v4()), stage.here.host().ping(web.v4())]
    };
    eventually!(reaches(&stage) == [true; 3]);
    let traffic = of_the_host(&stage);
    for program in ["adapter_in", "adapter_out", "uplink_out"] {
        // Nobody puts it back while we look. The kernel takes it off a moment after its file is gone.
        stage.here.kill9();
        stage.here.host().sh(&format!("rm /sys/fs/bpf/hns/v*/link-*-{program}"));
        match program {
            "adapter_in" => eventually!(reaches(&stage) == [false, false, true]),
            "adapter_out" => eventually!(reaches(&stage) == [true, true, false]),
            // Nobody hears whom it looks for.
            _ => eventually!({
                web.netns.command("ip").args(["neigh", "flush", "all"]).status().expect("ip runs");
                !web.netns.ping(stage.client.v4())
            }),
        }
        stage.here.start_again();
        eventually!(reaches(&stage) == [true; 3]);
    }
    traffic.all_came_back();
}

/// Programs of others that say "accepted" would end the chain in front of ours, which therefore stands before them.
#[test]
fn programs_of_others_at_the_adapter_cut_nobody_off() {
    needs!(root, "nft", "tc", "clang");
    let stage = Stage::bare();
    let source = "__attribute__((section(\"classifier\"), used)) int accept(void *packet) { return 0; }";
    let object = stage.lab.folder().join("accept.o").display().to_string();
    stage.here.host().sh(&format!("echo '{source}' | clang -O2 -target bpf -x c -c - -o {object}"));
    let accept = format!(
        "tc qdisc add dev eth0 clsact
         tc filter add dev eth0 ingress pref 1 bpf da obj {object} sec classifier
         tc filter add dev eth0 egress pref 1 bpf da obj {object} sec classifier"
    );
    stage.here.host().sh(&accept);
    network(&stage.here, "corp", &ON_THE_LAN);
    let web = container(&stage.here, "web", 101);
    let reaches =
        || [web.netns.ping(stage.client.v4()), stage.client.ping(web.v6()), stage.here.host().ping(web.v4())];
    eventually!(reaches() == [true; 3]);
    // Later ones as well; and whoever takes all of clsact away takes nothing of ours.
    for _ in 0..3 {
        stage.here.host().sh("tc qdisc delete dev eth0 clsact");
        assert_eq!(reaches(), [true; 3]);
        stage.here.host().sh(&accept);
        assert_eq!(reaches(), [true; 3]);
    }
}

/// The numbers of the programs at the adapter and at the uplink.
fn programs(hnsd: &Hnsd) -> Vec<String> {
    let show = "for f in /sys/fs/bpf/hns/v*/link-*; do bpftool -j link show pinned $f; echo; done";
    let shown = hnsd.host().sh(show);
    let links = shown.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    links.map(|link| link["prog_id"].to_string()).collect()
}

#[test]
fn programs_that_are_replaced_lose_nothing() {
    needs!(root, "nft", "bpftool");
    let mut stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let (here, client) = (stage.here.host().netns(), stage.client.netns());
    let [here4, here6] = stage.here.host().addresses();
    let traffic = Traffic::between(&[
        ("host in", &client, &here, here4),
        ("host in6", &client, &here, here6),
        ("client to web", &client, &web.netns, web.v4().into()),
        ("web to client", &web.netns, &client, stage.client.v4().into()),
        ("host to web6", &here, &web.netns, web.v6().into()),
    ]);
    let mut before = programs(&stage.here);
    assert_eq!(before.len(), 3, "{before:?}");
    for _ in 0..10 {
        stage.here.restart();
        let after = programs(&stage.here);
        assert!(after.len() == 3 && after.iter().all(|program| !before.contains(program)), "{after:?}");
        before = after;
    }
    traffic.all_came_back();
}

/// Its programs are taken off, it gets another address, it is made anew: what is a container's comes back by itself.
#[test]
fn an_adapter_that_changes_finds_its_containers_again() {
    needs!(root, "nft", "ping");
    let stage = Stage::new();
    let web = container(&stage.here, "web", 101);
    let reaches =
        || [web.netns.ping(stage.client.v4()), stage.client.ping(web.v6()), stage.here.host().ping(web.v4())];
    eventually!(reaches() == [true; 3]);
    let here = stage.here.host();
    let [v4, v6] = here.addresses();
    let configured = format!(
        "ip addr replace {v4}/24 dev eth0; ip addr replace {v6}/64 dev eth0 nodad; ip link set eth0 up
         ip route replace default via 198.18.0.254; ip -6 route replace default via fd00:198:18::fe"
    );
    for deed in [
        "rm /sys/fs/bpf/hns/v*/link-*",
        "ip link set eth0 address 02:00:00:00:77:01",
        "ip link set eth0 down; ip link set eth0 up",
        "ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 name eth0",
    ] {
        here.sh(&format!("{deed}; {configured}"));
        // Whoever knew the adapter's old address looks for it again after a while; it is told here.
        let forget = "ip neigh flush all; ip -6 neigh flush all";
        eventually!(within 20 s, {
            for netns in [&web.netns, &here.netns(), &stage.client.netns()] {
                netns.command("sh").args(["-c", forget]).status().expect("sh runs");
            }
            let now = reaches();
            if now == [true; 3] { Ok(()) } else { Err(format!("{deed}: {now:?}")) }
        });
    }
}
