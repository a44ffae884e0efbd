//! Somebody else changes what is ours: it is put back within a second, and traffic flows again.

use std::net::SocketAddr;

use hns_testbed::{FAR_V4, FAR_V6, Host, Netns, eventually, needs, tcp, udp};
use hns_tests::story_support::{Container, Scene, Server, text};
use serde_json::Value;

/// A server behind a published port, its neighbour, and a client outside.
struct Stage {
    scene: Scene,
    web: Container,
    neighbour: Container,
    switch: String,
    _servers: Vec<Server>,
}

impl Stage {
    fn new() -> Self {
        let scene = Scene::new();
        let network = scene.network("blue", 7, &[]);
        let web = scene.container("blue", "web", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let neighbour = scene.container("blue", "neighbour", &[]);
        let switch = scene.switch(&network);
        let servers = vec![
            Server::serve(&web.netns, &web.addresses(), 80),
            Server::serve(&scene.lab.router().netns(), &[FAR_V4.into(), FAR_V6.into()], 80),
        ];
        let stage = Self { scene, web, neighbour, switch, _servers: servers };
        eventually!(stage.flows());
        stage
    }

    fn host(&self) -> &Host {
        &self.scene.host
    }

    /// Whether everything gets through: in by the port, to the neighbour, and out, in both families.
    fn flows(&self) -> Result<(), String> {
        let outside = self.scene.outside.netns();
        let mut wanted: Vec<(&Netns, SocketAddr)> = Vec::new();
        for (place, host) in self.scene.host_addresses().into_iter().enumerate() {
            let far = [FAR_V4.into(), FAR_V6.into()][place];
            wanted.push((&outside, SocketAddr::new(host, 8080)));
            wanted.push((&self.neighbour.netns, SocketAddr::new(self.web.like(host), 80)));
            wanted.push((&self.web.netns, SocketAddr::new(far, 80)));
            wanted.push((&self.neighbour.netns, SocketAddr::new(far, 80)));
        }
        std::thread::scope(|scope| {
            let ask = |(from, to): (&Netns, SocketAddr)| {
                tcp::ask(from, to).map(drop).map_err(|error| format!("{to}: {error}"))
            };
            let asked: Vec<_> = wanted.into_iter().map(|row| scope.spawn(move || ask(row))).collect();
            asked.into_iter().try_for_each(|answer| answer.join().expect("a question does not panic"))
        })
    }

    /// Does some damage and waits, a second at most, until the host shows again what it should; then traffic must flow.
    #[track_caller]
    fn repaired(&self, damage: &str, whole: &str) {
        self.host().sh(damage);
        eventually!(within 1 s, {
            let seen = self.host().try_sh(whole);
            if seen.success() { Ok(()) } else { Err(format!("{damage}: not yet {whole}: {}", seen.stdout)) }
        });
        // Neighbours may still believe what was true before.
        eventually!(self.flows());
    }
}

/// Addresses, MAC and routes of a container, without what counts or changes.
fn inside(host: &Host, name: &str) -> String {
    host.sh(&format!(
        "cat /dev/null; ip -n {name} -j addr show dev eth0 2>/dev/null | grep -o '\"\\(local\\|address\\|ifname\\)\":\"[^\"]*\"' || true
         ip -n {name} route; ip -n {name} -6 route | grep -v '^fe80\\|^ff00' | sed 's/ expires.*//'"
    ))
}

/// Where the kernel does not let it be turned on again.
#[test]
fn forwarding_that_stays_off_is_told_by_the_doctor() {
    needs!(root, "nft");
    let stage = Stage::new();
    stage.host().sh("sysctl -qw net.ipv4.ip_forward=0
        mount --bind /dev/full /proc/sys/net/ipv4/ip_forward");
    eventually!({
        let said = stage.scene.hnsd.try_hnsctl(&["doctor", "-o", "json"]).stdout;
        let findings: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
        let told = |finding: &Value| finding["Check"] == "forwarding" && finding["Level"] != "Ok";
        findings.iter().any(told)
    });
}

#[test]
fn an_endpoint_outlives_its_namespace_and_keeps_its_address() {
    needs!(root, "nft");
    let stage = Stage::new();
    let (scene, web) = (&stage.scene, &stage.web);
    drop_namespace(scene, &stage.neighbour);
    let gone = scene.inspect(&stage.neighbour);
    eventually!(scene.inspect(&stage.neighbour)["State"] == 4);
    assert_eq!(gone["IpConfigurations"], stage.neighbour.document["IpConfigurations"]);
    // Its address stays its own until it is deleted.
    let taken = stage.neighbour.v4().to_string();
    let refused = scene.hnsd.try_hnsctl(&["endpoint", "create", "--network", "blue", "--ip", &taken]);
    assert!(refused.expect_failure().contains(&taken));
    scene.hnsd.hnsctl(&["endpoint", "rm", "neighbour"]);
    assert_eq!(
        scene.hnsd.api().delete(&format!("/v2/endpoints/{}", stage.neighbour.id)).unwrap().status,
        404
    );
    scene.hnsd.hnsctl(&["namespace", "rm", "neighbour"]);
    let newcomer = scene.container("blue", "newcomer", &["--ip", &taken]);
    eventually!(newcomer.netns.ping(web.v4()));
    // And the same with a published port: nobody else gets it, and nothing answers there.
    let client = scene.outside.netns();
    drop_namespace(scene, web);
    eventually!(tcp::ask(&client, (scene.host.v4(), 8080)).is_err());
    let refused = scene.hnsd.try_hnsctl(&["endpoint", "create", "--network", "blue", "-p", "8080:80"]);
    assert!(refused.expect_failure().contains("8080"));
    scene.hnsd.hnsctl(&["endpoint", "rm", "web"]);
    scene.hnsd.hnsctl(&["endpoint", "create", "--network", "blue", "-p", "8080:80"]);
}

/// The owner of a container deletes its namespace. The test's own handle would keep it alive, so the interface, which the
/// kernel would delete with it, is deleted from within.
fn drop_namespace(scene: &Scene, container: &Container) {
    scene.host.sh(&format!("ip netns delete {}", container.name));
    let ended = container.netns.command("ip").args(["link", "delete", "eth0"]).status();
    assert!(ended.expect("ip is one of the programs that ./x installs").success());
}

#[test]
fn an_endpoint_can_join_again_after_its_namespace_was_made_anew() {
    needs!(root, "nft");
    let stage = Stage::new();
    let scene = &stage.scene;
    drop_namespace(scene, &stage.neighbour);
    eventually!(scene.inspect(&stage.neighbour)["State"] == 4);
    let again = scene.host.add_netns("again");
    scene.hnsd.hnsctl(&["namespace", "create", "again", "--path", "/run/netns/again"]);
    scene.hnsd.hnsctl(&["endpoint", "attach", "neighbour", "again"]);
    for to in stage.web.addresses() {
        eventually!(again.ping(to));
    }
    let shown = scene.inspect(&stage.neighbour);
    assert_eq!(shown["IpConfigurations"], stage.neighbour.document["IpConfigurations"]);
    assert_eq!(text(&shown, "MacAddress"), text(&stage.neighbour.document, "MacAddress"));
}

/// Stories that measure time or count every packet.
mod alone {
    use super::*;

    #[test]
    fn links_are_put_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        let (switch, port) = (&stage.switch, stage.web.port());
        let plugged = format!("ip link show dev {port} up master {switch} | grep -q {port}");
        stage.repaired(&format!("ip link delete {port}"), &plugged);
        stage.repaired(&format!("ip link set {port} nomaster"), &plugged);
        stage.repaired(&format!("ip link set {port} down"), &plugged);
        // Into a bridge of somebody else's.
        stage.repaired(
            &format!(
                "ip link add br-mine type bridge; ip link set br-mine up; ip link set {port} master br-mine"
            ),
            &plugged,
        );
    }

    #[test]
    fn the_inside_of_a_container_is_whole_after_its_link_was_deleted() {
        needs!(root, "nft");
        let stage = Stage::new();
        let before = inside(stage.host(), "web");
        stage.repaired(
            &format!("ip link delete {}", stage.web.port()),
            &format!("ip link show dev {}", stage.web.port()),
        );
        eventually!(within 1 s, if inside(stage.host(), "web") == before { Ok(()) } else { Err(inside(stage.host(), "web")) });
        // The other end of the same cable.
        stage.repaired("ip -n web link delete eth0", "ip -n web link show dev eth0 up | grep -q eth0");
        eventually!(within 1 s, if inside(stage.host(), "web") == before { Ok(()) } else { Err(inside(stage.host(), "web")) });
    }

    #[test]
    fn the_switch_is_put_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        let switch = &stage.switch;
        let up = format!(
            "ip link show dev {switch} up | grep -q {switch} && ip addr show dev {switch} | grep -q 10.7.0.1/24 && ip addr show dev {switch} | grep -q fd00:7::1/64"
        );
        let port = stage.web.port();
        let whole = format!("{up} && ip link show dev {port} up master {switch} | grep -q {port}");
        stage.repaired(&format!("ip link delete {switch}"), &whole);
        stage.repaired(&format!("ip link set {switch} down"), &whole);
        stage.repaired(&format!("ip addr del 10.7.0.1/24 dev {switch}"), &whole);
        stage.repaired(&format!("ip -6 addr del fd00:7::1/64 dev {switch}"), &whole);
        stage.repaired(&format!("ip addr flush dev {switch}"), &whole);
    }

    #[test]
    fn what_comes_with_an_address_is_put_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        let switch = &stage.switch;
        let whole = format!(
            "ip route show 10.7.0.0/24 dev {switch} | grep -q 10.7.0.1 && ip -6 route show fd00:7::/64 dev {switch} | grep -q fd00:7"
        );
        stage.repaired(&format!("ip route del 10.7.0.0/24 dev {switch}"), &whole);
        stage.repaired(&format!("ip -6 route del fd00:7::/64 dev {switch}"), &whole);
    }

    #[test]
    fn what_was_renamed_or_moved_away_comes_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        let (switch, port) = (&stage.switch, stage.web.port());
        let plugged = format!("ip link show dev {port} up master {switch} | grep -q {port}");
        let alone = format!("{plugged} && ! ip link show dev br-renamed");
        for rename in [
            "ip link set {switch} name br-renamed",
            "ip link set {switch} down; ip link set {switch} name br-renamed",
        ] {
            stage.repaired(&rename.replace("{switch}", switch), &alone);
        }
        stage.repaired(&format!("ip link set {port} down; ip link set {port} name mine"), &plugged);
        stage.repaired(&format!("ip netns add elsewhere; ip link set {port} netns elsewhere"), &plugged);
    }

    /// Whoever owns a namespace chooses the numbers of its links, and what they say of their other ends.
    #[test]
    fn a_container_that_lies_about_its_cable_gets_nobody_elses() {
        needs!(root, "nft");
        let stage = Stage::new();
        let (victim, own) = (stage.web.port(), stage.neighbour.port());
        let number = stage.host().sh(&format!("cat /sys/class/net/{victim}/ifindex"));
        let inside = stage.host().sh("ip -n web -o link show eth0 | cut -d: -f1");
        let mac = text(&stage.neighbour.document, "MacAddress").replace('-', ":");
        let lie = format!(
            "ip netns add accomplice
            ip -n neighbour link set eth0 netns accomplice name old0
            ip -n accomplice link add peer0 index {} type veth peer name eth0 index {} netns neighbour
            ip -n neighbour link set eth0 address {mac} up; ip -n accomplice link set peer0 up
            ip -n accomplice link del old0",
            number.trim(),
            inside.trim()
        );
        let plugged =
            |port: &str| format!("ip link show dev {port} up master {} | grep -q {port}", stage.switch);
        stage.repaired(&lie, &format!("{} && {}", plugged(&victim), plugged(&own)));
        let after = stage.host().sh(&format!("cat /sys/class/net/{victim}/ifindex"));
        assert_eq!(after, number, "its cable is still its own");
    }

    /// Nothing tells of settings: they are looked at once a second.
    #[test]
    fn forwarding_is_put_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            stage.host().sh(&format!("sysctl -qw {setting}=0"));
            eventually!(stage.host().sh(&format!("sysctl -n {setting}")).trim() == "1");
            eventually!(stage.flows());
        }
    }

    #[test]
    fn the_rules_are_put_back() {
        needs!(root, "nft");
        let stage = Stage::new();
        let whole = "nft list map inet hns publish4 | grep -q 8080 && nft list map inet hns publish6 | grep -q 8080 &&
        nft list set inet hns inside4 | grep -q 10.7.0. && nft list set inet hns masquerade4 | grep -q hns &&
        nft list set inet hns switches | grep -q hns && nft list chain inet hns postrouting | grep -q masquerade";
        for damage in [
            "nft flush map inet hns publish4",
            "nft flush map inet hns publish6",
            "nft flush set inet hns inside4; nft flush set inet hns inside6",
            "nft flush set inet hns masquerade4",
            "nft flush set inet hns switches; nft flush set inet hns same",
            "nft flush chain inet hns postrouting",
            "nft flush table inet hns",
            "nft delete table inet hns",
            "nft flush ruleset",
        ] {
            stage.repaired(damage, whole);
        }
    }

    #[test]
    fn rules_that_are_not_ours_are_taken_out_of_our_table() {
        needs!(root, "nft");
        let stage = Stage::new();
        stage.repaired(
            "nft insert rule inet hns inward drop",
            "! nft list chain inet hns inward | grep -qx '[[:space:]]*drop'",
        );
        stage.repaired(
            "nft add element inet hns publish4 \\{ tcp . 9999 : 10.7.0.2 . 80 \\}",
            "! nft list map inet hns publish4 | grep -q 9999",
        );
    }

    #[test]
    fn a_stream_hardly_notices_a_repair() {
        needs!(root, "nft");
        let stage = Stage::new();
        let to = (stage.host().v4(), 8080);
        let port = stage.web.port();
        for damage in [
            format!("ip link set {port} nomaster"),
            "nft delete table inet hns".to_owned(),
            format!("ip link delete {}", stage.switch),
            format!("ip link delete {port}"),
        ] {
            let stream = udp::Stream::start(&stage.scene.outside.netns(), to, 200);
            stage.host().sh(&damage);
            // The stream itself measures how long the gap was; a single question may fall into it.
            eventually!(udp::ask(&stage.scene.outside.netns(), to));
            let report = stream.stop();
            assert!(report.longest_gap.as_millis() < 1000, "{damage}: {report:?}");
            eventually!(stage.flows());
        }
    }
}
