use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hns_client::Kind;
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::view;

const CREATE_EXAMPLES: &str = "\
Examples:
  hnsctl namespace create pod1
  hnsctl namespace create --path /run/netns/x
  hnsctl namespace create router --host-default";

#[derive(Debug, Subcommand)]
pub enum NamespaceCommand {
    /// List namespaces with their paths and members
    #[command(visible_alias = "list", after_help = "Example:\n  hnsctl namespace ls")]
    Ls,
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// Print the documents of namespaces
    #[command(after_help = "Example:\n  hnsctl namespace inspect pod1")]
    Inspect {
        #[arg(required = true, value_name = "NAMESPACE")]
        namespaces: Vec<String>,
    },
    /// Remove namespaces; their endpoints stay, detached, and a namespace that was given stays too
    #[command(visible_alias = "remove", after_help = "Example:\n  hnsctl namespace rm pod1")]
    Rm {
        #[arg(required = true, value_name = "NAMESPACE")]
        namespaces: Vec<String>,
    },
    /// Put an endpoint's interface into a namespace
    #[command(after_help = "Example:\n  hnsctl namespace attach pod1 web")]
    Attach { namespace: String, endpoint: String },
    /// Take an endpoint's interface out of a namespace
    #[command(after_help = "Example:\n  hnsctl namespace detach pod1 web")]
    Detach { namespace: String, endpoint: String },
}

/// Create a namespace, or make one that exists known to the daemon
#[derive(Debug, Args)]
pub struct CreateArgs {
    name: Option<String>,
    /// A namespace that exists, by its file
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// A namespace that exists, by a process in it
    #[arg(long, conflicts_with = "path")]
    pid: Option<u32>,
    /// The host's own namespace
    #[arg(long, conflicts_with_all = ["path", "pid"])]
    host_default: bool,
}

impl CreateArgs {
    fn document(&self) -> Value {
        let mut document = Map::new();
        if let Some(name) = &self.name {
            document.insert("Name".into(), json!(name));
        }
        document.insert("Type".into(), json!(if self.host_default { "HostDefault" } else { "Host" }));
        document.insert("SchemaVersion".into(), json!({"Major": 2, "Minor": 0}));
        if let Some(path) = &self.path {
            document.insert("AdditionalParams".into(), json!({"Path": path}));
        }
        if let Some(pid) = self.pid {
            document.insert("AdditionalParams".into(), json!({"Pid": pid}));
        }
        Value::Object(document)
    }
}

impl NamespaceCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Ls => {
                let namespaces = client.namespaces().await?;
                let names = view::names(&client.endpoints().await?);
                output::show(context.format, &namespaces, |format| rows(format, &namespaces, &names))
            }
            Self::Create(arguments) => {
                let made = client.create_namespace(&arguments.document()).await?;
                show_namespace(context, &made).await
            }
            Self::Inspect { namespaces } => context.inspect(Kind::Namespace, &namespaces).await,
            Self::Rm { namespaces } => {
                let remove = async |reference: &str| {
                    let id = client.find_id(Kind::Namespace, reference).await?;
                    Ok(client.remove(Kind::Namespace, &id).await?)
                };
                context.for_each(&namespaces, remove).await
            }
            Self::Attach { namespace, endpoint } => {
                let id = client.find_id(Kind::Namespace, &namespace).await?;
                client.attach(&client.find_id(Kind::Endpoint, &endpoint).await?, &id).await?;
                show_namespace(context, &client.namespace(&id).await?).await
            }
            Self::Detach { namespace, endpoint } => {
                let id = client.find_id(Kind::Namespace, &namespace).await?;
                let member = client.endpoint(&endpoint).await?;
                let is_there = view::reference(&member, "HostComputeNamespace")
                    .is_some_and(|own| own.eq_ignore_ascii_case(&id));
                if !is_there {
                    return Err(Failure::NotAMember { endpoint, namespace });
                }
                client.detach(view::id(&member), &id).await?;
                show_namespace(context, &client.namespace(&id).await?).await
            }
        }
    }
}

async fn show_namespace(context: &Context, namespace: &Value) -> Result<(), Failure> {
    let names = match context.format {
        Format::Json => HashMap::new(),
        Format::Table | Format::Wide => view::names(&context.client.endpoints().await?),
    };
    output::show_one(context.format, namespace, |format| {
        rows(format, std::slice::from_ref(namespace), &names)
    })
}

fn rows(format: Format, namespaces: &[Value], names: &HashMap<String, String>) -> Rows {
    let mut rows = Rows::new(format, &["NAME", "ID", "TYPE", "PATH", "ENDPOINTS"], &["COMPARTMENT", "OWNER"]);
    for namespace in namespaces {
        rows.push(
            vec![
                view::text(namespace, "Name").to_owned(),
                rows.id(view::id(namespace)),
                view::text(namespace, "Type").to_owned(),
                view::plain(view::param(namespace, "Path")),
                view::join(view::members(namespace).map(|id| view::name_of(names, id))),
            ],
            vec![view::plain(namespace.get("NamespaceId")), view::text(namespace, "Owner").to_owned()],
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn document_of(line: &str) -> String {
        let words = ["hnsctl", "ns", "create"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Namespace(NamespaceCommand::Create(arguments)) => arguments.document().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_an_hcn_document() {
        let schema = r#""SchemaVersion":{"Major":2,"Minor":0}"#;
        let cases = [
            ("", format!(r#"{{"Type":"Host",{schema}}}"#)),
            ("pod1", format!(r#"{{"Name":"pod1","Type":"Host",{schema}}}"#)),
            (
                "--path /run/netns/x",
                format!(r#"{{"Type":"Host",{schema},"AdditionalParams":{{"Path":"/run/netns/x"}}}}"#),
            ),
            ("--pid 1234", format!(r#"{{"Type":"Host",{schema},"AdditionalParams":{{"Pid":1234}}}}"#)),
            ("--host-default", format!(r#"{{"Type":"HostDefault",{schema}}}"#)),
        ];
        for (line, expected) in cases {
            assert_eq!(document_of(line), expected, "{line}");
        }
    }

    #[test]
    fn a_table_shows_paths_and_members() {
        let namespaces = [
            json!({"ID": "9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22", "Name": "pod1", "Type": "Host", "NamespaceId": 7,
                "AdditionalParams": {"Path": "/run/hns/netns/9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22"},
                "Resources": [
                    {"Type": "Endpoint", "Data": {"ID": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44"}},
                    {"Type": "Container", "Data": {"ID": "c1"}},
                    {"Type": "Endpoint", "Data": {"ID": "2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44"}}]}),
            json!({"ID": "8E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22", "Type": "HostDefault"}),
        ];
        let names = view::names(&[json!({"ID": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "Name": "web"})]);
        insta::assert_snapshot!(rows(Format::Table, &namespaces, &names).to_string(), @"
        NAME  ID        TYPE         PATH                                                 ENDPOINTS
        pod1  9E3A2D7C  Host         /run/hns/netns/9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22  web,2F0E7F52
        -     8E3A2D7C  HostDefault  -                                                    -
        ");
        insta::assert_snapshot!(rows(Format::Wide, &namespaces, &names).to_string(), @"
        NAME  ID                                    TYPE         PATH                                                 ENDPOINTS     COMPARTMENT  OWNER
        pod1  9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22  Host         /run/hns/netns/9E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22  web,2F0E7F52  7            -
        -     8E3A2D7C-30A1-4B60-8F7B-0B9F6B8C1E22  HostDefault  -                                                    -             -            -
        ");
    }
}
