//! Answers to "what happened to this packet": what the datapath counted and remembers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hns_datapath::{DropCount, DropEvent, Flow, FlowFilter, RuleCount, Stream};
use hns_net::Guid;

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// What was dropped since the datapath began, by endpoint, direction and reason.
    pub fn drops(&self) -> Result<Vec<DropCount>, EngineError> {
        self.datapath.drops().map_err(EngineError::datapath(|| "cannot read what was dropped".to_owned()))
    }

    /// Samples of what is dropped from now on.
    pub fn follow_drops(&self) -> Result<Stream<DropEvent>, EngineError> {
        let operation = || "cannot follow what is dropped".to_owned();
        self.datapath.follow_drops().map_err(EngineError::datapath(operation))
    }

    /// The connections that ports track.
    pub fn flows(&self, filter: &FlowFilter) -> Result<Vec<Flow>, EngineError> {
        if let Some(endpoint) = filter.endpoint {
            self.settled_endpoint(endpoint)?;
        }
        self.datapath
            .flows(filter)
            .map_err(EngineError::datapath(|| "cannot read the connections".to_owned()))
    }

    /// How long ago each other host of a network was heard; of an overlay that the programs know.
    pub fn heard(&self, network: Guid) -> Result<BTreeMap<IpAddr, Duration>, EngineError> {
        let operation = || format!("cannot read when the hosts of network {network} were heard");
        let heard = self.datapath.heard(network).map_err(EngineError::datapath(operation))?;
        let world = self.world();
        let network = world.network(network)?;
        Ok(heard.into_iter().map(|(end, since)| (network.host_of(end), since)).collect())
    }

    /// How often each rule of an endpoint decided; nothing while it is not attached.
    pub fn rule_counters(&self, endpoint: Guid) -> Result<Vec<RuleCount>, EngineError> {
        self.settled_endpoint(endpoint)?;
        let operation = || format!("cannot read the counters of endpoint {endpoint}");
        self.datapath.rule_counters(endpoint).map_err(EngineError::datapath(operation))
    }
}
