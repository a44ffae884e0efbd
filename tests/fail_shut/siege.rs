//! Five streams that policy stops, and ears where each would be heard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use hns_testbed::raw::{self, Injector, Link};
use hns_testbed::{Barrage, Netns, eventually, tcp};
use hns_tests::story_support::{Container, Scene, Server};

/// Where all streams go; nothing else does.
const PORT: u16 = 9;

/// A container with a published port and others that are not, and those who send what must not arrive: somebody outside to an
/// unpublished port; a container of another network to the same, to the host's loopback, and in the first container's name to
/// outside; a container of an Internal network to outside and to the host's addresses there, also to everybody's station. Each in both families.
pub struct Siege {
    pub scene: Scene,
    pub web: Container,
    frames: Vec<(Injector, Vec<u8>)>,
    ears: Vec<Ear>,
    at_host: Vec<UdpSocket>,
    _server: Server,
}

/// Counts what comes in to a namespace for [`PORT`].
struct Ear {
    name: &'static str,
    netns: Netns,
    at_first: u64,
}

impl Siege {
    #[track_caller]
    pub fn begin(scene: Scene) -> Self {
        let [_, green, inner] = [("blue", 7, "nat"), ("green", 8, "nat"), ("inner", 9, "internal")]
            .map(|(name, number, kind)| scene.switch(&scene.network(name, number, &["--type", kind])));
        let web = scene.container("blue", "web", &["-p", "8080:80"]);
        let stranger = scene.container("green", "stranger", &[]);
        let recluse = scene.container("inner", "recluse", &[]);
        let server = Server::serve(&web.netns, &web.addresses(), 80);
        let (host, outside) = (scene.host.netns(), scene.outside.netns());
        let (others, loopbacks) =
            (scene.outside.addresses(), [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        let own = scene.host_addresses();
        let streams: [(&Netns, &str, &[IpAddr], &[IpAddr]); 6] = [
            (&outside, "eth0", &others, &web.addresses()),
            (&stranger.netns, &green, &stranger.addresses(), &web.addresses()),
            (&stranger.netns, &green, &stranger.addresses(), &loopbacks),
            (&stranger.netns, &green, &web.addresses(), &others),
            (&recluse.netns, &inner, &recluse.addresses(), &others),
            (&recluse.netns, &inner, &recluse.addresses(), &own),
        ];
        let mut frames = Vec::new();
        for (netns, at, sources, targets) in streams {
            let link = Link { to: raw::mac_of(&host, at), from: raw::mac_of(netns, "eth0") };
            for (from, to) in sources.iter().zip(targets) {
                let packet = raw::udp((*from, 4000), (*to, PORT), b"HNSshut");
                frames.push((Injector::open(netns, "eth0"), link.packet(&packet)));
                if at == inner {
                    // The host takes for itself what is sent to everybody.
                    let everybody = Link { to: raw::EVERYBODY, ..link };
                    frames.push((Injector::open(netns, "eth0"), everybody.packet(&packet)));
                }
            }
        }
        let places = [loopbacks, own].concat();
        let at_host = host.enter(move || places.into_iter().map(listen).collect());
        let ears = vec![
            Ear::open("web", &web.netns, &host, &web.addresses()),
            Ear::open("outside", &outside, &stranger.netns, &others),
        ];
        let siege = Self { scene, web, frames, ears, at_host, _server: server };
        siege.is_heard_at_the_host();
        eventually!(siege.is_served());
        siege
    }

    /// Whether outside is served by every address of the host.
    pub fn is_served(&self) -> bool {
        let ask = |host: IpAddr| tcp::ask(&self.scene.outside.netns(), (host, 8080)).is_ok();
        self.scene.host_addresses().into_iter().all(ask)
    }

    pub fn under_fire(&mut self, trouble: impl FnOnce(&mut Scene, &Barrage)) {
        let frames: Vec<_> = self.frames.iter().map(|(injector, frame)| (injector, &frame[..])).collect();
        Barrage::during(&frames, |barrage| trouble(&mut self.scene, barrage));
    }

    #[track_caller]
    pub fn nothing_came_in(&self) {
        for ear in &self.ears {
            assert_eq!(ear.count(), ear.at_first, "something came to {}", ear.name);
        }
        for socket in &self.at_host {
            assert!(socket.recv(&mut [0; 64]).is_err(), "something came to {:?}", socket.local_addr());
        }
    }

    #[track_caller]
    fn is_heard_at_the_host(&self) {
        for socket in &self.at_host {
            let at = socket.local_addr().expect("it is bound");
            self.scene.host.netns().enter(move || knock(at.ip()));
            eventually!(socket.recv(&mut [0; 64]).is_ok());
        }
    }
}

impl Ear {
    /// Shown to hear what `from` sends, which nothing forbids.
    #[track_caller]
    fn open(name: &'static str, netns: &Netns, from: &Netns, addresses: &[IpAddr]) -> Self {
        let table = format!(
            "table inet ear {{
                counter heard {{ }}
                chain ear {{
                    type filter hook prerouting priority -500
                    udp dport {PORT} counter name heard
                }}
            }}"
        );
        nft(netns, &table);
        let mut ear = Self { name, netns: netns.clone(), at_first: 0 };
        for address in addresses.iter().copied() {
            eventually!({
                from.enter(move || knock(address));
                ear.count() > ear.at_first
            });
            ear.at_first = ear.count();
        }
        ear
    }

    #[track_caller]
    fn count(&self) -> u64 {
        let said = nft(&self.netns, "list counter inet ear heard");
        let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    }
}

#[track_caller]
fn nft(netns: &Netns, text: &str) -> String {
    let output = netns.command("nft").arg(text).output().expect("nft is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listen(at: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((at, PORT)).expect("nobody listens there");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

/// One datagram, by the ordinary way. Whether it arrives shows at the ear.
fn knock(to: IpAddr) {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).expect("a free port");
    let _sent = socket.send_to(b"HNSknock", (to, PORT));
}
