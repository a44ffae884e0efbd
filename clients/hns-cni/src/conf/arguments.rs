//! `CNI_ARGS`: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;IP=10.1.0.5`.

use hns_net::Mac;
use serde_json::{Map, Value};

use crate::failure::Failure;

use super::addressing::Requested;

/// What Kubernetes says about a pod, and the mark it becomes.
const POD: [(&str, &str); 4] = [
    ("K8S_POD_NAMESPACE", "Namespace"),
    ("K8S_POD_NAME", "Name"),
    ("K8S_POD_UID", "Uid"),
    ("K8S_POD_INFRA_CONTAINER_ID", "InfraContainerId"),
];

/// What the reference library takes for true.
const TRUE: [&str; 6] = ["1", "t", "T", "true", "True", "TRUE"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    pub addresses: Vec<Requested>,
    pub mac: Option<Mac>,
    pub pod: Map<String, Value>,
}

impl Arguments {
    /// Reads the pairs. Unknown keys are refused unless the runtime says that some are meant for others, or an IPAM
    /// plugin may know them.
    pub fn read(text: &str, delegated: bool) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::Environment { variable: "CNI_ARGS", problem };
        let mut read = Self::default();
        let mut unknown = None;
        let mut ignore_unknown = delegated;
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(wrong(format!("{pair:?} is not KEY=VALUE")));
            };
            if let Some((_, mark)) = POD.iter().find(|(known, _)| *known == key) {
                read.pod.insert((*mark).to_owned(), value.into());
                continue;
            }
            match key {
                "IgnoreUnknown" => ignore_unknown |= TRUE.contains(&value),
                "IP" => {
                    let addresses = value.split(',').map(|text| text.trim().parse());
                    let addresses: Result<_, _> = addresses.collect();
                    read.addresses = addresses.map_err(|error| wrong(format!("IP: {error}")))?;
                }
                "MAC" => read.mac = Some(value.parse().map_err(|error| wrong(format!("MAC: {error}")))?),
                _ => unknown = unknown.or(Some(key)),
            }
        }
        match unknown.filter(|_| !ignore_unknown) {
            None => Ok(read),
            Some(key) => Err(wrong(format!("{key} is unknown; IgnoreUnknown=1 lets it pass"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_and_operators_say_what_they_want() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;X=1;IP=10.1.0.5,fd00::5/64;MAC=02-11-22-33-44-55";
        let read = Arguments::read(text, false).unwrap();
        assert_eq!(Value::from(read.pod), serde_json::json!({"Namespace": "default", "Name": "web"}));
        assert_eq!(read.addresses, ["10.1.0.5".parse().unwrap(), "fd00::5/64".parse().unwrap()]);
        assert_eq!(read.mac, Some("02:11:22:33:44:55".parse().unwrap()));
        assert_eq!(Arguments::read("", false).unwrap(), Arguments::default());
    }

    #[test]
    fn what_nobody_knows_is_refused_unless_somebody_else_may() {
        for text in ["X=1", "X", "IP=300.1.1.1", "MAC=zz", "IgnoreUnknown=0;X=1"] {
            assert_eq!(Arguments::read(text, false).unwrap_err().code(), 4, "{text}");
        }
        assert!(Arguments::read("GATEWAY=10.1.0.1", true).is_ok());
    }
}
