//! Containers of other hosts on an overlay: what the programs know of them is what the objects say, whatever fails.

use hns_datapath::Datapath;
use hns_hcn as hcn;
use hns_net::Guid;
use hns_reconciler::EngineError;
use hns_testbed::eventually;
use serde_json::{Value, json};

use super::rig::Rig;

struct Stage {
    rig: Rig,
    network: Guid,
}

fn host(address: &str) -> Value {
    json!({ "Type": "ProviderAddress", "Settings": { "ProviderAddress": address } })
}

impl Stage {
    fn new() -> Self {
        let rig = Rig::new();
        let document = json!({ "Name": "flat", "Type": "Overlay",
            "Ipams": [{ "Subnets": [{ "IpAddressPrefix": "10.247.0.0/24" }] }] });
        let made = rig.engine.create_network(hcn::Network::from_v2(&document).unwrap()).unwrap();
        Self { rig, network: made.id.unwrap() }
    }

    fn remote(&self, number: u8) -> Result<Guid, EngineError> {
        let document = json!({ "HostComputeNetwork": self.network.to_string(), "Flags": 1,
            "MacAddress": format!("02-00-0A-F7-00-{number:02X}"), "Policies": [host("198.18.0.77")],
            "IpConfigurations": [{ "IpAddress": format!("10.247.0.{number}") }] });
        Ok(self.rig.engine.create_endpoint(hcn::Endpoint::from_v2(&document).unwrap())?.id.unwrap())
    }

    /// How many addresses of other hosts the programs know: those of the endpoints.
    #[track_caller]
    fn knows(&self, count: usize) {
        let known = self.rig.datapath.held_overlays().unwrap();
        let asked = hns_planner::compile(&self.rig.engine.world()).overlays;
        assert_eq!(known, asked);
        assert_eq!(known[&self.network].routes.len(), count);
        assert_eq!(self.rig.engine.world().endpoints().count(), count);
    }
}

#[test]
fn remote_endpoints_come_and_go_and_come_back_with_the_daemon() {
    let mut stage = Stage::new();
    let [one, two] = [11, 12].map(|number| stage.remote(number).unwrap());
    stage.knows(2);
    assert!(stage.remote(11).is_err());
    stage.rig.engine.delete_endpoint(one).unwrap();
    stage.knows(1);
    assert_ne!(stage.remote(11).unwrap(), one);
    stage.rig = stage.rig.restarted();
    stage.knows(2);
    stage.rig.engine.delete_endpoint(two).unwrap();
    stage.rig.engine.delete_network(stage.network).unwrap();
    assert!(stage.rig.datapath.held_overlays().unwrap().is_empty());
}

#[test]
fn what_fails_is_known_to_nobody_or_repaired() {
    for call in 0..2 {
        let stage = Stage::new();
        let kept = stage.remote(11).unwrap();
        stage.rig.datapath.fail_next(call);
        let made = stage.remote(12);
        assert_eq!(made.is_err(), call == 0);
        stage.rig.datapath.fail_next(1 << 40);
        eventually!(stage.rig.left_to_do().is_empty());
        stage.knows(if made.is_ok() { 2 } else { 1 });
        stage.rig.datapath.fail_next(call);
        let removed = stage.rig.engine.delete_endpoint(kept);
        stage.rig.datapath.fail_next(1 << 40);
        removed.unwrap();
        eventually!(stage.rig.left_to_do().is_empty());
    }
}
