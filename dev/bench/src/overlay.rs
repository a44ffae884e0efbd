//! Connections, requests and small packets between containers of two hosts, by a tunnel, against the kernel's bridge with a VXLAN
//! device whose entries are static.
//!
//! Both cross the bridge that plays the network between the hosts, which the bare veth pair does not. Ours has its guards, and a rule
//! that lets in the other host's prefix alone; what the rule costs is seen beside a port without one.

use std::net::Ipv4Addr;

use hns_testbed::{Hnsd, Host, Lab, Netns};
use serde_json::{Value, json};

use crate::ours;
use crate::race::{Arguments, Course, Line, Measure, Path, Promise, Race};

const COURSE: &str = "from host to host";

const BARE: &str = "bare veth";
const KERNEL: &str = "bridge and VXLAN device";
const OURS: &str = "hnsd";
const RULED: &str = "hnsd with a rule";

const PROMISES: [Promise; 4] = [
    promise(BARE, Measure::P50, 1.28),
    promise(BARE, Measure::Connects, 0.78),
    promise(KERNEL, Measure::P50, 1.0),
    promise(KERNEL, Measure::Connects, 1.0),
];

const fn promise(against: &'static str, measure: Measure, limit: f64) -> Promise {
    Promise { course: COURSE, path: RULED, against, measure, limit }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.get_ready()?;
    let world = World::build()?;
    let headline = "Between containers of two hosts";
    Race { headline, courses: world.courses(), promises: &PROMISES }.run(arguments);
    Ok(())
}

/// Two hosts with the kernel's own tunnel, and two with ours.
struct World {
    // The daemons end before their hosts, and all of them before the lab.
    _here: Hnsd,
    _there: Hnsd,
    kernel: Pair,
    ours: Pair,
    ruled: Pair,
    lab: Lab,
}

/// A container that asks, and one on another host that answers.
struct Pair {
    hosts: [Host; 2],
    client: Netns,
    server: Netns,
    address: Ipv4Addr,
}

impl World {
    fn build() -> anyhow::Result<Self> {
        let lab = Lab::new();
        let kernel = by_the_kernel(["left", "right"].map(|name| lab.host(name)));
        let hosts = ["here", "there"].map(|name| lab.host(name));
        let [here, there] =
            hosts.each_ref().map(|host| Hnsd::builder(host).arg("--default-network").arg("false").start());
        let [ours, ruled] = by_us(&here, &there)?;
        Ok(Self { _here: here, _there: there, kernel, ours, ruled, lab })
    }

    fn courses(&self) -> Vec<Course> {
        let Self { kernel, ours, ruled, lab, .. } = self;
        let path = |name, line| Path::new(name, Ok(line));
        let paths = vec![
            path(BARE, Line::bare(lab)),
            path(KERNEL, kernel.line()),
            path(OURS, ours.line()),
            path(RULED, ruled.line()),
        ];
        vec![Course { name: COURSE, paths }]
    }
}

impl Pair {
    fn line(&self) -> Line {
        let (client, server) = (self.client.clone(), self.server.clone());
        Line { _host: self.hosts[0].clone(), client, server, address: self.address }
    }
}

/// One prefix over both hosts, every station written down. Bridged frames pass no IP rules, as on a kernel without `br_netfilter`.
fn by_the_kernel(hosts: [Host; 2]) -> Pair {
    let places = [(0, 1), (1, 0)];
    let address = |place: usize| format!("10.9.0.{}", place + 2);
    let station = |place: usize| format!("02:00:00:09:00:0{}", place + 2);
    let netns = places.map(|(own, other)| {
        let (host, far) = (&hosts[own], hosts[other].v4());
        let netns = host.add_netns("box");
        host.sh(&format!(
            "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done
             ip link add br0 type bridge; ip link set br0 up
             ip link add vx0 master br0 type vxlan id 4096 local {} dstport 4789 nolearning; ip link set vx0 up
             ip link add box0 master br0 type veth peer name eth0 netns box; ip link set box0 up
             ip -n box link set eth0 address {} mtu 1450; ip -n box addr add {}/24 dev eth0; ip -n box link set eth0 up
             bridge fdb replace {} dev vx0 dst {far} self permanent
             ip -n box neigh replace {} lladdr {} dev eth0 nud permanent",
            host.v4(),
            station(own),
            address(own),
            station(other),
            address(other),
            station(other),
        ));
        netns
    });
    let [client, server] = netns;
    Pair { hosts, client, server, address: Ipv4Addr::new(10, 9, 0, 3) }
}

/// The second pair's server has a rule.
fn by_us(here: &Hnsd, there: &Hnsd) -> anyhow::Result<[Pair; 2]> {
    let ends = [here.host().v4(), there.host().v4()];
    let (mut near, mut far) = (here.api(), there.api());
    let one = ours::overlay(&mut near, "blue", "10.8.1.0/24", ("10.8.2.0/24", ends[1]))?;
    let other = ours::overlay(&mut far, "blue", "10.8.2.0/24", ("10.8.1.0/24", ends[0]))?;
    let from_there =
        json!({"Action": "Allow", "Direction": "In", "Priority": 100, "RemoteAddresses": "10.8.1.0/24"});
    let rule = json!([{"Type": "ACL", "Settings": from_there}]);
    let mut pair = |name: &str, rules: Value| {
        let document = json!({"Policies": rules, "AdditionalParams": {"AclDefaultOut": "Allow"}});
        let (client, _) = ours::attach(here.host(), &mut near, &one, name, &json!({}))?;
        let (server, address) = ours::attach(there.host(), &mut far, &other, name, &document)?;
        let hosts = [here.host().clone(), there.host().clone()];
        anyhow::Ok(Pair { hosts, client, server, address })
    };
    Ok([pair("box", json!([]))?, pair("ruled", rule)?])
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
        for Path { name, line, .. } in &courses[0].paths {
            line.as_ref().unwrap().probe().unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
        for promise in &PROMISES {
            for name in [promise.path, promise.against] {
                assert!(courses[0].paths.iter().any(|path| path.name == name), "{name}");
            }
        }
    }
}
