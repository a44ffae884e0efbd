//! Reading and writing documents in files: `-f FILE`, `export` and `import`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use hns_client::{Client, ClientError, Kind};
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output;
use crate::view;

/// In this order an import works: an object follows what it refers to.
const LISTS: [(&str, Kind); 3] =
    [("Networks", Kind::Network), ("Namespaces", Kind::Namespace), ("Endpoints", Kind::Endpoint)];

/// Write all networks, namespaces and endpoints into one JSON document
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hnsctl export backup.json")]
pub struct ExportArgs {
    /// Where to; without it, or for -, standard output
    file: Option<PathBuf>,
}

/// Create what is missing of an exported document; what is there stays as it is
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hnsctl import backup.json")]
pub struct ImportArgs {
    /// What `hnsctl export` wrote; - reads standard input
    file: PathBuf,
}

impl ExportArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut export = json!({"SchemaVersion": {"Major": 2, "Minor": 0}});
        for (list, kind) in LISTS {
            export[list] = Value::Array(context.client.list(kind).await?);
        }
        match self.file.filter(|file| !is_standard_stream(file)) {
            None => output::show_json(&export),
            Some(path) => fs::write(&path, format!("{export:#}\n"))
                .map_err(|source| Failure::WriteFile { path, source }),
        }
    }
}

impl ImportArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let export = read_document(&self.file)?;
        let not_an_export = |list| Failure::NotAnExport { path: self.file.clone(), list };
        let (mut total, mut failed) = (0, 0);
        let mut networks = Translations::new();
        for (list, kind) in LISTS {
            let documents = export.get(list).and_then(Value::as_array).ok_or_else(|| not_an_export(list))?;
            for document in documents {
                total += 1;
                let name = view::name_or_id(document);
                match import(&context.client, kind, document, &mut networks).await {
                    Ok(outcome) => output::line(&format!("{kind} {name}: {outcome}"))?,
                    Err(error) => {
                        failed += 1;
                        output::line(&format!("{kind} {name}: failed"))?;
                        output::complain(&Failure::from(error).describe());
                    }
                }
            }
        }
        if failed > 0 { Err(Failure::Import { failed, total }) } else { Ok(()) }
    }
}

/// The ids that networks have here, by those in the document: the network `nat` is on every host, each time under an id
/// of its own.
type Translations = HashMap<String, String>;

async fn import(
    client: &Client,
    kind: Kind,
    document: &Value,
    networks: &mut Translations,
) -> Result<&'static str, ClientError> {
    if client.has(kind, view::id(document)).await? {
        return Ok("is there");
    }
    if kind == Kind::Network {
        let same_name = client.list_where(kind, &json!({"Name": view::text(document, "Name")})).await?;
        if let Some(here) = same_name.first() {
            networks.insert(view::id(document).to_owned(), view::id(here).to_owned());
            return Ok("is there under another id");
        }
    }
    client.create(kind, &input_of(kind, document, networks)).await.map(|_| "created")
}

/// A document as an input: without what only the daemon says about an object, and without what belongs to the host
/// that it was on. Members of namespaces come back with their endpoints.
fn input_of(kind: Kind, document: &Value, networks: &Translations) -> Value {
    let mut input = document.clone();
    let Some(fields) = input.as_object_mut() else { return input };
    for output_only in ["Health", "State", "Version", "Resources", "NamespaceId", "NamespaceGuid"] {
        fields.remove(output_only);
    }
    if let Some(here) = networks.get(view::text(document, "HostComputeNetwork")) {
        fields.insert("HostComputeNetwork".into(), json!(here));
    }
    let leases = ["DhcpLease", "Dhcp6Lease", "AdvertisedLease"];
    for lease in leases.into_iter().filter_map(|name| view::shown(document, name)) {
        forget_lease(fields, lease);
    }
    // The daemon makes its own namespaces anew, each under its id, and refuses a path that is not there.
    if kind == Kind::Namespace
        && let Some(params) = fields.get_mut("AdditionalParams").and_then(Value::as_object_mut)
    {
        let id = view::id(document);
        let is_own = |path: &str| !id.is_empty() && path.ends_with(&format!("/{id}"));
        if params.get("Path").and_then(Value::as_str).is_some_and(is_own) {
            params.remove("Path");
        }
    }
    input
}

/// Takes out of an endpoint's document what the LAN it was on had given it. An endpoint there names no next hops of its own.
fn forget_lease(fields: &mut Map<String, Value>, lease: &Value) {
    fields.remove("IpConfigurations");
    if let Some(routes) = fields.get_mut("Routes").and_then(Value::as_array_mut) {
        routes.retain(|route| matches!(view::text(route, "NextHop"), "" | "0.0.0.0"));
    }
    let given = lease.get("Dns");
    if let Some(dns) = fields.get_mut("Dns").and_then(Value::as_object_mut) {
        dns.retain(|key, value| given.and_then(|given| given.get(key)) != Some(value));
    }
}

/// Reads the JSON document in a file, or on standard input for `-`.
pub fn read_document(path: &Path) -> Result<Value, Failure> {
    let text =
        if is_standard_stream(path) { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    let text = text.map_err(|source| Failure::ReadFile { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| Failure::ParseFile { path: path.to_owned(), source })
}

fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_asks_for_objects_not_for_their_state() {
        let same = Translations::new();
        let namespace = json!({"ID": "9E3A", "Type": "Host", "NamespaceId": 7, "Resources": [{"Type": "Endpoint"}],
            "AdditionalParams": {"Path": "/run/hns/netns/9E3A", "Other": 1}});
        assert_eq!(
            input_of(Kind::Namespace, &namespace, &same),
            json!({"ID": "9E3A", "Type": "Host", "AdditionalParams": {"Other": 1}})
        );
        let given = json!({"ID": "9E3A", "AdditionalParams": {"Path": "/run/netns/x"}});
        assert_eq!(input_of(Kind::Namespace, &given, &same), given);
    }

    #[test]
    fn what_a_lan_had_given_is_not_asked_for() {
        let endpoint = json!({"ID": "1F0E", "HostComputeNetwork": "LAN",
            "IpConfigurations": [{"IpAddress": "198.18.0.100", "PrefixLength": 24}],
            "Routes": [{"NextHop": "198.18.0.254", "DestinationPrefix": "0.0.0.0/0"}],
            "Dns": {"ServerList": ["198.18.0.53"], "Domain": "mine.example"},
            "Health": {"Extra": {"DhcpLease": {"Server": "198.18.0.254", "Dns": {
                "ServerList": ["198.18.0.53"], "Domain": "corp.example"}}}}});
        assert_eq!(
            input_of(Kind::Endpoint, &endpoint, &Translations::new()),
            json!({"ID": "1F0E", "HostComputeNetwork": "LAN", "Routes": [], "Dns": {"Domain": "mine.example"}})
        );
    }

    #[test]
    fn endpoints_follow_their_network_to_its_id_on_this_host() {
        let networks = Translations::from([("OLD".to_owned(), "NEW".to_owned())]);
        let endpoint = json!({"ID": "1F0E", "Health": {"Extra": {}}, "HostComputeNetwork": "OLD",
            "HostComputeNamespace": "9E3A", "Flags": 2});
        assert_eq!(
            input_of(Kind::Endpoint, &endpoint, &networks),
            json!({"ID": "1F0E", "HostComputeNetwork": "NEW", "HostComputeNamespace": "9E3A", "Flags": 2})
        );
    }
}
