use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use hns_client::{Client, Kind};
use serde_json::json;

use crate::doctor;
use crate::drops::DropsArgs;
use crate::endpoint::EndpointCommand;
use crate::events::EventsArgs;
use crate::failure::Failure;
use crate::flows::FlowsArgs;
use crate::namespace::NamespaceCommand;
use crate::network::NetworkCommand;
use crate::output::{self, Format};
use crate::policy::PolicyCommand;
use crate::ps::{self, PsArgs};
use crate::run::RunArgs;
use crate::stop::StopArgs;
use crate::trace::TraceArgs;
use crate::transfer::{ExportArgs, ImportArgs};

const AFTER_HELP: &str = "\
Networks, endpoints and namespaces are named by their names, their ids, or unambiguous beginnings of their ids.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 daemon unreachable. \
`hnsctl run` in the foreground ends with the container's exit code.

Example:
  hnsctl network create blue --subnet 10.7.0.0/24
  hnsctl run -p 8080:80 --network blue ./rootfs -- httpd -f";

/// The command line of HNS for Linux: networks, endpoints, namespaces and policies of this host
#[derive(Debug, Parser)]
#[command(name = "hnsctl", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub options: GlobalOptions,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalOptions {
    /// The daemon's socket
    #[arg(
        long,
        global = true,
        env = "HNS_SOCKET",
        hide_env_values = true,
        default_value = "/run/hns/hns.sock",
        value_name = "PATH"
    )]
    pub socket: PathBuf,
    /// Aligned columns, more of them with ids in full, or the daemon's documents
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Virtual networks of this host
    #[command(subcommand, visible_alias = "net")]
    Network(NetworkCommand),
    /// Ports on networks, each with its addresses and policies
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(EndpointCommand),
    /// Network namespaces that endpoints are attached to
    #[command(subcommand, visible_alias = "ns")]
    Namespace(NamespaceCommand),
    /// Policies of endpoints and networks: rules, published ports, limits, sets of addresses
    #[command(subcommand)]
    Policy(PolicyCommand),
    Run(RunArgs),
    Ps(PsArgs),
    Stop(StopArgs),
    Drops(DropsArgs),
    Flows(FlowsArgs),
    Trace(TraceArgs),
    Events(EventsArgs),
    /// Look for what keeps networks from working: missing kernel features, foreign rules, leaks
    #[command(
        after_help = "Ends with 1 when it finds a problem; warnings are none.\n\nExample:\n  hnsctl doctor"
    )]
    Doctor,
    Export(ExportArgs),
    Import(ImportArgs),
    /// Print the completion script for a shell
    #[command(after_help = "Example:\n  hnsctl completion bash > /etc/bash_completion.d/hnsctl")]
    Completion {
        shell: Shell,
    },
    /// Print the version of hnsctl and of the daemon
    #[command(after_help = "Example:\n  hnsctl version -o json")]
    Version,
}

/// What every command needs.
#[derive(Debug)]
pub struct Context {
    pub client: Client,
    pub format: Format,
}

impl Context {
    /// Prints the documents of the named objects.
    pub async fn inspect(&self, kind: Kind, references: &[String]) -> Result<(), Failure> {
        let mut documents = Vec::with_capacity(references.len());
        for reference in references {
            documents.push(self.client.find(kind, reference).await?);
        }
        output::show_documents(documents)
    }

    /// Does the same to every named object and prints the names of those for which it worked. One failure does not
    /// keep the others from their turn.
    pub async fn for_each(
        &self,
        references: &[String],
        operation: impl AsyncFn(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for reference in references {
            match operation(reference).await {
                Ok(()) => output::line(reference)?,
                Err(failure) => failures.push(failure),
            }
        }
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            count => {
                failures.iter().for_each(|failure| output::complain(&failure.describe()));
                Err(Failure::Several { count })
            }
        }
    }
}

impl Cli {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let context = Context { client: Client::new(self.options.socket), format: self.options.output };
        match self.command {
            Command::Network(command) => command.run(&context).await?,
            Command::Endpoint(command) => command.run(&context).await?,
            Command::Namespace(command) => command.run(&context).await?,
            Command::Policy(command) => command.run(&context).await?,
            Command::Run(arguments) => return arguments.run(&context).await,
            Command::Ps(arguments) => ps::run(&arguments, &context).await?,
            Command::Stop(arguments) => arguments.run(&context).await?,
            Command::Drops(arguments) => arguments.run(&context).await?,
            Command::Flows(arguments) => arguments.run(&context).await?,
            Command::Trace(arguments) => return arguments.run(&context).await,
            Command::Events(arguments) => arguments.run(&context).await?,
            Command::Doctor => doctor::run(&context).await?,
            Command::Export(arguments) => arguments.run(&context).await?,
            Command::Import(arguments) => arguments.run(&context).await?,
            Command::Completion { shell } => print_completion(shell)?,
            Command::Version => print_version(&context).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hnsctl", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}

async fn print_version(context: &Context) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let daemon = context.client.version().await;
    match context.format {
        Format::Json => output::show_json(&json!({"Client": ours, "Daemon": daemon?})),
        Format::Table | Format::Wide => {
            output::line(&format!("hnsctl {ours}"))?;
            let daemon = daemon?;
            let version = daemon.get("Daemon").or_else(|| daemon.get("Version")).unwrap_or(&daemon);
            output::line(&format!("hnsd   {}", crate::view::plain(Some(version))))
        }
    }
}
