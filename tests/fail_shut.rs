//! While the host's rules are gone, nothing comes in to a container that they would have kept out, and what they let in comes in
//! again by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_testbed::raw::{self, Capture, Injector, Link};
use hns_testbed::{Barrage, Host, eventually, needs, tcp};
use hns_tests::story_support::{Container, Scene, Server, text};
use serde_json::Value;

const MARK: &[u8] = b"HNSshut";
const TO_LOOPBACK: &[u8] = b"HNSloop";
const FLUSHES: usize = 50;

/// A container with a published port and one that is not, and two who send to the latter what the rules keep out: somebody outside,
/// and a container of another network, which sends to the host's loopback addresses as well.
struct Siege {
    scene: Scene,
    web: Container,
    ear: Capture,
    /// At the host, on the switch of the other network.
    host_ear: Capture,
    frames: Vec<(Injector, Vec<u8>)>,
    _server: Server,
}

impl Siege {
    #[track_caller]
    fn begin() -> Self {
        let scene = Scene::new();
        let switches = [("blue", 7), ("green", 8)].map(|(name, number)| {
            let network = scene.network(name, number, &[]);
            scene.switch(&network)
        });
        let web = scene.container("blue", "web", &["-p", "8080:80"]);
        let stranger = scene.container("green", "stranger", &[]);
        let server = Server::serve(&web.netns, &web.addresses(), 80);
        let outside = scene.outside.netns();
        let mut frames = Vec::new();
        for (netns, at, sources) in [
            (&outside, "eth0", scene.outside.addresses().to_vec()),
            (&stranger.netns, switches[1].as_str(), stranger.addresses()),
        ] {
            let link = Link { to: raw::mac_of(&scene.host.netns(), at), from: raw::mac_of(netns, "eth0") };
            for (from, to) in sources.into_iter().zip(web.addresses()) {
                assert_eq!(from.is_ipv4(), to.is_ipv4());
                let frame = link.packet(&raw::udp((from, 4000), (to, 9), MARK));
                frames.push((Injector::open(netns, "eth0"), frame));
            }
        }
        let host = scene.host.netns();
        let link = Link { to: raw::mac_of(&host, &switches[1]), from: raw::mac_of(&stranger.netns, "eth0") };
        let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for (from, to) in stranger.addresses().into_iter().zip(loopbacks) {
            let frame = link.packet(&raw::udp((from, 4000), (to, 9), TO_LOOPBACK));
            frames.push((Injector::open(&stranger.netns, "eth0"), frame));
        }
        let ear = Capture::open(&web.netns);
        let host_ear = Capture::at(&host, &switches[1]);
        let siege = Self { scene, web, ear, host_ear, frames, _server: server };
        eventually!(siege.is_served());
        siege
    }

    fn is_served(&self) -> bool {
        let ask = |host: IpAddr| tcp::ask(&self.scene.outside.netns(), (host, 8080)).is_ok();
        self.scene.host_addresses().into_iter().all(ask)
    }

    fn under_fire(&self, trouble: impl FnOnce(&Barrage)) {
        let frames: Vec<_> = self.frames.iter().map(|(injector, frame)| (injector, &frame[..])).collect();
        Barrage::during(&frames, trouble);
    }

    #[track_caller]
    fn nothing_came_in(&self) {
        for (ear, mark) in [(&self.ear, MARK), (&self.host_ear, TO_LOOPBACK)] {
            let came = |frame: &Vec<u8>| frame.windows(mark.len()).any(|window| window == mark);
            let count = ear.take().iter().filter(|frame| came(frame)).count();
            assert_eq!(count, 0, "{} came in", String::from_utf8_lossy(mark));
        }
    }

    /// How many packets the port dropped because no rule had let them in.
    #[track_caller]
    fn unruled(&self) -> u64 {
        let drops = self.scene.get(&format!("/v2/drops?endpoint={}", self.web.id));
        let drops = drops.as_array().cloned().unwrap_or_default();
        let of = |drop: &&Value| text(drop, "Reason") == "unruled";
        drops.iter().filter(of).filter_map(|drop| drop["Packets"].as_u64()).sum()
    }
}

/// Whether the host shows our table with a published port.
fn is_whole(host: &Host) -> bool {
    host.try_sh("nft list map inet hns publish4 | grep -q 8080").success()
}

#[test]
fn a_flush_of_all_rules_lets_nothing_in() {
    needs!(root, "nft");
    let siege = Siege::begin();
    siege.under_fire(|barrage| {
        for _ in 0..FLUSHES {
            siege.scene.host.sh("nft flush ruleset");
            let before = barrage.sent();
            eventually!(is_whole(&siege.scene.host));
            barrage.go_on(before, 1);
        }
    });
    siege.nothing_came_in();
    assert!(siege.unruled() > 0, "the ports were never asked");
    eventually!(siege.is_served());
}

#[test]
fn while_nft_fails_nothing_comes_in_and_the_doctor_says_so() {
    needs!(root, "nft");
    let siege = Siege::begin();
    let host = &siege.scene.host;
    // In the host's own mount namespace, where the daemon lives.
    host.sh("cp $(command -v nft) /run/nft-that-works; mount --bind /bin/false $(command -v nft)");
    let problem = || {
        let said = siege.scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
        let findings: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
        findings.iter().any(|finding| finding["Check"] == "repair" && finding["Level"] == "Problem")
    };
    siege.under_fire(|barrage| {
        host.sh("/run/nft-that-works flush ruleset");
        eventually!(problem());
        let before = barrage.sent();
        barrage.go_on(before, 200);
        assert!(!siege.is_served(), "published ports are closed with the rest");
    });
    siege.nothing_came_in();
    host.sh("umount $(command -v nft)");
    // By itself: nothing happens any more that it could be told of.
    eventually!(siege.is_served());
    eventually!(!problem());
}
