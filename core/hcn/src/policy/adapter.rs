//! Which adapter of the host a network shares, and in which VLAN (hcn-api 5.2, 5.3).

use hns_net::{IfName, VlanId};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// `NetAdapterName`.
pub(super) fn by_name(settings: &Value, path: &str) -> Result<IfName, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let name = name(&mut fields, "NetworkAdapterName")?;
    fields.finish()?;
    name.ok_or_else(|| DocumentError::new(format!("{path}.NetworkAdapterName"), "absent", CODE))
}

/// `InterfaceConstraint`. Of all by which Windows tells an interface the alias is what Linux has as its name.
pub(super) fn by_constraint(settings: &Value, path: &str) -> Result<IfName, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let name = name(&mut fields, "InterfaceAlias")?;
    fields.finish()?;
    name.ok_or_else(|| {
        let problem = "absent; on Linux an adapter is told by its name alone";
        DocumentError::new(format!("{path}.InterfaceAlias"), problem, CODE)
    })
}

fn name(fields: &mut Fields<'_>, key: &'static str) -> Result<Option<IfName>, DocumentError> {
    let Some(text) = fields.text(&[key])? else { return Ok(None) };
    if text.contains(',') {
        let problem =
            format!("\"{text}\" names several adapters; a team of them is a bond, which is named here");
        return Err(fields.error(key, problem));
    }
    text.trim().parse().map(Some).map_err(|error| fields.error(key, error))
}

/// `VLAN`.
pub(super) fn vlan(settings: &Value, path: &str) -> Result<VlanId, DocumentError> {
    let mut fields = Fields::of(settings, path, CODE)?;
    let Some(number) = fields.number(&["IsolationId"], u64::from(u32::MAX))? else {
        return Err(fields.error("IsolationId", "absent"));
    };
    let vlan = VlanId::new(number).map_err(|error| fields.error("IsolationId", error));
    fields.finish()?;
    vlan
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_adapter_is_told_by_its_name_whatever_the_policy() {
        let eth0: IfName = "eth0".parse().unwrap();
        assert_eq!(by_name(&json!({"NetworkAdapterName": "eth0"}), "P"), Ok(eth0.clone()));
        assert_eq!(by_constraint(&json!({"interfacealias": "eth0"}), "P"), Ok(eth0));
        for (settings, field) in [
            (json!({}), "P.NetworkAdapterName"),
            (json!({"NetworkAdapterName": "eth0, eth1"}), "P.NetworkAdapterName"),
            (json!({"NetworkAdapterName": "Ethernet 2"}), "P.NetworkAdapterName"),
        ] {
            assert_eq!(by_name(&settings, "P").unwrap_err().field, field);
        }
        assert!(
            by_constraint(&json!({"InterfaceIndex": 2}), "P").unwrap_err().field.contains("InterfaceIndex")
        );
    }

    #[test]
    fn a_vlan_has_a_number_that_frames_can_bear() {
        assert_eq!(vlan(&json!({"IsolationId": 7}), "P").map(VlanId::number), Ok(7));
        for settings in [json!({}), json!({"IsolationId": 0}), json!({"IsolationId": 4095})] {
            let error = vlan(&settings, "P").unwrap_err();
            assert_eq!((error.field.as_str(), error.code), ("P.IsolationId", CODE), "{error}");
        }
    }
}
