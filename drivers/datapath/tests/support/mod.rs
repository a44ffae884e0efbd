//! Worlds to test in: a fake datapath, or the kernel's in namespaces of its own.
#![allow(dead_code, clippy::unwrap_used, reason = "test code, of which every test file uses its own part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, process, thread};

use hns_datapath::{Datapath, FakeDatapath, RealDatapath, Settings};
use hns_net::{Guid, IfName};
use hns_testbed::{Requirement, missing};
use hns_vfp::model::{Acl, Guards, Port};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A datapath, and what other programs do behind its back.
pub struct World {
    pub datapath: Box<dyn Datapath>,
    fake: Option<FakeDatapath>,
}

impl World {
    fn fake() -> Self {
        let fake = FakeDatapath::new();
        Self { datapath: Box::new(fake.clone()), fake: Some(fake) }
    }

    pub fn make_link(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.make_link(name),
            None => {
                let peer = format!("p{name}");
                run(&["ip", "link", "add", name.as_str(), "type", "veth", "peer", "name", &peer]);
            }
        }
    }

    pub fn delete_link(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.lose_link(name),
            None => run(&["ip", "link", "delete", name.as_str()]),
        }
    }

    /// Takes the programs off the link.
    pub fn detach(&self, name: &IfName) {
        match &self.fake {
            Some(fake) => fake.detach(name),
            None => run(&["tc", "qdisc", "delete", "dev", name.as_str(), "clsact"]),
        }
    }
}

/// The ports that are held to something.
pub fn attached(datapath: &dyn Datapath) -> BTreeSet<IfName> {
    datapath.held().unwrap().into_keys().collect()
}

/// Runs the test on a fake datapath, and on the kernel's where we may.
pub fn on_both(test: impl Fn(&World) + Send + Sync) {
    test(&World::fake());
    if missing(&[Requirement::Root, Requirement::Program("tc")]) {
        return;
    }
    isolated(|folder| {
        test(&World { datapath: Box::new(start(folder)), fake: None });
    });
}

/// A datapath of the calling thread's network namespace. Its maps are held in a folder of its own.
pub fn start(folder: &Path) -> RealDatapath {
    RealDatapath::start(&settings(folder)).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

pub fn settings(folder: &Path) -> Settings {
    Settings { pins: folder.join("bpf") }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Runs `body` on a thread with network and mount namespaces of its own. Network namespaces can be named in it.
pub fn isolated(body: impl Fn(&Path) + Send + Sync) {
    let folder = std::env::temp_dir().join(format!(
        "hns-datapath-test-{}-{:?}",
        process::id(),
        thread::current().id()
    ));
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
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
#[track_caller]
pub fn run(words: &[&str]) {
    output(words);
}

#[track_caller]
pub fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

/// The link of the `n`-th port.
pub fn link(n: u8) -> IfName {
    name(&format!("hnv{n}"))
}

pub fn guid(n: u8) -> Guid {
    Guid::from_bytes([n; 16])
}

/// The `n`-th container's port, which nothing is asked of.
pub fn port(n: u8) -> Port {
    Port {
        endpoint: guid(n),
        network: guid(200),
        mac: format!("02-00-00-00-00-{n:02X}").parse().unwrap(),
        addresses: vec![address(n).parse().unwrap()],
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
    }
}

pub fn address(n: u8) -> String {
    format!("10.9.0.{n}")
}

/// Containers on one switch: their host ends are [`link`]s in a bridge.
pub struct Containers {
    pub folder: PathBuf,
}

impl Containers {
    pub fn new(folder: &Path, count: u8) -> Self {
        let mut script = String::from("ip link add sw0 type bridge && ip link set sw0 up\n");
        for n in 1..=count {
            let (link, address) = (link(n), address(n));
            script += &format!(
                "ip netns add c{n}
                 ip link add {link} type veth peer name eth0 address 02:00:00:00:00:{n:02x} netns c{n}
                 ip link set {link} master sw0 up
                 ip -n c{n} link set eth0 up
                 ip -n c{n} address add {address}/24 dev eth0\n"
            );
        }
        run(&["sh", "-ec", &script]);
        Self { folder: folder.to_owned() }
    }

    pub fn netns(&self, n: u8) -> hns_testbed::Netns {
        hns_testbed::Netns::open(format!("/run/netns/c{n}")).unwrap()
    }
}

/// The number of a link.
pub fn index_of(link: &str) -> u32 {
    let shown = output(&["ip", "-o", "link", "show", link]);
    shown.split(':').next().unwrap().parse().unwrap()
}
