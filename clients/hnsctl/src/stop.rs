use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::Context;
use crate::container::{Containers, Runtime};
use crate::failure::Failure;
use crate::run::{self, ContainerDir};

/// How often a container that was asked to end is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Stop containers and remove everything made for them; also cleans up after dead ones
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hnsctl stop web --timeout 30")]
pub struct StopArgs {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// How long a container may take to end before it is killed
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    place: ContainerDir,
}

impl StopArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let containers = self.place.containers();
        let patience = Duration::from_secs(self.timeout);
        context.for_each(&self.names, async |name| stop(context, &containers, name, patience).await).await
    }
}

async fn stop(
    context: &Context,
    containers: &Containers,
    name: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let record = containers.load(name)?;
    let runtime = Runtime::of(&record, containers)?;
    if is_running(&runtime, name)? {
        runtime.kill(name, "TERM")?;
        let deadline = Instant::now() + patience;
        while is_running(&runtime, name)? && Instant::now() < deadline {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    // Deleting kills what still runs.
    Ok(run::remove(&context.client, &runtime, containers, &record).await?)
}

fn is_running(runtime: &Runtime, name: &str) -> Result<bool, Failure> {
    Ok(runtime.state(name)?.is_some_and(|state| state.status == "running"))
}
