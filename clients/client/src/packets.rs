//! What switch ports did to packets, and would do. The answers are those of `hns-hcn`: `DropCount`, `DroppedPacket`, `Flow`,
//! `PortRules`, `Trace`, `SeenPacket`.

use serde_json::Value;

use crate::client::Client;
use crate::error::ClientError;
use crate::events::Events;
use crate::lookup::Kind;

/// Which connections are asked for; what is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowQuery {
    pub endpoint_id: Option<String>,
    /// A word such as `tcp`, or a number.
    pub protocol: Option<String>,
}

/// A path with the parameters that are there. Their values need no encoding: ids, words and numbers.
fn with(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
    match given.collect::<Vec<_>>().join("&") {
        none if none.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

impl Client {
    /// How many packets were dropped, by port, direction and reason.
    pub async fn drops(&self, endpoint_id: Option<&str>) -> Result<Vec<Value>, ClientError> {
        self.array(&with("/v2/drops", &[("endpoint", endpoint_id)])).await
    }

    /// Packets as they are dropped: a sample where there are many.
    pub async fn follow_drops(&self, endpoint_id: Option<&str>) -> Result<Events, ClientError> {
        let path = with("/v2/drops", &[("follow", Some("true")), ("endpoint", endpoint_id)]);
        self.follow("GET", path, None).await
    }

    /// What would become of a packet: the document of `TraceRequest`, answered by that of `Trace`.
    pub async fn trace(&self, request: &Value) -> Result<Value, ClientError> {
        self.post("/v2/trace", Some(request)).await
    }

    /// What becomes of packets from now on: the document of `LiveTraceRequest`, answered by one of `SeenPacket` after the other.
    pub async fn follow_trace(&self, request: &Value) -> Result<Events, ClientError> {
        self.follow("POST", "/v2/trace?follow=true".to_owned(), Some(request)).await
    }

    /// The connections that ports track.
    pub async fn flows(&self, query: &FlowQuery) -> Result<Vec<Value>, ClientError> {
        let parameters =
            [("endpoint", query.endpoint_id.as_deref()), ("protocol", query.protocol.as_deref())];
        self.array(&with("/v2/flows", &parameters)).await
    }

    /// What decides at an endpoint's port, and how often it did.
    pub async fn port_rules(&self, endpoint_id: &str) -> Result<Value, ClientError> {
        self.get(&format!("{}/{endpoint_id}/rules", Kind::Endpoint.path())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_not_asked_for() {
        assert_eq!(with("/v2/flows", &[("endpoint", None), ("protocol", None)]), "/v2/flows");
        let both = [("endpoint", Some("X")), ("limit", None), ("protocol", Some("tcp"))];
        assert_eq!(with("/v2/flows", &both), "/v2/flows?endpoint=X&protocol=tcp");
    }
}
