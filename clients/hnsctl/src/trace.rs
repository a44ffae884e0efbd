mod live;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use hns_client::Kind;
use hns_hcn::{IpProtocol, Trace, TraceResult, TraceStep, TraceVerdict};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::drops::{answered, called};
use crate::failure::Failure;
use crate::output::{self, Format, Rows};

const AFTER_HELP: &str = "\
Without --live nothing is sent and nothing counted: the rules that ports obey now are asked, and the connections that they know. TCP is traced by \
a SYN, which passes as part of a known connection with the same addresses and ports. An address that is no endpoint's can send to \
an endpoint, and be sent to; what the host does beyond its ports is told as far as our own table says it.

Ends with 0 when the packet would be delivered or leave for the host, and with 1 when it would be dropped or not even sent.

With --live the packets of real connections between both ends are shown, in both directions, whoever began, at each port that they \
pass: its layer and rule that decided, and where the packet went from there. Where many pass, some are left out, and their number is \
told. What is not said is any: the other end, ports, the protocol.

Examples:
  hnsctl trace --from web --to db:5432
  hnsctl trace --from web --to 192.0.2.1:53 --protocol udp
  hnsctl trace --from web --to db
  hnsctl trace --from 192.0.2.1 --to web:80
  hnsctl trace --from web:40000 --to [fd00::3]:80 -o json
  hnsctl trace --live --from web --to db:5432
  hnsctl trace --live --from web --protocol icmp --count 10
  hnsctl trace --live --from 192.0.2.1 --to web:80 -o json | jq .Rule";

/// Tell what would become of a packet, layer by layer, or follow real ones
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TraceArgs {
    /// Who sends it: an endpoint, or an address that is none's
    #[arg(long, value_name = "ENDPOINT|ADDRESS[:PORT]")]
    from: End,
    /// Who it is for
    #[arg(long, value_name = "ENDPOINT|ADDRESS[:PORT]", required_unless_present = "live")]
    to: Option<End>,
    /// Another way to give the port that it is for
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// tcp, udp, sctp, icmp, icmpv6 or a number [default: tcp with a port, an echo request without; any, if --live]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<IpProtocol>,
    /// The source address that the endpoint gives, instead of its own
    #[arg(long = "as", value_name = "ADDRESS", conflicts_with = "live")]
    claimed: Option<IpAddr>,
    /// Of ICMP another type than an echo request's
    #[arg(long, value_name = "TYPE", conflicts_with = "live")]
    icmp_type: Option<u8>,
    /// Show packets of real connections at the ports that they pass, one a line, until Ctrl-C
    #[arg(long)]
    live: bool,
    /// End after so many lines
    #[arg(long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// An end as it is written: a name, an id or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    who: Who,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Address(IpAddr),
    Endpoint(String),
}

impl FromStr for End {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { who: Who::Address(address), port: None });
        }
        if let Ok(place) = text.parse::<SocketAddr>() {
            return Ok(Self { who: Who::Address(place.ip()), port: Some(place.port()) });
        }
        let split = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        let (name, port) = split.map_or((text, None), |(name, port)| (name, Some(port)));
        Ok(Self { who: Who::Endpoint(name.to_owned()), port })
    }
}

impl TraceArgs {
    pub async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let request = self.request(context).await?;
        if self.live {
            live::follow(context, &request, self.count).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let document = context.client.trace(&request).await?;
        let trace = answered(Trace::from_v2(&document))?;
        match context.format {
            Format::Json => output::show_json(&document)?,
            format => output::write(&told(format, &trace))?,
        }
        let arrives = matches!(trace.verdict, TraceVerdict::Delivered | TraceVerdict::Passed);
        Ok(if arrives { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn request(&self, context: &Context) -> Result<Value, Failure> {
        let named = self.to.as_ref().and_then(|to| to.port);
        if self.port.is_some() && named.is_some() {
            return Err(Failure::PortGivenTwice);
        }
        let mut from = end(context, &self.from.who).await?;
        let mut to = match &self.to {
            Some(to) => end(context, &to.who).await?,
            None => json!({}),
        };
        if let Some(claimed) = self.claimed {
            from["Address"] = json!(claimed.to_string());
        }
        if let Some(port) = self.port.or(named) {
            to["Port"] = json!(port);
        }
        let mut request = json!({
            "From": from,
            "To": to,
            "Protocol": self.protocol.map(|protocol| protocol.to_string()),
            "SourcePort": self.from.port,
        });
        if let Some(kind) = self.icmp_type {
            request["IcmpType"] = json!(kind);
        }
        Ok(request)
    }
}

async fn end(context: &Context, who: &Who) -> Result<Value, Failure> {
    Ok(match who {
        Who::Address(address) => json!({"Address": address.to_string()}),
        Who::Endpoint(name) => json!({"Endpoint": context.client.find_id(Kind::Endpoint, name).await?}),
    })
}

/// The packet, what each layer would do, what becomes of it, and what is to be known of the rest of its way.
fn told(format: Format, trace: &Trace) -> String {
    let mut text = format!("{}\n", output::shown(&trace.packet.to_string()));
    if !trace.steps.is_empty() {
        text.push_str(&format!("\n{}", rows(format, &trace.steps)));
    }
    text.push_str(&format!("\n{}\n", output::shown(&verdict(trace))));
    for note in &trace.notes {
        text.push_str(&format!("note: {}\n", output::shown(note)));
    }
    text
}

fn verdict(trace: &Trace) -> String {
    let reason = trace.reason.as_deref().unwrap_or("?");
    match (trace.verdict, &trace.receiver) {
        (TraceVerdict::Delivered, Some(owner)) => format!("delivered to {}", called(owner)),
        (TraceVerdict::Delivered, None) => "delivered".to_owned(),
        (TraceVerdict::Passed, _) => "passed on, out of the ports".to_owned(),
        (TraceVerdict::Dropped, _) => format!("dropped: {reason}"),
        (TraceVerdict::Unsent, _) => "not sent".to_owned(),
    }
}

fn rows(format: Format, steps: &[TraceStep]) -> Rows {
    let columns = ["ENDPOINT", "DIRECTION", "LAYER", "RESULT", "RULE"];
    let mut rows = Rows::new(format, &columns, &["NETWORK", "ID"]);
    for step in steps {
        rows.push(
            vec![
                called(&step.owner),
                step.direction.name().to_owned(),
                step.layer.clone(),
                result(step),
                rule(step),
            ],
            vec![step.owner.network.clone(), step.owner.endpoint.to_string()],
        );
    }
    rows
}

fn result(step: &TraceStep) -> String {
    let (word, detail) = match step.result {
        TraceResult::Passed => ("passed", None),
        TraceResult::Allowed => ("allowed", None),
        TraceResult::Observed => ("observed", None),
        TraceResult::Known => ("known", step.state.as_deref()),
        TraceResult::Dropped => ("dropped", step.reason.as_deref()),
    };
    detail.map_or_else(|| word.to_owned(), |detail| format!("{word}: {detail}"))
}

/// `ACL 100 Block no-foe`, and whose rules these are where they are not those of the packet's own direction.
fn rule(step: &TraceStep) -> String {
    let Some(rules_of) = step.rules_of else { return String::new() };
    let rule = step.rule.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
    if rules_of == step.direction { rule } else { format!("{rule}, of {}", rules_of.name()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44";

    #[test]
    fn an_end_is_a_name_or_an_address_with_or_without_a_port() {
        let address = |text: &str, port| End { who: Who::Address(text.parse().expect(text)), port };
        let endpoint = |name: &str, port| End { who: Who::Endpoint(name.to_owned()), port };
        let cases = [
            ("10.7.0.2", address("10.7.0.2", None)),
            ("10.7.0.2:80", address("10.7.0.2", Some(80))),
            ("fd00::2", address("fd00::2", None)),
            ("[fd00::2]:80", address("fd00::2", Some(80))),
            ("web", endpoint("web", None)),
            ("web:80", endpoint("web", Some(80))),
            ("a:b:80", endpoint("a:b", Some(80))),
            ("web:http", endpoint("web:http", None)),
            ("web:70000", endpoint("web:70000", None)),
        ];
        for (text, end) in cases {
            assert_eq!(text.parse(), Ok(end), "{text}");
        }
    }

    fn step(more: &Value) -> Value {
        let mut step = json!({"Endpoint": WEB, "EndpointName": "web", "NetworkName": "blue", "Direction": "In",
            "Layer": "acl", "RulesOf": "In"});
        for (key, value) in more.as_object().into_iter().flatten() {
            step[key] = value.clone();
        }
        step
    }

    fn read(document: &Value) -> Trace {
        Trace::from_v2(document).expect("it is whole")
    }

    #[test]
    fn a_drop_names_its_rule() {
        let packet = json!({"EtherType": "ipv4", "Protocol": "tcp", "Source": "10.7.0.3", "SourcePort": 40000,
            "Destination": "10.7.0.2", "DestinationPort": 80});
        let rule = json!({"Id": "no-foe", "Origin": "ACL", "Priority": 100, "Action": "Block"});
        let steps = json!([
            step(&json!({"EndpointName": "foe", "Direction": "Out", "Layer": "security", "Result": "Passed",
                "RulesOf": null})),
            step(&json!({"EndpointName": "foe", "Direction": "Out", "Result": "Allowed", "RulesOf": "Out"})),
            step(&json!({"Result": "Dropped", "Reason": "acl-in", "Rule": rule})),
        ]);
        let document = json!({"Verdict": "Dropped", "Reason": "acl-in", "Packet": packet, "Steps": steps});
        insta::assert_snapshot!(told(Format::Table, &read(&document)), @"
        tcp 10.7.0.3:40000 -> 10.7.0.2:80

        ENDPOINT  DIRECTION  LAYER     RESULT           RULE
        foe       Out        security  passed           -
        foe       Out        acl       allowed          default
        web       In         acl       dropped: acl-in  ACL 100 Block no-foe

        dropped: acl-in
        ");
        insta::assert_snapshot!(told(Format::Wide, &read(&document)), @"
        tcp 10.7.0.3:40000 -> 10.7.0.2:80

        ENDPOINT  DIRECTION  LAYER     RESULT           RULE                  NETWORK  ID
        foe       Out        security  passed           -                     blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        foe       Out        acl       allowed          default               blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44
        web       In         acl       dropped: acl-in  ACL 100 Block no-foe  blue     1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44

        dropped: acl-in
        ");
    }

    #[test]
    fn what_is_not_known_is_a_note() {
        let packet = json!({"EtherType": "ipv6", "Protocol": "icmpv6", "Source": "fd00:7::2",
            "Destination": "2001:db8::1", "IcmpType": 128, "IcmpCode": 0});
        let known = step(&json!({"Direction": "Out", "Result": "Known", "State": "established"}));
        let document = json!({"Verdict": "Passed", "Packet": packet, "Steps": [known],
            "Notes": ["the host routes it on\u{1b}[2J"]});
        insta::assert_snapshot!(told(Format::Table, &read(&document)), @r"
        icmpv6 type 128 code 0 fd00:7::2 -> 2001:db8::1

        ENDPOINT  DIRECTION  LAYER  RESULT              RULE
        web       Out        acl    known: established  default, of In

        passed on, out of the ports
        note: the host routes it on\u{1b}[2J
        ");
        let receiver = json!({"Endpoint": WEB, "EndpointName": "web", "NetworkName": "blue"});
        let delivered = json!({"Verdict": "Delivered", "Packet": packet, "Receiver": receiver});
        insta::assert_snapshot!(told(Format::Table, &read(&delivered)), @"
        icmpv6 type 128 code 0 fd00:7::2 -> 2001:db8::1

        delivered to web
        ");
        let unsent = json!({"Verdict": "Unsent", "Packet": packet, "Notes": ["nobody has it"]});
        insta::assert_snapshot!(told(Format::Table, &read(&unsent)), @"
        icmpv6 type 128 code 0 fd00:7::2 -> 2001:db8::1

        not sent
        note: nobody has it
        ");
    }
}
