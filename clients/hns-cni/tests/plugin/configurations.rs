//! Configurations as operators write them, for this plugin and for those of Windows, and what is asked of the daemon.

use hns_cni::Verb;
use serde_json::{Value, json};

use crate::scripted_daemon::Daemon;
use crate::{Runtime, conf};

/// What an ADD asks for.
fn asked(conf: &Value) -> Value {
    let daemon = Daemon::generous();
    Runtime::new(&daemon).add(conf);
    daemon.created()
}

fn refused(conf: &Value) -> (u64, String) {
    let daemon = Daemon::generous();
    let document = Runtime::new(&daemon).refused(Verb::Add, conf);
    assert!(daemon.asked().is_empty(), "refused before anything was asked");
    (document["code"].as_u64().unwrap(), document["msg"].as_str().unwrap().to_owned())
}

/// The network document that a configuration of ours with `more` in it asks for.
fn network(more: &Value) -> Value {
    asked(&conf("1.0.0", more))["HostComputeNetwork"].clone()
}

#[test]
fn our_own_keys_describe_the_network() {
    let subnets = |subnets: Value| json!([{"Type": "Static", "Subnets": subnets}]);
    let cases = [
        (json!({"network": "nat"}), json!({"Name": "nat", "Owner": "cni"})),
        (
            json!({"network": "5b1c5a0e-1d2e-4c7a-9a52-3f1f2b0c7d11"}),
            json!({"ID": "5B1C5A0E-1D2E-4C7A-9A52-3F1F2B0C7D11", "Owner": "cni"}),
        ),
        (json!({"networkType": "internal"}), json!({"Name": "web", "Owner": "cni", "Type": "Internal"})),
        (
            json!({"network": "w2", "subnet": "10.1.0.0/24", "gateway": "10.1.0.254"}),
            json!({"Name": "w2", "Owner": "cni", "Type": "NAT", "Ipams": subnets(json!([
                {"IpAddressPrefix": "10.1.0.0/24",
                    "Routes": [{"NextHop": "10.1.0.254", "DestinationPrefix": "0.0.0.0/0"}]}]))}),
        ),
        (
            json!({"subnets": ["10.1.0.0/24", {"subnet": "fd01::/64", "gateway": "fd01::ff"}],
                "mtu": 1400, "ipMasq": false}),
            json!({"Name": "web", "Owner": "cni", "Type": "NAT", "Ipams": subnets(json!([
                {"IpAddressPrefix": "10.1.0.0/24"}, {"IpAddressPrefix": "fd01::/64",
                    "Routes": [{"NextHop": "fd01::ff", "DestinationPrefix": "::/0"}]}])),
                "AdditionalParams": {"Mtu": 1400, "GatewayMode": "routed"}}),
        ),
        (
            json!({"ipv6": true, "ipMasq": true}),
            json!({"Name": "web", "Owner": "cni", "Type": "NAT", "AdditionalParams": {"EnableIPv6": true}}),
        ),
        (
            json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.64",
                "rangeEnd": "10.1.0.127"}]]}}),
            json!({"Name": "web", "Owner": "cni", "Type": "NAT",
                "Ipams": subnets(json!([{"IpAddressPrefix": "10.1.0.0/24"}])),
                "AdditionalParams": {"IpRange": ["10.1.0.64/26"]}}),
        ),
        (
            json!({"networkType": "transparent", "master": "eth1"}),
            json!({"Name": "web", "Owner": "cni", "Type": "Transparent", "Policies":
                [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth1"}}]}),
        ),
        (
            json!({"networkType": "transparent", "master": "eth1", "vlan": 7}),
            json!({"Name": "web", "Owner": "cni", "Type": "Transparent", "Policies":
                [{"Type": "VLAN", "Settings": {"IsolationId": 7}},
                 {"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth1"}}]}),
        ),
    ];
    for (more, document) in cases {
        assert_eq!(network(&more), document, "{more}");
    }
}

#[test]
fn our_own_keys_describe_the_endpoint() {
    let document = asked(&conf(
        "1.0.0",
        &json!({"mtu": 1400, "mac": "02:00:00:00:00:01", "isDefaultGateway": false,
            "ipam": {"type": "hns", "subnet": "10.1.0.0/24", "addresses": [{"address": "10.1.0.7/24"}],
                "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.0.9"}, {"dst": "0.0.0.0/0"}]}}),
    ));
    assert_eq!(document["IpConfigurations"], json!([{"IpAddress": "10.1.0.7", "PrefixLength": 24}]));
    assert_eq!(document["MacAddress"], "02-00-00-00-00-01");
    assert_eq!(document["Policies"], json!([{"Type": "InterfaceParameters", "Settings": {"Mtu": 1400}}]));
    let routes: Vec<(&Value, &Value)> = document["Routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| (&route["DestinationPrefix"], &route["NextHop"]))
        .collect();
    assert_eq!(
        routes,
        [
            (&json!("10.9.0.0/16"), &json!("10.1.0.9")),
            (&json!("0.0.0.0/0"), &json!("0.0.0.0")),
            (&json!("::/0"), &json!("::"))
        ]
    );
}

#[test]
fn the_runtimes_wishes_reach_the_endpoint() {
    let daemon = Daemon::generous();
    let runtime = Runtime {
        args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.1.0.3".to_owned(),
        ..Runtime::new(&daemon)
    };
    let result = runtime.add(&conf(
        "1.0.0",
        &json!({"subnet": "10.2.0.0/24", "dns": {"nameservers": ["192.0.2.1"], "search": ["conf.test"]},
            "capabilities": {"portMappings": true, "bandwidth": true},
            "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
                "ips": ["10.1.0.5/24"], "mac": "02:00:00:00:00:02", "aliases": ["web"],
                "bandwidth": {"ingressRate": 8000, "ingressBurst": 80, "egressRate": 0, "egressBurst": 0},
                "ipRanges": [[{"subnet": "10.1.0.0/24"}]], "dns": {"searches": ["pod.test"]}}}),
    ));
    let document = daemon.created();
    let prefix = &document["HostComputeNetwork"]["Ipams"][0]["Subnets"][0]["IpAddressPrefix"];
    assert_eq!(prefix, "10.1.0.0/24", "ranges of the runtime replace those of the configuration");
    assert_eq!(document["IpConfigurations"][0]["IpAddress"], "10.1.0.5");
    assert_eq!(document["MacAddress"], "02-00-00-00-00-02");
    assert_eq!(document["Policies"][0]["Settings"]["ExternalPort"], 8080);
    let limits = json!({"MaximumIncomingBandwidthInBytes": 1000, "IncomingBurstInBytes": 10});
    assert_eq!(document["Policies"][1], json!({"Type": "QOS", "Settings": limits}));
    assert_eq!(document["Dns"], json!({"Search": ["pod.test"], "ServerList": ["192.0.2.1"]}));
    let marks = &document["AdditionalParams"]["Cni"];
    assert_eq!(marks["Pod"], json!({"Namespace": "default", "Name": "web-0"}));
    assert_eq!(marks["Aliases"], json!(["web"]));
    assert_eq!(marks["Labels"][0]["value"], "web");
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.1"], "search": ["pod.test"]}));
}

#[test]
fn an_address_in_cni_args_is_taken_when_the_runtime_says_no_other() {
    let daemon = Daemon::generous();
    let runtime = Runtime { args: "IP=10.1.0.3;MAC=02-00-00-00-00-03".to_owned(), ..Runtime::new(&daemon) };
    runtime.add(&conf("1.0.0", &json!({"subnet": "10.1.0.0/24"})));
    let document = daemon.created();
    assert_eq!(document["IpConfigurations"], json!([{"IpAddress": "10.1.0.3"}]));
    assert_eq!(document["MacAddress"], "02-00-00-00-00-03");
}

#[test]
fn microsofts_nat_configuration_works_as_it_stands() {
    let document = asked(&json!({"cniVersion": "0.2.0", "name": "natNetwork", "type": "nat",
        "master": "Ethernet", "capabilities": {"portMappings": true, "dns": true},
        "ipam": {"subnet": "192.168.100.0/24", "routes": [{"GW": "192.168.100.1"}]},
        "dns": {"Nameservers": ["192.0.2.53"], "Search": ["svc.cluster.local"]},
        "optionalFlags": {"localRoutedPortMapping": true, "allowAclPortMapping": true},
        "AdditionalArgs": [{"Name": "EndpointPolicy", "Value":
            {"Type": "NAT", "Protocol": "TCP", "InternalPort": 80, "ExternalPort": 8080}}]}));
    assert_eq!(
        document["HostComputeNetwork"],
        json!({"Name": "natNetwork", "Owner": "cni", "Type": "NAT", "Ipams": [{"Type": "Static", "Subnets":
            [{"IpAddressPrefix": "192.168.100.0/24",
                "Routes": [{"NextHop": "192.168.100.1", "DestinationPrefix": "0.0.0.0/0"}]}]}]})
    );
    assert_eq!(document["Dns"], json!({"Search": ["svc.cluster.local"], "ServerList": ["192.0.2.53"]}));
    assert_eq!(
        document["Policies"],
        json!([{"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}])
    );
}

/// Seed ACL-6: the first rule closes what no rule names, published ports as well.
#[test]
fn published_ports_have_rules_beside_those_of_the_configuration() {
    let policies = |flag: bool, rule: Value| {
        asked(&conf(
            "1.0.0",
            &json!({"optionalFlags": {"allowAclPortMapping": flag},
                "AdditionalArgs": [{"Name": "EndpointPolicy", "Value": rule}],
                "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80},
                    {"hostPort": 0, "containerPort": 81},
                    {"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]}}),
        ))["Policies"]
            .clone()
    };
    let rule = json!({"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In", "Priority": 2000}});
    let port = |priority: u16, protocol: &str, port: &str| {
        json!({"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "Priority": priority,
            "Protocols": protocol, "LocalPorts": port}})
    };
    let all = policies(true, rule.clone());
    assert_eq!(all[0], rule);
    assert_eq!(all.as_array().unwrap()[3..], [port(1000, "6", "80"), port(1001, "17", "53")]);
    assert_eq!(policies(false, rule).as_array().unwrap().len(), 3);
    // Rules of the host's type close nothing, and rules beside them would.
    let host = json!({"Type": "ACL", "ruletype": "HOST", "Action": "Allow", "Direction": "In"});
    assert_eq!(policies(true, host).as_array().unwrap().len(), 3);
    assert_eq!(policies(true, json!({"Type": "PortName"})).as_array().unwrap().len(), 3);
}

/// Types that do not exist yet are the daemon's to refuse; what it is asked must be right all the same.
#[test]
fn configurations_of_other_windows_plugins_ask_for_their_types() {
    let sdnbridge = asked(&json!({"cniVersion": "0.2.0", "name": "ContainerHostA", "type": "sdnbridge",
        "master": "Ethernet", "ipam": {"environment": "azure", "subnet": "192.168.100.0/24",
            "routes": [{"GW": "192.168.100.2"}]},
        "ipamv6": {"environment": "azure", "subnet": "10::/64", "routes": [{"GW": "10::2"}]},
        "optionalFlags": {"enableDualStack": true},
        "AdditionalArgs": [{"Name": "EndpointPolicy", "Value": {"Type": "OutBoundNAT",
            "Settings": {"Exceptions": ["192.168.100.0/24"]}}}]}));
    assert_eq!(sdnbridge["HostComputeNetwork"]["Type"], "L2Bridge");
    assert_eq!(sdnbridge["HostComputeNetwork"]["Ipams"][0]["Subnets"][1]["IpAddressPrefix"], "10::/64");
    let adapter = &sdnbridge["HostComputeNetwork"]["Policies"][0]["Settings"]["NetworkAdapterName"];
    assert_eq!(adapter, "Ethernet");
    assert_eq!(sdnbridge["Policies"][0]["Settings"]["Exceptions"], json!(["192.168.100.0/24"]));

    let win_overlay = asked(&json!({"CniVersion": "0.2.0", "Name": "vxlan0", "Type": "win-overlay",
        "apiVersion": 2, "Capabilities": {"portMappings": true, "Dns": true}, "ipMasq": true,
        "loopbackDSR": true, "Policies": [
            {"Name": "EndpointPolicy", "Value": {"Type": "OutBoundNAT",
                "Settings": {"ExceptionList": ["10.96.0.0/12"]}}},
            {"Name": "EndpointPolicy", "Value": {"Type": "ROUTE", "DestinationPrefix": "10.96.0.0/12",
                "NeedEncap": true}}]}));
    assert_eq!(win_overlay["HostComputeNetwork"]["Type"], "Overlay");
    assert_eq!(win_overlay["Policies"][0]["Settings"], json!({"Exceptions": ["10.96.0.0/12"]}));
    assert_eq!(win_overlay["Policies"][1]["Type"], "SDNRoute");

    let azure = asked(&json!({"cniVersion": "0.3.0", "name": "azure", "type": "azure-vnet",
        "mode": "bridge", "bridge": "azure0", "logLevel": "info"}));
    assert_eq!(azure["HostComputeNetwork"]["Type"], "L2Bridge");

    let wincni = asked(&json!({"cniVersion": "0.2.0", "name": "l2tunnel", "type": "wincni.exe"}));
    assert_eq!(wincni["HostComputeNetwork"]["Type"], "L2Tunnel");
}

#[test]
fn the_hosts_own_endpoint_is_the_gateway_where_the_configuration_says_so() {
    let plugin = json!({"cniVersion": "0.2.0", "name": "cbr0", "type": "sdnbridge", "master": "eth0",
        "ipam": {"subnet": "10.244.1.0/24", "routes": [{"GW": "10.244.1.1"}]},
        "ipamv6": {"subnet": "fd00:244:1::/64", "routes": [{"GW": "fd00:244:1::1"}]},
        "optionalFlags": {"forceBridgeGateway": true}});
    let document = asked(&plugin);
    let hops = document["Routes"].as_array().unwrap().iter();
    let hops: Vec<_> = hops.map(|route| (&route["DestinationPrefix"], &route["NextHop"])).collect();
    assert_eq!(
        hops,
        [(&json!("0.0.0.0/0"), &json!("10.244.1.2")), (&json!("::/0"), &json!("fd00:244:1::2"))]
    );
    // Nobody is given that address by chance.
    let network = &document["HostComputeNetwork"];
    assert_eq!(network["Ipams"][0]["Subnets"][0]["Routes"][0]["NextHop"], "10.244.1.1");
    let ranges = network["AdditionalParams"]["IpRange"].as_array().unwrap();
    assert_eq!([&ranges[0], &ranges[1]], [&json!("10.244.1.3/32"), &json!("10.244.1.4/30")]);
    assert!(ranges.contains(&json!("fd00:244:1::3/128")));

    let mut plugin = plugin;
    plugin["optionalFlags"]["forceBridgeGateway"] = json!(false);
    let document = asked(&plugin);
    assert_eq!(
        (&document["Routes"], &document["HostComputeNetwork"]["AdditionalParams"]),
        (&json!([]), &Value::Null)
    );
}

#[test]
fn a_windows_configuration_works_once_its_type_is_replaced() {
    let document =
        asked(&json!({"cniVersion": "1.0.0", "name": "cbr0", "type": "hns-cni", "networkType": "nat",
        "apiVersion": 1, "loopbackDSR": true, "logLevel": "info", "master": "Ethernet",
        "policies": [{"name": "EndpointPolicy", "value": {"Type": "OutBoundNAT"}}]}));
    assert_eq!(document["HostComputeNetwork"], json!({"Name": "cbr0", "Owner": "cni", "Type": "NAT"}));
    assert_eq!(document["Policies"], json!([{"Type": "OutBoundNAT", "Settings": {}}]));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let cases = [
        (json!({"unknown": 7}), 2, "unknown = 7 is not supported"),
        (json!({"bridge": "cni0"}), 2, "bridge = \"cni0\" is not supported"),
        (json!({"endpointMacPrefix": "0E-2A"}), 2, "endpointMacPrefix = \"0E-2A\" is not supported"),
        (json!({"ipMasqNetwork": "10.0.0.0/8"}), 2, "ipMasqNetwork = "),
        (
            json!({"optionalFlags": {"forceBridgeGateway": true}}),
            2,
            "optionalFlags.forceBridgeGateway = true",
        ),
        (
            json!({"networkType": "l2bridge", "optionalFlags": {"forceBridgeGateway": true}}),
            2,
            "optionalFlags.forceBridgeGateway = true is not supported: it is the second address of a subnet",
        ),
        (json!({"optionalFlags": {"forceBridgeGateway": "yes"}}), 7, "optionalFlags.forceBridgeGateway"),
        (json!({"optionalFlags": {"sorcery": true}}), 2, "optionalFlags.sorcery = true"),
        (json!({"apiVersion": 3}), 7, "apiVersion: 3 is not 1 or 2"),
        (json!({"networkType": "ics"}), 7, "networkType: \"ics\" is not one of nat, internal"),
        (json!({"networkType": "internal", "ipMasq": true}), 7, "ipMasq: "),
        (
            json!({"isDefaultGateway": false, "ipam": {"routes": [{"dst": "10.8.0.0/16"}]}}),
            7,
            "isDefaultGateway: the route to 10.8.0.0/16 needs a gw",
        ),
        (json!({"mtu": 10}), 7, "mtu: "),
        (json!({"subnet": "10.1.0.0"}), 7, "subnet: "),
        (json!({"gateway": "10.1.0.1"}), 7, "gateway: 10.1.0.1 is in no subnet"),
        (json!({"ipam": {"subnet": "10.1.0.0/24", "unknown": 1}}), 2, "ipam.unknown = 1"),
        (json!({"ipam": {"routes": [{"dst": "10.0.0.0/8", "mtu": 1400}]}}), 2, "ipam.routes[0].mtu = 1400"),
        (json!({"optionalFlags": {"allowAclPortMapping": "yes"}}), 7, "optionalFlags.allowAclPortMapping: "),
        (
            json!({"runtimeConfig": {"bandwidth": {"egressBurst": 8}}}),
            7,
            "runtimeConfig.bandwidth.egressBurst: ",
        ),
        (
            json!({"runtimeConfig": {"bandwidth": {"egressRate": 8}}, "policies": [{"name": "EndpointPolicy",
                "value": {"Type": "QOS", "MaximumOutgoingBandwidthInBytes": 1}}]}),
            7,
            "runtimeConfig.bandwidth: the configuration limits its endpoints already",
        ),
        (json!({"prevResult": {"cniVersion": "1.0.0"}}), 7, "prevResult: hns-cni makes the interface itself"),
        (json!({"socket": "hns.sock"}), 7, "socket: not an absolute path"),
        (json!({"name": "a/b"}), 7, "name: \"a/b\" is not an identifier"),
    ];
    for (more, code, said) in cases {
        let (refused, message) = refused(&conf("1.0.0", &more));
        assert_eq!(refused, code, "{more}: {message}");
        assert!(message.starts_with(said), "{message}");
    }
}
