//! What becomes of packets that no rule decides.

use clap::{Args, ValueEnum};
use hns_client::PolicyRequest;
use serde_json::{Map, Value, json};

use super::Owner;
use crate::cli::Context;
use crate::failure::Failure;

pub const EXAMPLES: &str = "\
Without a word of the endpoint its network's counts, and without one of the network: block where there is a rule, \
else allow.

Examples:
  hnsctl policy default web --in block
  hnsctl policy default --network blue --in block --out allow
  hnsctl policy default web --in unset";

#[derive(Debug, Args)]
pub struct DefaultArgs {
    #[arg(required_unless_present = "network", conflicts_with = "network")]
    endpoint: Option<String>,
    /// Of all endpoints of this network that say nothing themselves
    #[arg(long)]
    network: Option<String>,
    /// What comes to it
    #[arg(long = "in", value_name = "ACTION", required_unless_present = "outward")]
    inward: Option<DefaultAction>,
    /// What it sends
    #[arg(long = "out", value_name = "ACTION")]
    outward: Option<DefaultAction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DefaultAction {
    Allow,
    Block,
    Unset,
}

impl DefaultArgs {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let owner = Owner::find(context, self.endpoint.as_deref(), self.network.as_deref()).await?;
        let mut changed = owner.document.clone();
        for request in [PolicyRequest::Add, PolicyRequest::Remove] {
            let settings = self.settings(request);
            if !settings.is_empty() {
                let (client, id) = (&context.client, crate::view::id(&owner.document));
                changed = client.modify_params(owner.kind, id, request, &Value::Object(settings)).await?;
            }
        }
        owner.show(context, &changed).await
    }

    /// What is set by this request, or taken back by it.
    fn settings(&self, request: PolicyRequest) -> Map<String, Value> {
        let mut settings = Map::new();
        for (key, default) in [("AclDefaultIn", self.inward), ("AclDefaultOut", self.outward)] {
            let name = match (default, request) {
                (Some(DefaultAction::Allow), PolicyRequest::Add) => "Allow",
                (Some(DefaultAction::Block), PolicyRequest::Add) => "Block",
                // Any name will do: what is named goes.
                (Some(DefaultAction::Unset), PolicyRequest::Remove) => "Allow",
                _ => continue,
            };
            settings.insert(key.to_owned(), json!(name));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_set_and_what_is_unset_taken_back() {
        let arguments = DefaultArgs {
            endpoint: Some("web".to_owned()),
            network: None,
            inward: Some(DefaultAction::Block),
            outward: Some(DefaultAction::Unset),
        };
        assert_eq!(json!(arguments.settings(PolicyRequest::Add)), json!({"AclDefaultIn": "Block"}));
        assert_eq!(json!(arguments.settings(PolicyRequest::Remove)), json!({"AclDefaultOut": "Allow"}));
    }
}
