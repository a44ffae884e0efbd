//! Every rule that a document can hold is told in words, and read back from them.

use hns_hcn::{Acl, Endpoint, PolicySettings, RuleText};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn acl_of(settings: &Value) -> Acl {
    let document = json!({"Policies": [{"Type": "ACL", "Settings": settings}]});
    let endpoint = Endpoint::from_v2(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
    match &endpoint.policies[0].meaning {
        PolicySettings::Acl(acl) => acl.clone(),
        other => panic!("{other:?}"),
    }
}

fn list(members: impl Strategy<Value = String>) -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::collection::vec(members, 1..4).prop_map(|members| members.join(",")))
}

fn prefix() -> impl Strategy<Value = String> {
    // An IPv4 address in IPv6 form is refused.
    let ipv6 = || any::<std::net::Ipv6Addr>().prop_filter("mapped", |addr| addr.to_ipv4_mapped().is_none());
    prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        ipv6().prop_map(|address| address.to_string()),
        (any::<std::net::Ipv4Addr>(), 0..=32).prop_map(|(address, length)| format!("{address}/{length}")),
        (ipv6(), 0..=128).prop_map(|(address, length)| format!("{address}/{length}")),
    ]
}

/// Ids of sets with everything in them that words have to quote, and those that are words themselves.
fn set_id() -> impl Strategy<Value = String> {
    prop_oneof![
        "[b-z]([a-z \"\\\\.-]{0,6}[a-z\"\\\\])?".prop_filter("any", |id| id != "none"),
        prop::sample::select(vec!["from", "to", "Port", "host", "id", "in", "tcp"]).prop_map(str::to_owned),
        Just("1f0e7f52-6c1b-4c57-93c6-2d8c7a5b3e44".to_owned()),
    ]
}

fn addresses() -> impl Strategy<Value = Option<String>> {
    prop_oneof![list(prefix()), list(set_id())]
}

fn ports() -> impl Strategy<Value = Option<String>> {
    list(
        (1..=u16::MAX, 0..=300_u16)
            .prop_map(|(start, more)| format!("{start}-{}", start.saturating_add(more))),
    )
}

fn icmp_types() -> impl Strategy<Value = Option<String>> {
    list((any::<u8>(), prop::option::of(any::<u8>())).prop_map(|(kind, code)| match code {
        Some(code) => format!("{kind}/{code}"),
        None => kind.to_string(),
    }))
}

fn protocols(of: &'static [u8]) -> impl Strategy<Value = Option<String>> {
    list(prop::sample::select(of).prop_map(|number| number.to_string()))
}

/// The conditions that go with a protocol.
fn transport() -> impl Strategy<Value = [(&'static str, Option<String>); 4]> {
    let with_ports = (protocols(&[6, 17, 132]), ports(), ports()).prop_map(|(protocols, local, remote)| {
        let has_ports = protocols.is_some();
        let only = |ports: Option<String>| ports.filter(|_| has_ports);
        [
            ("Protocols", protocols),
            ("LocalPorts", only(local)),
            ("RemotePorts", only(remote)),
            ("IcmpTypes", None),
        ]
    });
    let with_types = (protocols(&[1, 58]), icmp_types()).prop_map(|(protocols, types)| {
        let has_types = protocols.is_some();
        let types = types.filter(|_| has_types);
        [("Protocols", protocols), ("LocalPorts", None), ("RemotePorts", None), ("IcmpTypes", types)]
    });
    let bare = list((1..=255_u8).prop_map(|number| number.to_string())).prop_map(|protocols| {
        [("Protocols", protocols), ("LocalPorts", None), ("RemotePorts", None), ("IcmpTypes", None)]
    });
    prop_oneof![with_ports, with_types, bare]
}

prop_compose! {
    fn settings()(
        action in prop::sample::select(vec!["Allow", "Block"]),
        direction in prop::sample::select(vec!["In", "Out"]),
        transport in transport(),
        local in addresses(),
        remote in addresses(),
        priority in prop::option::of(any::<u16>()),
        id in prop::option::of("\\PC{1,12}|from|\\PC{0,3}[\"\\\\ \n]\\PC{0,3}"),
        host in any::<bool>(),
    ) -> Value {
        let mut settings = Map::new();
        settings.insert("Action".into(), json!(action));
        settings.insert("Direction".into(), json!(direction));
        let texts = [("LocalAddresses", local), ("RemoteAddresses", remote), ("Id", id)];
        for (field, text) in transport.into_iter().chain(texts) {
            settings.extend(text.map(|text| (field.to_owned(), json!(text))));
        }
        settings.extend(priority.map(|priority| ("Priority".to_owned(), json!(priority))));
        settings.extend(host.then(|| ("RuleType".to_owned(), json!("Host"))));
        Value::Object(settings)
    }
}

proptest! {
    #[test]
    fn a_rule_in_words_is_the_rule(settings in settings()) {
        let acl = acl_of(&settings);
        let text = acl.to_string();
        let read: RuleText = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(acl_of(&read.acl().to_v2()["Settings"]), acl, "{}", text);
        prop_assert_eq!(&read.to_string(), &text);
    }

    #[test]
    fn no_text_makes_the_reader_fall(text in "(in|out) (allow|block)( (from|to|port|prio|id|\\PC{0,6}|[0-9,\"\\\\]{0,4})){0,6}") {
        if let Ok(rule) = text.parse::<RuleText>() {
            let shown = rule.to_string();
            prop_assert_eq!(shown.parse::<RuleText>().map(|again| again.to_string()), Ok(shown));
        }
    }
}
