use hns_host::{Finding, Level};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// What an operator should know: of the host, and of objects that are not well.
    pub fn diagnose(&self) -> Result<Vec<Finding>, EngineError> {
        let switches = self.switches();
        let operation = || "cannot examine the host".to_owned();
        let mut findings = self.host.diagnose(&switches).map_err(EngineError::host(operation))?;
        let world = self.world();
        let troubled = world.endpoints().filter_map(|endpoint| Some((endpoint.id(), endpoint.trouble()?)));
        findings.extend(troubled.map(|(id, trouble)| Finding {
            check: "endpoints",
            level: Level::Problem,
            detail: format!("endpoint {id}: {trouble}"),
            hint: Some("delete it, or attach it again".to_owned()),
        }));
        Ok(findings)
    }
}
