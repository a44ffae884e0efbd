//! IPAM plugins of others, called as the specification's section 4 has it: the same environment, the same
//! configuration.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hns_hcn::Dns;
use hns_net::{Cidr, CidrError, IfAddr};
use serde_json::{Map, Value};

use crate::conf::Routes;
use crate::environment::{Environment, Verb};
use crate::failure::Failure;
use crate::object::Object;

/// An IPAM plugin that was found.
#[derive(Debug)]
pub(crate) struct Delegate<'a> {
    plugin: PathBuf,
    name: &'a str,
    environment: &'a Environment,
    /// The configuration as it came.
    input: &'a [u8],
}

/// What an IPAM plugin gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lease {
    pub addresses: Vec<Given>,
    pub routes: Routes,
    pub dns: Dns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    pub address: IfAddr,
    pub gateway: Option<IpAddr>,
}

impl Given {
    /// The prefix that the address lies in.
    pub fn prefix(&self) -> Result<Cidr, CidrError> {
        Cidr::new(self.address.address(), self.address.length())
    }
}

impl<'a> Delegate<'a> {
    /// Finds the plugin in the folders of `CNI_PATH`.
    pub fn find(name: &'a str, environment: &'a Environment, input: &'a [u8]) -> Result<Self, Failure> {
        let path = environment.path();
        let candidates = path.split(':').filter(|folder| !folder.is_empty());
        let plugin = candidates.map(|folder| Path::new(folder).join(name)).find(|plugin| plugin.is_file());
        let missing = || Failure::NoDelegate { plugin: name.to_owned(), path: path.to_owned() };
        Ok(Self { plugin: plugin.ok_or_else(missing)?, name, environment, input })
    }

    /// ADD: the addresses are ours until a DEL.
    pub fn add(&self) -> Result<Lease, Failure> {
        let output = self.call(Verb::Add)?;
        let lease = self.read_lease(&output.stdout);
        if lease.is_err() {
            // Whatever it gave, we cannot use it.
            drop(self.call(Verb::Del));
        }
        lease
    }

    /// Any verb without an answer.
    pub fn tell(&self, verb: Verb) -> Result<(), Failure> {
        self.call(verb).map(drop)
    }

    fn call(&self, verb: Verb) -> Result<Output, Failure> {
        let run = |source| Failure::RunDelegate { plugin: self.plugin.clone(), source };
        let mut child = Command::new(&self.plugin)
            .envs(self.environment.parameters())
            .env("CNI_COMMAND", verb.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(run)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that does not read its configuration says why by its answer.
            drop(stdin.write_all(self.input));
        }
        let output = child.wait_with_output().map_err(run)?;
        if output.status.success() { Ok(output) } else { Err(self.failure(&output)) }
    }

    fn failure(&self, output: &Output) -> Failure {
        let said: Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = said.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
        let msg = match text("msg") {
            msg if msg.is_empty() => format!("failed without a word ({})", output.status),
            msg => msg,
        };
        Failure::Delegate {
            plugin: self.name.to_owned(),
            code: code.filter(|code| *code != 0).unwrap_or(UNSPECIFIC),
            msg,
            details: text("details"),
        }
    }

    fn read_lease(&self, answer: &[u8]) -> Result<Lease, Failure> {
        let document: Map<String, Value> = serde_json::from_slice(answer)
            .map_err(|source| Failure::DelegateAnswer { plugin: self.name.to_owned(), source })?;
        let lease = Lease::read(&document)?;
        if lease.addresses.is_empty() {
            return Err(self.no_addresses());
        }
        Ok(lease)
    }

    fn no_addresses(&self) -> Failure {
        let msg = "gave no address".to_owned();
        Failure::Delegate { plugin: self.name.to_owned(), code: UNSPECIFIC, msg, details: String::new() }
    }
}

/// The reference library's code for an error that came without one.
const UNSPECIFIC: u32 = 999;

impl Lease {
    /// Reads a result of any version: `ips` since 0.3.0, `ip4` and `ip6` before.
    pub fn read(document: &Map<String, Value>) -> Result<Self, Failure> {
        let mut object = Object::of_map(document);
        let mut lease = Self::default();
        for found in object.list("ips")? {
            lease.addresses.push(given(Object::of(&found)?, "address")?);
        }
        let mut routes = object.list("routes")?;
        for key in ["ip4", "ip6"] {
            let Some(mut family) = object.object(key)? else { continue };
            routes.extend(family.list("routes")?);
            lease.addresses.push(given(family, "ip")?);
        }
        lease.routes = Routes::of_list(&routes)?;
        if let Some(mut dns) = object.object("dns")? {
            lease.dns = Dns {
                domain: dns.text("domain")?.map(str::to_owned),
                search: dns.parsed_list("search")?,
                servers: dns.parsed_list("nameservers")?,
                options: dns.parsed_list("options")?,
            };
        }
        Ok(lease)
    }
}

fn given(mut object: Object<'_>, key: &str) -> Result<Given, Failure> {
    let missing = object.invalid(key, "missing");
    Ok(Given { address: object.parsed(key)?.ok_or(missing)?, gateway: object.parsed("gateway")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Lease, Failure> {
        Lease::read(value.as_object().unwrap())
    }

    #[test]
    fn results_of_every_version_are_read() {
        let new = read(&json!({"cniVersion": "1.0.0",
            "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
            "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["192.0.2.53"]}}))
        .unwrap();
        let old = read(&json!({"cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "fd00::5/64"}, "dns": {"nameservers": ["192.0.2.53"]}}))
        .unwrap();
        assert_eq!(new, old);
        assert_eq!(new.addresses[0].prefix().unwrap().to_string(), "10.1.0.0/24");
    }

    #[test]
    fn a_result_that_is_none_is_refused_by_its_place() {
        let failure = read(&json!({"ips": [{"gateway": "10.1.0.1"}]})).unwrap_err();
        assert_eq!(failure.to_string(), "ips[0].address: missing");
    }

    #[test]
    fn a_plugin_is_looked_for_in_each_folder_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("host-local"), "").unwrap();
        let path = format!("/nowhere::{}", folder.path().display());
        let environment = Environment::read(|name| (name == "CNI_PATH").then(|| path.clone().into()));
        assert!(Delegate::find("host-local", &environment, b"").is_ok());
        let failure = Delegate::find("static", &environment, b"").unwrap_err();
        assert_eq!(failure.code(), 7);
    }
}
