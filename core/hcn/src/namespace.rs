use std::path::PathBuf;

use hns_net::Guid;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields, base_to_v2, check_name, pass_over_base};

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// HCN `NamespaceType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NamespaceType {
    /// A network namespace, made by us or given by `Path` or `Pid`.
    #[default]
    Host,
    /// The host's own.
    HostDefault,
    Guest,
    GuestDefault,
}

impl NamespaceType {
    const TABLE: &'static [(&'static str, u64, Self)] = &[
        ("Host", 0, Self::Host),
        ("HostDefault", 1, Self::HostDefault),
        ("Guest", 2, Self::Guest),
        ("GuestDefault", 3, Self::GuestDefault),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::TABLE.iter().find(|(.., t)| *t == self).map_or("Host", |(name, ..)| name)
    }
}

/// A member of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Container(String),
    Endpoint(Guid),
}

/// A HostComputeNamespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    pub id: Option<Guid>,
    pub name: String,
    pub owner: Option<String>,
    /// The compartment number.
    pub compartment: u32,
    pub compartment_guid: Option<Guid>,
    pub kind: NamespaceType,
    pub resources: Vec<Resource>,
    pub params: NamespaceParams,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamespaceParams {
    /// Where the namespace is found. In a create: a namespace that exists already.
    pub path: Option<PathBuf>,
    /// In a create: the namespace of this process.
    pub pid: Option<u32>,
    pub others: Map<String, Value>,
}

impl Namespace {
    pub fn from_v2(document: &Value) -> Result<Self, DocumentError> {
        let namespace = Self::from_record(document)?;
        check_name(&namespace.name, CODE)?;
        Ok(namespace)
    }

    /// A document that was taken when more names were: a daemon reads again what it has written.
    pub fn from_record(document: &Value) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(document, "", CODE)?;
        let namespace = Self {
            id: fields.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            name: fields.text(&["Name"])?.unwrap_or_default(),
            owner: fields.text(&["Owner"])?,
            compartment: fields.number_u32(&["NamespaceId"])?.unwrap_or(0),
            compartment_guid: fields.parsed(&["NamespaceGuid"], ErrorCode::GUID_CONVERSION_FAILURE)?,
            kind: fields.choice(&["Type"], NamespaceType::TABLE, CODE)?.unwrap_or_default(),
            resources: resources(&mut fields)?,
            params: NamespaceParams::from_v2(&mut fields)?,
        };
        // A namespace exists as soon as it is created here, so the two ways to ask for that change nothing.
        fields.flag(&["CreateWithCompartment"])?;
        fields.flag(&["ReadyOnCreate"])?;
        pass_over_base(&mut fields)?;
        fields.finish()?;
        Ok(namespace)
    }

    #[must_use]
    pub fn to_v2(&self) -> Value {
        let mut out = base_to_v2(self.id, &self.name, self.owner.as_ref());
        out.insert("NamespaceId".into(), json!(self.compartment));
        if let Some(id) = self.compartment_guid {
            out.insert("NamespaceGuid".into(), json!(id.to_string()));
        }
        out.insert("Type".into(), json!(self.kind.name()));
        out.insert("Resources".into(), self.resources.iter().map(Resource::to_v2).collect());
        out.insert("AdditionalParams".into(), self.params.to_v2());
        Value::Object(out)
    }
}

fn resources(fields: &mut Fields<'_>) -> Result<Vec<Resource>, DocumentError> {
    let mut resources = Vec::new();
    for found in fields.list(&["Resources", "ResourceList"])? {
        let mut member = Fields::of(found.value, &found.path, CODE)?;
        let is_endpoint = member
            .choice(&["Type"], &[("Container", 0, false), ("Endpoint", 1, true)], CODE)?
            .unwrap_or(false);
        let missing = member.error("Data", "a resource needs an ID");
        let Some(mut data) = member.object(&["Data"])? else { return Err(missing) };
        let resource = if is_endpoint {
            data.parsed(&["ID"], ErrorCode::GUID_CONVERSION_FAILURE)?.map(Resource::Endpoint)
        } else {
            data.text(&["ID"])?.map(Resource::Container)
        };
        data.finish()?;
        member.finish()?;
        resources.push(resource.ok_or(missing)?);
    }
    Ok(resources)
}

impl Resource {
    fn to_v2(&self) -> Value {
        match self {
            Self::Container(id) => json!({ "Type": "Container", "Data": { "ID": id } }),
            Self::Endpoint(id) => json!({ "Type": "Endpoint", "Data": { "ID": id.to_string() } }),
        }
    }
}

impl NamespaceParams {
    fn from_v2(fields: &mut Fields<'_>) -> Result<Self, DocumentError> {
        let Some(mut params) = fields.object(&["AdditionalParams"])? else { return Ok(Self::default()) };
        let path = params.text(&["Path"])?.map(PathBuf::from);
        let pid = params.number_u32(&["Pid"])?;
        if let Some(path) = &path
            && (!path.is_absolute() || path.to_string_lossy().contains('\0'))
        {
            return Err(params.error("Path", format!("{} is not an absolute path", path.display())));
        }
        if pid == Some(0) {
            return Err(params.error("Pid", "0 is no process"));
        }
        Ok(Self { path, pid, others: params.rest() })
    }

    fn to_v2(&self) -> Value {
        let mut out = Map::new();
        if let Some(path) = &self.path {
            out.insert("Path".into(), json!(path.to_string_lossy()));
        }
        if let Some(pid) = self.pid {
            out.insert("Pid".into(), json!(pid));
        }
        out.extend(self.others.clone());
        Value::Object(out)
    }
}
