//! Where policies are tried: a container that serves, a friend and a foe on its network.

use std::net::IpAddr;
use std::thread;

use hns_testbed::{Netns, eventually, tcp, udp};
use serde_json::{Value, json};

use super::{Container, Scene};

/// A container that serves TCP on 80 and 81 and UDP on 53, and two others on its network.
pub struct Stage {
    pub scene: Scene,
    pub network: Value,
    pub web: Container,
    pub friend: Container,
    pub foe: Container,
    _servers: Vec<tcp::Echo>,
    _names: Vec<udp::Echo>,
}

impl Stage {
    /// On a dual stack network of this kind, `blue`.
    #[must_use]
    #[track_caller]
    pub fn on(kind: &str) -> Self {
        let scene = Scene::new();
        let network = scene.network("blue", 7, &["--type", kind]);
        let [web, friend, foe] = ["web", "friend", "foe"].map(|name| scene.container("blue", name, &[]));
        let addresses = web.addresses();
        let places = addresses.iter().flat_map(|address| [(*address, 80), (*address, 81)]);
        let servers = places.map(|at| tcp::Echo::serve(&web.netns, at)).collect();
        let names = addresses.iter().map(|address| udp::Echo::serve(&web.netns, (*address, 53))).collect();
        let stage = Self { scene, network, web, friend, foe, _servers: servers, _names: names };
        stage.reach(&[("friend", 80, true), ("friend", 81, true), ("friend", 53, true), ("foe", 80, true)]);
        stage
    }

    /// Each gets an answer of each or none, in both families; 53 is UDP.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn reach(&self, rows: &[(&str, u16, bool)]) {
        // At once, since each that is not answered waits for its time to run out.
        thread::scope(|scope| {
            for (who, port, reached) in rows {
                let from = if *who == "foe" { &self.foe.netns } else { &self.friend.netns };
                for to in self.web.addresses() {
                    scope.spawn(move || {
                        let what = format!("{who} -> {to} port {port}");
                        if *reached {
                            eventually!(asks(from, to, *port).map_err(|error| format!("{what}: {error}")));
                        } else {
                            assert!(asks(from, to, *port).is_err(), "{what} got through");
                        }
                    });
                }
            }
        });
    }

    /// Sends a Modify of the policies of `web`.
    #[track_caller]
    pub fn modify(&self, request: &str, policies: &Value) {
        self.scene.modify_policies(&self.web, request, policies);
    }
}

/// Whether it is answered; 53 is UDP.
pub fn asks(from: &Netns, to: IpAddr, port: u16) -> std::io::Result<()> {
    if port == 53 { udp::ask(from, (to, port)).map(drop) } else { tcp::ask(from, (to, port)).map(drop) }
}

/// A rule of an endpoint.
#[must_use]
pub fn acl(action: &str, direction: &str, priority: u16, more: &Value) -> Value {
    let mut settings = json!({"Action": action, "Direction": direction, "Priority": priority});
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    json!({"Type": "ACL", "Settings": settings})
}

/// The addresses of a container, as a rule names them.
#[must_use]
pub fn of(container: &Container) -> String {
    container.addresses().iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}
