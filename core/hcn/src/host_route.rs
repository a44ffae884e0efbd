use hns_net::Guid;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, base_to_v2, check_name, pass_over_base};
use crate::modify::MembersChange;
use crate::policy::SdnRoute;

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// A HostComputeRoute, HCN's "SDN route" object (hcn-api 3.5): routes of several endpoints at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostRoute {
    pub id: Option<Guid>,
    pub name: String,
    pub owner: Option<String>,
    /// In an answer: the network of the endpoints.
    pub network: Option<Guid>,
    /// The endpoints it applies to.
    pub endpoints: Vec<Guid>,
    pub routes: Vec<SdnRoute>,
    /// `AdditionalParams`, echoed as they came.
    pub params: Map<String, Value>,
}

impl HostRoute {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let no_routes = fields.error("Routes", "a route object needs a route");
        // `Setting` is the name that Go clients send, with the same content (hcn-api 3.5).
        let found = [fields.list(&["Routes"])?, fields.list(&["Setting"])?];
        let listed = found.iter().find(|list| !list.is_empty()).into_iter().flatten();
        let routes = listed
            .map(|found| SdnRoute::from_settings(found.value, &found.path))
            .collect::<Result<Vec<_>, _>>()?;
        let route = Self {
            id: fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?.filter(|id| *id != Guid::ZERO),
            name: fields.text(&["Name"])?.unwrap_or_default(),
            owner: fields.text(&["Owner"])?,
            network: fields.parsed(&["HostComputeNetwork"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            endpoints: fields.parsed_list(&["HostComputeEndpoints"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            routes,
            params: fields.object(&["AdditionalParams"])?.map(Fields::rest).unwrap_or_default(),
        };
        pass_over_base(&mut fields)?;
        fields.finish()?;
        check_name(&route.name, CODE)?;
        if route.routes.is_empty() { Err(no_routes) } else { Ok(route) }
    }

    /// What a Modify asks of a route: the whole document, or an envelope with one endpoint.
    pub fn change_from_v2(document: &Value) -> Result<MembersChange<Self>, DocumentError> {
        MembersChange::from_v2(document, CODE, Self::from_v2)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = base_to_v2(self.id, &self.name, self.owner.as_ref());
        if let Some(network) = self.network {
            out.insert("HostComputeNetwork".into(), json!(network.to_string()));
        }
        let routes: Value = self.routes.iter().map(|route| Value::Object(route.to_settings())).collect();
        out.insert(
            "HostComputeEndpoints".into(),
            self.endpoints.iter().map(|id| json!(id.to_string())).collect(),
        );
        out.insert("Setting".into(), routes.clone());
        out.insert("Routes".into(), routes);
        out.insert("AdditionalParams".into(), Value::Object(self.params.clone()));
        Value::Object(out)
    }
}
