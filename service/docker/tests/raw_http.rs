//! Docker's dialect of HTTP, byte for byte.

mod rig;

use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use hns_docker::Sockets;
use hns_server::ServerError;
use rig::{Rig, id, network_body, read_answer, request};
use serde_json::{Value, json};

const DRIVERS: [&str; 5] = ["nat", "transparent", "l2bridge", "l2tunnel", "hns-overlay"];

#[test]
fn every_driver_is_activated_before_the_engine_is_ready() {
    let rig = Rig::starting();
    for driver in DRIVERS {
        let answer = rig.send(driver, "Plugin.Activate", "");
        assert_eq!((answer.status, &answer.body), (200, &json!({ "Implements": ["NetworkDriver"] })));
        assert!(answer.head.contains("content-type: application/vnd.docker.plugins.v1.2+json"));
        let capabilities = rig.send(driver, "NetworkDriver.GetCapabilities", "").body;
        assert_eq!(capabilities["Scope"], "local", "{driver}");
        let info = rig.send(driver, "NetworkDriver.EndpointOperInfo", "{}");
        assert_eq!((info.status, &info.body["Value"]), (200, &json!({})));
    }
    assert_eq!(rig.send("hns", "Plugin.Activate", "").body, json!({ "Implements": ["IpamDriver"] }));
    let capabilities = rig.send("hns", "IpamDriver.GetCapabilities", "").body;
    assert_eq!(capabilities, json!({ "RequiresMACAddress": false, "RequiresRequestReplay": true }));
    let spaces = rig.send("hns", "IpamDriver.GetDefaultAddressSpaces", "").body;
    assert_ne!(spaces["LocalDefaultAddressSpace"], spaces["GlobalDefaultAddressSpace"]);
}

#[test]
fn a_call_waits_for_the_engine() {
    let rig = Rig::starting();
    let mut stream = UnixStream::connect(rig.socket("nat")).unwrap();
    let body = network_body(&id('a'), 50, &json!({})).to_string();
    stream.write_all(request("NetworkDriver.CreateNetwork", &body).as_bytes()).unwrap();
    // The other connection is answered, while the first has to wait.
    assert_eq!(rig.send("nat", "Plugin.Activate", "").status, 200);
    assert!(rig.find_network(&id('a')).is_none());
    rig.ready.send(Some(rig.engine.clone())).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(stream)).body, json!({}));
    assert!(rig.find_network(&id('a')).is_some());
}

#[test]
fn one_connection_carries_many_calls() {
    let rig = Rig::new();
    let mut stream = UnixStream::connect(rig.socket("nat")).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream.write_all(request("Plugin.Activate", "").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut reader).status, 200);
    }
    let host = "POST /Plugin.Activate HTTP/1.1\r\nHost: plugin.moby.localhost\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(host.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut reader).status, 200);
}

#[test]
fn what_is_no_method_is_not_found() {
    let rig = Rig::new();
    for (driver, method) in [
        ("nat", "NetworkDriver.Fly"),
        ("nat", "IpamDriver.RequestPool"),
        ("hns", "NetworkDriver.Join"),
        ("nat", ""),
    ] {
        assert_eq!(rig.send(driver, method, "{}").status, 404, "{method}");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_refused_with_its_method() {
    let rig = Rig::new();
    for body in ["{", "[]", "{\"NetworkID\":7}"] {
        let answer = rig.send("nat", "NetworkDriver.DeleteNetwork", body);
        let text = answer.body["Err"].as_str().unwrap().to_owned();
        assert!(
            answer.status == 200 && text.starts_with("the body of DeleteNetwork cannot be read"),
            "{text}"
        );
    }
}

/// As Docker repeats a call amid which the plugin ended.
#[test]
fn a_call_that_lost_its_body_is_not_a_call_without_wishes() {
    let rig = Rig::new();
    for (plugin, method, field) in
        [("nat", "NetworkDriver.DeleteEndpoint", "Err"), ("hns", "IpamDriver.RequestPool", "Error")]
    {
        let answer = rig.send(plugin, method, "");
        let text = answer.body[field].as_str().unwrap().to_owned();
        assert!(answer.status == 200 && text.ends_with("repeats without its contents; try again"), "{text}");
    }
}

#[test]
fn swarm_is_told_that_networks_are_local() {
    let rig = Rig::new();
    let text = rig.refusal("AllocateNetwork", &json!({ "NetworkID": "u3dj2l1" }));
    assert!(text.contains("belong to one host"), "{text}");
    assert_eq!(rig.nat("FreeNetwork", &json!({ "NetworkID": "u3dj2l1" })), json!({}));
    assert_eq!(rig.nat("DiscoverNew", &json!({ "DiscoveryType": 1 })), json!({}));
}

#[test]
fn only_root_may_speak_to_the_sockets() {
    let rig = Rig::new();
    for driver in DRIVERS.into_iter().chain(["hns"]) {
        let mode = std::fs::metadata(rig.socket(driver)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{driver}");
    }
}

#[test]
fn sockets_that_nobody_listens_on_are_replaced_and_others_are_not() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("nat.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(runtime.block_on(Sockets::bind(folder.path())).is_ok());

    let _other = {
        std::fs::remove_file(&socket).unwrap();
        UnixListener::bind(&socket).unwrap()
    };
    let refused = runtime.block_on(Sockets::bind(folder.path())).err().unwrap();
    assert!(matches!(refused, ServerError::InUse { .. }), "{refused}");

    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "").unwrap();
    let refused = runtime.block_on(Sockets::bind(folder.path())).err().unwrap();
    assert!(matches!(refused, ServerError::NotASocket { .. }), "{refused}");
}

#[test]
fn null_is_the_same_as_absent() {
    let rig = Rig::new();
    let mut body = network_body(&id('a'), 50, &Value::Null);
    body["IPv6Data"] = Value::Null;
    body["IPv4Data"][0]["AuxAddresses"] = Value::Null;
    body["Unknown"] = json!({ "a": [1] });
    rig.nat("CreateNetwork", &body);
    let endpoint = json!({
        "NetworkID": id('a'), "EndpointID": id('b'), "Interface": null, "Options": null,
    });
    let answer = rig.nat("CreateEndpoint", &endpoint);
    assert!(answer["Interface"]["Address"].as_str().unwrap().starts_with("10.50.0."), "{answer}");
}
