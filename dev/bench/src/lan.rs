//! Connections, requests and small packets between a container on the LAN, its host and another host of the LAN, against
//! macvlan and a bridge that has the host's adapter and its addresses.
//!
//! ```text
//!   host to container     no wire between them: compared with a bare veth pair. Macvlan has no such way
//!   LAN to container,     all of these cross the bridge that plays the LAN, so they are compared with a host without
//!   container to LAN      containers at the container's end
//! ```
//!
//! Ours has its guards, and a rule that lets in the LAN alone; what the rule costs is seen beside a port without one. The others
//! have neither.

use std::net::Ipv4Addr;

use hns_testbed::{Hnsd, Host, Lab, Netns};
use serde_json::{Value, json};

use crate::ours;
use crate::race::{Arguments, Course, Line, Measure, Path, Promise, Race};

const HERE: &str = "host to container";
const IN: &str = "LAN to container";
const OUT: &str = "container to LAN";

const BARE: &str = "bare veth";
const HOST: &str = "host, no container";
const BRIDGE: &str = "bridge with the adapter";
const MACVLAN: &str = "macvlan";
const OURS: &str = "hnsd";
const RULED: &str = "hnsd with a rule";

const PROMISES: [Promise; 6] = [
    promise(HERE, BARE, Measure::P50, 1.06),
    promise(HERE, BARE, Measure::Connects, 0.92),
    promise(IN, BRIDGE, Measure::P50, 1.0),
    promise(IN, BRIDGE, Measure::Connects, 1.0),
    promise(IN, MACVLAN, Measure::P50, 1.08),
    promise(IN, MACVLAN, Measure::Connects, 0.926),
];

const fn promise(course: &'static str, against: &'static str, measure: Measure, limit: f64) -> Promise {
    Promise { course, path: RULED, against, measure, limit }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.get_ready()?;
    let world = World::build()?;
    let headline = "Between a container on the LAN, its host and another host of the LAN";
    Race { headline, courses: world.courses(), promises: &PROMISES }.run(arguments);
    Ok(())
}

/// Hosts on one LAN, each with another way to have a container on it.
struct World {
    // The daemon ends before its host, and all of them before the lab.
    hnsd: Hnsd,
    plain: Station,
    enslaved: Station,
    macvlan: Station,
    ours: Station,
    ruled: Station,
    client: Host,
    lab: Lab,
}

impl World {
    fn build() -> anyhow::Result<Self> {
        let lab = Lab::new();
        let [plain, enslaved, macvlan, ours, client] =
            ["plain", "enslaved", "macvlan", "ours", "client"].map(|name| lab.host(name));
        let hnsd = Hnsd::builder(&ours).arg("--default-network").arg("false").start();
        let [ours, ruled] = share_by_us(&hnsd)?;
        Ok(Self {
            plain: Station { netns: plain.netns(), address: plain.v4(), host: plain },
            enslaved: enslave(enslaved),
            macvlan: share_by_macvlan(macvlan),
            ours,
            ruled,
            hnsd,
            client,
            lab,
        })
    }

    fn courses(&self) -> Vec<Course> {
        let Self { hnsd, plain, enslaved, macvlan, ours, ruled, client, lab } = self;
        let path = |name, line| Path::new(name, Ok(line));
        let on_the_lan =
            [(HOST, plain), (BRIDGE, enslaved), (MACVLAN, macvlan), (OURS, ours), (RULED, ruled)];
        vec![
            Course {
                name: HERE,
                paths: vec![
                    path(BARE, Line::bare(lab)),
                    path(BRIDGE, enslaved.asked_by(&enslaved.host)),
                    path(OURS, ours.asked_by(hnsd.host())),
                    path(RULED, ruled.asked_by(hnsd.host())),
                ],
            },
            Course {
                name: IN,
                paths: on_the_lan.map(|(name, station)| path(name, station.asked_by(client))).into(),
            },
            Course {
                name: OUT,
                paths: on_the_lan.map(|(name, station)| path(name, station.asks(client))).into(),
            },
        ]
    }
}

/// Somebody on the LAN: a container, or a host without one.
struct Station {
    host: Host,
    netns: Netns,
    address: Ipv4Addr,
}

impl Station {
    fn asked_by(&self, client: &Host) -> Line {
        let (client, server) = (client.netns(), self.netns.clone());
        Line { _host: self.host.clone(), client, server, address: self.address }
    }

    fn asks(&self, server: &Host) -> Line {
        let (client, address) = (self.netns.clone(), server.v4());
        Line { _host: self.host.clone(), client, server: server.netns(), address }
    }
}

/// The adapter goes into a bridge, the host's address onto it. Bridged frames pass no IP rules, as on a kernel without `br_netfilter`.
fn enslave(host: Host) -> Station {
    let (address, own) = (Ipv4Addr::new(198, 18, 0, 101), host.v4());
    let netns = host.add_netns("box");
    host.sh(&format!(
        "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done
         ip link add br0 address $(cat /sys/class/net/eth0/address) type bridge
         ip addr flush dev eth0; ip link set eth0 master br0; ip addr add {own}/24 dev br0; ip link set br0 up
         ip link add box0 master br0 type veth peer name eth0 netns box; ip link set box0 up
         ip -n box addr add {address}/24 dev eth0; ip -n box link set eth0 up"
    ));
    Station { host, netns, address }
}

fn share_by_macvlan(host: Host) -> Station {
    let address = Ipv4Addr::new(198, 18, 0, 102);
    let netns = host.add_netns("box");
    host.sh(&format!(
        "ip link add box0 link eth0 netns box type macvlan mode bridge; ip -n box link set box0 name eth0
         ip -n box addr add {address}/24 dev eth0; ip -n box link set eth0 up"
    ));
    Station { host, netns, address }
}

/// The second one has a rule.
fn share_by_us(hnsd: &Hnsd) -> anyhow::Result<[Station; 2]> {
    let (host, mut api) = (hnsd.host(), hnsd.api());
    let network = ours::network_on(&mut api, "corp", "eth0", "198.18.0.0/24")?;
    let from_the_lan =
        json!({"Action": "Allow", "Direction": "In", "Priority": 100, "RemoteAddresses": "198.18.0.0/24"});
    let mut attach = |name: &str, address: &str, rules: Value| {
        let document = json!({
            "IpConfigurations": [{"IpAddress": address}], "Policies": rules,
            "AdditionalParams": {"AclDefaultOut": "Allow"},
        });
        let (netns, address) = ours::attach(host, &mut api, &network, name, &document)?;
        anyhow::Ok(Station { host: host.clone(), netns, address })
    };
    Ok([
        attach("box", "198.18.0.103", json!([]))?,
        attach("ruled", "198.18.0.104", json!([{"Type": "ACL", "Settings": from_the_lan}]))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hns_testbed::needs;

    #[test]
    fn every_path_is_open_and_every_promise_is_about_one() {
        needs!(root, "ip", "nft");
        let world = World::build().unwrap();
        let courses = world.courses();
        for course in &courses {
            for Path { name, line, .. } in &course.paths {
                let open = line.as_ref().unwrap().probe();
                open.unwrap_or_else(|error| panic!("{}, {name}: {error:#}", course.name));
            }
        }
        for promise in &PROMISES {
            let course = courses.iter().find(|course| course.name == promise.course).unwrap();
            for name in [promise.path, promise.against] {
                assert!(course.paths.iter().any(|path| path.name == name), "{}: {name}", course.name);
            }
        }
    }

    /// Ours has no easier way than is told.
    #[test]
    fn our_port_has_its_guards_and_the_rule() {
        needs!(root, "ip", "nft", "ping");
        let world = World::build().unwrap();
        let World { hnsd, ruled, client, .. } = &world;
        assert!(ruled.netns.ping(client.v4()) && client.ping(ruled.address));
        let from = |netns: &Netns, source: &str, to: Ipv4Addr| {
            let ip = ["addr", "add", &format!("{source}/32"), "dev", "eth0"];
            assert!(netns.command("ip").args(ip).status().unwrap().success());
            let ping = ["-n", "-c1", "-W1", "-I", source, &to.to_string()];
            assert!(!netns.command("ping").args(ping).output().unwrap().status.success(), "{source}");
        };
        from(&client.netns(), "192.0.2.1", ruled.address);
        from(&ruled.netns, "198.18.0.77", client.v4());
        let drops = hnsd.hnsctl(&["drops", "ruled"]);
        assert!(["acl-in", "spoofed"].iter().all(|reason| drops.contains(reason)), "{drops}");
    }
}
