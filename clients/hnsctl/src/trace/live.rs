//! Packets of real connections, as ports see them.

use hns_hcn::{Onward, SeenPacket};
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::signal::ctrl_c;

use super::{result, rule};
use crate::cli::Context;
use crate::drops::{answered, called, local_time};
use crate::failure::Failure;
use crate::output::{self, Format};

/// Shows a line for each packet at each port, until there were so many, or until Ctrl-C.
pub(super) async fn follow(context: &Context, request: &Value, count: Option<u64>) -> Result<(), Failure> {
    tokio::select! {
        ended = show(context, request, count) => ended,
        // Who has seen enough is not told that something failed.
        pressed = ctrl_c() => pressed.map_err(|source| Failure::Runtime { source }),
    }
}

async fn show(context: &Context, request: &Value, count: Option<u64>) -> Result<(), Failure> {
    let mut packets = context.client.follow_trace(request).await?;
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        let Some(document) = packets.next().await? else { return Err(Failure::TraceEnded) };
        shown += 1;
        if context.format == Format::Json {
            output::json_line(&document)?;
            continue;
        }
        let packet = answered(SeenPacket::from_v2(&document))?;
        if packet.missed > 0 {
            output::complain(&format!("{} more passed meanwhile", packet.missed));
        }
        output::line(&told(&packet, context.format, &TimeZone::system()))?;
    }
    Ok(())
}

/// `04:04:05.678  web  Out  acl  allowed  ACL 100 Allow  tcp 10.7.0.2:4000 -> 10.7.0.3:80 syn  to db`.
fn told(packet: &SeenPacket, format: Format, zone: &TimeZone) -> String {
    let step = &packet.step;
    let mut words = packet.packet.to_string();
    if let Some(flags) = packet.packet.tcp_flags {
        words = format!("{words} {flags}");
    }
    let mut parts = vec![
        local_time(packet.time, zone),
        called(&step.owner),
        step.direction.name().to_owned(),
        step.layer.clone(),
        result(step),
    ];
    parts.extend(Some(rule(step)).filter(|rule| !rule.is_empty()));
    parts.extend(packet.observed.as_ref().map(|rule| format!("would be dropped by {rule}")));
    parts.push(words);
    parts.extend(onward(packet));
    if format == Format::Wide {
        parts.push(format!("{} bytes", packet.length));
        parts.push(packet.packet.stations());
        parts.push(step.owner.network.clone());
    }
    parts.join("  ")
}

fn onward(packet: &SeenPacket) -> Option<String> {
    let word = match packet.onward? {
        Onward::Container => "to its container",
        Onward::Switch => "into the bridge",
        Onward::Host => "to the host",
        Onward::Wire => "to the wire",
        Onward::Tunnel => match packet.host {
            None => "to another host",
            Some(host) => return Some(format!("to host {host}")),
        },
        Onward::Answer => "answered by the router",
        Onward::Port => {
            return Some(
                packet
                    .receiver
                    .as_ref()
                    .map_or("to a port".to_owned(), |owner| format!("to {}", called(owner))),
            );
        }
    };
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::tz::offset;
    use serde_json::json;

    use super::*;

    const WEB: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";
    const DB: &str = "2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";

    fn line(more: &Value, format: Format) -> String {
        let mut document = json!({"Time": "2026-01-02T03:04:05.678Z", "Endpoint": WEB, "EndpointName": "web",
            "NetworkName": "blue", "Direction": "Out", "Layer": "security", "Result": "Passed", "RulesOf": null,
            "Rule": null, "State": null, "Reason": null, "Observed": null, "Onward": "Switch", "Receiver": null,
            "Length": 74, "Packet": {"SourceMac": "02-15-5D-00-00-01", "DestinationMac": "02-15-5D-00-00-02",
                "EtherType": "ipv4", "Protocol": "tcp", "Source": "10.7.0.2", "SourcePort": 4000,
                "Destination": "10.7.0.3", "DestinationPort": 80, "TcpFlags": "syn"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        let packet = SeenPacket::from_v2(&document).expect("it is whole");
        told(&packet, format, &offset(1).to_time_zone())
    }

    #[test]
    fn a_packet_at_a_port_is_a_line() {
        let rule = json!({"Id": "web-out", "Origin": "ACL", "Priority": 100, "Action": "Allow"});
        insta::assert_snapshot!(line(&json!({}), Format::Table), @"04:04:05.678  web  Out  security  passed  tcp 10.7.0.2:4000 -> 10.7.0.3:80 syn  into the bridge");
        insta::assert_snapshot!(line(&json!({"Layer": "acl", "Result": "Allowed", "RulesOf": "Out", "Rule": rule,
            "Onward": "Port", "Receiver": {"Endpoint": DB, "EndpointName": "db", "NetworkName": "blue"}}), Format::Wide), @"04:04:05.678  web  Out  acl  allowed  ACL 100 Allow web-out  tcp 10.7.0.2:4000 -> 10.7.0.3:80 syn  to db  74 bytes  02-15-5D-00-00-01 -> 02-15-5D-00-00-02  blue");
        insta::assert_snapshot!(line(&json!({"Layer": "acl", "Result": "Known", "State": "established",
            "RulesOf": "In", "Onward": "Container"}), Format::Table), @"04:04:05.678  web  Out  acl  known: established  default, of In  tcp 10.7.0.2:4000 -> 10.7.0.3:80 syn  to its container");
        let block = json!({"Id": "", "Origin": "NetworkACL", "Priority": 7, "Action": "Block"});
        let watched =
            json!({"Id": "careful", "Origin": "ACL", "Priority": 5, "Action": "Block", "Enforce": false});
        insta::assert_snapshot!(line(&json!({"Direction": "In", "Layer": "acl", "Result": "Dropped", "RulesOf": "In",
            "Rule": block, "Reason": "acl-in", "Onward": null, "Observed": watched}), Format::Table), @"04:04:05.678  web  In  acl  dropped: acl-in  NetworkACL 7 Block  would be dropped by ACL 5 Block (observed) careful  tcp 10.7.0.2:4000 -> 10.7.0.3:80 syn");
    }
}
