//! Overlays whose hosts encrypt what they send each other: nobody in between reads it, and nobody gets in.

use std::net::{IpAddr, Ipv6Addr};

use hns_testbed::raw::{self, Capture, Injector, Link};
use hns_testbed::{Hnsd, eventually, needs, tcp};
use hns_tests::story_support::Container;
use serde_json::{Value, json};

use crate::stage::{
    Stage, carries, container, dropped, introduce, key_of, overlay, overlay_with, prefixes, vni_of,
};

const WIREGUARD: u16 = 14789;
const VXLAN: u16 = 4789;
/// Of some host that is none here.
const STRANGE_KEY: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

/// Makes a network on these hosts, encrypted, and tells each of all others.
fn encrypted(name: &str, hosts: &[&Hnsd], outer: usize) {
    let address = |hnsd: &Hnsd| hnsd.host().addresses()[outer];
    for (own, hnsd) in (1..).zip(hosts) {
        let provider = format!("--provider={}", address(hnsd));
        overlay_with(hnsd, name, own, &[], &["--encrypted", &provider]);
    }
    let keys: Vec<String> = hosts.iter().map(|hnsd| key_of(hnsd, name).expect("it is encrypted")).collect();
    for (own, hnsd) in hosts.iter().enumerate() {
        for (other, host) in hosts.iter().enumerate().filter(|(other, _)| *other != own) {
            let number = u8::try_from(other + 1).expect("a few");
            introduce(hnsd, name, number, address(host), &keys[other]);
        }
    }
}

fn blue(outer: usize) -> Stage {
    let stage = Stage::bare();
    encrypted("blue", &[&stage.here, &stage.there], outer);
    stage
}

fn udp_port(frame: &[u8]) -> Option<u16> {
    let (protocol, transport) = match frame.get(12..14)? {
        [0x08, 0x00] => (frame.get(23)?, 34),
        [0x86, 0xdd] => (frame.get(20)?, 54),
        _ => return None,
    };
    let port = frame.get(transport + 2..transport + 4)?;
    (*protocol == raw::UDP).then(|| u16::from_be_bytes([port[0], port[1]]))
}

fn shows(frames: &[Vec<u8>], words: &[u8]) -> bool {
    frames.iter().any(|frame| frame.windows(words.len()).any(|part| part == words))
}

/// What lies between the hosts.
#[track_caller]
fn shows_nothing(wire: &Capture) -> Vec<Vec<u8>> {
    let frames = wire.take();
    assert_eq!(frames.iter().find(|frame| udp_port(frame) == Some(VXLAN)), None);
    frames
}

/// T-ENC-1, by each family outside. What `carries` sends begins with these bytes again and again.
#[test]
fn nobody_in_between_reads_what_containers_say() {
    needs!(root, "nft", "ping", "socat");
    let pattern: Vec<u8> =
        (0..32_usize).map(|place| u8::try_from(place * 31 % 251).expect("small")).collect();
    for outer in [0, 1] {
        let stage = blue(outer);
        let wire = Capture::open(&stage.lab.router().netns());
        let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
        for (from, to) in [(&web, &far), (&far, &web)] {
            for address in to.addresses() {
                eventually!(from.netns.ping(address));
            }
        }
        let inside = Capture::at(&far.netns, "eth0");
        let clear = shows_nothing(&wire).len();
        assert!(clear > 4, "{clear} frames");
        for (number, to) in far.addresses().into_iter().enumerate() {
            carries(&stage.lab, &web, &far, to, 7000 + u16::try_from(number).expect("two"));
            assert!(shows(&inside.take(), &pattern));
            let frames = shows_nothing(&wire);
            assert!(frames.iter().filter(|frame| udp_port(frame) == Some(WIREGUARD)).count() > 100);
            assert!(!shows(&frames, &pattern));
        }
    }
}

/// Not one byte less than fits, nor one more.
#[test]
fn packets_are_as_large_as_encryption_leaves() {
    needs!(root, "nft", "ping");
    for (outer, mtu) in [(0, 1500 - 60 - 70), (1, 1500 - 80 - 70)] {
        let stage = blue(outer);
        let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
        let shown = web.netns.command("ip").args(["-o", "link", "show", "eth0"]).output().expect("ip runs");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(&format!(" mtu {mtu} ")), "{shown}");
        let wire = Capture::open(&stage.lab.router().netns());
        for to in far.addresses() {
            eventually!(web.netns.ping(to));
            let headers = if to.is_ipv4() { 28 } else { 48 };
            let pings = |bytes: i32| {
                let bytes = (bytes - headers).to_string();
                let words = ["-c", "1", "-W", "5", "-M", "do", "-s", &bytes, &to.to_string()];
                web.netns.command("ping").args(words).output().expect("ping runs").status.success()
            };
            let _small = wire.take();
            assert!(pings(mtu), "{to}");
            let longest = wire.take().iter().map(Vec::len).max();
            assert_eq!(longest, Some(14 + 1500), "{to}");
            assert!(!pings(mtu + 1), "{to}");
        }
        let asked = ["network", "create", "red", "-t", "overlay", "--encrypted", "--subnet", "10.9.1.0/24"];
        let provider = format!("--provider={}", stage.here.host().addresses()[outer]);
        let size = format!("--mtu={}", mtu + 1);
        let said = stage.here.try_hnsctl(&[&asked[..], &[&provider, &size]].concat()).expect_failure();
        assert!(said.contains(&format!("are more than the {mtu}")), "{said}");
    }
}

/// The address that the host with this key has inside.
fn inner(key: &str) -> Ipv6Addr {
    key.parse::<hns_net::PublicKey>().expect("it is a key").inner_address()
}

/// T-ENC-2: on a network in clear the same gets in.
#[test]
fn what_comes_in_clear_gets_to_nobody_whoever_it_says_it_is_from() {
    needs!(root, "nft", "ping");
    let stage = blue(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    let ends = [&stage.here, &stage.there].map(|hnsd| hnsd.host().v4());
    overlay(&stage.here, "plain", 1, &[(2, ends[1].into())]);
    let open = container(&stage.here, "plain", "open", 1, 11);
    let (seen, open_seen) = (Capture::at(&web.netns, "eth0"), Capture::at(&open.netns, "eth0"));
    let injector = Injector::open(&stage.client.netns(), "eth0");
    let router = |host: std::net::Ipv4Addr| {
        let [a, b, c, d] = host.octets();
        [0x0e, 0x2a, a, b, c, d]
    };
    let link = Link {
        to: raw::mac_of(&stage.here.host().netns(), "eth0"),
        from: raw::mac_of(&stage.client.netns(), "eth0"),
    };
    let sends = |network: &str, from: IpAddr, to: IpAddr| {
        let packet = raw::udp(([10, 244, 2, 11].into(), 7), ([10, 244, 1, 11].into(), 9), b"a-forged-word");
        let frame = Link { to: router(ends[0]), from: router(ends[1]) }.packet(&packet);
        let vni = vni_of(&stage.here, network);
        let datagram = [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), &frame].concat();
        injector.send(&link.packet(&raw::udp((from, 40_000), (to, VXLAN), &datagram))).expect("it is sent");
    };
    let keys = [&stage.here, &stage.there].map(|hnsd| key_of(hnsd, "blue").expect("it is encrypted"));
    let [own, theirs] = [inner(&keys[0]), inner(&keys[1])].map(IpAddr::from);
    let host = [&stage.here, &stage.there].map(|hnsd| hnsd.host().v6());
    let refused = || dropped(&stage.here, None, "unencrypted");
    // Under the peer's address, that which it has inside, and this host's own.
    let forged = [(ends[1].into(), ends[0].into()), (theirs, host[0].into()), (own, host[0].into())];
    for (number, (from, to)) in (1..).zip(forged) {
        sends("blue", from, to);
        eventually!(refused() == number);
    }
    // For the address inside, which the host does not have, nor leads to.
    sends("blue", theirs, own);
    sends("blue", host[1].into(), own);
    sends("plain", ends[1].into(), ends[0].into());
    eventually!(shows(&open_seen.take(), b"a-forged-word"));
    assert!(!shows(&seen.take(), b"a-forged-word"));
    assert_eq!(refused(), 3);
    // Neither gets in what a host of the network sends in clear, since its document says no more.
    stage.there.hnsctl(&["network", "rm", "-f", "blue"]);
    overlay(&stage.there, "blue", 2, &[(1, ends[0].into())]);
    let far = container(&stage.there, "blue", "near", 2, 11);
    assert!(!far.netns.ping(web.v4()) && !web.netns.ping(far.v4()));
    assert!(refused() > 3);
}

/// T-ENC-4: on either side, and what others take away.
#[test]
fn without_who_encrypts_nothing_goes_and_it_comes_back() {
    needs!(root, "nft", "ping");
    let mut stage = blue(0);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    eventually!(web.netns.ping(far.v4()));
    let wire = Capture::open(&stage.lab.router().netns());
    let address = inner(&key_of(&stage.there, "blue").expect("it is encrypted"));
    stage.there.kill9();
    assert!(!web.netns.ping(far.v4()) && !far.netns.ping(web.v4()));
    stage.here.kill9();
    assert!(!web.netns.ping(far.v4()) && !far.netns.ping(web.v4()));
    let _wire = shows_nothing(&wire);
    // Not even where the host itself leads there what is for the peer's address inside.
    stage.here.host().sh(&format!("ip -6 route add {address} via {}", stage.there.host().v6()));
    assert!(!web.netns.ping(far.v4()));
    let frames = shows_nothing(&wire);
    assert_eq!(frames.iter().find(|frame| udp_port(frame) == Some(WIREGUARD)), None);
    stage.here.start_again();
    stage.there.start_again();
    eventually!(within 20 s, web.netns.ping(far.v4()) && far.netns.ping(web.v4()));
    stage.there.restart();
    eventually!(within 20 s, web.netns.ping(far.v4()) && far.netns.ping(web.v4()));
    for deed in [
        "ip link set hne4789 down",
        "ip link del hne4789",
        "until ip link del hne4789; ip link add hne4789 up group 0x686e7300 type vxlan external dstport 4799; do :; done",
        "ip link del hnx4789",
        "rm /sys/fs/bpf/hns/v*/link-*-tunnel_in",
        "nft flush ruleset",
    ] {
        stage.here.host().sh(deed);
        eventually!(within 20 s, web.netns.ping(far.v4()) && far.netns.ping(web.v4()));
    }
    let inside = stage.here.run_dir().join("encrypted");
    stage.here.host().sh(&format!("nsenter --net={} ip link del hnsw0", inside.display()));
    eventually!(within 30 s, web.netns.ping(far.v4()) && far.netns.ping(web.v4()));
    let _wire = shows_nothing(&wire);
    for hnsd in [&stage.here, &stage.there] {
        hnsd.hnsctl(&["network", "rm", "-f", "blue"]);
        eventually!(!hnsd.host().links().iter().any(|link| link.starts_with("hn")));
        assert!(!hnsd.run_dir().join("encrypted").exists());
    }
}

/// No key, no packet; and a key is one host's.
#[test]
fn who_has_no_key_is_refused_by_name() {
    needs!(root, "nft");
    let stage = Stage::bare();
    let there = stage.there.host().v4();
    overlay_with(&stage.here, "blue", 1, &[], &["--encrypted"]);
    overlay(&stage.here, "plain", 1, &[]);
    let own = key_of(&stage.here, "blue").expect("it is encrypted");
    let add = |network: &str, peers: &[String]| {
        let words = ["network", "peer", "add", network];
        let words = words.into_iter().chain(peers.iter().map(String::as_str));
        stage.here.try_hnsctl(&words.collect::<Vec<_>>())
    };
    let peer = |number: u8, host: &str, key: &str| {
        let key = if key.is_empty() { String::new() } else { format!(",key={key}") };
        format!("10.244.{number}.0/24={host}{key}")
    };
    let there = there.to_string();
    for (network, peers, said) in [
        ("blue", vec![peer(2, &there, "")], format!("the key of host {there} is absent")),
        ("plain", vec![peer(2, &there, STRANGE_KEY)], "this network is not encrypted".to_owned()),
        ("blue", vec![peer(2, &there, &own)], "is the key of this host".to_owned()),
        (
            "blue",
            vec![peer(2, &there, STRANGE_KEY), peer(3, "198.51.100.9", STRANGE_KEY)],
            format!("is the key of host {there}, not of 198.51.100.9 as well"),
        ),
        ("blue", vec![peer(2, &there, "AAAA")], "is no public key".to_owned()),
        (
            "blue",
            vec![peer(2, &there, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
            "with which everybody could speak".to_owned(),
        ),
    ] {
        let told = add(network, &peers).expect_failure();
        assert!(told.contains(&said), "{peers:?}: {told}");
    }
    // A host has one key, on whatever network.
    overlay_with(&stage.here, "red", 7, &[], &["--encrypted"]);
    assert!(add("red", &[peer(2, &there, STRANGE_KEY)]).success());
    let other = "OEgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    let told = add("blue", &[peer(2, &there, other)]).expect_failure();
    assert!(told.contains(&format!("host {there} has the key {STRANGE_KEY}; a host has one")), "{told}");
    // What HCN calls it, and what others would have to say.
    let make = |settings: &Value| {
        let policies = json!([{"Type": "Encryption", "Settings": settings}]);
        let document = json!({"Name": "green", "Type": "Overlay", "Policies": policies,
            "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.9.1.0/24"}]}]});
        let told = stage.here.api().post("/v2/networks", &document).expect("the daemon answers");
        told.body.to_string()
    };
    let ipsec = json!({"EncryptionMethodType": "Ipsec",
        "AuthenticationMethods": [{"Type": "PresharedKey", "Settings": {"Key": "secret"}}]});
    let told = make(&ipsec);
    assert!(told.contains("IPsec") && told.contains("WireGuard"), "{told}");
    let told = make(&json!({"EncryptionMethodType": "WireGuard", "PublicKey": STRANGE_KEY}));
    assert!(told.contains(&format!("is not the key of this host, which is {own}")), "{told}");
    let words = ["network", "create", "nat9", "--encrypted", "--subnet", "10.9.2.0/24"];
    let told = stage.here.try_hnsctl(&words).expect_failure();
    assert!(told.contains("Encryption is not supported on NAT networks"), "{told}");
}

/// The column of `hnsctl network peer ls` that tells when keys were agreed on.
fn agreed(hnsd: &Hnsd) -> String {
    let listed = hnsd.hnsctl(&["network", "peer", "ls", "blue"]);
    assert!(listed.contains("KEYS AGREED"), "{listed}");
    listed.lines().nth(1).expect("it has a peer").split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
}

#[test]
fn with_another_key_nothing_passes_and_the_peer_says_so() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let ends = [&stage.here, &stage.there].map(|hnsd| IpAddr::from(hnsd.host().v4()));
    overlay_with(&stage.here, "blue", 1, &[], &["--encrypted"]);
    overlay_with(&stage.there, "blue", 2, &[], &["--encrypted"]);
    let keys = [&stage.here, &stage.there].map(|hnsd| key_of(hnsd, "blue").expect("it is encrypted"));
    introduce(&stage.here, "blue", 2, ends[1], STRANGE_KEY);
    introduce(&stage.there, "blue", 1, ends[0], &keys[0]);
    let (web, far) = (stage.container_here("web", 11), stage.container_there("far", 11));
    assert!(!web.netns.ping(far.v4()) && !far.netns.ping(web.v4()));
    assert_eq!(agreed(&stage.here), "never none");
    let trouble = || stage.here.hnsctl(&["network", "inspect", "blue"]);
    let said = format!("{} agrees on no keys", ends[1]);
    eventually!(within 30 s, trouble().contains(&said));
    for prefix in prefixes(2) {
        stage.here.hnsctl(&["network", "peer", "rm", "blue", &prefix]);
    }
    introduce(&stage.here, "blue", 2, ends[1], &keys[1]);
    for to in far.addresses() {
        eventually!(within 20 s, web.netns.ping(to));
    }
    // They are looked at ten times a second.
    eventually!(agreed(&stage.here).matches(" s ago").count() == 2);
    eventually!(within 30 s, !trouble().contains(&said));
    let traced = stage.here.hnsctl(&["trace", "--from", "web", "--to", &format!("{}:80", far.v4())]);
    assert!(traced.contains(&format!("host {} has this address", ends[1])), "{traced}");
}

/// Each network is by itself, and the key of a host is the same on all.
#[test]
fn encrypted_networks_and_one_in_clear_are_on_the_same_hosts() {
    needs!(root, "nft", "ping");
    let stage = blue(0);
    encrypted("red", &[&stage.here, &stage.there], 0);
    let ends = [&stage.here, &stage.there].map(|hnsd| IpAddr::from(hnsd.host().v4()));
    overlay(&stage.here, "plain", 1, &[(2, ends[1])]);
    overlay(&stage.there, "plain", 2, &[(1, ends[0])]);
    assert_eq!(key_of(&stage.here, "blue"), key_of(&stage.here, "red"));
    assert_eq!(key_of(&stage.here, "plain"), None);
    let wire = Capture::open(&stage.lab.router().netns());
    let mut pairs = Vec::new();
    for (number, name) in (11..).zip(["blue", "red", "plain"]) {
        let web = container(&stage.here, name, &format!("web-{name}"), 1, number);
        pairs.push((name, web, container(&stage.there, name, &format!("far-{name}"), 2, number)));
    }
    for (name, web, far) in &pairs {
        for to in far.addresses() {
            eventually!(web.netns.ping(to));
        }
        let in_clear = wire.take().iter().any(|frame| udp_port(frame) == Some(VXLAN));
        assert_eq!(in_clear, *name == "plain", "{name}");
        for (_, other, _) in pairs.iter().filter(|(other, ..)| other != name) {
            assert!(far.addresses().iter().all(|to| !other.netns.ping(*to)), "{} reaches {name}", other.name);
        }
        let _others = wire.take();
    }
    // The last encrypted one takes what encrypts with it, and leaves the one in clear alone.
    for name in ["red", "blue"] {
        stage.here.hnsctl(&["network", "rm", "-f", name]);
    }
    eventually!(!stage.here.host().links().contains(&"hne4789".to_owned()));
    let (_, web, far) = &pairs[2];
    assert!(web.netns.ping(far.v4()));
}

#[test]
fn three_hosts_encrypt_what_each_sends_to_each() {
    needs!(root, "nft", "ping");
    let stage = Stage::bare();
    let third = stage.lab.host("third");
    let third = Hnsd::builder(&third).arg("--default-network").arg("false").start();
    let hosts = [&stage.here, &stage.there, &third];
    encrypted("blue", &hosts, 0);
    let all: Vec<Container> = (1..)
        .zip(hosts)
        .map(|(number, hnsd)| container(hnsd, "blue", &format!("c{number}"), number, 11))
        .collect();
    let _servers: Vec<tcp::Echo> = all
        .iter()
        .flat_map(|one| {
            one.addresses().into_iter().map(|address| tcp::Echo::serve(&one.netns, (address, 80)))
        })
        .collect();
    let wire = Capture::open(&stage.lab.router().netns());
    for from in &all {
        for to in all.iter().filter(|to| to.name != from.name).flat_map(Container::addresses) {
            let seen = eventually!(tcp::ask(&from.netns, (to, 80)));
            assert!(from.addresses().contains(&seen.ip()), "{seen}");
        }
    }
    let _wire = shows_nothing(&wire);
    // One that knows a key, and whom nobody knows: it is not a host of the network.
    stage.here.hnsctl(&["network", "peer", "rm", "blue", &prefixes(3)[0]]);
    stage.here.hnsctl(&["network", "peer", "rm", "blue", &prefixes(3)[1]]);
    assert!(!all[2].netns.ping(all[0].v4()) && all[2].netns.ping(all[1].v4()));
}
