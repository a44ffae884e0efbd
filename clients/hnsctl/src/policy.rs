mod flags;
mod listing;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hns_client::{Kind, PolicyRequest};
use hns_hcn::{ErrorCode, Policy, PortRules};
use serde_json::Value;

use crate::cli::Context;
use crate::endpoint::show_endpoint;
use crate::failure::Failure;
use crate::output;
use crate::port_spec::PortSpec;
use crate::transfer::read_document;
use crate::view;

use flags::Limits;
use listing::Listing;

pub use flags::{PolicyFlags, RULES};

const LS_HELP: &str = "\
Rules are shown in the order in which a packet is asked about them, with how many packets each decided on: of block \
all that it dropped, of allow the first of each connection. The counts begin anew when a rule of their direction \
comes or goes, and endpoints with the same rules of a direction count together. The last row of a direction is what \
decides when no rule does.

Examples:
  hnsctl policy ls web
  hnsctl policy ls web -o json";

const ADD_EXAMPLES: &str = "\
Examples:
  hnsctl policy add web --acl 'in allow tcp port 80,443' --acl 'in block from 10.0.0.0/8 prio 100'
  hnsctl policy add web -p 8443:443 --bandwidth-out 10mbit
  hnsctl policy add web -f policies.json";

const SET_EXAMPLES: &str = "\
All rules, tiers and proxies are replaced by those that are given. Of other types, those given replace all of \
their type, and types of which none is given stay.

Examples:
  hnsctl policy set web --acl 'in allow tcp port 80' --acl 'out allow'
  hnsctl policy set web -f policies.json";

const RM_EXAMPLES: &str = "\
A rule is named by the same words, or by others that mean the same; `hnsctl policy ls` shows them.

Examples:
  hnsctl policy rm web --acl 'in block from 10.0.0.0/8 prio 100'
  hnsctl policy rm web -p 8443:443 --bandwidth-out 10mbit";

fn add_help() -> String {
    format!("{RULES}\n\n{ADD_EXAMPLES}")
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the policies of an endpoint, and what their rules did
    #[command(visible_alias = "list", after_help = LS_HELP)]
    Ls { endpoint: String },
    /// Add policies to an endpoint, attached or not
    #[command(visible_alias = "create", after_help = add_help())]
    Add(ChangeArgs),
    /// Replace the rules of an endpoint, and what else is given
    #[command(after_help = SET_EXAMPLES)]
    Set(ChangeArgs),
    /// Print the policies of an endpoint as documents
    #[command(after_help = "Example:\n  hnsctl policy inspect web")]
    Inspect { endpoint: String },
    /// Remove policies from an endpoint, named as they were added
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(ChangeArgs),
    /// Remove all rules, tiers and proxies of an endpoint; ports and limits stay
    #[command(after_help = "Example:\n  hnsctl policy clear web")]
    Clear { endpoint: String },
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    endpoint: String,
    #[command(flatten)]
    flags: PolicyFlags,
    /// A policy as HCN writes it: {"Type":..,"Settings":{..}}
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    json: Vec<Value>,
    /// Policies as HCN writes them: one, a list, or {"Policies":[..]}; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn parse_policy(text: &str) -> Result<Value, String> {
    let policy: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if is_policy(&policy) { Ok(policy) } else { Err("a policy is an object with a Type".to_owned()) }
}

fn is_policy(value: &Value) -> bool {
    value.get("Type").is_some_and(Value::is_string)
}

/// The policies that a file holds.
fn policies_in(path: &Path) -> Result<Vec<Value>, Failure> {
    let found = match read_document(path)? {
        Value::Array(list) => Some(list),
        policy if is_policy(&policy) && policy.get("Settings").is_some() => Some(vec![policy]),
        mut document => document.get_mut("Policies").and_then(Value::as_array_mut).map(std::mem::take),
    };
    let found = found.filter(|policies| !policies.is_empty() && policies.iter().all(is_policy));
    found.ok_or_else(|| Failure::NoPolicies { path: path.to_owned() })
}

impl PolicyCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Ls { endpoint } => list(context, &client.endpoint(&endpoint).await?).await,
            Self::Add(arguments) => arguments.add(context).await,
            Self::Set(arguments) => {
                let endpoint = client.endpoint(&arguments.endpoint).await?;
                let policies = [arguments.flags.documents(), arguments.documents()?].concat();
                change(context, &endpoint, PolicyRequest::Update, &policies).await
            }
            Self::Inspect { endpoint } => {
                let endpoint = client.endpoint(&endpoint).await?;
                output::show_json(&Value::Array(view::list(&endpoint, "Policies").to_vec()))
            }
            Self::Rm(arguments) => arguments.remove(context).await,
            Self::Clear { endpoint } => {
                let id = client.find_id(Kind::Endpoint, &endpoint).await?;
                let changed = client.modify_policies(&id, PolicyRequest::Reset, &[]).await?;
                show_endpoint(context, &changed).await
            }
        }
    }
}

async fn list(context: &Context, endpoint: &Value) -> Result<(), Failure> {
    let client = &context.client;
    let network = client.network(view::text(endpoint, "HostComputeNetwork")).await?;
    let counted = match client.port_rules(view::id(endpoint)).await {
        Ok(answer) => Some(PortRules::from_v2(&answer).map_err(|source| Failure::Answer { source })?),
        // A host whose ports have no programs.
        Err(error) if error.code() == Some(ErrorCode::REQUEST_UNSUPPORTED.0) => None,
        Err(error) => return Err(error.into()),
    };
    let policies = |document| view::list(document, "Policies");
    let listing = Listing::new(policies(endpoint), policies(&network), counted.as_ref());
    output::show(context.format, &listing.documents(), |format| listing.rows(format))
}

impl ChangeArgs {
    async fn add(&self, context: &Context) -> Result<(), Failure> {
        let endpoint = context.client.endpoint(&self.endpoint).await?;
        let mut added = self.flags.without_limits();
        added.extend(self.documents()?);
        let mut former = None;
        if self.flags.has_limits() {
            let limits;
            (former, limits) = limit_of(&endpoint);
            added.push(self.flags.limits().over(limits).to_policy());
        }
        exchange(context, &endpoint, former.as_slice(), &added).await
    }

    async fn remove(&self, context: &Context) -> Result<(), Failure> {
        let endpoint = context.client.endpoint(&self.endpoint).await?;
        let mut gone = self.policies_of(&endpoint)?;
        let mut left = None;
        if self.flags.has_limits() {
            let (former, limits) = limit_of(&endpoint);
            let no_such = |limit| Failure::NoSuchLimit { endpoint: self.endpoint.clone(), limit };
            let limits = limits.without(self.flags.limits()).map_err(no_such)?;
            gone.extend(former);
            left = (!limits.is_empty()).then(|| limits.to_policy());
        }
        exchange(context, &endpoint, &gone, left.as_slice()).await
    }

    /// The policies that are written as documents.
    fn documents(&self) -> Result<Vec<Value>, Failure> {
        let mut documents = self.json.clone();
        if let Some(file) = &self.file {
            documents.extend(policies_in(file)?);
        }
        Ok(documents)
    }

    /// The policies to remove but for limits, as the endpoint has them: the daemon removes what is equal, and what is equal
    /// to a mapping with a chosen port only the endpoint's document says.
    fn policies_of(&self, endpoint: &Value) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for spec in &self.flags.ports {
            let is_meant = |policy: &&Value| PortSpec::of_policy(policy).is_some_and(|own| spec.means(&own));
            let policy = view::list(endpoint, "Policies").iter().find(is_meant);
            found.push(policy.cloned().ok_or_else(|| Failure::NoSuchMapping {
                endpoint: self.endpoint.clone(),
                mapping: spec.to_string(),
            })?);
        }
        for rule in &self.flags.acls {
            let no_such = || Failure::NoSuchRule { endpoint: self.endpoint.clone(), rule: rule.to_string() };
            found.push(same_policy(endpoint, &rule.acl()).cloned().ok_or_else(no_such)?);
        }
        found.extend(self.documents()?);
        Ok(found)
    }
}

/// What an object has that means the same.
fn same_policy<'a>(owner: &'a Value, wanted: &Policy) -> Option<&'a Value> {
    view::list(owner, "Policies")
        .iter()
        .find(|own| Policy::from_document(own).ok().flatten().is_some_and(|own| own.matches(wanted)))
}

/// The policy of an endpoint that limits it; it has one at most.
fn limit_of(endpoint: &Value) -> (Option<Value>, Limits) {
    let limits = |document: &Value| Limits::of_policy(&Policy::from_document(document).ok()??);
    let find = |document: &Value| Some((Some(document.clone()), limits(document)?));
    view::list(endpoint, "Policies").iter().find_map(find).unwrap_or_default()
}

/// Removes policies and adds others; when these are refused, those come back.
async fn exchange(
    context: &Context,
    endpoint: &Value,
    gone: &[Value],
    added: &[Value],
) -> Result<(), Failure> {
    if gone.is_empty() {
        return change(context, endpoint, PolicyRequest::Add, added).await;
    }
    if added.is_empty() {
        return change(context, endpoint, PolicyRequest::Remove, gone).await;
    }
    let client = &context.client;
    client.modify_policies(view::id(endpoint), PolicyRequest::Remove, gone).await?;
    match client.modify_policies(view::id(endpoint), PolicyRequest::Add, added).await {
        Ok(changed) => show_endpoint(context, &changed).await,
        Err(error) => {
            client.modify_policies(view::id(endpoint), PolicyRequest::Add, gone).await?;
            Err(error.into())
        }
    }
}

async fn change(
    context: &Context,
    endpoint: &Value,
    request: PolicyRequest,
    policies: &[Value],
) -> Result<(), Failure> {
    if policies.is_empty() {
        return Err(Failure::NothingToChange);
    }
    let changed = context.client.modify_policies(view::id(endpoint), request, policies).await?;
    show_endpoint(context, &changed).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(ports: &[&str], acls: &[&str]) -> ChangeArgs {
        let ports = ports.iter().map(|text| text.parse().expect("the test's own text")).collect();
        let acls = acls.iter().map(|text| text.parse().expect("the test's own text")).collect();
        let flags = PolicyFlags { ports, acls, ..PolicyFlags::default() };
        ChangeArgs { endpoint: "web".into(), flags, json: Vec::new(), file: None }
    }

    #[test]
    fn policies_are_removed_as_the_endpoint_has_them() {
        let chosen = json!({"Type": "PortMapping",
            "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 49152, "Flags": 0}});
        let rule = json!({"Type": "ACL", "Settings": {"action": 1, "Direction": "In", "Protocols": "6",
            "LocalPorts": "22", "RuleType": "Switch", "Priority": "1000"}});
        let endpoint = json!({"Policies": [{"Type": "ACL", "Settings": {}}, chosen, rule]});
        let found = change(&["80"], &["in block port 22 tcp"]).policies_of(&endpoint);
        assert_eq!(found.expect("they are there"), [chosen, rule]);
        let missing = change(&["81"], &[]).policies_of(&endpoint).expect_err("it is not there");
        assert_eq!(missing.to_string(), "endpoint web has no port mapping 0:81/tcp");
        let missing = change(&[], &["in block tcp prio 1 port 22"]).policies_of(&endpoint);
        let missing = missing.expect_err("of another priority");
        assert_eq!(missing.to_string(), "endpoint web has no rule \"in block tcp port 22 prio 1\"");
    }

    #[test]
    fn the_limits_of_an_endpoint_are_those_of_its_policy() {
        let limit = json!({"Type": "qos", "Settings": {"MaximumIncomingBandwidthInBytes": "125000"}});
        let endpoint = json!({"Policies": [{"Type": "ACL", "Settings": {}}, limit]});
        let (policy, limits) = limit_of(&endpoint);
        assert_eq!((policy, limits.to_string()), (Some(limit), "bandwidth-in 1mbit".to_owned()));
        assert_eq!(limit_of(&json!({})), (None, Limits::default()));
    }

    #[test]
    fn a_policy_is_an_object_with_a_type() {
        assert!(parse_policy(r#"{"Type":"ACL","Settings":{}}"#).is_ok());
        for wrong in ["", "[]", "{}", r#"{"Type":1}"#, "{"] {
            assert!(parse_policy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_holds_a_policy_or_a_list_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policies.json");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("the folder is ours");
            policies_in(&path)
        };
        let policy = json!({"Type": "ACL", "Settings": {"Action": "Allow"}});
        // The last is an endpoint, as `inspect` prints it.
        for text in [
            policy.to_string(),
            json!([policy]).to_string(),
            json!({"Policies": [policy]}).to_string(),
            json!({"ID": "1F0E", "Type": "x", "Policies": [policy]}).to_string(),
        ] {
            assert_eq!(
                read(&text).unwrap_or_else(|error| panic!("{text}: {error}")),
                vec![policy.clone()],
                "{text}"
            );
        }
        for wrong in ["[]", "{}", "7", "[7]", r#"{"Policies":{}}"#, r#"{"Policies":[[]]}"#] {
            let told = read(wrong).expect_err(wrong).to_string();
            assert!(told.ends_with("policies.json holds no policies"), "{told}");
        }
        assert!(matches!(read("{"), Err(Failure::ParseFile { .. })));
    }
}
