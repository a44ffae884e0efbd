//! Worlds to test in: a fake host, or a real one in namespaces of its own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code, of which every test file uses its own part; `eventually!` is made of sleeping"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use hns_host::{FakeHost, Host, RealHost};
use hns_model::Bridge;
use hns_net::{Guid, IfAddr, IfName, Mtu, PortRange, Transport};
use hns_planner::{Element, NamespaceSpec, Port, Route, Step, Switch, Target};
use hns_testbed::needs;
use hns_vfp::model::{Acl, Guards};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Waits until the condition holds, at most five seconds.
#[macro_export]
macro_rules! eventually {
    ($condition:expr) => {
        $crate::support::wait_until(stringify!($condition), || $condition)
    };
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A host and the folder for its files.
pub struct World {
    pub host: Box<dyn Host>,
    fake: Option<FakeHost>,
    folder: PathBuf,
}

impl World {
    fn fake() -> Self {
        let fake = FakeHost::new();
        Self { host: Box::new(fake.clone()), fake: Some(fake), folder: PathBuf::from("/fake") }
    }

    /// Of the calling thread's namespaces.
    pub fn real(folder: PathBuf) -> Self {
        Self { host: Box::new(RealHost::new(folder.clone()).unwrap()), fake: None, folder }
    }

    pub fn is_real(&self) -> bool {
        self.fake.is_none()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn namespace_path(&self, name: &str) -> PathBuf {
        self.folder.join("netns").join(name)
    }

    /// A namespace that is not ours, as a container runtime makes one.
    pub fn container(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        match &self.fake {
            Some(fake) => fake.add_foreign_namespace(&path),
            None => self.host.execute(&Step::MakeNamespace(NamespaceSpec { path: path.clone() })).unwrap(),
        }
        path
    }

    /// Puts an adapter into the host.
    pub fn add_adapter(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.add_adapter(name),
            None => {
                let peer = format!("{name}-far");
                run(&["ip", "link", "add", name.as_str(), "type", "veth", "peer", "name", &peer]);
            }
        }
    }

    /// A station behind an adapter: the LAN, with an address.
    pub fn add_lan(&self, adapter: &IfName, address: &str) {
        self.add_adapter(adapter);
        if !self.is_real() {
            return;
        }
        let lan = self.container("lan");
        let far = format!("{adapter}-far");
        run(&["ip", "link", "set", &far, "netns", lan.to_str().unwrap()]);
        run(&["ip", "link", "set", adapter.as_str(), "up"]);
        output_in(&lan, &["ip", "addr", "add", address, "dev", &far]);
        output_in(&lan, &["ip", "link", "set", &far, "up"]);
    }

    /// Between the adapter and that LAN nothing passes but what is for the adapter's own station.
    pub fn filter_stations(&self, adapter: &IfName) {
        let Some(fake) = &self.fake else {
            let shown = output(&["ip", "-br", "link", "show", "dev", adapter.as_str()]);
            let mac = shown.split_whitespace().nth(2).unwrap();
            let rules = format!(
                "add table netdev security
                 add chain netdev security c {{ type filter hook egress device {adapter}-far priority 0; }}
                 add rule netdev security c ether daddr & 01:00:00:00:00:00 == 0 ether daddr != {mac} drop"
            );
            output_in(&self.path("lan"), &["nft", &rules]);
            return;
        };
        fake.filter_stations(adapter);
    }

    /// That LAN sends back what it gets.
    pub fn reflect(&self, adapter: &IfName) {
        if let Some(fake) = &self.fake {
            return fake.reflect(adapter);
        }
        let far = format!("{adapter}-far");
        let (lan, bridge) = (self.path("lan"), format!("{adapter}-br"));
        output_in(&lan, &["ip", "link", "add", &bridge, "up", "type", "bridge"]);
        output_in(&lan, &["ip", "link", "set", &far, "master", &bridge]);
        output_in(&lan, &["bridge", "link", "set", "dev", &far, "hairpin", "on"]);
    }

    /// The administrator makes a bridge, whose ports are veths to nowhere.
    pub fn add_bridge(&self, bridge: &Bridge) {
        if let Some(fake) = &self.fake {
            return fake.set_bridge(bridge.clone());
        }
        let name = bridge.name.as_str();
        run(&[
            "ip",
            "link",
            "add",
            name,
            "address",
            &bridge.mac.to_string().replace('-', ":"),
            "type",
            "bridge",
        ]);
        for port in bridge.ports.keys() {
            // It outlives the bridge.
            if !output(&["ip", "-o", "link"]).contains(&format!("{port}@")) {
                self.add_adapter(port);
            }
            run(&["ip", "link", "set", port.as_str(), "master", name]);
        }
        for address in &bridge.addresses {
            run(&["ip", "addr", "add", &address.to_string(), "dev", name]);
        }
        run(&["ip", "link", "set", name, "up"]);
    }

    /// He deletes it.
    pub fn remove_bridge(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.remove_bridge(name),
            None => run(&["ip", "link", "delete", name.as_str()]),
        }
    }

    pub fn remove_container(&self, path: &Path) {
        match &self.fake {
            Some(fake) => fake.remove_foreign_namespace(path),
            None => {
                self.host.execute(&Step::RemoveNamespace(NamespaceSpec { path: path.to_owned() })).unwrap();
            }
        }
    }

    /// Plugs a port in and opens it, with a filter that lets everything pass.
    #[track_caller]
    pub fn plug(&self, port: &Port) {
        self.host.execute(&Step::PlugPort(port.clone())).unwrap();
        if self.is_real() {
            pass(port, PASSED);
        }
        self.host.execute(&open(port)).unwrap();
    }

    /// Another program deletes a link.
    pub fn delete_link(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.delete_link(name),
            None => run(&["ip", "link", "delete", name.as_str()]),
        }
    }

    /// Another program pulls a port out of its bridge.
    pub fn unplug(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.unplug(name),
            None => run(&["ip", "link", "set", name.as_str(), "nomaster"]),
        }
    }

    pub fn flush_rules(&self) {
        match &self.fake {
            Some(fake) => fake.flush_rules(),
            None => run(&["nft", "flush", "ruleset"]),
        }
    }
}

/// Runs the test on a fake host, and on a real one where we may.
pub fn on_both(test: impl Fn(&World) + Send + Sync) {
    test(&World::fake());
    on_real(test);
}

/// Runs the test on a real host only.
pub fn on_real(test: impl Fn(&World) + Send + Sync) {
    needs!(root, "nft", "ip");
    isolated(|folder| test(&World::real(folder.to_owned())));
}

/// Runs `body` on a thread with network and mount namespaces of its own.
pub fn isolated(body: impl Fn(&Path) + Send + Sync) {
    let folder =
        std::env::temp_dir().join(format!("hns-host-test-{}-{:?}", process::id(), thread::current().id()));
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            fs::create_dir_all(&folder).unwrap();
            run(&["ip", "link", "set", "lo", "up"]);
            body(&folder);
        });
        thread.join()
    });
    let _ = fs::remove_dir_all(&folder);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program in the thread's namespaces.
pub fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program in another network namespace.
pub fn output_in(namespace: &Path, words: &[&str]) -> String {
    let net = format!("--net={}", namespace.display());
    let mut all = vec!["nsenter", net.as_str()];
    all.extend(words);
    output(&all)
}

pub fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub fn address(text: &str) -> IfAddr {
    text.parse().unwrap()
}

pub const SWITCH: &str = "hns0a1b2c3d";

/// A switch with both families.
pub fn switch() -> Switch {
    Switch {
        name: name(SWITCH),
        mac: "00-15-5D-00-00-01".parse().unwrap(),
        mtu: Mtu::ETHERNET,
        alias: "hns network nat".into(),
        gateways: [address("172.16.0.1/16"), address("fd00:16::1/64")].into(),
        extra_segments: 0,
        hosted: true,
        loopback: true,
        uplink: None,
    }
}

/// The `n`-th container's port on [`switch`].
pub fn port(n: u8, target: &Path) -> Port {
    Port {
        name: name(&format!("hnv0a1b2c3d4e{n:02x}")),
        bridge: name(SWITCH),
        target: Target::Path(target.to_owned()),
        interface: name("eth0"),
        mac: format!("00-15-5D-00-01-{n:02X}").parse().unwrap(),
        mtu: Mtu::ETHERNET,
        addresses: vec![
            address(&format!("172.16.0.{}/16", u16::from(n) + 1)),
            address(&format!("fd00:16::{}/64", u16::from(n) + 1)),
        ],
        routes: vec![route("0.0.0.0/0", "172.16.0.1"), route("::/0", "fd00:16::1")],
        until: std::collections::BTreeMap::new(),
    }
}

pub fn open(port: &Port) -> Step {
    let Port { name, target, interface, .. } = port.clone();
    Step::OpenPort { name, target, interface }
}

/// What the filter sets in the mark of what it lets pass.
pub const PASSED: u32 = 0x2000_0000;

/// Marks everything that comes from this port, as its filter would. It runs where that does: before the bridge sees the frame.
pub fn pass(port: &Port, mark: u32) {
    run(&[
        "nft",
        &format!(
            "add table netdev filter; \
         add chain netdev filter {0} {{ type filter hook ingress device {0} priority 0; }}; \
         add rule netdev filter {0} meta mark set {mark:#x}",
            port.name
        ),
    ]);
}

/// A policy that asks nothing.
pub fn policy(port: &Port) -> Arc<hns_vfp::Port> {
    Arc::new(hns_vfp::Port {
        endpoint: Guid::ZERO,
        network: Guid::ZERO,
        mac: port.mac,
        addresses: Vec::new(),
        guards: Guards::NONE,
        blocked: false,
        quiet: false,
        plain_redirect: false,
        external: None,
        reflected: false,
        overlay: false,
        behind_host: [false; 2],
        ruled: false,
        confined: None,
        acl: [Acl::open(), Acl::open()],
        meters: [None; 2],
    })
}

/// A port whose vNIC waits for an engine.
pub fn handed() -> Port {
    let (target, interface) = (Target::Engine, name("hnc0a1b2c3d4e01"));
    Port { target, interface, addresses: Vec::new(), routes: Vec::new(), ..port(1, Path::new("/nowhere")) }
}

pub fn route(destination: &str, via: &str) -> Route {
    Route { destination: destination.parse().unwrap(), via: Some(via.parse().unwrap()), metric: 0 }
}

pub fn elements() -> Vec<Element> {
    let switch = name(SWITCH);
    let at = |text: &str| text.parse().unwrap();
    let range = |text: &str| text.parse::<PortRange>().unwrap();
    let mut all = vec![
        Element::Switch(switch.clone()),
        Element::Internal(name("hns00000001")),
        Element::HostSeat(name("router0")),
        Element::Masquerade4(switch.clone()),
        Element::Masquerade6(switch.clone()),
        Element::Routed4(name("hns00000002")),
        Element::Routed6(name("hns00000002")),
        Element::Inside { switch: switch.clone(), prefix: "172.16.0.0/16".parse().unwrap() },
        Element::Inside { switch: switch.clone(), prefix: "10.0.0.4/31".parse().unwrap() },
        Element::Inside { switch: switch.clone(), prefix: "10.0.0.9/32".parse().unwrap() },
        Element::Inside { switch, prefix: "fd00:16::/64".parse().unwrap() },
        Element::QuietPort(name("hnv0a1b2c3d4e01")),
    ];
    for (to, here) in [("172.16.0.2", "127.0.0.1"), ("fd00:16::2", "::1")] {
        all.push(Element::QuietAddress(at(to)));
        all.push(Element::Outbound { from: at(to), first: at(to), last: at(to) });
        all.push(Element::Kept { from: at(to), first: at(to), last: at(to) });
        all.push(Element::Resident { switch: name(SWITCH), address: at(to) });
        for transport in Transport::ALL {
            for (place, ports) in [(None, "8000-8010"), (Some(at(here)), "9000-9001")] {
                let port = range(ports).end() + 50;
                all.push(Element::Publish { at: place, transport, port, to: at(to), to_port: 80 });
                all.push(Element::PublishRange { at: place, transport, ports: range(ports), to: at(to) });
                all.push(Element::Open { address: at(to), transport, ports: range(ports) });
            }
            all.push(Element::Open { address: at(to), transport, ports: range("80") });
        }
    }
    all
}
