use clap::Args;
use serde_json::Value;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::view;

/// Follow what happens: a line for each object that is made, changed or removed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hnsctl events\n  hnsctl events --from 41 -o json")]
pub struct EventsArgs {
    /// Begin after this revision instead of now
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// Keep following; this is what happens without the flag too
    #[arg(short, long)]
    follow: bool,
}

impl EventsArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut events = context.client.events(self.from).await?;
        while let Some(event) = events.next().await? {
            match context.format {
                Format::Json => output::json_line(&event)?,
                Format::Table | Format::Wide => output::line(&told(&event))?,
            }
        }
        Err(Failure::EventsEnded)
    }
}

/// `42  NetworkEndpointAttached  <id>  HostComputeNetwork=<id>`: the revision first, to resume from.
fn told(event: &Value) -> String {
    let notification = event.get("Notification").unwrap_or(event);
    let details = notification.get("Data").and_then(Value::as_object).into_iter().flatten();
    let details: Vec<String> =
        details.map(|(key, value)| format!("{key}={}", view::plain(Some(value)))).collect();
    let line = format!(
        "{:<8}{:<25}{}  {}",
        view::plain(event.get("Revision")),
        view::text(event, "Type"),
        view::id(notification),
        details.join(" ")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let attached = json!({"Revision": 42, "Type": "NetworkEndpointAttached", "NotificationType": 9,
            "Notification": {"ID": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "Flags": 0,
                "Data": {"HostComputeNetwork": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11"}}});
        insta::assert_snapshot!(told(&attached), @"42      NetworkEndpointAttached  1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44  HostComputeNetwork=5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11");
        let created =
            json!({"Revision": 1, "Type": "NetworkCreate", "Notification": {"ID": "5B1C5A0E", "Flags": 0}});
        insta::assert_snapshot!(told(&created), @"1       NetworkCreate            5B1C5A0E");
    }
}
