use clap::Args;
use hns_client::ClientError;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::container::{Record, Runtime, State};
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::run::ContainerDir;
use crate::view;

/// List containers that `hnsctl run` started, with what they publish
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hnsctl ps -o wide")]
pub struct PsArgs {
    #[command(flatten)]
    place: ContainerDir,
}

/// A container from all three that know of it.
struct Container {
    record: Record,
    /// Nothing when the runtime does not know it: it never started, or the machine did.
    state: Option<State>,
    endpoint: Option<Value>,
}

pub async fn run(arguments: &PsArgs, context: &Context) -> Result<(), Failure> {
    let containers = arguments.place.containers();
    let endpoints = match context.client.endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error @ ClientError::Unreachable { .. }) => {
            // Containers outlive the daemon; what it would say about them is left out.
            output::complain(&Failure::Client(error).describe());
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for record in containers.list()? {
        let asked = Runtime::of(&record, &containers).and_then(|runtime| runtime.state(&record.name));
        let state = asked.unwrap_or_else(|error| {
            // One runtime that does not answer hides no container of the others.
            output::complain(&Failure::Container(error).describe());
            Some(State { status: "unknown".to_owned(), pid: None })
        });
        let own = |endpoint: &&Value| record.endpoint.as_deref() == Some(view::id(endpoint));
        let endpoint = endpoints.iter().find(own).cloned();
        found.push(Container { record, state, endpoint });
    }
    let documents: Vec<Value> = found.iter().map(Container::to_json).collect();
    output::show(context.format, &documents, |format| rows(format, &found))
}

impl Container {
    fn status(&self) -> &str {
        self.state.as_ref().map_or("dead", |state| &state.status)
    }

    fn pid(&self) -> Option<u32> {
        self.state.as_ref().and_then(|state| state.pid)
    }

    fn to_json(&self) -> Value {
        let mut document = self.record.to_json();
        document["State"] = json!(self.status());
        document["Pid"] = json!(self.pid());
        document["Addresses"] = json!(self.endpoint.as_ref().map(view::bare_addresses).unwrap_or_default());
        document["Ports"] = json!(
            self.endpoint
                .as_ref()
                .map(view::ports)
                .unwrap_or_default()
                .split_terminator(',')
                .collect::<Vec<_>>()
        );
        document
    }
}

fn rows(format: Format, containers: &[Container]) -> Rows {
    let mut rows = Rows::new(
        format,
        &["NAME", "STATE", "PID", "NETWORK", "ADDRESSES", "PORTS", "COMMAND"],
        &["ENDPOINT", "NAMESPACE"],
    );
    for container in containers {
        let Container { record, endpoint, .. } = container;
        rows.push(
            vec![
                record.name.clone(),
                container.status().to_owned(),
                container.pid().map(|pid| pid.to_string()).unwrap_or_default(),
                record.network.clone(),
                endpoint.as_ref().map(view::addresses).unwrap_or_default(),
                endpoint.as_ref().map(view::ports).unwrap_or_default(),
                record.command.join(" "),
            ],
            vec![record.endpoint.clone().unwrap_or_default(), record.namespace.clone().unwrap_or_default()],
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_joins_what_the_record_the_runtime_and_the_daemon_know() {
        let record = |name: &str| Record {
            name: name.to_owned(),
            network: "nat".into(),
            command: vec!["httpd".into(), "-f".into()],
            endpoint: Some("1F0E".into()),
            ..Record::default()
        };
        let containers = [
            Container {
                record: record("web"),
                state: Some(State { status: "running".into(), pid: Some(4711) }),
                endpoint: Some(json!({"ID": "1F0E",
                    "IpConfigurations": [{"IpAddress": "172.16.0.2", "PrefixLength": 16}],
                    "Policies": [{"Type": "PortMapping",
                        "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}]})),
            },
            Container { record: record("gone"), state: None, endpoint: None },
        ];
        insta::assert_snapshot!(rows(Format::Table, &containers).to_string(), @"
        NAME  STATE    PID   NETWORK  ADDRESSES      PORTS        COMMAND
        web   running  4711  nat      172.16.0.2/16  8080:80/tcp  httpd -f
        gone  dead     -     nat      -              -            httpd -f
        ");
        assert_eq!(containers[0].to_json()["Ports"], json!(["8080:80/tcp"]));
        assert_eq!(containers[1].to_json()["Ports"], json!([]));
    }
}
