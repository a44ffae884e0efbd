//! What clients write is understood, what the daemon writes is read back, and what is wrong is named.

use hns_hcn::{
    Endpoint, ErrorCode, ModifyRequest, Namespace, NamespaceResource, Network, NetworkType, Query,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The documents of the requirements (seed 5.6, hcn-api 3.1 to 3.3), as clients send them.
fn networks() -> Vec<Value> {
    vec![
        json!({"SchemaVersion":{"Major":2,"Minor":0},"Name":"nat","Type":"NAT",
            "Ipams":[{"Type":"Static","Subnets":[{"IpAddressPrefix":"172.16.0.0/16",
            "Routes":[{"NextHop":"172.16.0.1","DestinationPrefix":"0.0.0.0/0"}]}]}],
            "Dns":{"Domain":"lab.test","ServerList":["192.0.2.53"]},"Flags":0}),
        json!({"Name":"pods","Type":3,"Flags":8,"MacPool":{},"Health":{"Extra":{}},
            "Policies":[{"Type":"NetAdapterName","Settings":{"NetworkAdapterName":"eth0"}}],
            "Ipams":[{"Type":0,"Subnets":[{"IpAddressPrefix":"10.4.0.0/24","IpSubnets":null,"Flags":"None",
            "Routes":[{"NextHop":"10.4.0.1","DestinationPrefix":"0.0.0.0/0","Metric":0}]}]}]}),
        json!({"name":"lower","type":"internal","flags":"EnableNonPersistent,DisableHostPort",
            "MacPool":{"Ranges":[{"StartMacAddress":"00:15:5d:00:00:00","EndMacAddress":"00-15-5D-00-00-FF"}]},
            "AdditionalParams":{"Mtu":1400,"IpRange":"10.0.0.128/25","AuxAddresses":{"router":"10.0.0.9"},
            "GatewayMode":{"IPv6":"routed"},"Foreign":[1,2]},
            "Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.5/24"},{"IpAddressPrefix":"fd00::/64"}]}]}),
    ]
}

fn endpoints() -> Vec<Value> {
    vec![
        json!({"Name":"c1_pods","HostComputeNetwork":"5b1c5a0e-1d2e-4c7a-9a52-3f1f2b0c7d11",
            "Dns":{"Search":["x"],"ServerList":["10.96.0.10"]},"IpConfigurations":[{"IpAddress":"10.4.0.7"}],
            "Routes":[{"NextHop":"10.4.0.2","DestinationPrefix":"0.0.0.0/0"}],
            "Policies":[{"Type":"OutBoundNAT","Settings":{"Exceptions":["10.4.0.0/16"]}},
            {"Type":"PortMapping","Settings":{"InternalPort":"80","ExternalPort":8080,"Protocol":6,"VIP":""}},{}],
            "Health":{"Extra":{}},"SchemaVersion":{"Major":2,"Minor":0}}),
        json!({"IpConfigurations":[{}],"Routes":[{"DestinationPrefix":"::/0"}],"Flags":2,
            "MacAddress":"02:11:22:33:44:55","HostComputeNamespace":"00000000-0000-0000-0000-000000000000",
            "AdditionalParams":{"InterfaceName":"net1","GatewayPriority":-3}}),
        json!({"Policies":[{"type":"portmapping","data":{"internalport":8000,"externalport":9000,"PortCount":11,"protocol":17}}],
            "IpConfigurations":null,"Routes":[{}]}),
    ]
}

#[test]
fn what_is_written_is_read_back() {
    for document in networks() {
        let network = Network::from_v2(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(Network::from_v2(&network.to_v2()), Ok(network), "{document}");
    }
    for document in endpoints() {
        let endpoint = Endpoint::from_v2(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(Endpoint::from_v2(&endpoint.to_v2()), Ok(endpoint), "{document}");
    }
    for document in [
        json!({}),
        json!({"Type":"HostDefault"}),
        json!({"AdditionalParams":{"Path":"/run/netns/x"}}),
        json!({"SchemaVersion":{"Major":0,"Minor":0},"Resources":[{"Type":"Container","Data":{"Id":"abc"}}],"ReadyOnCreate":true}),
    ] {
        let namespace = Namespace::from_v2(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(Namespace::from_v2(&namespace.to_v2()), Ok(namespace), "{document}");
    }
}

#[test]
fn policy_settings_come_back_verbatim() {
    let endpoint = Endpoint::from_v2(&endpoints()[0]).unwrap();
    let out = endpoint.to_v2();
    assert_eq!(
        out["Policies"][1]["Settings"],
        json!({"InternalPort":"80","ExternalPort":8080,"Protocol":6,"VIP":""})
    );
    assert_eq!(out["Policies"].as_array().map(Vec::len), Some(2), "the empty policy is skipped");
}

#[test]
fn enumerations_are_written_with_the_spelling_clients_compare() {
    let network = Network::from_v2(&json!({"Name":"a","Type":"l2BRIDGE"})).unwrap();
    assert_eq!((network.kind, network.to_v2()["Type"].as_str()), (NetworkType::L2Bridge, Some("L2Bridge")));
}

#[test]
fn errors_name_the_field_and_carry_the_code() {
    let rows = [
        (
            json!({"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/33"}]}]}),
            "Ipams[0].Subnets[0].IpAddressPrefix",
            ErrorCode::INVALID_PREFIX,
        ),
        (json!({"Name":7}), "Name", ErrorCode::INVALID_NETWORK),
        (json!({"Type":"Nut"}), "Type", ErrorCode::INVALID_NETWORK_TYPE),
        (json!({"Nmae":"x"}), "Nmae", ErrorCode::INVALID_NETWORK),
        (json!({"Flags":1 << 20}), "Flags", ErrorCode::INVALID_NETWORK),
        (json!({"ID":"x"}), "ID", ErrorCode::GUID_CONVERSION_FAILURE),
        (
            json!({"MacPool":{"Ranges":[{"StartMacAddress":"00-15-5D-00-00-01","EndMacAddress":"00-15-5D-00-00-00"}]}}),
            "MacPool.Ranges[0]",
            ErrorCode::INVALID_NETWORK,
        ),
        (json!({"AdditionalParams":{"Mtu":10}}), "AdditionalParams.Mtu", ErrorCode::INVALID_NETWORK),
        (
            json!({"AdditionalParams":{"AuxAddresses":{"a":"b"}}}),
            "AdditionalParams.AuxAddresses.a",
            ErrorCode::INVALID_IP,
        ),
        (
            json!({"AdditionalParams":{"GatewayMode":"tunnel"}}),
            "AdditionalParams.GatewayMode",
            ErrorCode::INVALID_NETWORK,
        ),
        (json!([]), "", ErrorCode::INVALID_NETWORK),
    ];
    for (document, field, code) in rows {
        let error = Network::from_v2(&document).expect_err(&document.to_string());
        assert_eq!((error.field.as_str(), error.code), (field, code), "{document}: {error}");
    }
    let rows = [
        (
            json!({"Policies":[{"Type":"PortMapping","Settings":{"InternalPort":0}}]}),
            "Policies[0].Settings.InternalPort",
            ErrorCode::INVALID_INTERNAL_PORT,
        ),
        (
            json!({"Policies":[{"Type":"PortMapping","Settings":{"InternalPort":80,"Protocol":1}}]}),
            "Policies[0].Settings.Protocol",
            ErrorCode::INVALID_POLICY,
        ),
        (
            json!({"Policies":[{"Type":"PortMapping","Settings":{"InternalPort":65535,"PortCount":2}}]}),
            "Policies[0].Settings.InternalPort",
            ErrorCode::INVALID_POLICY,
        ),
        (json!({"Policies":[{"Type":"Nonsense"}]}), "Policies[0].Type", ErrorCode::INVALID_POLICY_TYPE),
        (json!({"Policies":[{"Settings":{}}]}), "Policies[0].Type", ErrorCode::INVALID_POLICY),
        (json!({"MacAddress":"01-00-5E-00-00-01"}), "MacAddress", ErrorCode::INVALID_ENDPOINT),
        (
            json!({"IpConfigurations":[{"IpAddress":"10.0.0.1","PrefixLength":33}]}),
            "IpConfigurations[0].PrefixLength",
            ErrorCode::INVALID_IP,
        ),
        (
            json!({"Routes":[{"NextHop":"fd00::1","DestinationPrefix":"0.0.0.0/0"}]}),
            "Routes[0].NextHop",
            ErrorCode::INVALID_IP,
        ),
        (
            json!({"AdditionalParams":{"InterfaceName":"no good"}}),
            "AdditionalParams.InterfaceName",
            ErrorCode::INVALID_ENDPOINT,
        ),
        (
            json!({"AdditionalParams":{"GatewayPriority":100}}),
            "AdditionalParams.GatewayPriority",
            ErrorCode::INVALID_ENDPOINT,
        ),
    ];
    for (document, field, code) in rows {
        let error = Endpoint::from_v2(&document).expect_err(&document.to_string());
        assert_eq!((error.field.as_str(), error.code), (field, code), "{document}: {error}");
    }
}

#[test]
fn a_name_that_steers_a_terminal_is_refused_and_read_where_it_is_recorded() {
    for name in ["a\u{1b}[2J", "a\u{9b}", "a\nb", "a\u{202a}", "a\u{202e}", "a\u{2066}", "a\u{2069}"] {
        let document = json!({ "Name": name });
        let refused = [
            Network::from_v2(&document).map(drop),
            Endpoint::from_v2(&document).map(drop),
            Namespace::from_v2(&document).map(drop),
        ];
        for refusal in refused {
            assert_eq!(refusal.unwrap_err().field, "Name", "{name:?}");
        }
        assert_eq!(Network::from_record(&document).unwrap().name, name);
        assert_eq!(Endpoint::from_record(&document).unwrap().name, name);
        assert_eq!(Namespace::from_record(&document).unwrap().name, name);
    }
    // What is written from right to left needs none of them.
    assert_eq!(Namespace::from_v2(&json!({"Name": "שלום größer"})).unwrap().name, "שלום größer");
}

#[test]
fn a_query_finds_by_either_name_of_a_property() {
    let endpoint = json!({"ID":"A0000000-0000-0000-0000-000000000001","Name":"web","State":3,
        "HostComputeNetwork":"B0000000-0000-0000-0000-000000000001"});
    for filter in [
        r#"{"Name":"web"}"#,
        r#"{"Filter":"{\"VirtualNetwork\":\"b0000000-0000-0000-0000-000000000001\"}"}"#,
        r#"{"SchemaVersion":{"Major":2,"Minor":0},"Flags":0,"Filter":"{\"State\":3}"}"#,
        r#"{"Filter":"{\"id\":\"a0000000-0000-0000-0000-000000000001\",\"Name\":\"web\"}"}"#,
        r#"{"Filter":""}"#,
        "",
        "{}",
    ] {
        assert!(Query::parse(filter).unwrap().matches(&endpoint), "{filter}");
    }
    for filter in [r#"{"Name":"Web"}"#, r#"{"Filter":"{\"ID\":\"\"}"}"#, r#"{"Filter":"{\"Unknown\":1}"}"#] {
        assert!(!Query::parse(filter).unwrap().matches(&endpoint), "{filter}");
    }
    assert_eq!(Query::parse("{").unwrap_err().code, ErrorCode::INVALID_JSON);
    assert_eq!(
        Query::parse(r#"{"SchemaVersion":{"Major":1}}"#).unwrap_err().code,
        ErrorCode::REQUEST_UNSUPPORTED
    );
}

#[test]
fn a_modify_request_needs_all_its_parts() {
    let good = json!({"ResourceType":1,"RequestType":"add","Settings":{"EndpointId":"a0000000-0000-0000-0000-000000000001"}});
    let request = ModifyRequest::<NamespaceResource>::from_v2(&good).unwrap();
    assert!(matches!(request.resource, NamespaceResource::Endpoint(_)));
    for key in ["ResourceType", "RequestType", "Settings"] {
        let mut part = good.clone();
        part.as_object_mut().unwrap().remove(key);
        let error = ModifyRequest::<NamespaceResource>::from_v2(&part).unwrap_err();
        assert_eq!(error.field, key, "{error}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        prop::sample::select(vec![
            "ID",
            "Name",
            "Type",
            "Flags",
            "Policies",
            "Ipams",
            "Subnets",
            "Routes",
            "Settings",
            "IpAddressPrefix",
            "NextHop",
            "MacPool",
            "Ranges",
            "AdditionalParams",
            "InternalPort",
            "Filter",
            "Dns"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["NAT", "PortMapping", "10.0.0.0/8", "fd00::1", "0.0.0.0/0"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_a_reader_fall(document in json_value()) {
        if let Ok(network) = Network::from_v2(&document) {
            prop_assert_eq!(Network::from_v2(&network.to_v2()), Ok(network));
        }
        if let Ok(endpoint) = Endpoint::from_v2(&document) {
            prop_assert_eq!(Endpoint::from_v2(&endpoint.to_v2()), Ok(endpoint));
        }
        let _ = Namespace::from_v2(&document);
        let _ = ModifyRequest::<NamespaceResource>::from_v2(&document);
        let _ = Query::parse(&document.to_string());
    }
}
