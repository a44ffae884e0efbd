//! A container's whole way onto a network in one request: documents in place of the ids of network and namespace.

#![expect(clippy::unwrap_used, reason = "a test may say that something must be there")]

use hns_testbed::{Answer, Api, Hnsd, Host, Lab, eventually, needs};
use serde_json::{Value, json};

const NETWORK_NOT_FOUND: u64 = 0x803B_0001;
const INVALID_NETWORK: u64 = 0x803B_000A;

fn admit(api: &mut Api, network: Value, path: &str) -> Answer {
    let document = json!({
        "HostComputeNetwork": network,
        "HostComputeNamespace": {"Type": "Host", "AdditionalParams": {"Path": path}},
    });
    api.post("/v2/endpoints", &document).unwrap()
}

fn count(api: &mut Api, kind: &str) -> usize {
    api.get(&format!("/v2/{kind}")).unwrap().expect_success().as_array().unwrap().len()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn daemon(host: &Host) -> Hnsd {
    Hnsd::builder(host).arg("--default-network").arg("false").start()
}

#[test]
fn one_request_makes_the_network_takes_the_namespace_and_plugs_the_endpoint() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = daemon(&host);
    let mut api = hnsd.api();
    let pods = ["a", "b"].map(|name| host.add_netns(name));
    let like = json!({"Name": "pods", "Type": "NAT", "Dns": {"ServerList": ["192.0.2.53"]},
        "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.9.0.0/24"}]}]});
    let first = admit(&mut api, like.clone(), "/run/netns/a").expect_success();
    assert_eq!(first["HostComputeNetwork"]["Dns"]["ServerList"], json!(["192.0.2.53"]));
    assert_eq!(first["HostComputeNamespace"]["AdditionalParams"]["Path"], "/run/netns/a");
    assert_eq!(first["Routes"][0]["NextHop"], "10.9.0.1");
    let second = admit(&mut api, json!({"Name": "pods"}), "/run/netns/b").expect_success();
    assert_eq!(second["HostComputeNetwork"]["ID"], first["HostComputeNetwork"]["ID"]);
    let there: std::net::IpAddr = text(&second["IpConfigurations"][0]["IpAddress"]).parse().unwrap();
    assert!(pods[0].ping(there));

    // A second interface in the same namespace finds it in the books; with the last it leaves them.
    let third = admit(&mut api, like, "/run/netns/a").expect_success();
    assert_eq!(third["HostComputeNamespace"]["ID"], first["HostComputeNamespace"]["ID"]);
    assert_eq!(count(&mut api, "namespaces"), 2);
    for endpoint in [&first, &second, &third] {
        let path = format!("/v2/endpoints/{}", text(&endpoint["ID"]));
        assert_eq!(api.delete(&path).unwrap().status, 204);
    }
    assert_eq!((count(&mut api, "namespaces"), count(&mut api, "networks")), (0, 1));
}

#[test]
fn what_cannot_be_granted_leaves_nothing_behind_and_says_why() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = daemon(&host);
    let mut api = hnsd.api();
    let _pod = host.add_netns("a");
    let refused = |answer: Answer, code: u64, words: &[&str]| {
        assert!(answer.status >= 400, "{}", answer.text);
        assert_eq!(answer.body["ErrorCode"], json!(code), "{}", answer.text);
        words.iter().for_each(|word| assert!(answer.text.contains(word), "{word}: {}", answer.text));
    };
    refused(admit(&mut api, json!({"Name": "nowhere"}), "/run/netns/a"), NETWORK_NOT_FOUND, &["nowhere"]);
    refused(admit(&mut api, json!({"Type": "NAT"}), "/run/netns/a"), INVALID_NETWORK, &["Name"]);
    let like = json!({"Name": "pods", "Type": "NAT"});
    let absent = admit(&mut api, like.clone(), "/run/netns/absent");
    assert!(absent.status >= 400 && absent.text.contains("/run/netns/absent"), "{}", absent.text);
    // The endpoint is at fault, and what was made for it is taken back.
    let document = json!({
        "HostComputeNetwork": like, "IpConfigurations": [{"IpAddress": "192.0.2.9"}],
        "HostComputeNamespace": {"AdditionalParams": {"Path": "/run/netns/a"}},
    });
    let outside = api.post("/v2/endpoints", &document).unwrap();
    assert!(outside.status >= 400 && outside.text.contains("192.0.2.9"), "{}", outside.text);
    for kind in ["networks", "namespaces", "endpoints"] {
        assert_eq!(count(&mut api, kind), 0, "{kind}");
    }
    // A network that exists is not another one because somebody asks for it differently.
    let _made = admit(&mut api, json!({"Name": "pods", "Type": "NAT"}), "/run/netns/a").expect_success();
    let internal = json!({"Name": "pods", "Type": "Internal"});
    refused(admit(&mut api, internal, "/run/netns/a"), INVALID_NETWORK, &["pods", "NAT", "Internal"]);
    let elsewhere =
        json!({"Name": "pods", "Type": "NAT", "Ipams": [{"Subnets": [{"IpAddressPrefix": "10.8.0.0/24"}]}]});
    refused(admit(&mut api, elsewhere, "/run/netns/a"), INVALID_NETWORK, &["pods", "10.8.0.0/24"]);
}

#[test]
fn forty_containers_at_once_make_their_network_once() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let hnsd = daemon(&host);
    host.sh("for n in $(seq 40); do ip netns add p$n; done");
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let (hnsd, start) = (&hnsd, &start);
            scope.spawn(move || {
                let mut api = hnsd.api();
                start.wait();
                for n in (1..=40).filter(|n| n % 8 == turn) {
                    let like = json!({"Name": "pods", "Type": "NAT"});
                    let _made = admit(&mut api, like, &format!("/run/netns/p{n}")).expect_success();
                }
            });
        }
    });
    let mut api = hnsd.api();
    assert_eq!((count(&mut api, "networks"), count(&mut api, "endpoints")), (1, 40));
}

#[test]
fn a_namespace_made_anew_under_its_old_path_is_another_one() {
    needs!(root, "nft");
    let lab = Lab::new();
    let host = lab.island("h1");
    let mut hnsd = daemon(&host);
    let _first = host.add_netns("pod");
    let before =
        admit(&mut hnsd.api(), json!({"Name": "pods", "Type": "NAT"}), "/run/netns/pod").expect_success();
    // The runtime lost its state and its container: nobody deleted the endpoint.
    host.sh("ip netns del pod");
    let again = host.add_netns("pod");
    let now = admit(&mut hnsd.api(), json!({"Name": "pods"}), "/run/netns/pod").expect_success();
    assert_ne!(now["HostComputeNamespace"]["ID"], before["HostComputeNamespace"]["ID"]);
    let gateway: std::net::IpAddr = text(&now["Routes"][0]["NextHop"]).parse().unwrap();
    assert!(again.ping(gateway));
    let old = format!("/v2/endpoints/{}", text(&before["ID"]));
    eventually!(
        hnsd.api().get(&old).unwrap().body["HostComputeNamespace"] == "00000000-0000-0000-0000-000000000000"
    );
    // With a namespace that is gone when the daemon comes back, its place in the books goes too.
    hnsd.kill9();
    host.sh("ip netns del pod");
    drop(again);
    hnsd.start_again();
    assert_eq!(count(&mut hnsd.api(), "namespaces"), 0);
    assert_eq!(count(&mut hnsd.api(), "endpoints"), 2, "a runtime deletes what it has created");
}
