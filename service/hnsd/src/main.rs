//! The daemon: reads its configuration, wires the parts together, serves. No logic. And what is done in its place while it
//! cannot start: [`recover`].

mod config;
mod descriptors;
mod docker;
mod log;
mod recover;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use hns_datapath::RealDatapath;
use hns_docker::Front;
use hns_host::RealHost;
use hns_reconciler::{Engine, EngineError, EngineSettings, HostThreads, WithoutRecords};
use hns_resolver::DhcpClient;
use hns_server::{Access, Api, Limits, Listener};
use hns_store::{SqliteStore, StoreError};
use hns_wireguard::DaemonWireguard;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Arguments, Command, Config};

/// Threads on which requests change the host. The kernel serialises most of it; a few hide its waits.
const HOST_THREADS: usize = 4;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be there yet; the reason must reach whoever started the daemon.
            let _ = writeln!(std::io::stderr(), "hnsd: {error:#}");
            if let Some(hint) = hint(&error) {
                let _ = writeln!(std::io::stderr(), "hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What the operator can do about it.
fn hint<'e>(error: &'e anyhow::Error) -> Option<&'e str> {
    let hint = |cause: &'e (dyn std::error::Error + 'static)| {
        let engine = cause.downcast_ref::<EngineError>().and_then(EngineError::hint);
        engine.or_else(|| cause.downcast_ref::<StoreError>()?.hint())
    };
    error.chain().find_map(hint)
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let command = arguments.command();
    let config = Config::load(arguments)?;
    if let Some(Command::Recover(recover)) = command {
        return recover.run(&config.state_dir, &config.run_dir);
    }
    log::start(&config)?;
    let descriptors = descriptors::raise()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(config, descriptors))
}

async fn serve(config: Config, descriptors: usize) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for TERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for INT")?;
    // Both are taken before the host is touched: a daemon that may not run must not repair what another one made.
    let store = open_store(&config)?;
    let groups = [config.group.as_str(), config.read_group.as_str()];
    let listener = Listener::bind(&config.socket, &groups).await?;
    let _claim = claim_namespace()?;
    let host = tokio::task::block_in_place(|| reach_host(&config, &store))?;
    let stopping = CancellationToken::new();
    let threads = HostThreads::start(HOST_THREADS).context("cannot start the threads for requests")?;
    // Docker's plugins answer before the host is in line: whom they keep waiting forgets them.
    let (ready, engine) = watch::channel(None);
    let front = Front::new(engine, threads.clone(), stopping.clone());
    let docker = docker::serve(&config, front, Limits::of_root(descriptors)).await?;
    let engine = tokio::task::block_in_place(|| start_engine(&config, host, store))?;
    ready.send_replace(Some(Arc::clone(&engine)));
    let api = Api {
        engine: Arc::clone(&engine),
        threads,
        access: Access::new(&config.group, &config.read_group),
        stopping: stopping.clone(),
    };
    let server = tokio::spawn(hns_server::serve(listener, api, Limits::within(descriptors)));
    say_ready(&config.socket)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; containers keep their network");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stopping.cancel();
    server.await.context("the server ended early")?;
    docker.await.context("the Docker plugins ended early")?;
    engine.stop();
    Ok(())
}

fn open_store(config: &Config) -> anyhow::Result<SqliteStore> {
    make_folder(&config.state_dir)?;
    SqliteStore::open(&config.state_dir.join("hns.db"))
        .with_context(|| format!("cannot open the state directory {}", config.state_dir.display()))
}

/// Two daemons in one network namespace would each take the other's objects for leftovers. The lock is the
/// namespace's own file, so it goes with the process, whatever ends it.
fn claim_namespace() -> anyhow::Result<File> {
    const PATH: &str = "/proc/self/ns/net";
    let namespace = File::open(PATH).with_context(|| format!("cannot open {PATH}"))?;
    match namespace.try_lock() {
        Ok(()) => Ok(namespace),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another hnsd serves this network namespace; stop it first, or use its socket")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {PATH}")),
    }
}

/// The host, if the records may be all there is to know of it. Nothing on it is changed before that is known.
fn reach_host(config: &Config, store: &SqliteStore) -> anyhow::Result<RealHost> {
    make_folder(&config.run_dir)?;
    let host = RealHost::new(config.run_dir.clone()).context("cannot reach the kernel's network")?;
    let without_records = if config.forget { WithoutRecords::Forget } else { WithoutRecords::Refuse };
    hns_reconciler::check_state(&host, store, without_records)
        .with_context(|| format!("cannot start on the state directory {}", config.state_dir.display()))?;
    Ok(host)
}

fn start_engine(config: &Config, host: RealHost, store: SqliteStore) -> anyhow::Result<Arc<Engine>> {
    let settings = EngineSettings {
        namespaces: config.run_dir.join("netns"),
        default_network: config.default_network(),
        bridge_netfilter: config.bridge_netfilter(),
        boot_id: boot_id()?,
    };
    let filters = hns_datapath::Settings { pins: config.bpf_dir.clone() };
    let datapath = RealDatapath::start(&filters).context("no switch port can be filtered")?;
    let key = config.state_dir.join("wireguard.key");
    let wireguard = Arc::new(DaemonWireguard::new(key, config.wireguard_port));
    Engine::start(
        Arc::new(host),
        Arc::new(datapath),
        Arc::new(DhcpClient),
        wireguard,
        Arc::new(store),
        settings,
    )
    .context("cannot bring the host in line")
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// The kernel's name for this boot.
fn boot_id() -> anyhow::Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?.trim().to_owned())
}

/// Says ready to systemd, and in one line on standard output to anyone else.
fn say_ready(socket: &Path) -> anyhow::Result<()> {
    // Without systemd there is nobody to tell, which is no error.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut out = std::io::stdout().lock();
    writeln!(out, "hnsd is ready on {}", socket.display()).context("cannot say ready")?;
    out.flush().context("cannot say ready")
}
