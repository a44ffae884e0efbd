//! CHECK: what the runtime was told, what the daemon has, what is inside the container, and whether they are the same.
//!
//! A difference between `prevResult` and the endpoint is an error, and so is one between the endpoint and the inside of the
//! container; but where `prevResult` says what is found inside, a later plugin of the chain made it so (1.1.0, "CHECK": "A
//! plugin must allow for a later chained plugin to have modified networking resources").

use std::path::Path;

use hns_client::{Client, Kind};
use hns_hcn::{Dns, Endpoint, Route};
use serde_json::Value;

use crate::conf::Outline;
use crate::environment::{Attachment, identity};
use crate::failure::Failure;
use crate::inspection::Inspection;
use crate::request::endpoint_id;
use crate::result::{Added, Interface, Ip};
use crate::told::{Told, ToldIp};

pub(crate) async fn check(
    client: &Client,
    outline: &Outline,
    attachment: &Attachment,
    namespace: &Path,
) -> Result<(), Failure> {
    let told = Told::read(outline)?;
    let place = told.place(attachment.interface.as_str(), true);
    let place = place.ok_or_else(|| not_as_added(attachment, "prevResult does not name it"))?;
    let id = endpoint_id(attachment, &outline.name);
    let document = match client.get(&format!("{}/{id}", Kind::Endpoint.path())).await {
        Ok(document) => document,
        Err(error) if error.is_not_found() => {
            return Err(not_as_added(attachment, "the daemon has no such endpoint"));
        }
        Err(error) => return Err(error.into()),
    };
    is_well(&document, attachment)?;
    if !is_at(client, &document, namespace).await? {
        return Err(not_as_added(attachment, "it is not in the container's namespace"));
    }
    let inspection = Inspection::read(&client.check_endpoint(&id.to_string()).await?);
    let added = as_added(client, document, attachment, namespace).await?;
    let comparison = Comparison { told: &told, place, added: &added, inspection: &inspection };
    let problems = comparison.problems(namespace)?;
    if problems.is_empty() { Ok(()) } else { Err(not_as_added(attachment, problems.join("; "))) }
}

/// What the daemon says of the endpoint by itself.
fn is_well(document: &Value, attachment: &Attachment) -> Result<(), Failure> {
    if let Some(trouble) = document.pointer("/Health/Data/LastError").and_then(Value::as_str) {
        return Err(not_as_added(attachment, trouble));
    }
    let interface = document.pointer("/Health/Extra/Interface").and_then(Value::as_str);
    if interface != Some(attachment.interface.as_str()) {
        let problem = format!("the daemon has it as {}", interface.unwrap_or("no interface"));
        return Err(not_as_added(attachment, problem));
    }
    Ok(())
}

/// The endpoint as an ADD would tell of it now.
async fn as_added(
    client: &Client,
    mut document: Value,
    attachment: &Attachment,
    namespace: &Path,
) -> Result<Added, Failure> {
    let network = document.get("HostComputeNetwork").and_then(Value::as_str).unwrap_or_default();
    let network = client.get(&format!("{}/{network}", Kind::Network.path())).await?;
    document["HostComputeNetwork"] = network;
    Added::from_answer(document, &attachment.interface, &namespace.to_string_lossy())
        .map_err(|source| Failure::Answer { source })
}

struct Comparison<'a> {
    told: &'a Told,
    /// Where the container's interface stands in what was told.
    place: usize,
    added: &'a Added,
    inspection: &'a Inspection,
}

impl Comparison<'_> {
    fn problems(&self, namespace: &Path) -> Result<Vec<String>, Failure> {
        let interface = &self.told.interfaces[self.place];
        let untold = self.inspection.untold(self.told, interface, self.place);
        let mut problems: Vec<String> = untold.map(str::to_owned).collect();
        for wanted in &self.added.interfaces {
            self.compare_interface(wanted, namespace, &mut problems)?;
        }
        for ip in &self.added.ips {
            self.compare_ip(ip, &mut problems);
        }
        let strange = self.told.ips_of(self.place).filter(|ip| !self.is_known(ip));
        problems.extend(strange.map(|ip| format!("it does not have {}", ip.address)));
        for route in &self.added.routes {
            self.compare_route(route, &mut problems);
        }
        self.compare_dns(&self.added.dns, &mut problems);
        Ok(problems)
    }

    fn compare_interface(
        &self,
        wanted: &Interface,
        namespace: &Path,
        problems: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let Some(place) = self.told.place(wanted.name.as_str(), wanted.sandbox.is_some()) else {
            problems.push(format!("prevResult.interfaces does not name {}", wanted.name));
            return Ok(());
        };
        let told = &self.told.interfaces[place];
        let mut differs = |field: &str, found: String, wanted: String| {
            problems.push(differing(&told.path, field, &found, &wanted));
        };
        if let Some(sandbox) =
            told.sandbox.as_deref().filter(|sandbox| !is_same(Path::new(sandbox), namespace))
        {
            differs("sandbox", sandbox.to_owned(), namespace.display().to_string());
        }
        if let (Some(mac), Some(wanted)) = (told.parsed_mac()?, wanted.mac)
            && mac != wanted
            && !self.inspection.has_mac(mac)
        {
            differs("mac", mac.colons(), wanted.colons());
        }
        let is_inside = wanted.sandbox.is_some();
        let wanted = u64::from(wanted.mtu.bytes());
        if let Some(mtu) = told.mtu.filter(|mtu| *mtu != wanted)
            && !(is_inside && self.inspection.has_mtu(mtu))
        {
            differs("mtu", mtu.to_string(), wanted.to_string());
        }
        Ok(())
    }

    fn compare_ip(&self, wanted: &Ip, problems: &mut Vec<String>) {
        let is_it = |ip: &&ToldIp| ip.address == wanted.address;
        let Some(told) = self.told.ips_of(self.place).find(is_it) else {
            if self.inspection.lacks_address(wanted.address) {
                // A later plugin has taken it away.
                return;
            }
            problems.push(match self.told.ips.iter().find(is_it) {
                None => format!("prevResult.ips does not name {}", wanted.address),
                Some(other) => {
                    let found = other.interface.map_or_else(String::new, |place| place.to_string());
                    differing(&other.path, "interface", &found, &self.place.to_string())
                }
            });
            return;
        };
        if told.gateway != wanted.gateway && !self.leaves_another_way(wanted) {
            let shown = |gateway: Option<std::net::IpAddr>| {
                gateway.map_or("absent".to_owned(), |gateway| gateway.to_string())
            };
            problems.push(differing(&told.path, "gateway", &shown(told.gateway), &shown(wanted.gateway)));
        }
    }

    /// Whether a later plugin has replaced the default route of this address's family, and said so.
    fn leaves_another_way(&self, ip: &Ip) -> bool {
        let family = ip.address.family();
        let mut defaults = self
            .added
            .routes
            .iter()
            .filter(|route| route.is_default() && route.destination.family() == family);
        defaults.any(|route| {
            self.told.route(route.destination, route.next_hop).is_none()
                && self.inspection.lacks_route(route.destination, route.next_hop)
        })
    }

    /// Whether an address that was told is the endpoint's, or one that a later plugin has added.
    fn is_known(&self, told: &ToldIp) -> bool {
        self.added.ips.iter().any(|ip| ip.address == told.address)
            || self.inspection.has_address(told.address)
    }

    fn compare_route(&self, wanted: &Route, problems: &mut Vec<String>) {
        let lacks = self.inspection.lacks_route(wanted.destination, wanted.next_hop);
        let Some(told) = self.told.route(wanted.destination, wanted.next_hop) else {
            if !lacks {
                let by = wanted.next_hop.map_or_else(String::new, |gateway| format!(" via {gateway}"));
                problems.push(format!("prevResult.routes does not name {}{by}", wanted.destination));
            }
            return;
        };
        // Without a metric of its own the daemon chose one, and did not tell. One that is not there inside either was named
        // above.
        let metric = u64::from(wanted.metric);
        if let Some(priority) = told.priority.filter(|priority| metric != 0 && *priority != metric && !lacks)
        {
            problems.push(differing(&told.path, "priority", &priority.to_string(), &metric.to_string()));
        }
    }

    /// Nothing inside shows what became of this: what a later plugin has added is its own.
    fn compare_dns(&self, wanted: &Dns, problems: &mut Vec<String>) {
        let told = &self.told.dns;
        let servers: Vec<String> = wanted.servers.iter().map(ToString::to_string).collect();
        for (field, told, wanted) in [
            ("nameservers", &told.nameservers, &servers),
            ("search", &told.search, &wanted.search),
            ("options", &told.options, &wanted.options),
        ] {
            let missing = wanted.iter().filter(|one| !told.contains(one));
            problems.extend(missing.map(|one| format!("prevResult.dns.{field} does not name {one}")));
        }
        if let Some(domain) = wanted.domain.as_deref().filter(|domain| told.domain.as_deref() != Some(domain))
        {
            let found = told.domain.as_deref().unwrap_or("absent");
            problems.push(differing("prevResult.dns", "domain", found, domain));
        }
    }
}

fn differing(path: &str, field: &str, found: &str, wanted: &str) -> String {
    format!("{path}.{field} is {found}, not {wanted}")
}

/// Whether the daemon has the endpoint in the namespace at `path`, whatever path the daemon knows it by.
async fn is_at(client: &Client, document: &Value, path: &Path) -> Result<bool, Failure> {
    let endpoint = Endpoint::from_v2(document).map_err(|source| Failure::Answer { source })?;
    let Some(id) = endpoint.namespace else { return Ok(false) };
    let document = client.get(&format!("{}/{id}", Kind::Namespace.path())).await?;
    let known = document.pointer("/AdditionalParams/Path").and_then(Value::as_str).map(Path::new);
    Ok(known.is_some_and(|known| is_same(known, path)))
}

/// Whether two paths lead to one namespace.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((identity(one), identity(other)), (Ok(a), Ok(b)) if a == b)
}

fn not_as_added(attachment: &Attachment, problem: impl Into<String>) -> Failure {
    Failure::NotAsAdded { interface: attachment.interface.to_string(), problem: problem.into() }
}
