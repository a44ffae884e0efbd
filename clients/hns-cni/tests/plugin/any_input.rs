//! No input makes the plugin panic, and every refusal is a document of the specification.

use std::ffi::OsString;

use hns_cni::{Call, Conf, Environment, Outline, Verb, decode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::spec_rules;

const VERBS: [Verb; 6] = [Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status, Verb::Version];

/// Keys that the parser reads, so that wrong values meet the places that read them.
const KEYS: [&str; 34] = [
    "cniVersion",
    "name",
    "type",
    "ipam",
    "subnet",
    "subnets",
    "ranges",
    "rangeStart",
    "rangeEnd",
    "gateway",
    "routes",
    "dst",
    "gw",
    "priority",
    "addresses",
    "address",
    "dns",
    "nameservers",
    "runtimeConfig",
    "portMappings",
    "hostPort",
    "containerPort",
    "protocol",
    "ips",
    "mac",
    "ipRanges",
    "bandwidth",
    "policies",
    "value",
    "Type",
    "Settings",
    "mtu",
    "prevResult",
    "interfaces",
];

const TEXTS: [&str; 14] = [
    "",
    "1.1.0",
    "0.4.0",
    "web",
    "hns-cni",
    "win-bridge",
    "10.1.0.0/24",
    "10.1.0.5",
    "fd00::/64",
    "fd00::5",
    "0.0.0.0/0",
    "tcp",
    "EndpointPolicy",
    "02:00:00:00:00:01",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(&KEYS[..]), inner), 0..6).prop_map(|pairs| {
                Value::from(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Performs every verb on the input, without a daemon.
fn perform(input: &[u8], args: &str) {
    let variable = |name: &str| -> Option<OsString> {
        Some(match name {
            "CNI_CONTAINERID" => "c1".into(),
            "CNI_IFNAME" => "eth0".into(),
            "CNI_NETNS" => "/proc/self/ns/pid".into(),
            "CNI_ARGS" => args.into(),
            "HNS_SOCKET" => "/nowhere/hns.sock".into(),
            _ => return None,
        })
    };
    let environment = Environment::read(variable);
    for verb in VERBS {
        match crate::perform(&Call { verb, environment: &environment, input }) {
            Ok(_) => assert_eq!(verb, Verb::Version, "nothing else succeeds without a daemon"),
            Err(failure) => spec_rules::error(&failure.document("1.1.0")).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind(input in proptest::collection::vec(any::<u8>(), 0..200), args in ".{0,40}") {
        // The environment cannot hold a zero byte.
        perform(&input, &args.replace('\0', ""));
    }

    #[test]
    fn json_of_any_shape(document in value()) {
        // An absolute socket may lie in it: the daemon of the machine must never be asked.
        perform(document.to_string().as_bytes(), "IgnoreUnknown=1");
    }

    #[test]
    fn configurations_with_anything_in_them(more in proptest::collection::btree_map(
        proptest::sample::select(&KEYS[3..]), value(), 0..6,
    )) {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "web", "type": "hns-cni"});
        for (key, value) in more {
            conf[key] = value;
        }
        perform(conf.to_string().as_bytes(), "");
        // What is read reads the same again, and the ranges in it end.
        let outline = Outline::read(decode(conf.to_string().as_bytes()).unwrap());
        if let Ok(outline) = outline && let Ok(read) = Conf::read(&outline, "") {
            prop_assert_eq!(Conf::read(&outline, "").unwrap(), read);
        }
    }
}
