use clap::{Args, Subcommand};
use hns_client::{Kind, PolicyRequest};
use serde_json::Value;

use crate::cli::Context;
use crate::endpoint::show_endpoint;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::port_spec::PortSpec;
use crate::view;

const ADD_EXAMPLES: &str = "\
Examples:
  hnsctl policy add web -p 8443:443
  hnsctl policy add web --json '{\"Type\":\"PortMapping\",\"Settings\":{\"Protocol\":6,\"InternalPort\":80,\"ExternalPort\":0}}'";

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the policies of an endpoint
    #[command(visible_alias = "list", after_help = "Example:\n  hnsctl policy ls web")]
    Ls { endpoint: String },
    /// Add policies to an endpoint, attached or not
    #[command(visible_alias = "create", after_help = ADD_EXAMPLES)]
    Add(ChangeArgs),
    /// Print the policies of an endpoint as documents
    #[command(after_help = "Example:\n  hnsctl policy inspect web")]
    Inspect { endpoint: String },
    /// Remove policies from an endpoint, named as they were added
    #[command(visible_alias = "remove", after_help = "Example:\n  hnsctl policy rm web -p 8443:443")]
    Rm(ChangeArgs),
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    endpoint: String,
    /// A published port: [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]
    #[arg(short, long = "publish", value_name = "PORTS")]
    ports: Vec<PortSpec>,
    /// A policy as HCN writes it: {"Type":..,"Settings":{..}}
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    json: Vec<Value>,
}

fn parse_policy(text: &str) -> Result<Value, String> {
    let policy: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if policy.get("Type").is_some_and(Value::is_string) {
        Ok(policy)
    } else {
        Err("a policy is an object with a Type".to_owned())
    }
}

impl PolicyCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Ls { endpoint } => {
                let endpoint = client.endpoint(&endpoint).await?;
                let policies = view::list(&endpoint, "Policies");
                output::show(context.format, policies, |format| rows(format, policies))
            }
            Self::Add(arguments) => {
                let id = client.find_id(Kind::Endpoint, &arguments.endpoint).await?;
                let changed = client.modify_policies(&id, PolicyRequest::Add, &arguments.policies()?).await?;
                show_endpoint(context, &changed).await
            }
            Self::Inspect { endpoint } => {
                let endpoint = client.endpoint(&endpoint).await?;
                output::show_json(&Value::Array(view::list(&endpoint, "Policies").to_vec()))
            }
            Self::Rm(arguments) => {
                let endpoint = client.endpoint(&arguments.endpoint).await?;
                let found = arguments.policies_of(&endpoint)?;
                let changed =
                    client.modify_policies(view::id(&endpoint), PolicyRequest::Remove, &found).await?;
                show_endpoint(context, &changed).await
            }
        }
    }
}

impl ChangeArgs {
    fn policies(&self) -> Result<Vec<Value>, Failure> {
        let mappings = self.ports.iter().map(|spec| spec.to_policy());
        let policies: Vec<Value> = mappings.chain(self.json.iter().cloned()).collect();
        if policies.is_empty() { Err(Failure::NothingToChange) } else { Ok(policies) }
    }

    /// The policies to remove, as the endpoint has them: the daemon removes what is equal, and what is equal to a
    /// mapping with a chosen port only the endpoint's document says.
    fn policies_of(&self, endpoint: &Value) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for spec in &self.ports {
            let is_meant = |policy: &&Value| PortSpec::of_policy(policy).is_some_and(|own| spec.means(&own));
            let policy = view::list(endpoint, "Policies").iter().find(is_meant);
            found.push(policy.cloned().ok_or_else(|| Failure::NoSuchMapping {
                endpoint: self.endpoint.clone(),
                mapping: spec.to_string(),
            })?);
        }
        found.extend(self.json.iter().cloned());
        if found.is_empty() { Err(Failure::NothingToChange) } else { Ok(found) }
    }
}

fn rows(format: Format, policies: &[Value]) -> Rows {
    let mut rows = Rows::new(format, &["TYPE", "POLICY"], &["SETTINGS"]);
    for policy in policies {
        let settings = view::plain(policy.get("Settings"));
        let told = PortSpec::of_policy(policy).map_or_else(|| settings.clone(), |spec| spec.to_string());
        rows.push(vec![view::text(policy, "Type").to_owned(), told], vec![settings]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(ports: &[&str]) -> ChangeArgs {
        let parse = |text: &&str| text.parse().expect("the test's own text");
        ChangeArgs { endpoint: "web".into(), ports: ports.iter().map(parse).collect(), json: Vec::new() }
    }

    #[test]
    fn a_mapping_is_removed_as_the_endpoint_has_it() {
        let chosen = json!({"Type": "PortMapping",
            "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 49152, "Flags": 0}});
        let endpoint = json!({"Policies": [{"Type": "ACL", "Settings": {}}, chosen]});
        assert_eq!(change(&["80"]).policies_of(&endpoint).expect("it is there"), [chosen]);
        let missing = change(&["81"]).policies_of(&endpoint).expect_err("it is not there");
        assert_eq!(missing.to_string(), "endpoint web has no port mapping 0:81/tcp");
        assert!(matches!(change(&[]).policies_of(&endpoint), Err(Failure::NothingToChange)));
    }

    #[test]
    fn a_policy_is_an_object_with_a_type() {
        assert!(parse_policy(r#"{"Type":"ACL","Settings":{}}"#).is_ok());
        for wrong in ["", "[]", "{}", r#"{"Type":1}"#, "{"] {
            assert!(parse_policy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_shows_mappings_as_they_are_given() {
        let policies = [
            json!({"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}}),
            json!({"Type": "PortMapping", "Settings": {"InternalPort": 53, "ExternalPort": 53, "PortCount": 2}}),
            json!({"Type": "ACL", "Settings": {"Action": "Block"}}),
        ];
        insta::assert_snapshot!(rows(Format::Table, &policies).to_string(), @r#"
        TYPE         POLICY
        PortMapping  8080:80/tcp
        PortMapping  53-54:53-54/tcp+udp
        ACL          {"Action":"Block"}
        "#);
    }
}
