use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hns_testbed::engines::{Dockerd, DockerdBuilder, IMAGE, PAGE, Release};
use hns_testbed::{Netns, eventually};
use serde_json::Value;

use super::{Scene, text};

const PATIENCE: Duration = Duration::from_secs(2);

/// A host with the daemon and Docker.
pub struct DockerScene {
    // Docker ends before the daemon that serves it.
    pub docker: Dockerd,
    pub scene: Scene,
}

impl DockerScene {
    /// Both as they are without any configuration, but for HNS's own network `nat`.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    #[track_caller]
    pub fn new(release: Release) -> Self {
        Self::with(Scene::new(), release, |docker| docker)
    }

    /// The same with the newest Docker.
    ///
    /// # Panics
    /// When one of them does not start.
    #[must_use]
    #[track_caller]
    pub fn newest() -> Self {
        Self::new(Release::Newest)
    }

    /// In a scene that is there already, with a Docker that is configured.
    ///
    /// # Panics
    /// When Docker does not start.
    #[must_use]
    #[track_caller]
    pub fn with(
        scene: Scene,
        release: Release,
        configure: impl FnOnce(DockerdBuilder) -> DockerdBuilder,
    ) -> Self {
        let docker = configure(Dockerd::builder(&scene.host, release)).start();
        Self { docker, scene }
    }

    /// `docker network create -d nat`, with options; gives the network as HNS has it.
    #[track_caller]
    pub fn network(&self, name: &str, options: &[&str]) -> Value {
        let id = self.docker.run(&[&["network", "create", "-d", "nat"], options, &[name]].concat());
        self.hns_network_of(&id)
    }

    /// A network `10.N.0.0/24`, `fd00:N::/64`, for the versions of Docker that choose no IPv6 subnet themselves.
    #[track_caller]
    pub fn dual_network(&self, name: &str, number: u8, options: &[&str]) -> Value {
        let (v4, v6) = (format!("10.{number}.0.0/24"), format!("fd00:{number}::/64"));
        self.network(name, &[&["--ipv6", "--subnet", &v4, "--subnet", &v6], options].concat())
    }

    /// What Docker says when it must not make a network. Nothing of it is left.
    ///
    /// # Panics
    /// When it makes it, or leaves something behind.
    #[track_caller]
    pub fn refused_network(&self, options: &[&str]) -> String {
        let before = self.hns_networks();
        let words = [&["network", "create", "-d", "nat"], options, &["refused"]].concat();
        let said = self.docker.try_run(&words).expect_failure();
        assert_eq!(self.hns_networks(), before, "{options:?} left a network");
        assert!(!self.docker.try_run(&["network", "inspect", "refused"]).success(), "{options:?}");
        said
    }

    /// What Docker says when it must not run a container. It leaves no endpoint behind.
    ///
    /// # Panics
    /// When it runs, or leaves something behind.
    #[track_caller]
    pub fn refused_container(&self, options: &[&str]) -> String {
        let before = self.endpoints().len();
        let said = self.docker.try_run(&[&["run", "--rm"], options, &[IMAGE, "true"]].concat());
        let said = said.expect_failure();
        eventually!(self.endpoints().len() == before);
        said
    }

    /// Starts a container that serves its page on port 80.
    #[track_caller]
    pub fn web(&self, name: &str, options: &[&str]) {
        self.docker.run(&[&["run", "-d", "--name", name], options, &[IMAGE]].concat());
    }

    /// Starts a container that sleeps.
    #[track_caller]
    pub fn idle(&self, name: &str, options: &[&str]) {
        self.docker.run(&[&["run", "-d", "--name", name], options, &[IMAGE, "sleep", "1000"]].concat());
    }

    /// What a script prints in a container that lives for it alone.
    #[track_caller]
    pub fn once(&self, options: &[&str], script: &str) -> String {
        self.docker.run(&[&["run", "--rm"], options, &[IMAGE, "sh", "-ec", script]].concat())
    }

    /// Takes containers away, with their endpoints.
    #[track_caller]
    pub fn remove(&self, containers: &[&str]) {
        self.docker.run(&[&["rm", "-f"], containers].concat());
    }

    /// The HNS network behind a network of Docker.
    #[must_use]
    #[track_caller]
    pub fn hns_network(&self, name: &str) -> Value {
        self.hns_network_of(&self.docker.run(&["network", "inspect", "-f", "{{.Id}}", name]))
    }

    #[track_caller]
    fn hns_network_of(&self, docker_id: &str) -> Value {
        self.scene.get(&format!("/v2/networks/{}", guid(docker_id)))
    }

    /// The ids of the networks of HNS.
    #[must_use]
    #[track_caller]
    pub fn hns_networks(&self) -> Vec<String> {
        let all = self.scene.get("/v2/networks");
        let mut ids: Vec<String> =
            all.as_array().expect("networks are a list").iter().map(|network| text(network, "ID")).collect();
        ids.sort();
        ids
    }

    /// All endpoints of HNS.
    #[must_use]
    #[track_caller]
    pub fn endpoints(&self) -> Vec<Value> {
        self.scene.get("/v2/endpoints").as_array().expect("endpoints are a list").clone()
    }

    /// What Docker shows of a container on a network.
    #[must_use]
    #[track_caller]
    pub fn membership(&self, container: &str, network: &str) -> Value {
        self.docker.json(&["inspect", container])[0]["NetworkSettings"]["Networks"][network].clone()
    }

    /// The HNS endpoint of a container on a network.
    #[must_use]
    #[track_caller]
    pub fn endpoint(&self, container: &str, network: &str) -> Value {
        let id = text(&self.membership(container, network), "EndpointID");
        assert!(!id.is_empty(), "{container} is not on {network}");
        self.scene.get(&format!("/v2/endpoints/{}", guid(&id)))
    }

    /// The addresses of a container on a network as Docker shows them, IPv4 first.
    #[must_use]
    #[track_caller]
    pub fn addresses(&self, container: &str, network: &str) -> Vec<IpAddr> {
        let shown = self.membership(container, network);
        let of = |field: &str| text(&shown, field).parse().ok();
        ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(of).collect()
    }
}

/// The GUID of what Docker knows under an id of 64 digits.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn guid(docker_id: &str) -> String {
    assert_eq!(docker_id.len(), 64, "{docker_id}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &docker_id[part]);
    parts.join("-").to_uppercase()
}

/// The page of a container, fetched over HTTP from a namespace.
///
/// # Errors
/// When nobody serves it there.
pub fn fetch(from: &Netns, to: SocketAddr) -> io::Result<()> {
    let answer = from.enter(move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    })?;
    let is_page = answer.ends_with(&format!("\r\n\r\n{PAGE}"));
    if is_page { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, answer)) }
}

/// Nobody of these gets the page there. All try at once, since each waits for its time to run out.
///
/// # Panics
/// When somebody gets it.
#[track_caller]
pub fn cannot_fetch(all: &[(Netns, SocketAddr)]) {
    let got: Vec<&SocketAddr> = std::thread::scope(|scope| {
        let tries: Vec<_> =
            all.iter().map(|(from, to)| (to, scope.spawn(|| fetch(from, *to).is_ok()))).collect();
        let got = tries
            .into_iter()
            .filter_map(|(to, one)| one.join().expect("a client does not panic").then_some(to));
        got.collect()
    });
    assert!(got.is_empty(), "reached, and must not be: {got:?}");
}

/// A name server that gives every name one address (of type A; of other types there is nothing) and tells what it was
/// asked.
pub struct NameServer {
    asked: Receiver<String>,
}

impl NameServer {
    /// Listens on port 53 of an address.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[track_caller]
    pub fn serve(netns: &Netns, at: IpAddr, answer: Ipv4Addr) -> Self {
        let socket = netns.enter(move || UdpSocket::bind((at, 53)));
        let socket = socket.unwrap_or_else(|error| panic!("port 53 of {at}: {error}"));
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let Some((name, reply)) = reply(&query[..length], answer) else { continue };
                if tell.send(name).is_err() {
                    return;
                }
                let _gone = socket.send_to(&reply, client);
            }
        });
        Self { asked }
    }

    /// The names that were asked for since the last look.
    pub fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

/// The name in a query, and the answer to it (RFC 1035 section 4.1).
fn reply(query: &[u8], address: Ipv4Addr) -> Option<(String, Vec<u8>)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while *query.get(at)? != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..end)?).into_owned());
        at = end;
    }
    let question = query.get(12..at + 5)?;
    let is_a = question[question.len() - 4..] == [0, 1, 0, 1];
    let mut reply = query[..2].to_vec();
    // An answer, authoritative, with recursion; one question, and one record if there is one.
    reply.extend([0x85, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    reply.extend(question);
    if is_a {
        // The name of the question, A, IN, a second, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    Some((labels.join("."), reply))
}
