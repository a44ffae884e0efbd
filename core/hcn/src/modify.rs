use hns_net::Guid;
use serde_json::Value;

use crate::code::ErrorCode;
use crate::dns::Dns;
use crate::fields::{DocumentError, Fields};
use crate::policy::{Policy, policies_from_v2};
use crate::port_params::PortParams;

/// What a Modify does to the resource it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestType {
    Add,
    Remove,
    Update,
    Refresh,
    Reset,
}

const REQUESTS: &[(&str, u64, RequestType)] = &[
    ("Add", 0, RequestType::Add),
    ("Remove", 1, RequestType::Remove),
    ("Update", 2, RequestType::Update),
    ("Refresh", 3, RequestType::Refresh),
    ("Reset", 4, RequestType::Reset),
];

/// A ModifySettingRequest (hcn-api 2.4), with the resource in the terms of the object it is sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct ModifyRequest<R> {
    pub request: RequestType,
    pub resource: R,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NetworkResource {
    Dns(Dns),
    Policies(Vec<Policy>),
    /// Of `AdditionalParams` those that may change (ours).
    PortParams(PortParams),
}

#[derive(Debug, Clone, PartialEq)]
pub enum EndpointResource {
    Port,
    Policies(Vec<Policy>),
    /// Of `AdditionalParams` those that may change (ours).
    PortParams(PortParams),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceResource {
    Container(String),
    Endpoint(Guid),
}

/// A Modify of an object that names endpoints: load balancers and routes.
#[derive(Debug, Clone, PartialEq)]
pub enum MembersChange<D> {
    /// The content from now on; its ID, if it has one, must be the object's.
    Whole(Box<D>),
    Add(Guid),
    Remove(Guid),
}

impl<D> MembersChange<D> {
    pub(crate) fn from_v2(
        document: &Value,
        code: ErrorCode,
        whole: impl FnOnce(&Value) -> Result<D, DocumentError>,
    ) -> Result<Self, DocumentError> {
        let is_envelope = |key: &String| {
            ["ResourceType", "RequestType"].iter().any(|known| known.eq_ignore_ascii_case(key))
        };
        if !document.as_object().is_some_and(|map| map.keys().any(is_envelope)) {
            return Ok(Self::Whole(Box::new(whole(document)?)));
        }
        let envelope = envelope(document, &[("Endpoint", 1, "Endpoint")], code)?;
        let mut settings = needed(envelope.settings, code)?;
        let missing = settings.error("EndpointId", "this request needs an endpoint's id");
        let id = settings.parsed(&["EndpointId"], ErrorCode::GUID_CONVERSION_FAILURE)?.ok_or(missing)?;
        settings.finish()?;
        match envelope.request {
            RequestType::Add => Ok(Self::Add(id)),
            RequestType::Remove => Ok(Self::Remove(id)),
            _ => {
                let problem = "endpoints are added and removed only; send the whole document to update it";
                Err(DocumentError::new("RequestType", problem, ErrorCode::REQUEST_UNSUPPORTED))
            }
        }
    }
}

struct Envelope<'v> {
    request: RequestType,
    resource: &'static str,
    settings: Option<Fields<'v>>,
}

fn envelope<'v>(
    document: &'v Value,
    resources: &[(&'static str, u64, &'static str)],
    code: ErrorCode,
) -> Result<Envelope<'v>, DocumentError> {
    let mut fields = Fields::of(document, "", code)?;
    fields.text(&["ResourceUri"])?;
    let resource = fields.choice(&["ResourceType"], resources, ErrorCode::REQUEST_UNSUPPORTED)?;
    let request = fields.choice(&["RequestType"], REQUESTS, ErrorCode::REQUEST_UNSUPPORTED)?;
    let settings = fields.object(&["Settings"])?;
    let resource =
        resource.ok_or_else(|| fields.error("ResourceType", "a modify request needs a resource type"))?;
    let request =
        request.ok_or_else(|| fields.error("RequestType", "a modify request needs a request type"))?;
    fields.finish()?;
    Ok(Envelope { request, resource, settings })
}

fn needed<'v>(settings: Option<Fields<'v>>, code: ErrorCode) -> Result<Fields<'v>, DocumentError> {
    settings.ok_or_else(|| DocumentError::new("Settings", "this request needs settings", code))
}

fn policies(settings: Option<Fields<'_>>) -> Result<Vec<Policy>, DocumentError> {
    let Some(mut settings) = settings else { return Ok(Vec::new()) };
    let policies = policies_from_v2(&mut settings, &["Policies"])?;
    settings.finish()?;
    Ok(policies)
}

/// A resource type of ours; its number is far from HCN's own.
const PORT_PARAMS: (&str, u64, &str) = ("AdditionalParams", 1000, "AdditionalParams");

fn port_params(settings: Option<Fields<'_>>, code: ErrorCode) -> Result<PortParams, DocumentError> {
    let Some(mut settings) = settings else { return Ok(PortParams::default()) };
    let params = PortParams::from_fields(&mut settings, code)?;
    settings.finish()?;
    Ok(params)
}

impl ModifyRequest<NetworkResource> {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let code = ErrorCode::INVALID_NETWORK;
        let table = [("DNS", 0, "DNS"), ("Policy", 2, "Policy"), PORT_PARAMS];
        let envelope = envelope(document, &table, code)?;
        let resource = match envelope.resource {
            "DNS" => {
                let dns = envelope.settings.map(Dns::read).transpose()?;
                NetworkResource::Dns(dns.unwrap_or_default())
            }
            "AdditionalParams" => NetworkResource::PortParams(port_params(envelope.settings, code)?),
            _ => NetworkResource::Policies(policies(envelope.settings)?),
        };
        Ok(Self { request: envelope.request, resource })
    }
}

impl ModifyRequest<EndpointResource> {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let code = ErrorCode::INVALID_ENDPOINT;
        let table = [("Port", 0, "Port"), ("Policy", 1, "Policy"), PORT_PARAMS];
        let envelope = envelope(document, &table, code)?;
        let resource = match envelope.resource {
            "Port" => EndpointResource::Port,
            "AdditionalParams" => EndpointResource::PortParams(port_params(envelope.settings, code)?),
            _ => EndpointResource::Policies(policies(envelope.settings)?),
        };
        Ok(Self { request: envelope.request, resource })
    }
}

impl ModifyRequest<NamespaceResource> {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let code = ErrorCode::INVALID_PARAMETER;
        let table = [("Container", 0, "Container"), ("Endpoint", 1, "Endpoint")];
        let envelope = envelope(document, &table, code)?;
        let mut settings = needed(envelope.settings, code)?;
        let resource = if envelope.resource == "Container" {
            let missing = settings.error("ContainerId", "this request needs a container's id");
            NamespaceResource::Container(settings.text(&["ContainerId"])?.ok_or(missing)?)
        } else {
            let missing = settings.error("EndpointId", "this request needs an endpoint's id");
            let id = settings.parsed(&["EndpointId"], ErrorCode::GUID_CONVERSION_FAILURE)?;
            NamespaceResource::Endpoint(id.ok_or(missing)?)
        };
        settings.finish()?;
        Ok(Self { request: envelope.request, resource })
    }
}
