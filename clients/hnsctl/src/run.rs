use std::io::IsTerminal;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use clap::Args;
use hns_client::{Client, Kind};
use hns_net::Mac;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::Context;
use crate::container::{
    BundleSpec, ContainerError, Containers, EtcFiles, ImageConfig, Record, Root, Runtime, Signals, User,
};
use crate::failure::Failure;
use crate::output;
use crate::policy::{PolicyFlags, RULES};
use crate::view;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const EXAMPLES: &str = "\
In the foreground, signals are passed on, everything made for the container is removed when it ends, \
and its exit code is ours.

Examples:
  hnsctl run -p 8080:80 --network nat ./rootfs -- httpd -f -p 80
  hnsctl run --acl 'in allow tcp port 80' --acl 'out allow' --bandwidth-out 10mbit ./rootfs -- httpd -f -p 80
  docker save nginx -o nginx.tar && hnsctl run --detach --name web -p 8080:80 nginx.tar";

fn help() -> String {
    format!("{RULES}\n\n{EXAMPLES}")
}

/// Start a container in a namespace of its own, with an endpoint on a network
#[derive(Debug, Args)]
#[command(after_help = help())]
pub struct RunArgs {
    #[command(flatten)]
    policies: PolicyFlags,
    /// The network it is on
    #[arg(long, default_value = "nat")]
    network: String,
    /// Its name, also as a host [default: one is made up]
    #[arg(long)]
    name: Option<String>,
    /// Leave it running and print its name
    #[arg(short, long)]
    detach: bool,
    /// Its address; once for each family
    #[arg(long = "ip", value_name = "ADDR")]
    addresses: Vec<IpAddr>,
    /// Its MAC address
    #[arg(long)]
    mac: Option<Mac>,
    /// Set a variable, or pass ours on
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    environment: Vec<String>,
    /// Where its command starts [default: what the image says, or /]
    #[arg(short, long = "workdir", value_name = "DIR")]
    working_dir: Option<String>,
    /// The OCI runtime [default: crun, or else runc]
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<PathBuf>,
    #[command(flatten)]
    place: ContainerDir,
    /// A root folder, used where it is, or an image: a file of `docker save` or `docker export`, an OCI layout
    root: PathBuf,
    /// What it runs [default: what the image says]
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerDir {
    /// Where containers are kept
    #[arg(
        long,
        env = "HNS_CONTAINER_DIR",
        hide_env_values = true,
        default_value = "/run/hns/containers",
        value_name = "DIR"
    )]
    container_dir: PathBuf,
}

impl ContainerDir {
    pub fn containers(&self) -> Containers {
        Containers::new(self.container_dir.clone())
    }
}

impl RunArgs {
    pub async fn run(mut self, context: &Context) -> Result<ExitCode, Failure> {
        let containers = self.place.containers();
        let runtime = Runtime::find(self.runtime.as_deref(), &containers)?;
        runtime.check_device_control()?;
        let mut record = Record {
            name: self.name.take().unwrap_or_else(made_up_name),
            network: self.network.clone(),
            command: self.command.clone(),
            runtime: runtime.program().to_owned(),
            ..Record::default()
        };
        let mut signals = Signals::hold_back()?;
        containers.create(&record)?;
        let prepared = self.prepare(context, &containers, &mut record).await;
        let outcome = match prepared.and(signals.check().await) {
            Ok(()) if self.detach => {
                let folder = containers.folder_of(&record.name);
                runtime.run_detached(&record.name, &folder, &folder.join("log")).map(|()| None)
            }
            Ok(()) => run_attached(&runtime, &containers, &record, &mut signals).await.map(Some),
            Err(error) => Err(error),
        };
        if matches!(outcome, Ok(None)) {
            output::line(&record.name)?;
            return Ok(ExitCode::SUCCESS);
        }
        // It has ended, or it never began: nothing of it stays.
        let removed = remove(&context.client, &runtime, &containers, &record).await;
        let status = outcome?;
        if let Err(error) = removed {
            // Whoever waits for the container wants to know how it ended, more than how we did.
            output::complain(&Failure::Container(error).describe());
        }
        Ok(status.map_or(ExitCode::SUCCESS, exit_code))
    }

    /// Makes everything that the container needs. Ids are chosen and written down before their objects are made, so that
    /// whatever kills us, `hnsctl stop` finds what is left.
    async fn prepare(
        &self,
        context: &Context,
        containers: &Containers,
        record: &mut Record,
    ) -> Result<(), ContainerError> {
        let client = &context.client;
        let network = client.network(&self.network).await?;
        let folder = containers.folder_of(&record.name);
        let root = Root::prepare(&self.root, &folder)?;
        record.command = self.command_of(&root)?;
        let (namespace_id, endpoint_id) = (new_id(), new_id());
        record.namespace = Some(namespace_id.clone());
        record.endpoint = Some(endpoint_id.clone());
        containers.save(record)?;

        let namespace = json!({"ID": namespace_id, "Name": record.name, "Owner": "hnsctl", "Type": "Host",
            "SchemaVersion": {"Major": 2, "Minor": 0}});
        let namespace = client.create_namespace(&namespace).await?;
        let mut endpoint = self.endpoint(&record.name, view::id(&network), view::id(&namespace));
        endpoint["ID"] = json!(endpoint_id);
        let endpoint = client.create_endpoint(&endpoint).await?;

        let etc = folder.join("etc");
        etc_files(&record.name, &endpoint, &network)?.write(&etc)?;
        self.bundle(record, &root, &namespace, &folder, &etc)
    }

    /// An image's entrypoint stays when a command is given, as with Docker.
    fn command_of(&self, root: &Root) -> Result<Vec<String>, ContainerError> {
        let given = if self.command.is_empty() { &root.config.command } else { &self.command };
        let command: Vec<String> = root.config.entrypoint.iter().chain(given).cloned().collect();
        if command.is_empty() {
            return Err(ContainerError::NoCommand { root: self.root.clone() });
        }
        Ok(command)
    }

    fn endpoint(&self, name: &str, network: &str, namespace: &str) -> Value {
        let addresses: Vec<Value> =
            self.addresses.iter().map(|address| json!({"IpAddress": address})).collect();
        let mut document = json!({
            "Name": name,
            "Owner": "hnsctl",
            "HostComputeNetwork": network,
            "HostComputeNamespace": namespace,
            "IpConfigurations": addresses,
            "Policies": self.policies.documents(),
            "SchemaVersion": {"Major": 2, "Minor": 0},
        });
        if let Some(mac) = self.mac {
            document["MacAddress"] = json!(mac.to_string());
        }
        document
    }

    fn bundle(
        &self,
        record: &Record,
        root: &Root,
        namespace: &Value,
        folder: &Path,
        etc: &Path,
    ) -> Result<(), ContainerError> {
        let path = view::param(namespace, "Path").and_then(Value::as_str).ok_or_else(|| {
            ContainerError::NamespaceWithoutPath { namespace: view::id(namespace).to_owned() }
        })?;
        let has_terminal = self.has_terminal();
        let etc =
            etc.canonicalize().map_err(|source| ContainerError::Read { path: etc.to_owned(), source })?;
        let bundle = BundleSpec {
            name: &record.name,
            root: &root.path,
            command: &record.command,
            environment: &self.environment_of(&root.config, has_terminal),
            working_dir: self.working_dir_of(&root.config),
            user: User::resolve(&root.config.user, &root.path)?,
            network_namespace: Path::new(path),
            etc: &etc,
            has_terminal,
        };
        bundle.write(folder)
    }

    fn has_terminal(&self) -> bool {
        !self.detach && std::io::stdin().is_terminal()
    }

    fn working_dir_of<'a>(&'a self, image: &'a ImageConfig) -> &'a str {
        let image = Some(image.working_dir.as_str()).filter(|dir| !dir.is_empty());
        self.working_dir.as_deref().or(image).unwrap_or("/")
    }

    /// Ours over the image's over the least that programs expect.
    fn environment_of(&self, image: &ImageConfig, has_terminal: bool) -> Vec<String> {
        let mut environment = vec![PATH.to_owned()];
        if has_terminal {
            environment.push(format!("TERM={}", std::env::var("TERM").unwrap_or("xterm".to_owned())));
        }
        let passed_on = |key: &String| std::env::var(key).ok().map(|value| format!("{key}={value}"));
        let given = self
            .environment
            .iter()
            .filter_map(|one| if one.contains('=') { Some(one.clone()) } else { passed_on(one) });
        for setting in image.environment.iter().cloned().chain(given) {
            let key = setting.split('=').next().unwrap_or_default().to_owned();
            environment.retain(|one| one.split('=').next() != Some(&key));
            environment.push(setting);
        }
        environment
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string().to_uppercase()
}

fn made_up_name() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("c{}", &id[..8])
}

/// Names are resolved by the endpoint's own servers, or its network's, or the host's.
fn etc_files(name: &str, endpoint: &Value, network: &Value) -> Result<EtcFiles, ContainerError> {
    let texts = |key: &str| {
        let of = |document: &Value| {
            document.get("Dns").map(|dns| view::list(dns, key).to_vec()).unwrap_or_default()
        };
        let own = of(endpoint);
        let list = if own.is_empty() { of(network) } else { own };
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut search = texts("Search");
    if search.is_empty() {
        let domain = |document: &Value| document.get("Dns")?.get("Domain")?.as_str().map(str::to_owned);
        search.extend(domain(endpoint).or_else(|| domain(network)));
    }
    let addresses = view::bare_addresses(endpoint);
    let host = EtcFiles::host_resolv_conf()?;
    Ok(EtcFiles::new(name, &addresses, &texts("ServerList"), &search, &host))
}

/// Runs the container to its end, passing on the signals that we get meanwhile.
async fn run_attached(
    runtime: &Runtime,
    containers: &Containers,
    record: &Record,
    signals: &mut Signals,
) -> Result<ExitStatus, ContainerError> {
    let has_terminal = std::io::stdin().is_terminal();
    let attached = runtime.run_attached(&record.name, &containers.folder_of(&record.name), has_terminal)?;
    let pid = Pid::from_raw(attached.pid().cast_signed());
    let mut ended = tokio::task::spawn_blocking(|| attached.wait());
    loop {
        tokio::select! {
            Some(signal) = signals.next() => {
                // It may have ended just now; then there is nobody to tell.
                let _gone = kill(pid, signal);
            }
            status = &mut ended => {
                let status = status.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
                return status.map_err(|source| ContainerError::StartRuntime {
                    program: runtime.program().to_owned(),
                    source,
                });
            }
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    // As shells do it: a death by signal is 128 and the signal.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Removes everything of a container, in the reverse order of its making. Goes on after a failure and tells the first;
/// the record stays until all else is gone, so that it can be tried again.
pub async fn remove(
    client: &Client,
    runtime: &Runtime,
    containers: &Containers,
    record: &Record,
) -> Result<(), ContainerError> {
    let mut outcome = runtime.delete(&record.name);
    for (kind, id) in [(Kind::Endpoint, &record.endpoint), (Kind::Namespace, &record.namespace)] {
        let Some(id) = id else { continue };
        match client.remove(kind, id).await {
            Err(error) if !error.is_not_found() => outcome = outcome.and(Err(error.into())),
            _ => {}
        }
    }
    outcome?;
    containers.remove(&record.name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(line: &str) -> RunArgs {
        let words = ["hnsctl", "run"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Run(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    fn image(entrypoint: &[&str], command: &[&str]) -> Root {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let config = ImageConfig {
            entrypoint: words(entrypoint),
            command: words(command),
            environment: words(&["PATH=/image", "A=image", "B=image"]),
            working_dir: "/image".into(),
            user: String::new(),
        };
        Root { path: PathBuf::from("/root"), config }
    }

    #[test]
    fn a_given_command_replaces_the_images_but_not_its_entrypoint() {
        let cases: [(&str, Root, &[&str]); 4] = [
            ("img", image(&["/init"], &["serve"]), &["/init", "serve"]),
            ("img -- check -v", image(&["/init"], &["serve"]), &["/init", "check", "-v"]),
            ("img -- sh", image(&[], &["serve"]), &["sh"]),
            ("img", image(&["/init"], &[]), &["/init"]),
        ];
        for (line, root, expected) in cases {
            assert_eq!(arguments(line).command_of(&root).expect("there is one"), expected, "{line}");
        }
        let none = arguments("img").command_of(&image(&[], &[]));
        assert!(matches!(none, Err(ContainerError::NoCommand { .. })));
    }

    #[test]
    fn given_variables_win_over_the_images() {
        let environment = arguments("-e A=given -e C=given -e HNS_TEST_NOT_SET img")
            .environment_of(&image(&[], &[]).config, false);
        assert_eq!(environment, ["PATH=/image", "B=image", "A=given", "C=given"]);
        let bare = arguments("img").environment_of(&ImageConfig::default(), false);
        assert_eq!(bare, [PATH]);
    }

    #[test]
    fn the_endpoint_asks_for_what_was_given() {
        let endpoint =
            arguments("-p 8080:80 --bandwidth-in 1mbit --ip 172.16.0.9 --mac 00:15:5d:00:00:07 img")
                .endpoint("web", "NET", "NS");
        insta::assert_snapshot!(endpoint.to_string(), @r#"{"Name":"web","Owner":"hnsctl","HostComputeNetwork":"NET","HostComputeNamespace":"NS","IpConfigurations":[{"IpAddress":"172.16.0.9"}],"Policies":[{"Type":"PortMapping","Settings":{"Protocol":6,"InternalPort":80,"ExternalPort":8080}},{"Type":"QOS","Settings":{"MaximumIncomingBandwidthInBytes":125000}}],"SchemaVersion":{"Major":2,"Minor":0},"MacAddress":"00-15-5D-00-00-07"}"#);
    }
}
