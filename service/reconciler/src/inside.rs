//! Looks into containers, and tells. Changes nothing there: see [`hns_planner::Inside`].

use std::time::{Duration, Instant};

use hns_host::{Finding, Level};
use hns_net::{Guid, IfAddr};
use hns_planner::{Difference, Inside, Port, Target, differences, port_of};

use crate::engine::Engine;
use crate::error::EngineError;

/// Into how many containers an examination of the whole host looks, and for how long: it enters each one's namespace.
const LOOKED_INTO_MAX: usize = 200;
const LOOKING_MAX: Duration = Duration::from_secs(2);

const CHECK: &str = "inside";

/// What an endpoint's container shows of it that is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// What its health says.
    pub trouble: Option<String>,
    pub differences: Vec<Difference>,
    /// Every address that the interface has inside.
    pub addresses: Vec<IfAddr>,
}

impl Engine {
    /// Looks at an endpoint inside its container. One that is not attached, or that an engine has moved into a sandbox of its
    /// own, shows nothing.
    pub fn examine_endpoint(&self, id: Guid) -> Result<Examination, EngineError> {
        let endpoint = self.settled_endpoint(id)?;
        let (trouble, port) = {
            let world = self.world();
            let network = world.network(endpoint.network())?;
            (world.trouble_of(&endpoint).map(str::to_owned), port_of(&endpoint, network, &world))
        };
        let Some(port) = port.filter(is_in_a_known_namespace) else {
            return Ok(Examination { trouble, ..Examination::default() });
        };
        let inside = self.look_inside(id, &port)?;
        let differences = differences(&port, &inside);
        let addresses = match inside {
            Inside::Here(vnic) => vnic.addresses,
            Inside::NoNamespace | Inside::NoPort | Inside::Elsewhere { .. } => Vec::new(),
        };
        Ok(Examination { trouble, differences, addresses })
    }

    fn look_inside(&self, id: Guid, port: &Port) -> Result<Inside, EngineError> {
        let operation = || format!("cannot look into the container of endpoint {id}");
        self.host.look_inside(port).map_err(EngineError::host(operation))
    }

    /// The containers that are not as they should be inside, and into how many of all was looked.
    pub(crate) fn diagnose_insides(&self) -> Vec<Finding> {
        let ports = self.ports_to_look_into();
        let begin = Instant::now();
        let mut looked = 0;
        let mut findings = Vec::new();
        for (id, port) in ports.iter().take(LOOKED_INTO_MAX) {
            if begin.elapsed() > LOOKING_MAX {
                break;
            }
            looked += 1;
            findings.extend(self.diagnose_inside(*id, port));
        }
        let detail = format!("looked into {looked} of {} containers", ports.len());
        findings.insert(0, Finding { check: CHECK, level: Level::Ok, detail, hint: None });
        findings
    }

    fn diagnose_inside(&self, id: Guid, port: &Port) -> Option<Finding> {
        let said = match self.look_inside(id, port) {
            Ok(inside) => {
                let differences = differences(port, &inside);
                differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            Err(error) => {
                tracing::warn!(endpoint = %id, error = &error as &dyn std::error::Error, "not looked into");
                error.to_string()
            }
        };
        // One that went meanwhile is rightly gone inside.
        let is_worth_telling = !said.is_empty() && self.settled_endpoint(id).is_ok();
        is_worth_telling.then(|| Finding {
            check: CHECK,
            level: Level::Warn,
            detail: format!("endpoint {id}: {said}"),
            hint: Some(
                "HNS repairs nothing in a container; unless it is so on purpose, start it anew".to_owned(),
            ),
        })
    }

    fn ports_to_look_into(&self) -> Vec<(Guid, Port)> {
        let world = self.world();
        let settled = world.endpoints().filter(|endpoint| endpoint.is_settled());
        let ports = settled.filter_map(|endpoint| {
            let port = port_of(endpoint, world.network(endpoint.network()).ok()?, &world)?;
            Some((endpoint.id(), port)).filter(|(_, port)| is_in_a_known_namespace(port))
        });
        ports.collect()
    }
}

/// Where an engine has moved its link and what it has done with it is the engine's to know.
fn is_in_a_known_namespace(port: &Port) -> bool {
    port.target != Target::Engine
}
