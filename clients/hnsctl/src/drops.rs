use clap::Args;
use hns_client::Kind;
use hns_hcn::{DropCount, DroppedPacket, PortOwner, Timestamp};
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::signal::ctrl_c;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};

const AFTER_HELP: &str = "\
Where many packets are dropped, --follow shows some of them; the counts have all. Reasons are explained in \
docs/reference/drops.md.

Examples:
  hnsctl drops
  hnsctl drops web -o wide
  hnsctl drops web --follow
  hnsctl drops --follow -o json | jq .Packet";

/// Count the packets that ports dropped, by reason, or show them as they are dropped
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DropsArgs {
    /// Only those of this endpoint
    endpoint: Option<String>,
    /// Show packets as they are dropped, one a line, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

impl DropsArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => Some(context.client.find_id(Kind::Endpoint, endpoint).await?),
            None => None,
        };
        if !self.follow {
            let documents = context.client.drops(endpoint.as_deref()).await?;
            let counts = read(&documents, DropCount::from_v2)?;
            let nothing = "no packets were dropped";
            return output::show_some(context.format, &documents, nothing, |format| rows(format, counts));
        }
        tokio::select! {
            ended = follow(context, endpoint.as_deref()) => ended,
            // Who has seen enough is not told that something failed.
            pressed = ctrl_c() => pressed.map_err(|source| Failure::Runtime { source }),
        }
    }
}

async fn follow(context: &Context, endpoint: Option<&str>) -> Result<(), Failure> {
    let mut drops = context.client.follow_drops(endpoint).await?;
    while let Some(document) = drops.next().await? {
        if context.format == Format::Json {
            output::json_line(&document)?;
            continue;
        }
        let dropped = answered(DroppedPacket::from_v2(&document))?;
        if dropped.missed > 0 {
            output::complain(&format!("{} more were dropped meanwhile", dropped.missed));
        }
        output::line(&told(&dropped, context.format, &TimeZone::system()))?;
    }
    Err(Failure::DropsEnded)
}

/// Reads each document of an answer.
pub fn read<T>(
    documents: &[Value],
    reader: impl Fn(&Value) -> Result<T, hns_hcn::DocumentError>,
) -> Result<Vec<T>, Failure> {
    documents.iter().map(|document| answered(reader(document))).collect()
}

/// What was read of an answer.
pub fn answered<T>(read: Result<T, hns_hcn::DocumentError>) -> Result<T, Failure> {
    read.map_err(|source| Failure::Answer { source })
}

/// What an operator calls the endpoint: its name, or the beginning of its id.
pub fn called(owner: &PortOwner) -> String {
    match owner.name.as_str() {
        "" => owner.endpoint.to_string().chars().take(8).collect(),
        name => name.to_owned(),
    }
}

fn rows(format: Format, mut counts: Vec<DropCount>) -> Rows {
    let name = |count: &DropCount| count.owner.as_ref().map(called).unwrap_or_default();
    counts.sort_by_cached_key(|count| (name(count), count.direction.name(), count.reason.clone()));
    let columns = ["ENDPOINT", "DIRECTION", "REASON", "PACKETS"];
    let mut rows = Rows::new(format, &columns, &["NETWORK", "ID"]);
    for count in &counts {
        let (network, id) = match &count.owner {
            Some(owner) => (owner.network.clone(), owner.endpoint.to_string()),
            None => (String::new(), String::new()),
        };
        rows.push(
            vec![
                name(count),
                count.direction.name().to_owned(),
                count.reason.clone(),
                count.packets.to_string(),
            ],
            vec![network, id],
        );
    }
    rows
}

/// `04:04:05.678  evil  Out  spoofed-ip  udp 10.7.0.99:4000 -> 10.7.0.2:9  75 bytes`.
fn told(dropped: &DroppedPacket, format: Format, zone: &TimeZone) -> String {
    let owner = dropped.owner.as_ref();
    let mut parts = vec![
        local_time(dropped.time, zone),
        owner.map_or_else(|| "-".to_owned(), called),
        dropped.direction.name().to_owned(),
        dropped.reason.clone(),
        dropped.packet.to_string(),
        format!("{} bytes", dropped.length),
    ];
    parts.extend(dropped.rule.as_ref().map(ToString::to_string));
    // Where stations are what is wrong, addresses tell nothing.
    if format == Format::Wide || matches!(dropped.reason.as_str(), "spoofed-mac" | "spoofed-arp") {
        parts.push(dropped.packet.stations());
    }
    if format == Format::Wide {
        parts.extend(owner.map(|owner| owner.network.clone()));
    }
    parts.join("  ")
}

/// The time of day where the operator is.
pub fn local_time(time: Timestamp, zone: &TimeZone) -> String {
    let moment = i64::try_from(time.unix_ms()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(
        || time.to_string(),
        |moment| moment.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use jiff::tz::offset;
    use serde_json::json;

    use super::*;

    const EVIL: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";

    #[test]
    fn drops_are_counted_by_endpoint_and_reason() {
        let documents = [
            json!({"Endpoint": EVIL, "EndpointName": "evil", "NetworkName": "blue", "Direction": "Out",
                "Reason": "spoofed-ip", "Packets": 7}),
            json!({"Endpoint": null, "EndpointName": null, "NetworkName": null, "Direction": "Out",
                "Reason": "unknown-port", "Packets": 1}),
            json!({"Endpoint": EVIL, "EndpointName": "", "NetworkName": "blue", "Direction": "In",
                "Reason": "acl-in", "Packets": 2}),
        ];
        let counts = || read(&documents, DropCount::from_v2).expect("they are whole");
        insta::assert_snapshot!(rows(Format::Table, counts()), @"
        ENDPOINT  DIRECTION  REASON        PACKETS
        -         Out        unknown-port  1
        1F0E7F52  In         acl-in        2
        evil      Out        spoofed-ip    7
        ");
        insta::assert_snapshot!(rows(Format::Wide, counts()), @"
        ENDPOINT  DIRECTION  REASON        PACKETS  NETWORK  ID
        -         Out        unknown-port  1        -        -
        1F0E7F52  In         acl-in        2        blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        evil      Out        spoofed-ip    7        blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        ");
    }

    #[test]
    fn a_dropped_packet_is_a_line() {
        let mut document = json!({"Time": "2026-01-02T03:04:05.678Z", "Endpoint": EVIL, "EndpointName": "evil",
            "NetworkName": "blue", "Direction": "Out", "Reason": "spoofed-ip", "Rule": null, "Length": 75,
            "Packet": {"SourceMac": "02-15-5D-00-00-01", "DestinationMac": "02-15-5D-00-00-02",
                "EtherType": "ipv4", "Protocol": "udp", "Source": "10.7.0.99", "SourcePort": 4000,
                "Destination": "10.7.0.2", "DestinationPort": 9}});
        let east = offset(1).to_time_zone();
        let line = |document: &Value, format| {
            told(&DroppedPacket::from_v2(document).expect("it is whole"), format, &east)
        };
        insta::assert_snapshot!(line(&document, Format::Table), @"04:04:05.678  evil  Out  spoofed-ip  udp 10.7.0.99:4000 -> 10.7.0.2:9  75 bytes");
        insta::assert_snapshot!(line(&document, Format::Wide), @"04:04:05.678  evil  Out  spoofed-ip  udp 10.7.0.99:4000 -> 10.7.0.2:9  75 bytes  02-15-5D-00-00-01 -> 02-15-5D-00-00-02  blue");
        document["Reason"] = json!("spoofed-mac");
        document["Endpoint"] = Value::Null;
        insta::assert_snapshot!(line(&document, Format::Table), @"04:04:05.678  -  Out  spoofed-mac  udp 10.7.0.99:4000 -> 10.7.0.2:9  75 bytes  02-15-5D-00-00-01 -> 02-15-5D-00-00-02");
    }
}
