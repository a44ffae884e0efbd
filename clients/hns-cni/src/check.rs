//! CHECK: what the runtime was told, what the daemon has, and whether they are the same.

use std::path::Path;

use hns_client::{Client, ClientError, Kind};
use hns_hcn::Endpoint;
use hns_net::{Guid, IfAddr, Mac};
use serde_json::Value;

use crate::conf::Outline;
use crate::delegate::addresses_of;
use crate::environment::{Attachment, identity};
use crate::failure::Failure;
use crate::object::{Found, Object};
use crate::request::endpoint_id;

/// What an ADD told the runtime about the container's interface.
struct Told {
    mac: Option<Mac>,
    addresses: Vec<IfAddr>,
}

impl Told {
    /// Reads `prevResult`, which later plugins of a chain may have added to.
    fn read(outline: &Outline, attachment: &Attachment) -> Result<Self, Failure> {
        let mut conf = Object::of_map(&outline.document);
        let found = conf.take("prevResult").ok_or_else(|| Failure::invalid("prevResult", "missing"))?;
        let mut result = Object::of(&found)?;
        let mut mac = None;
        let mut place = None;
        for (index, interface) in result.list("interfaces")?.iter().enumerate() {
            let mut interface = Object::of(interface)?;
            let name = interface.text("name")?;
            if name == Some(attachment.interface.as_str()) && interface.text("sandbox")?.is_some() {
                place = Some(index);
                mac = interface.parsed("mac")?;
            }
        }
        if place.is_none() {
            let problem = "prevResult does not name it";
            return Err(not_as_added(attachment, problem));
        }
        Ok(Self { mac, addresses: own_addresses(&found, place)? })
    }
}

/// The addresses of the interface at this place: those of other plugins' interfaces are theirs to check.
fn own_addresses(result: &Found<'_>, place: Option<usize>) -> Result<Vec<IfAddr>, Failure> {
    let ips = result.value.get("ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_ours = |ip: &Value| match ip.get("interface").and_then(Value::as_u64) {
        Some(index) => usize::try_from(index).ok() == place,
        None => true,
    };
    let all = addresses_of(result)?;
    Ok(all.into_iter().zip(ips).filter(|(_, ip)| is_ours(ip)).map(|(address, _)| address).collect())
}

pub(crate) async fn check(
    client: &Client,
    outline: &Outline,
    attachment: &Attachment,
    namespace: &Path,
) -> Result<(), Failure> {
    let told = Told::read(outline, attachment)?;
    let id = endpoint_id(attachment, &outline.name);
    let document = match client.get(&format!("{}/{id}", Kind::Endpoint.path())).await {
        Ok(document) => document,
        Err(error) if error.is_not_found() => {
            return Err(not_as_added(attachment, "the daemon has no such endpoint"));
        }
        Err(error) => return Err(error.into()),
    };
    compare(&told, &document, attachment)?;
    let endpoint = Endpoint::from_v2(&document).map_err(|source| Failure::Answer { source })?;
    let inside = match endpoint.namespace {
        Some(id) => is_at(client, id, namespace).await?,
        None => false,
    };
    if inside { Ok(()) } else { Err(not_as_added(attachment, "it is not in the container's namespace")) }
}

/// Compares what was told with the daemon's document.
fn compare(told: &Told, document: &Value, attachment: &Attachment) -> Result<(), Failure> {
    let wrong = |problem: String| Err(not_as_added(attachment, problem));
    if let Some(trouble) = document.pointer("/Health/Data/LastError").and_then(Value::as_str) {
        return wrong(trouble.to_owned());
    }
    let interface = document.pointer("/Health/Extra/Interface").and_then(Value::as_str);
    if interface != Some(attachment.interface.as_str()) {
        return wrong(format!("the daemon has it as {}", interface.unwrap_or("no interface")));
    }
    let endpoint = Endpoint::from_v2(document).map_err(|source| Failure::Answer { source })?;
    if told.mac.is_some() && told.mac != endpoint.mac {
        let has = endpoint.mac.map_or("none".to_owned(), Mac::colons);
        return wrong(format!("its MAC address is {has}"));
    }
    for address in &told.addresses {
        let has = endpoint.addresses.iter().any(|configured| {
            configured.address == Some(address.address())
                && configured.prefix_length == Some(address.length())
        });
        if !has {
            return wrong(format!("it does not have {address}"));
        }
    }
    Ok(())
}

/// Whether the daemon's namespace is the one at `path`, whatever path the daemon knows it by.
async fn is_at(client: &Client, id: Guid, path: &Path) -> Result<bool, ClientError> {
    let document = client.get(&format!("{}/{id}", Kind::Namespace.path())).await?;
    let known = document.pointer("/AdditionalParams/Path").and_then(Value::as_str).map(Path::new);
    let same =
        |known: &Path| known == path || matches!((identity(known), identity(path)), (Ok(a), Ok(b)) if a == b);
    Ok(known.is_some_and(same))
}

fn not_as_added(attachment: &Attachment, problem: impl Into<String>) -> Failure {
    Failure::NotAsAdded { interface: attachment.interface.to_string(), problem: problem.into() }
}
