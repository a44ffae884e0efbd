use hns_host::{Finding, Level};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::repair::chain;

impl Engine {
    /// What an operator should know: of the host, and of objects that are not well.
    pub fn diagnose(&self) -> Result<Vec<Finding>, EngineError> {
        let known = [self.switches(), self.tunnels()].concat();
        let operation = || "cannot examine the host".to_owned();
        let mut findings = self.host.diagnose(&known).map_err(EngineError::host(operation))?;
        findings.extend(self.diagnose_datapath()?);
        findings.extend(self.diagnose_state());
        findings.extend(self.diagnose_insides());
        findings.extend(self.diagnose_bridges());
        let world = self.world();
        if self.repairs.left_something_undone() {
            let why = world.rules_trouble().map(|why| format!("; networks are {why}")).unwrap_or_default();
            findings.push(Finding {
                check: "repair",
                level: Level::Problem,
                detail: format!(
                    "the last repair left something undone; it is tried again, at least every minute{why}"
                ),
                hint: Some(
                    "the log of hnsd says what the host refused; once that is mended, a restart of hnsd tries at once"
                        .to_owned(),
                ),
            });
        }
        let contested = world.endpoints().filter_map(|endpoint| Some((endpoint.id(), endpoint.contest()?)));
        findings.extend(contested.map(|(id, contest)| Finding {
            check: "host-ports",
            level: Level::Warn,
            detail: format!("endpoint {id}: {contest}"),
            hint: Some("the mapping comes first: end that program, or publish another port".to_owned()),
        }));
        let troubled = world.endpoints().filter_map(|endpoint| Some((endpoint.id(), endpoint.trouble()?)));
        findings.extend(troubled.map(|(id, trouble)| Finding {
            check: "endpoints",
            level: Level::Problem,
            detail: format!("endpoint {id}: {trouble}"),
            hint: Some("delete it, or attach it again".to_owned()),
        }));
        let unserved = world.networks().filter_map(|network| Some((network.name(), network.trouble()?)));
        findings.extend(unserved.map(|(name, trouble)| Finding {
            check: "lan",
            level: Level::Problem,
            detail: format!("network \"{name}\": {trouble}"),
            // The sentence says what can be done, which depends on what it is.
            hint: None,
        }));
        Ok(findings)
    }

    /// Whether the records are where the next start looks for them.
    fn diagnose_state(&self) -> Option<Finding> {
        let error = self.store.verify().err()?;
        Some(Finding {
            check: "state",
            level: Level::Problem,
            detail: format!("{}; changes are refused", chain(&error)),
            hint: error.hint().map(str::to_owned),
        })
    }

    /// Whether the ports that can have programs have them.
    fn diagnose_datapath(&self) -> Result<Vec<Finding>, EngineError> {
        let check = "datapath";
        // Before the datapath is asked: a port that comes meanwhile is not missed, it is not known here.
        let ports: Vec<_> = {
            let world = self.world();
            world
                .endpoints()
                .filter_map(|endpoint| Some((endpoint.id(), endpoint.attachment()?.port.clone())))
                .collect()
        };
        let operation = || "cannot see which ports have their filter".to_owned();
        let filtered = self.datapath.held().map_err(EngineError::datapath(operation))?;
        let closed: Vec<_> = ports.iter().filter(|(_, port)| !filtered.contains_key(port)).collect();
        if closed.is_empty() {
            let detail = format!("{} ports, each with its programs", ports.len());
            return Ok(vec![Finding { check, level: Level::Ok, detail, hint: None }]);
        }
        let finding = |(endpoint, port): &(_, _)| Finding {
            check,
            level: Level::Problem,
            detail: format!("port {port} of endpoint {endpoint} has no program, and lets nothing out"),
            hint: Some("it is repaired within a second; if not, its endpoint's health says why".to_owned()),
        };
        Ok(closed.into_iter().map(finding).collect())
    }
}
