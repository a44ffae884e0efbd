//! One rule in words, as people write it and are shown it; its meaning and its checks are those of the [`Acl`] it stands for.
//!
//! ```text
//! in|out allow|block [PROTOCOL,..] [from ADDRS] [to ADDRS] [port PORTS] [local-port PORTS] [remote-port PORTS]
//!                    [type ICMPTYPES] [prio N] [id TEXT] [host] [observe]
//! ```
//!
//! `from` and `to` are the source and the destination of the packets that a direction is about, whichever of HCN's fields
//! has to hold them: plain addresses stand by the endpoint's side and the peer's, sets by source and destination
//! (hcn-api 5.6). `port` is the destination's in both directions. Words with spaces stand in double quotes.

mod words;

use std::fmt;
use std::str::FromStr;

use hns_net::Cidr;
use serde_json::{Map, Value, json};

use super::acl::{Acl, IcmpType, RuleAction, RuleDirection, RuleMatch, RuleType};
use super::address::{self, Addresses};
use super::tier_acl::TierAclRule;
use super::{CODE, Policy, PolicySettings};
use crate::fields::{DocumentError, Fields};
use crate::protocol::IpProtocol;

use words::{Keyword, Word, quoted, words};

/// Of a rule in words that says none.
pub const DEFAULT_PRIORITY: u16 = 1000;

const LOCAL_ADDRESSES: &str = "LocalAddresses";
const REMOTE_ADDRESSES: &str = "RemoteAddresses";
const LOCAL_PORTS: &str = "LocalPorts";
const REMOTE_PORTS: &str = "RemotePorts";
const PROTOCOLS: &str = "Protocols";

/// A rule that was written in words.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleText {
    settings: Map<String, Value>,
    acl: Acl,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleTextError {
    #[error(
        "a rule begins with in or out and with allow or block, not with \"{found}\"; such as: in allow tcp port 443"
    )]
    Beginning { found: String },
    #[error(
        "\"{word}\" is no word of a rule: expected {}, or a protocol (tcp, udp, sctp, icmp, icmp6, a number); \
         such as: in block tcp from 10.0.0.0/8 port 22",
        Keyword::list()
    )]
    UnknownWord { word: String },
    #[error("behind \"{word}\" expected {expected}; such as: {example}")]
    NoValue { word: &'static str, expected: &'static str, example: &'static str },
    #[error("\"{words}\" stands beside \"{before}\": write it once, with commas; such as: {example}")]
    Twice { words: String, before: String, example: &'static str },
    /// HCN has one field for what both name.
    #[error(
        "\"{words}\" cannot stand beside \"{before}\": name both sides by sets, or both by addresses; \
         such as: in block from blocklist"
    )]
    BothSides { words: String, before: String },
    #[error("\"{words}\": {problem}; such as: {example}")]
    Refused { words: String, problem: String, example: &'static str },
    #[error("{text}: a quote is not closed; such as: in block tcp port 22 id \"no ssh\"")]
    OpenQuote { text: String },
}

impl RuleText {
    /// The rule as a policy of an endpoint.
    #[must_use]
    pub fn acl(&self) -> Policy {
        Policy {
            kind: "ACL",
            settings: self.settings.clone(),
            meaning: PolicySettings::Acl(self.acl.clone()),
        }
    }

    /// The rule as a policy of a network: one of each of its endpoints.
    #[must_use]
    pub fn network_acl(&self) -> Policy {
        Policy {
            kind: "NetworkACL",
            settings: self.settings.clone(),
            meaning: PolicySettings::NetworkAcl(self.acl.clone()),
        }
    }
}

/// The rule as it is shown: in as few words as say it.
impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.acl.fmt(f)
    }
}

impl FromStr for RuleText {
    type Err = RuleTextError;

    fn from_str(text: &str) -> Result<Self, RuleTextError> {
        let mut words = words(text)?.into_iter();
        let (direction, action) = beginning(&mut words)?;
        let mut clauses = Clauses::new(direction, action);
        while let Some(word) = words.next() {
            match Keyword::find(&word.text).filter(|_| !word.quoted) {
                None => clauses.protocols(&word.text)?,
                Some(keyword @ (Keyword::Host | Keyword::Observe)) => clauses.alone(keyword)?,
                Some(keyword) => {
                    // A keyword in its place is more likely a value forgotten than a set of that name.
                    let value = words.next().filter(|value| value.is_value_of(keyword));
                    let missing = RuleTextError::NoValue {
                        word: keyword.word(),
                        expected: keyword.expected(),
                        example: keyword.example(),
                    };
                    clauses.clause(keyword, &value.ok_or(missing)?.text)?;
                }
            }
        }
        clauses.finish()
    }
}

/// Direction and action, in either order.
fn beginning(words: &mut impl Iterator<Item = Word>) -> Result<(RuleDirection, RuleAction), RuleTextError> {
    let (mut direction, mut action) = (None, None);
    let mut found = Vec::new();
    for word in words.take(2) {
        match word.text.to_ascii_lowercase().as_str() {
            "in" => direction = Some(RuleDirection::In),
            "out" => direction = Some(RuleDirection::Out),
            "allow" => action = Some(RuleAction::Allow),
            "block" => action = Some(RuleAction::Block),
            _ => {}
        }
        found.push(word.text);
    }
    direction.zip(action).ok_or_else(|| RuleTextError::Beginning { found: found.join(" ") })
}

/// What was said so far: the settings, and the words that each came from.
struct Clauses {
    direction: RuleDirection,
    settings: Map<String, Value>,
    said: Vec<Clause>,
}

struct Clause {
    field: &'static str,
    words: String,
    example: &'static str,
}

impl Clauses {
    fn new(direction: RuleDirection, action: RuleAction) -> Self {
        let mut settings = Map::new();
        settings.insert("Action".into(), json!(action.name()));
        settings.insert("Direction".into(), json!(direction.name()));
        Self { direction, settings, said: Vec::new() }
    }

    fn clause(&mut self, keyword: Keyword, value: &str) -> Result<(), RuleTextError> {
        let words = format!("{} {value}", keyword.word());
        let (field, setting) = match (keyword, self.direction) {
            (Keyword::From | Keyword::To, direction) => {
                let is_set = matches!(side(&words, keyword, value)?, Addresses::Sets(_));
                (address_field(keyword, direction, is_set), json!(value))
            }
            (Keyword::Port, RuleDirection::In) | (Keyword::LocalPort, _) => (LOCAL_PORTS, json!(value)),
            (Keyword::Port, RuleDirection::Out) | (Keyword::RemotePort, _) => (REMOTE_PORTS, json!(value)),
            (Keyword::Type, _) => ("IcmpTypes", json!(value)),
            (Keyword::Prio, _) => ("Priority", json!(value)),
            (Keyword::Id, _) => ("Id", json!(value)),
            (Keyword::Host | Keyword::Observe, _) => return self.alone(keyword),
        };
        self.put(Clause { field, words, example: keyword.example() }, setting)
    }

    /// A word that has no value behind it.
    fn alone(&mut self, keyword: Keyword) -> Result<(), RuleTextError> {
        let (field, setting) = match keyword {
            Keyword::Observe => ("Enforce", json!(false)),
            _ => ("RuleType", json!("Host")),
        };
        let clause = Clause { field, words: keyword.word().into(), example: keyword.example() };
        self.put(clause, setting)
    }

    fn protocols(&mut self, word: &str) -> Result<(), RuleTextError> {
        let number = |part: &str| part.parse().map(|IpProtocol(number)| number.to_string());
        let numbers: Result<Vec<String>, _> = word.split(',').map(number).collect();
        let numbers = numbers.map_err(|_| RuleTextError::UnknownWord { word: word.to_owned() })?;
        let clause = Clause { field: PROTOCOLS, words: word.into(), example: "in allow tcp,udp port 53" };
        self.put(clause, json!(numbers.join(",")))
    }

    fn put(&mut self, clause: Clause, value: Value) -> Result<(), RuleTextError> {
        if let Some(before) = self.said.iter().find(|before| before.field == clause.field) {
            let (words, before) = (clause.words, before.words.clone());
            let is_same = words.split(' ').next() == before.split(' ').next();
            let of_addresses = [LOCAL_ADDRESSES, REMOTE_ADDRESSES].contains(&clause.field);
            return Err(if of_addresses && !is_same {
                RuleTextError::BothSides { words, before }
            } else {
                RuleTextError::Twice { words, before, example: clause.example }
            });
        }
        self.settings.insert(clause.field.into(), value);
        self.said.push(clause);
        Ok(())
    }

    fn finish(mut self) -> Result<RuleText, RuleTextError> {
        let priority = self.settings.entry("Priority").or_insert_with(|| json!(DEFAULT_PRIORITY));
        // Written as a number, as clients do; what is none is left to the reader to refuse.
        if let Some(number) = priority.as_str().and_then(|text| text.parse::<u16>().ok()) {
            *priority = json!(number);
        }
        let read = Acl::from_settings(&Value::Object(self.settings.clone()), "");
        match read {
            Ok(acl) => Ok(RuleText { settings: self.settings, acl }),
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// A refusal of the document, told of the words that the field came from.
    fn refused(&self, error: &DocumentError) -> RuleTextError {
        let clause = self.said.iter().find(|clause| clause.field == error.field);
        match clause {
            Some(clause) => refused(&clause.words, error, clause.example),
            None => refused(&error.field, error, "in allow tcp port 443"),
        }
    }
}

fn refused(words: &str, error: &DocumentError, example: &'static str) -> RuleTextError {
    RuleTextError::Refused { words: words.to_owned(), problem: error.problem.clone(), example }
}

/// Addresses or sets, as the reader of documents tells them apart.
fn side(words: &str, keyword: Keyword, value: &str) -> Result<Addresses, RuleTextError> {
    let document = json!({ LOCAL_ADDRESSES: value });
    let read = Fields::of(&document, "", CODE)
        .and_then(|mut fields| address::addresses(&mut fields, &[LOCAL_ADDRESSES]));
    read.map_err(|error| refused(words, &error, keyword.example()))
}

/// Which field holds the source, or the destination, of a direction's packets.
fn address_field(keyword: Keyword, direction: RuleDirection, is_set: bool) -> &'static str {
    let is_source = keyword == Keyword::From;
    // The peer is the source of what comes in; sets stand by source and destination alone.
    let is_local = if is_set || direction == RuleDirection::Out { is_source } else { !is_source };
    if is_local { LOCAL_ADDRESSES } else { REMOTE_ADDRESSES }
}

/// A rule in as few words as say it; `RuleText` reads them.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rule(f, self.direction, self.action, &self.matches)?;
        write_labels(f, self.priority, &self.id)?;
        if self.rule_type == RuleType::Host {
            f.write_str(" host")?;
        }
        if self.enforce { Ok(()) } else { f.write_str(" observe") }
    }
}

/// A rule of a tier in the same words, with its tier's direction. `pass` is read nowhere: tiers are written as documents.
#[derive(Debug)]
pub struct TierRuleText<'a>(pub RuleDirection, pub &'a TierAclRule);

impl fmt::Display for TierRuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(direction, rule) = self;
        write_rule(f, *direction, rule.action, &rule.matches)?;
        write_labels(f, rule.priority, &rule.id)?;
        if rule.enforce { Ok(()) } else { f.write_str(" observe") }
    }
}

fn write_labels(f: &mut fmt::Formatter<'_>, priority: u16, id: &str) -> fmt::Result {
    if priority != DEFAULT_PRIORITY {
        write!(f, " prio {priority}")?;
    }
    if id.is_empty() { Ok(()) } else { write!(f, " id {}", quoted(id)) }
}

fn write_rule(
    f: &mut fmt::Formatter<'_>,
    direction: RuleDirection,
    action: RuleAction,
    matches: &RuleMatch,
) -> fmt::Result {
    write!(f, "{} {}", direction.name().to_ascii_lowercase(), action.name().to_ascii_lowercase())?;
    if !matches.protocols.is_empty() {
        write!(f, " {}", list(matches.protocols.iter().map(|number| IpProtocol(*number))))?;
    }
    for keyword in [Keyword::From, Keyword::To] {
        for (field, addresses) in [(LOCAL_ADDRESSES, &matches.local), (REMOTE_ADDRESSES, &matches.remote)] {
            let is_set = matches!(addresses, Addresses::Sets(_));
            if *addresses != Addresses::Any && address_field(keyword, direction, is_set) == field {
                write!(f, " {} {}", keyword.word(), addresses)?;
            }
        }
    }
    let (local, remote) = match direction {
        RuleDirection::In => (Keyword::Port, Keyword::RemotePort),
        RuleDirection::Out => (Keyword::LocalPort, Keyword::Port),
    };
    for (keyword, ports) in [(local, &matches.local_ports), (remote, &matches.remote_ports)] {
        if !ports.is_empty() {
            write!(f, " {} {}", keyword.word(), list(ports.iter()))?;
        }
    }
    if matches.icmp.is_empty() { Ok(()) } else { write!(f, " type {}", list(matches.icmp.iter())) }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = |prefix: &Cidr| {
            let is_host = *prefix == Cidr::host(prefix.network());
            if is_host { prefix.network().to_string() } else { prefix.to_string() }
        };
        match self {
            Self::Any => Ok(()),
            Self::Prefixes(prefixes) => f.write_str(&list(prefixes.iter().map(single))),
            Self::Sets(ids) => f.write_str(&quoted(&ids.join(","))),
        }
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{}/{code}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

fn list(members: impl Iterator<Item = impl fmt::Display>) -> String {
    members.map(|member| member.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> String {
        let rule: RuleText = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let settings = rule.acl().to_v2()["Settings"].clone();
        let fields = settings.as_object().into_iter().flatten();
        fields.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ").replace('"', "")
    }

    fn refusal(text: &str) -> String {
        text.parse::<RuleText>().expect_err(text).to_string()
    }

    #[test]
    fn words_are_settings() {
        let rows = [
            ("in allow", "Action=Allow Direction=In Priority=1000"),
            (
                "in block tcp from 10.0.0.0/8 port 22 prio 100",
                "Action=Block Direction=In Protocols=6 RemoteAddresses=10.0.0.0/8 LocalPorts=22 Priority=100",
            ),
            (
                "out allow udp to 192.0.2.53 port 53",
                "Action=Allow Direction=Out Protocols=17 RemoteAddresses=192.0.2.53 RemotePorts=53 Priority=1000",
            ),
            (
                "BLOCK Out prio 0 From 10.7.0.2 local-port 68 UDP host id \"no dhcp\"",
                "Action=Block Direction=Out Priority=0 LocalAddresses=10.7.0.2 LocalPorts=68 Protocols=17 RuleType=Host Id=no dhcp",
            ),
            (
                "in allow tcp,132,udp to fd00::7 remote-port 1-1023",
                "Action=Allow Direction=In Protocols=6,132,17 LocalAddresses=fd00::7 RemotePorts=1-1023 Priority=1000",
            ),
            (
                "in allow icmp,icmp6 type 8,3/4",
                "Action=Allow Direction=In Protocols=1,58 IcmpTypes=8,3/4 Priority=1000",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(settings(text), expected, "{text}");
        }
    }

    /// HCN's fields are source and destination for sets, own and peer for addresses (hcn-api 5.6).
    #[test]
    fn from_and_to_are_source_and_destination_of_sets_too() {
        let rows = [
            ("in block from 10.0.0.1", "RemoteAddresses=10.0.0.1"),
            ("in block to 10.0.0.1", "LocalAddresses=10.0.0.1"),
            ("out block from 10.0.0.1", "LocalAddresses=10.0.0.1"),
            ("out block to 10.0.0.1", "RemoteAddresses=10.0.0.1"),
            ("in block from bad", "LocalAddresses=bad"),
            ("in block to bad", "RemoteAddresses=bad"),
            ("out block from bad", "LocalAddresses=bad"),
            ("out block to bad", "RemoteAddresses=bad"),
            ("in block from bad,worse to good", "LocalAddresses=bad,worse RemoteAddresses=good"),
            ("in block from bad from 10.0.0.1", "LocalAddresses=bad RemoteAddresses=10.0.0.1"),
            ("out block to \"to\"", "RemoteAddresses=to"),
        ];
        for (text, expected) in rows {
            let settings = settings(text);
            assert!(settings.contains(expected), "{text}: {settings}");
            assert_eq!(text.parse::<RuleText>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_rule_is_shown_in_as_few_words_as_say_it() {
        let rows = [
            (json!({"Action": "Allow", "Direction": "In", "Priority": 1000}), "in allow"),
            (
                json!({"Action": 1, "Direction": 1, "Protocols": "17,6", "RemotePorts": "53", "LocalPorts": ["1-2", 4],
                    "RemoteAddresses": "192.0.2.53/32,fd00::/64", "RuleType": "Host", "Id": "a\\ \"b\""}),
                r#"out block udp,tcp to 192.0.2.53,fd00::/64 local-port 1-2,4 port 53 prio 0 id "a\\ \"b\"" host"#,
            ),
            (
                json!({"Action": "Block", "Direction": "In", "Protocol": 1, "IcmpTypes": "8", "LocalAddresses": "a set,b",
                    "RemoteAddresses": "10.0.0.0/8", "Priority": 7, "RuleType": "Switch"}),
                r#"in block icmp from "a set,b" from 10.0.0.0/8 type 8 prio 7"#,
            ),
        ];
        for (settings, expected) in rows {
            let acl = Acl::from_settings(&settings, "").unwrap_or_else(|error| panic!("{settings}: {error}"));
            assert_eq!(acl.to_string(), expected);
            assert_eq!(expected.parse::<RuleText>().expect(expected).acl, acl);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_an_example() {
        let rows = [
            (
                "",
                r#"a rule begins with in or out and with allow or block, not with ""; such as: in allow tcp port 443"#,
            ),
            ("in", r#"not with "in";"#),
            ("in out block", r#"not with "in out";"#),
            ("tcp in block", r#"not with "tcp in";"#),
            ("in pass", r#"not with "in pass";"#),
            (
                "in block tpc port 22",
                r#""tpc" is no word of a rule: expected from, to, port, local-port, remote-port, type, prio, id, host, observe, or a protocol (tcp, udp, sctp, icmp, icmp6, a number); such as: in block tcp from 10.0.0.0/8 port 22"#,
            ),
            ("in block tcp,", r#""tcp," is no word"#),
            ("in block tcp 80-90", r#""80-90" is no word"#),
            ("in block any", r#""any" is no word"#),
            (
                "in block from port 22",
                r#"behind "from" expected addresses, prefixes or the ids of sets; such as: in block from 10.0.0.0/8,192.0.2.7"#,
            ),
            ("in block from ,", r#"behind "from" expected"#),
            (
                "in block tcp port",
                r#"behind "port" expected ports or ranges of ports; such as: in allow tcp port 80,8000-8010"#,
            ),
            ("in block tcp port , prio 1", r#"behind "port" expected"#),
            ("in block id \"\"", r#"behind "id" expected a label"#),
            (
                "in block tcp udp",
                r#""udp" stands beside "tcp": write it once, with commas; such as: in allow tcp,udp port 53"#,
            ),
            ("in block tcp 22", r#""22" stands beside "tcp""#),
            ("in block tcp port 80 local-port 81", r#""local-port 81" stands beside "port 80""#),
            ("in block prio 1 prio 2", r#""prio 2" stands beside "prio 1""#),
            ("in block host host", r#""host" stands beside "host""#),
            (
                "in block from bad to 10.0.0.1",
                r#""to 10.0.0.1" cannot stand beside "from bad": name both sides by sets, or both by addresses"#,
            ),
            ("in block from bad from worse", r#""from worse" stands beside "from bad""#),
            ("in block from any", r#""from any": "any" is no address"#),
            (
                "in block from ::ffff:10.0.0.0/104",
                r#""from ::ffff:10.0.0.0/104": "::ffff:10.0.0.0/104" is an IPv4 address in IPv6 form; write it as IPv4; such as: in block from"#,
            ),
            (
                "in block from 10.0.0.300",
                r#""from 10.0.0.300": "10.0.0.300" is not an address or a prefix; such as: in block from"#,
            ),
            (
                "out block to bad,10.0.0.1",
                r#""to bad,10.0.0.1": addresses and set ids cannot stand in one field"#,
            ),
            (
                "in block port 22",
                r#""port 22": only TCP, UDP and SCTP have ports: name Protocols of 6, 17 and 132; such as: in allow tcp port 80"#,
            ),
            ("in block icmp port 22", r#""port 22": only TCP"#),
            ("in block tcp port 90-80", r#""port 90-80": "90-80" is not a port"#),
            ("in block tcp port 0", r#""port 0": "0" is not a port"#),
            ("in block tcp type 8", r#""type 8": only ICMP has types"#),
            ("in block icmp type echo", r#""type echo": "echo" is not an ICMP type"#),
            ("in block prio 65536", r#""prio 65536": expected a whole number from 0 to 65535"#),
            ("in block 0", r#""0": "0" is not the number of an IP protocol"#),
            ("in block id \"no ssh", "a quote is not closed"),
            ("in block id x\\", "a quote is not closed"),
        ];
        for (text, expected) in rows {
            let told = refusal(text);
            assert!(told.contains(expected), "{text}: {told}");
            assert!(told.contains("such as: "), "{text}: {told}");
        }
    }
}
