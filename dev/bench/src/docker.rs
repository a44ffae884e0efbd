//! Docker's daemon through its socket: a network connected and disconnected, a container started and killed.

use std::path::Path;

use anyhow::ensure;
use hns_testbed::engines::IMAGE;
use hns_testbed::{Answer, Api};
use serde_json::{Value, json};

use crate::contender::{Contender, Slot};

/// An internal network, on which a container is without its ports being published.
pub const INSIDE: &str = "inside";

/// `docker network connect` and `disconnect` of one running container, whose port is published with it.
#[derive(Debug)]
pub struct Connect {
    api: Api,
    network: String,
    container: String,
}

impl Connect {
    /// Starts the container.
    pub fn new(socket: &Path, network: &str, port: u16) -> anyhow::Result<Self> {
        let mut api = Api::connect(socket)?;
        let host =
            json!({"NetworkMode": INSIDE, "PortBindings": {"80/tcp": [{"HostPort": port.to_string()}]}});
        let container = container(&mut api, &format!("connects-{network}"), &host)?;
        act(&mut api, &container, "start")?;
        Ok(Self { api, network: network.to_owned(), container })
    }
}

impl Contender for Connect {
    fn create(&mut self, _: &Slot) -> anyhow::Result<()> {
        let request = json!({"Container": self.container});
        done(self.api.post(&format!("/networks/{}/connect", self.network), &request)?)
    }

    fn delete(&mut self, _: &Slot) -> anyhow::Result<()> {
        let request = json!({"Container": self.container, "Force": true});
        done(self.api.post(&format!("/networks/{}/disconnect", self.network), &request)?)
    }
}

/// Start and end of a container with a published port. What a network adds to it is the difference to a container on the
/// network `none`.
#[derive(Debug)]
pub struct Start {
    api: Api,
    container: String,
}

impl Start {
    /// Makes a container on this network whose port 80 is published at `port`.
    pub fn new(socket: &Path, network: &str, port: u16) -> anyhow::Result<Self> {
        let mut api = Api::connect(socket)?;
        let bindings = json!({"80/tcp": [{"HostPort": port.to_string()}]});
        let bindings = if network == "none" { json!({}) } else { bindings };
        let host = json!({"NetworkMode": network, "PortBindings": bindings});
        let container = container(&mut api, &format!("starts-{network}"), &host)?;
        Ok(Self { api, container })
    }
}

impl Contender for Start {
    fn create(&mut self, _: &Slot) -> anyhow::Result<()> {
        act(&mut self.api, &self.container, "start")
    }

    fn delete(&mut self, _: &Slot) -> anyhow::Result<()> {
        act(&mut self.api, &self.container, "kill")?;
        act(&mut self.api, &self.container, "wait")
    }
}

/// Starts containers on a network that are simply there.
pub fn populate(socket: &Path, network: &str, count: usize) -> anyhow::Result<()> {
    let mut api = Api::connect(socket)?;
    for number in 0..count {
        let host = json!({"NetworkMode": network});
        let id = container(&mut api, &format!("present-{network}-{number}"), &host)?;
        act(&mut api, &id, "start")?;
    }
    Ok(())
}

/// Makes a network of this driver.
pub fn network(socket: &Path, name: &str, driver: &str, subnet: &str, internal: bool) -> anyhow::Result<()> {
    let ipam = json!({"Config": [{"Subnet": subnet}]});
    let request = json!({"Name": name, "Driver": driver, "IPAM": ipam, "Internal": internal});
    done(Api::connect(socket)?.post("/networks/create", &request)?)
}

fn container(api: &mut Api, name: &str, host: &Value) -> anyhow::Result<String> {
    let request =
        json!({"Image": IMAGE, "Cmd": ["sleep", "3600"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": host});
    let answer = api.post(&format!("/containers/create?name={name}"), &request)?;
    ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text);
    Ok(answer.body["Id"].as_str().unwrap_or_default().to_owned())
}

/// Docker refuses a start that has a body.
fn act(api: &mut Api, container: &str, verb: &str) -> anyhow::Result<()> {
    done(api.send("POST", &format!("/containers/{container}/{verb}"), "")?)
}

fn done(answer: Answer) -> anyhow::Result<()> {
    // 304: it was so already.
    ensure!(
        (200..300).contains(&answer.status) || answer.status == 304,
        "{}: {}",
        answer.status,
        answer.text
    );
    Ok(())
}
