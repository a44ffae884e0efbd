//! How long a port takes: `cargo run --release --example ports -- [COUNT] [PRESENT]`, as root.
//!
//! Works in namespaces of its own. PRESENT ports are there before the measured COUNT. The filter itself is the
//! datapath's and not part of what is measured.
#![expect(clippy::print_stdout, reason = "it prints its measurements")]

use std::error::Error;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hns_host::{FlowFilter, Host, RealHost, Scope};
use hns_net::{IfAddr, IfName, Mac, Mtu, PortRange, Transport};
use hns_planner::{Announcement, Element, NamespaceSpec, Port, Route, Step, Switch, Target};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A bridge takes 1,023 ports; one of ours keeps some free for trunks.
const PORTS_PER_SEGMENT: u16 = 1000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let present = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("hns-ports-{}", std::process::id()));
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let host = RealHost::new(folder.clone())?;
    let outcome = measure(&host, &folder, present, count);
    for n in 0..present + count {
        host.execute(&Step::RemoveNamespace(NamespaceSpec { path: folder.join(format!("c{n}")) }))?;
    }
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(host: &RealHost, folder: &Path, present: u16, count: u16) -> Outcome<()> {
    let switch = switch((present + count) / PORTS_PER_SEGMENT)?;
    host.execute(&Step::LoadTable { chains: true })?;
    host.execute(&Step::MakeSwitch(switch.clone()))?;
    host.execute(&Step::AddElements(vec![Element::Switch(switch.name), Element::Masquerade4(name(0)?)]))?;
    let mut times = Times::default();
    for n in 0..present + count {
        let path = folder.join(format!("c{n}"));
        host.execute(&Step::MakeNamespace(NamespaceSpec { path: path.clone() }))?;
        let port = port(n, path)?;
        if n == present {
            times = Times::default();
        }
        let add = Step::AddElements(elements(&port)?);
        times.add.time(|| host.execute(&add))?;
        times.plug.time(|| host.execute(&Step::PlugPort(port.clone())))?;
        let Port { name, target, interface, .. } = port.clone();
        times.open.time(|| host.execute(&Step::OpenPort { name, target, interface }))?;
        // Rarely: what it floods keeps the host busy for a while.
        if n >= present && n % 20 == 0 {
            let announcement = announcement(&port);
            times.announce.time(|| host.announce(&announcement))?;
        }
    }
    // A tracked connection, without which there is nothing to look through.
    UdpSocket::bind("10.0.0.1:0")?.send_to(b"hello", "10.1.0.0:9")?;
    let everything = Scope::Everything;
    times.observe.time(|| host.observe(&everything))?;
    for n in present..present + count {
        let port = port(n, folder.join(format!("c{n}")))?;
        let name = port.name.clone();
        times.port.time(|| host.observe(&Scope::Port(name.clone())))?;
        let remove = Step::RemoveElements(elements(&port)?);
        times.remove.time(|| host.execute(&remove))?;
        times.flush.time(|| host.flush_flows(&[FlowFilter::Of(port.addresses[0].address())]))?;
        times.unplug.time(|| host.execute(&Step::UnplugPort { name }))?;
    }
    times.reap.time(|| host.reap())?;
    println!("{count} ports beside {present}, in microseconds:");
    times.print();
    Ok(())
}

#[derive(Default)]
struct Times {
    plug: Samples,
    open: Samples,
    add: Samples,
    announce: Samples,
    port: Samples,
    flush: Samples,
    remove: Samples,
    unplug: Samples,
    observe: Samples,
    reap: Samples,
}

impl Times {
    fn print(&self) {
        for (what, samples) in [
            ("plug", &self.plug),
            ("open", &self.open),
            ("add elements", &self.add),
            ("announce", &self.announce),
            ("observe port", &self.port),
            ("flush flows", &self.flush),
            ("remove elements", &self.remove),
            ("unplug", &self.unplug),
            ("observe everything", &self.observe),
            ("reap all", &self.reap),
        ] {
            samples.print(what);
        }
    }
}

/// Of each call, how long it took and how much of that its thread was running: the second hardly depends on
/// what else the machine does.
#[derive(Default)]
struct Samples(Vec<(Duration, Duration)>);

fn running_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

impl Samples {
    fn time<T, E: Into<Box<dyn Error>>>(&mut self, work: impl FnOnce() -> Result<T, E>) -> Outcome<T> {
        let (start, ran_before) = (Instant::now(), running_time()?);
        let result = work();
        self.0.push((start.elapsed(), running_time()? - ran_before));
        result.map_err(Into::into)
    }

    fn print(&self, what: &str) {
        let at = |part: fn(&(Duration, Duration)) -> Duration, percent: usize| {
            let mut sorted: Vec<Duration> = self.0.iter().map(part).collect();
            sorted.sort();
            sorted.get(sorted.len() * percent / 100).map_or(0, Duration::as_micros)
        };
        let wall = |percent| at(|(wall, _)| *wall, percent);
        let (p50, p90, p99, running) = (wall(50), wall(90), wall(99), at(|(_, running)| *running, 50));
        println!("{what:>20}: p50 {p50:>7} p90 {p90:>7} p99 {p99:>7}, running p50 {running:>7}");
    }
}

fn switch(extra_segments: u16) -> Outcome<Switch> {
    Ok(Switch {
        name: "hns00000001".parse()?,
        mac: Mac::from_u64(0x0015_5d00_0001),
        mtu: Mtu::ETHERNET,
        alias: "bench".into(),
        gateways: ["10.0.0.1/8".parse::<IfAddr>()?].into(),
        extra_segments,
        hosted: true,
        loopback: true,
        uplink: None,
    })
}

fn name(n: u16) -> Outcome<IfName> {
    Ok(format!("hnv{n:012x}").parse()?)
}

fn port(n: u16, path: PathBuf) -> Outcome<Port> {
    let [high, low] = n.to_be_bytes();
    let bridge = Switch::segment_name(&"hns00000001".parse()?, n / PORTS_PER_SEGMENT);
    Ok(Port {
        name: name(n)?,
        bridge: bridge.ok_or("no such segment")?,
        target: Target::Path(path),
        interface: "eth0".parse()?,
        mac: Mac::from_u64(0x0015_5d01_0000 + u64::from(n)),
        mtu: Mtu::ETHERNET,
        addresses: vec![format!("10.1.{high}.{low}/8").parse()?],
        routes: vec![Route { destination: "0.0.0.0/0".parse()?, via: Some("10.0.0.1".parse()?), metric: 0 }],
        until: std::collections::BTreeMap::new(),
    })
}

fn announcement(port: &Port) -> Announcement {
    Announcement {
        link: port.bridge.clone(),
        mac: port.mac,
        addresses: port.addresses.iter().map(|address| address.address()).collect(),
    }
}

fn elements(port: &Port) -> Outcome<Vec<Element>> {
    let address = port.addresses[0].address();
    let number = u16::from_str_radix(&port.name.as_str()[3..], 16)?;
    let transport = Transport::Tcp;
    Ok(vec![
        Element::Publish { at: None, transport, port: 10_000 + number, to: address, to_port: 80 },
        Element::Open { address, transport, ports: PortRange::single(80)? },
    ])
}
