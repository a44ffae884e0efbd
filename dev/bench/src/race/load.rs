//! The load: connections, requests and packets of one client and one server on one processor, so that what is measured is
//! the whole cost of the path between them and not the waking of an idle processor.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use hns_testbed::Netns;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::Line;
use crate::samples::Samples;

/// How long, and on which processor.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub time: Duration,
    pub cpu: usize,
}

/// What one turn on a line gave.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Connect, a byte each way, close by RST.
    pub connects_per_second: f64,
    /// A byte each way on an open connection, in microseconds.
    pub p50_us: f64,
    /// Datagrams of 64 bytes, one way.
    pub packets_per_second: f64,
}

const PORT: u16 = 80;
const ASK: u8 = b'a';
/// Tells the server to end.
const END: u8 = b'q';
/// So long may one answer take; a server that nobody asks any more ends as well.
const PATIENCE: Duration = Duration::from_secs(3);
/// Fewer than any socket's buffer holds.
const BURST: usize = 32;

impl Line {
    /// One turn: connections, requests, packets.
    pub fn measure(&self, pace: Pace) -> anyhow::Result<Reading> {
        self.probe().context("the way is closed")?;
        let connects_per_second = self.connects(pace)?;
        let p50_us = self.requests(pace)?.p50().unwrap_or_default().as_secs_f64() * 1e6;
        let packets_per_second = self.packets(pace)?;
        Ok(Reading { connects_per_second, p50_us, packets_per_second })
    }

    /// Whether the way is open at all; the neighbours get to know each other by it.
    pub fn probe(&self) -> anyhow::Result<()> {
        let server = self.serve(None)?;
        let target = self.target();
        let asked = self.client.enter(move || {
            let mut stream = connect(target)?;
            exchange(&mut stream)?;
            stream.write_all(&[END])
        });
        if asked.is_err() {
            // The server's own way to itself is open in any case.
            let _ended_already = self.server.enter(move || connect(target)?.write_all(&[END]));
        }
        ended(server)?;
        asked.with_context(|| format!("asking {target}"))
    }

    fn connects(&self, pace: Pace) -> anyhow::Result<f64> {
        let target = self.target();
        self.with_server(pace, move || {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < pace.time {
                let mut stream = TcpStream::connect(target)?;
                close_by_reset(&stream)?;
                exchange(&mut stream)?;
                count += 1;
            }
            let rate = f64::from(count) / begin.elapsed().as_secs_f64();
            connect(target)?.write_all(&[END])?;
            Ok(rate)
        })
    }

    fn requests(&self, pace: Pace) -> anyhow::Result<Samples> {
        let target = self.target();
        self.with_server(pace, move || {
            let mut stream = connect(target)?;
            let (begin, mut times) = (Instant::now(), Samples::default());
            let mut last = begin;
            while last - begin < pace.time {
                exchange(&mut stream)?;
                let now = Instant::now();
                times.add(now - last);
                last = now;
            }
            stream.write_all(&[END])?;
            Ok(times)
        })
    }

    /// Sends a burst and receives it, by turns: the cost of sender, path and receiver together. What is lost does not count.
    fn packets(&self, pace: Pace) -> anyhow::Result<f64> {
        let target = self.target();
        let receiver = self.server.enter(move || UdpSocket::bind(target))?;
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let sender = self.client.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        ended(self.client.spawn("load", move || {
            pin(pace.cpu)?;
            sender.connect(target)?;
            let (begin, mut received) = (Instant::now(), 0_u32);
            let mut buffer = [0; 64];
            while begin.elapsed() < pace.time {
                for _ in 0..BURST {
                    sender.send(&buffer)?;
                }
                for _ in 0..BURST {
                    if receiver.recv(&mut buffer).is_err() {
                        break;
                    }
                    received += 1;
                }
            }
            ensure!(received > 0, "no datagram arrived");
            Ok(f64::from(received) / begin.elapsed().as_secs_f64())
        }))
    }

    /// The client's work against a server on the same processor.
    fn with_server<T: Send + 'static>(
        &self,
        pace: Pace,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let server = self.serve(Some(pace.cpu))?;
        let client = self.client.spawn("client", move || pin(pace.cpu).and_then(|()| work()));
        let done = ended(client)?;
        ended(server)?;
        Ok(done)
    }

    /// A server for one connection after another, until one of them says that it is enough.
    fn serve(&self, cpu: Option<usize>) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
        let listen = self.target();
        let listener = listen_at(&self.server, listen).with_context(|| format!("listening on {listen}"))?;
        Ok(std::thread::spawn(move || {
            cpu.map_or(Ok(()), pin)?;
            let mut byte = [0];
            loop {
                let (mut stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                // An error is the client's way to close.
                while matches!(stream.read(&mut byte), Ok(1)) {
                    if byte[0] == END {
                        return Ok(());
                    }
                    if stream.write_all(&byte).is_err() {
                        break;
                    }
                }
            }
        }))
    }

    fn target(&self) -> SocketAddr {
        (self.address, PORT).into()
    }
}

fn listen_at(netns: &Netns, address: SocketAddr) -> std::io::Result<TcpListener> {
    netns.enter(move || TcpListener::bind(address))
}

fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [ASK];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}

/// Without a wait for late segments, which would use up the client's ports.
fn close_by_reset(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Keeps the calling thread on one processor.
fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &only).with_context(|| format!("processor {cpu}"))
}

fn ended<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?
}

/// Before the machine's other programs, whose turns are no part of a path. Threads and programs that are started later inherit it.
pub fn go_first() -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let status = std::process::Command::new("renice")
        .args(["-n", "-20", "-p", &own])
        .stdout(std::process::Stdio::null())
        .status()?;
    ensure!(status.success(), "renice ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hns_testbed::{Lab, needs};

    #[test]
    fn a_line_is_measured_and_a_closed_one_is_told() {
        needs!(root, "ip");
        let lab = Lab::new();
        let host = lab.island("a");
        let line = |client: Netns| Line {
            _host: host.clone(),
            client,
            server: host.netns(),
            address: Ipv4Addr::LOCALHOST,
        };
        let pace = Pace { time: Duration::from_millis(20), cpu: 0 };
        let reading = line(host.netns()).measure(pace).unwrap();
        assert!(reading.connects_per_second > 0.0 && reading.packets_per_second > 0.0, "{reading:?}");
        assert!(reading.p50_us > 0.0, "{reading:?}");
        let refused = line(host.add_netns("elsewhere")).measure(pace).unwrap_err();
        assert!(format!("{refused:#}").contains("asking 127.0.0.1:80"), "{refused:#}");
    }
}
