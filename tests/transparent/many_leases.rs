//! Many containers that want addresses of the LAN at one time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hns_testbed::{eventually, needs};
use serde_json::{Value, json};

use crate::leases::{Dnsmasq, WITH_DHCP};
use crate::stage::{Stage, network};

const MANY: usize = 200;

#[test]
fn two_hundred_containers_get_their_addresses_at_once() {
    needs!(root, "nft", "dnsmasq");
    let stage = Stage::bare();
    let server = Dnsmasq::serve(stage.lab.router(), "198.18.0.20,198.18.0.250");
    network(&stage.here, "corp", &WITH_DHCP);
    stage.here.host().sh(&format!("seq {MANY} | sed 's/.*/netns add c&/' | ip -batch -"));
    let begin = Instant::now();
    let made: Vec<Value> = std::thread::scope(|scope| {
        let here = &stage.here;
        let create = |number: usize| {
            move || {
                let document = json!({
                    "Name": format!("c{number}"), "HostComputeNetwork": {"Name": "corp"},
                    "HostComputeNamespace": {"AdditionalParams": {"Path": format!("/run/netns/c{number}")}},
                });
                here.api().post("/v2/endpoints", &document).expect("the daemon answers").expect_success()
            }
        };
        let asking: Vec<_> = (1..=MANY).map(|number| scope.spawn(create(number))).collect();
        asking.into_iter().map(|one| one.join().expect("it is created")).collect()
    });
    let took = begin.elapsed();
    let addresses: BTreeSet<&str> =
        made.iter().filter_map(|one| one["IpConfigurations"][0]["IpAddress"].as_str()).collect();
    assert_eq!(addresses.len(), MANY);
    assert!(addresses.iter().all(|one| one.parse().is_ok_and(|one: IpAddr| server.lease(one).is_some())));
    // One after the other they would take more than a minute.
    assert!(took < Duration::from_secs(30), "{took:?}");
    let reached = |one: &&str| stage.client.ping(one.parse::<std::net::Ipv4Addr>().expect("it is one"));
    eventually!(addresses.iter().step_by(MANY / 4).all(reached));
    let begin = Instant::now();
    stage.here.hnsctl(&["network", "rm", "--force", "corp"]);
    let left = || {
        addresses
            .iter()
            .filter(|one| one.parse().is_ok_and(|one: IpAddr| server.lease(one).is_some()))
            .count()
    };
    // Nobody answers to this, so that a server which is kept from its processor may miss some.
    eventually!(within 5 s, if left() <= MANY / 20 { Ok(()) } else { Err(format!("{} left", left())) });
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    println!("{MANY} addresses in {took:?}, given back in {:?}", begin.elapsed());
}
