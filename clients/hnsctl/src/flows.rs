use clap::Args;
use hns_client::{FlowQuery, Kind};
use hns_hcn::{Flow, IpProtocol};

use crate::cli::Context;
use crate::drops::{called, read};
use crate::failure::Failure;
use crate::output::{self, Format, Rows};

const AFTER_HELP: &str = "\
A port whose endpoint lets everything in and out passes packets without knowing their connections.

Examples:
  hnsctl flows
  hnsctl flows web --protocol tcp
  hnsctl flows -o wide";

/// List the connections that ports know, of one endpoint or of all
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct FlowsArgs {
    /// Only those of this endpoint
    endpoint: Option<String>,
    /// Only those of this protocol: tcp, udp, sctp, icmp, icmpv6 or a number
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<IpProtocol>,
}

impl FlowsArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let endpoint_id = match &self.endpoint {
            Some(endpoint) => Some(context.client.find_id(Kind::Endpoint, endpoint).await?),
            None => None,
        };
        let query = FlowQuery { endpoint_id, protocol: self.protocol.map(|protocol| protocol.to_string()) };
        let documents = context.client.flows(&query).await?;
        let flows = read(&documents, Flow::from_v2)?;
        let nothing = "no connections are tracked";
        output::show_some(context.format, &documents, nothing, |format| rows(format, flows))
    }
}

fn rows(format: Format, mut flows: Vec<Flow>) -> Rows {
    flows
        .sort_by_cached_key(|flow| (called(&flow.owner), flow.protocol, flow.sides.remote, flow.sides.local));
    let columns = [
        "ENDPOINT",
        "PROTOCOL",
        "LOCAL",
        "REMOTE",
        "DIRECTION",
        "STATE",
        "PACKETS-IN",
        "PACKETS-OUT",
        "IDLE",
        "RULE",
    ];
    let mut rows = Rows::new(format, &columns, &["NETWORK", "ID"]);
    for flow in &flows {
        rows.push(
            vec![
                called(&flow.owner),
                flow.protocol.to_string(),
                flow.sides.local(),
                flow.sides.remote(),
                flow.direction.name().to_owned(),
                flow.state.clone(),
                flow.packets_in.to_string(),
                flow.packets_out.to_string(),
                format!("{}s", flow.idle_seconds),
                flow.rule.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string),
            ],
            vec![flow.owner.network.clone(), flow.owner.endpoint.to_string()],
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connection_has_two_sides() {
        let documents = [
            json!({"Endpoint": "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "EndpointName": "web",
                "NetworkName": "blue", "Protocol": "tcp", "Local": "10.7.0.2", "LocalPort": 40000,
                "Remote": "10.96.0.20", "RemotePort": 80, "Direction": "Out", "State": "established",
                "PacketsIn": 9, "PacketsOut": 12, "IdleSeconds": 3}),
            json!({"Endpoint": "2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44", "EndpointName": "",
                "NetworkName": "blue", "Protocol": "udp", "Local": "fd00::2", "LocalPort": 53,
                "Remote": "fd00::3", "RemotePort": 1024, "Direction": "In", "State": "new", "PacketsIn": 1,
                "PacketsOut": 0, "IdleSeconds": 0}),
        ];
        let flows = || read(&documents, Flow::from_v2).expect("they are whole");
        insta::assert_snapshot!(rows(Format::Table, flows()), @"
        ENDPOINT  PROTOCOL  LOCAL           REMOTE          DIRECTION  STATE        PACKETS-IN  PACKETS-OUT  IDLE  RULE
        2F0E7F52  udp       [fd00::2]:53    [fd00::3]:1024  In         new          1           0            0s    default
        web       tcp       10.7.0.2:40000  10.96.0.20:80   Out        established  9           12           3s    default
        ");
        insta::assert_snapshot!(rows(Format::Wide, flows()), @"
        ENDPOINT  PROTOCOL  LOCAL           REMOTE          DIRECTION  STATE        PACKETS-IN  PACKETS-OUT  IDLE  RULE     NETWORK  ID
        2F0E7F52  udp       [fd00::2]:53    [fd00::3]:1024  In         new          1           0            0s    default  blue     2F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        web       tcp       10.7.0.2:40000  10.96.0.20:80   Out        established  9           12           3s    default  blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        ");
    }
}
