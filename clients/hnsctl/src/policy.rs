mod defaults;
mod flags;
mod listing;
mod set_spec;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hns_client::{Kind, PolicyRequest};
use hns_hcn::{ErrorCode, Policy, PortRules, RuleAction, RuleDirection};
use serde_json::Value;

use crate::cli::Context;
use crate::endpoint::show_endpoint;
use crate::failure::Failure;
use crate::network::show_network;
use crate::output;
use crate::port_spec::PortSpec;
use crate::transfer::read_document;
use crate::view;

use defaults::DefaultArgs;
use flags::Limits;
use listing::Listing;
use set_spec::SetSpec;

pub use flags::{PolicyFlags, RULES};

const LS_HELP: &str = "\
Rules are shown in the order in which a packet is asked about them, with how many packets each decided on: of block \
all that it dropped, of allow the first of each connection. A rule that stays keeps its count while others come and \
go; of a direction with more than 1,024 rules the counts begin anew. The last row of a direction is what \
decides when no rule does.

Examples:
  hnsctl policy ls web
  hnsctl policy ls web -o json
  hnsctl policy ls --network blue";

const ADD_EXAMPLES: &str = "\
Examples:
  hnsctl policy add web --acl 'in allow tcp port 80,443' --acl 'in block from 10.0.0.0/8 prio 100'
  hnsctl policy add web -p 8443:443 --bandwidth-out 10mbit
  hnsctl policy add web -f policies.json
  hnsctl policy add --network blue --set blocklist=10.9.0.0/16,192.0.2.7 --acl 'in block from blocklist prio 10'";

const SET_EXAMPLES: &str = "\
All rules, tiers and proxies of an endpoint are replaced by those that are given. Of other types, those given replace \
all of their type, and types of which none is given stay. Of a network, rules that are given replace its rules, and a \
set that is there has other members.

Examples:
  hnsctl policy set web --acl 'in allow tcp port 80' --acl 'out allow'
  hnsctl policy set web -f policies.json
  hnsctl policy set --network blue --set blocklist=10.9.0.0/16";

const RM_EXAMPLES: &str = "\
A rule is named by the same words, or by others that mean the same; `hnsctl policy ls` shows them.

Examples:
  hnsctl policy rm web --acl 'in block from 10.0.0.0/8 prio 100'
  hnsctl policy rm web -p 8443:443 --bandwidth-out 10mbit
  hnsctl policy rm --network blue --acl 'in block from blocklist prio 10' --set blocklist";

fn add_help() -> String {
    format!("{RULES}\n\n{ADD_EXAMPLES}")
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the policies of an endpoint and what their rules did, or those of a network
    #[command(visible_alias = "list", after_help = LS_HELP)]
    Ls(OwnerArgs),
    /// Add policies to an endpoint, attached or not, or to a network
    #[command(visible_alias = "create", after_help = add_help())]
    Add(ChangeArgs),
    /// Replace the rules of an endpoint or a network, and what else is given
    #[command(after_help = SET_EXAMPLES)]
    Set(ChangeArgs),
    /// Print the policies of an endpoint or a network as documents
    #[command(after_help = "Example:\n  hnsctl policy inspect web")]
    Inspect(OwnerArgs),
    /// Remove policies from an endpoint or a network, named as they were added
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(ChangeArgs),
    /// Remove all rules and tiers of an endpoint, or all rules of a network; ports, limits and sets stay
    #[command(after_help = "Examples:\n  hnsctl policy clear web\n  hnsctl policy clear --network blue")]
    Clear(OwnerArgs),
    /// Say what becomes of packets that no rule decides
    #[command(after_help = defaults::EXAMPLES)]
    Default(DefaultArgs),
}

#[derive(Debug, Args)]
pub struct OwnerArgs {
    #[arg(required_unless_present = "network", conflicts_with = "network")]
    endpoint: Option<String>,
    /// Those of this network, instead of an endpoint's
    #[arg(long)]
    network: Option<String>,
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[arg(required_unless_present = "network")]
    endpoint: Option<String>,
    #[command(flatten)]
    flags: PolicyFlags,
    /// Of this network, instead of an endpoint: rules hold for all its endpoints
    #[arg(long, conflicts_with_all = ["endpoint", "ports", "bandwidth_out", "bandwidth_in"])]
    network: Option<String>,
    /// A set of addresses of the network, which rules name behind from and to; rm takes its name alone
    #[arg(
        long = "set",
        value_name = "NAME=ADDRS",
        value_parser = SetSpec::of_addresses,
        requires = "network",
        conflicts_with = "endpoint"
    )]
    sets: Vec<SetSpec>,
    /// A set that has the members of other sets
    #[arg(
        long = "set-of",
        value_name = "NAME=SETS",
        value_parser = SetSpec::of_sets,
        requires = "network",
        conflicts_with = "endpoint"
    )]
    unions: Vec<SetSpec>,
    /// A policy as HCN writes it: {"Type":..,"Settings":{..}}
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    json: Vec<Value>,
    /// Policies as HCN writes them: one, a list, or {"Policies":[..]}; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The endpoint or the network whose policies they are, as it is now.
struct Owner {
    kind: Kind,
    document: Value,
    /// `endpoint web`, as it was named.
    called: String,
}

impl Owner {
    async fn find(context: &Context, endpoint: Option<&str>, network: Option<&str>) -> Result<Self, Failure> {
        let (kind, name) = match (endpoint, network) {
            (_, Some(network)) => (Kind::Network, network),
            (endpoint, None) => (Kind::Endpoint, endpoint.unwrap_or_default()),
        };
        let document = context.client.find(kind, name).await?;
        Ok(Self { kind, document, called: format!("{kind} {name}") })
    }

    fn policies(&self) -> &[Value] {
        view::list(&self.document, "Policies")
    }

    /// What it has that means the same.
    fn same_policy(&self, wanted: &Policy, words: &str) -> Result<Value, Failure> {
        let reads_same =
            |own: &&Value| Policy::from_document(own).ok().flatten().is_some_and(|own| own.matches(wanted));
        let own = self.policies().iter().find(reads_same).cloned();
        own.ok_or_else(|| Failure::NoSuchPolicy { owner: self.called.clone(), policy: words.to_owned() })
    }

    /// The policy of an endpoint that limits it; it has one at most.
    fn limit(&self) -> (Option<Value>, Limits) {
        let limits = |document: &Value| Limits::of_policy(&Policy::from_document(document).ok()??);
        let find = |document: &Value| Some((Some(document.clone()), limits(document)?));
        self.policies().iter().find_map(find).unwrap_or_default()
    }

    async fn modify(
        &self,
        context: &Context,
        request: PolicyRequest,
        policies: &[Value],
    ) -> Result<Value, Failure> {
        if policies.is_empty() {
            return Err(Failure::NothingToChange);
        }
        self.request(context, request, policies).await
    }

    async fn request(
        &self,
        context: &Context,
        request: PolicyRequest,
        policies: &[Value],
    ) -> Result<Value, Failure> {
        let (client, id) = (&context.client, view::id(&self.document));
        Ok(match self.kind {
            Kind::Network => client.modify_network_policies(id, request, policies).await?,
            _ => client.modify_policies(id, request, policies).await?,
        })
    }

    /// Removes policies and adds others; when these are refused, those come back.
    async fn exchange(&self, context: &Context, gone: &[Value], added: &[Value]) -> Result<Value, Failure> {
        if gone.is_empty() {
            return self.modify(context, PolicyRequest::Add, added).await;
        }
        let without = self.modify(context, PolicyRequest::Remove, gone).await?;
        if added.is_empty() {
            return Ok(without);
        }
        let outcome = self.modify(context, PolicyRequest::Add, added).await;
        if outcome.is_err() {
            self.modify(context, PolicyRequest::Add, gone).await?;
        }
        outcome
    }

    /// Says so where a change has closed what was open: with one rule, what none allows is blocked, which nobody expects of a rule that
    /// blocks.
    #[expect(clippy::print_stderr, reason = "a note beside the answer")]
    async fn tell_closed(&self, context: &Context, before: Vec<RuleDirection>) -> Result<(), Failure> {
        let closed = closed_directions(context, self).await?;
        let fresh: Vec<_> = closed.iter().filter(|now| !before.contains(now)).map(|it| it.name()).collect();
        if !fresh.is_empty() {
            let directions = fresh.join(" and ").to_lowercase();
            eprintln!(
                "note: what no rule allows is blocked from now on, {directions}; `hnsctl policy default` changes that"
            );
        }
        Ok(())
    }

    async fn show(&self, context: &Context, changed: &Value) -> Result<(), Failure> {
        match self.kind {
            Kind::Network => show_network(context, changed).await,
            _ => show_endpoint(context, changed).await,
        }
    }
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
        match self {
            Self::Ls(arguments) => list(context, &arguments.owner(context).await?).await,
            Self::Add(arguments) => arguments.add(context).await,
            Self::Set(arguments) => {
                let owner = arguments.owner(context).await?;
                // The daemon passes over a set that is not there, as HNS does: a slip of the pen would go unseen.
                for set in arguments.sets.iter().chain(&arguments.unions) {
                    owner.same_policy(&set.policy, &format!("set {}", set.id()))?;
                }
                let mut policies = arguments.given(&owner)?;
                if arguments.flags.has_limits() {
                    policies.push(arguments.flags.limits().to_policy());
                }
                let before = closed_directions(context, &owner).await?;
                let changed = owner.modify(context, PolicyRequest::Update, &policies).await?;
                owner.show(context, &changed).await?;
                owner.tell_closed(context, before).await
            }
            Self::Inspect(arguments) => {
                let owner = arguments.owner(context).await?;
                output::show_json(&Value::Array(owner.policies().to_vec()))
            }
            Self::Rm(arguments) => arguments.remove(context).await,
            Self::Default(arguments) => arguments.run(context).await,
            Self::Clear(arguments) => {
                let owner = arguments.owner(context).await?;
                let changed = owner.request(context, PolicyRequest::Reset, &[]).await?;
                owner.show(context, &changed).await
            }
        }
    }
}

/// The directions in which an endpoint's port blocks what no rule allows.
async fn closed_directions(context: &Context, owner: &Owner) -> Result<Vec<RuleDirection>, Failure> {
    if owner.kind == Kind::Network {
        return Ok(Vec::new());
    }
    let rules = port_rules(context, owner).await?;
    let blocks = |direction: &RuleDirection| {
        rules.as_ref().and_then(|rules| rules.default_of(*direction)) == Some(RuleAction::Block)
    };
    Ok([RuleDirection::In, RuleDirection::Out].into_iter().filter(blocks).collect())
}

/// Nothing on a host whose ports have no programs.
async fn port_rules(context: &Context, owner: &Owner) -> Result<Option<PortRules>, Failure> {
    match context.client.port_rules(view::id(&owner.document)).await {
        Ok(answer) => Ok(Some(PortRules::from_v2(&answer).map_err(|source| Failure::Answer { source })?)),
        Err(error) if error.code() == Some(ErrorCode::REQUEST_UNSUPPORTED.0) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn list(context: &Context, owner: &Owner) -> Result<(), Failure> {
    let listing = match owner.kind {
        Kind::Network => Listing::of_network(owner.policies()),
        _ => listing_of_endpoint(context, owner).await?,
    };
    output::show(context.format, &listing.documents(), |format| listing.rows(format))
}

async fn listing_of_endpoint(context: &Context, owner: &Owner) -> Result<Listing, Failure> {
    let client = &context.client;
    let network = client.network(view::text(&owner.document, "HostComputeNetwork")).await?;
    let counted = port_rules(context, owner).await?;
    Ok(Listing::of_endpoint(owner.policies(), view::list(&network, "Policies"), counted.as_ref()))
}

impl OwnerArgs {
    async fn owner(&self, context: &Context) -> Result<Owner, Failure> {
        Owner::find(context, self.endpoint.as_deref(), self.network.as_deref()).await
    }
}

impl ChangeArgs {
    async fn owner(&self, context: &Context) -> Result<Owner, Failure> {
        Owner::find(context, self.endpoint.as_deref(), self.network.as_deref()).await
    }

    async fn add(&self, context: &Context) -> Result<(), Failure> {
        let owner = self.owner(context).await?;
        let mut added = self.given(&owner)?;
        let mut former = None;
        if self.flags.has_limits() {
            let limits;
            (former, limits) = owner.limit();
            added.push(self.flags.limits().over(limits).to_policy());
        }
        let before = closed_directions(context, &owner).await?;
        let changed = owner.exchange(context, former.as_slice(), &added).await?;
        owner.show(context, &changed).await?;
        owner.tell_closed(context, before).await
    }

    async fn remove(&self, context: &Context) -> Result<(), Failure> {
        let owner = self.owner(context).await?;
        let mut gone = self.policies_of(&owner)?;
        let mut left = None;
        if self.flags.has_limits() {
            let (former, limits) = owner.limit();
            let no_such = |limit| Failure::NoSuchPolicy {
                owner: owner.called.clone(),
                policy: format!("limit {limit}"),
            };
            let limits = limits.without(self.flags.limits()).map_err(no_such)?;
            gone.extend(former);
            left = (!limits.is_empty()).then(|| limits.to_policy());
        }
        let changed = owner.exchange(context, &gone, left.as_slice()).await?;
        owner.show(context, &changed).await
    }

    /// The policies to add but for limits; sets before what names them.
    fn given(&self, owner: &Owner) -> Result<Vec<Value>, Failure> {
        let sets = || self.sets.iter().chain(&self.unions);
        if let Some(set) = sets().find(|set| !set.says_members) {
            return Err(Failure::NoMembers { set: set.id().to_owned() });
        }
        let mut given: Vec<Value> = sets().map(|set| set.policy.to_v2()).collect();
        match owner.kind {
            Kind::Network => given.extend(self.flags.network_acls().map(|rule| rule.to_v2())),
            _ => given.extend(self.flags.without_limits()),
        }
        given.extend(self.documents()?);
        Ok(given)
    }

    /// The policies that are written as documents.
    fn documents(&self) -> Result<Vec<Value>, Failure> {
        let mut documents = self.json.clone();
        if let Some(file) = &self.file {
            documents.extend(policies_in(file)?);
        }
        Ok(documents)
    }

    /// The policies to remove but for limits, as their owner has them: the daemon removes what is equal, and what is equal
    /// to a mapping with a chosen port only the endpoint's document says. Sets come after what may name them.
    fn policies_of(&self, owner: &Owner) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for spec in &self.flags.ports {
            let is_meant = |policy: &&Value| PortSpec::of_policy(policy).is_some_and(|own| spec.means(&own));
            let policy = owner.policies().iter().find(is_meant);
            found.push(policy.cloned().ok_or_else(|| Failure::NoSuchPolicy {
                owner: owner.called.clone(),
                policy: format!("port mapping {spec}"),
            })?);
        }
        for rule in &self.flags.acls {
            let wanted = if owner.kind == Kind::Network { rule.network_acl() } else { rule.acl() };
            found.push(owner.same_policy(&wanted, &format!("rule \"{rule}\""))?);
        }
        for set in self.unions.iter().chain(&self.sets) {
            found.push(owner.same_policy(&set.policy, &format!("set {}", set.id()))?);
        }
        found.extend(self.documents()?);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What `hnsctl policy rm` or `add` was told.
    fn change(words: &[&str]) -> ChangeArgs {
        let words = [&["hnsctl", "policy", "add"], words].concat();
        match Cli::try_parse_from(words.iter()).unwrap_or_else(|error| panic!("{words:?}: {error}")).command {
            Command::Policy(PolicyCommand::Add(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    fn owner(kind: Kind, policies: &Value) -> Owner {
        let document = json!({"Policies": policies});
        let called = if kind == Kind::Network { "network blue" } else { "endpoint web" };
        Owner { kind, document, called: called.to_owned() }
    }

    #[test]
    fn policies_are_removed_as_the_endpoint_has_them() {
        let chosen = json!({"Type": "PortMapping",
            "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 49152, "Flags": 0}});
        let rule = json!({"Type": "ACL", "Settings": {"action": 1, "Direction": "In", "Protocols": "6",
            "LocalPorts": "22", "RuleType": "Switch", "Priority": "1000"}});
        let web = owner(Kind::Endpoint, &json!([{"Type": "ACL", "Settings": {}}, chosen, rule]));
        let found = change(&["web", "-p", "80", "--acl", "in block port 22 tcp"]).policies_of(&web);
        assert_eq!(found.expect("they are there"), [chosen, rule]);
        for (words, missing) in [
            (["-p", "81"], "endpoint web has no port mapping 0:81/tcp"),
            (
                ["--acl", "in block tcp prio 1 port 22"],
                "endpoint web has no rule \"in block tcp port 22 prio 1\"",
            ),
        ] {
            let words = [&["web"], &words[..]].concat();
            assert_eq!(change(&words).policies_of(&web).expect_err(missing).to_string(), missing);
        }
    }

    #[test]
    fn the_limits_of_an_endpoint_are_those_of_its_policy() {
        let limit = json!({"Type": "qos", "Settings": {"MaximumIncomingBandwidthInBytes": "125000"}});
        let web = owner(Kind::Endpoint, &json!([{"Type": "ACL", "Settings": {}}, limit]));
        let (policy, limits) = web.limit();
        assert_eq!((policy, limits.to_string()), (Some(limit), "bandwidth-in 1mbit".to_owned()));
        assert_eq!(owner(Kind::Endpoint, &json!([])).limit(), (None, Limits::default()));
    }

    #[test]
    fn a_network_gets_its_sets_before_the_rules_that_name_them() {
        let words = [
            "--network",
            "blue",
            "--acl",
            "in block from outside",
            "--set-of",
            "outside=bad,guests",
            "--set",
            "bad=10.9.0.0/16",
        ];
        let blue = owner(Kind::Network, &json!([]));
        let given = change(&words).given(&blue).expect("they are whole");
        insta::assert_snapshot!(given.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"), @r#"
        {"Type":"SetPolicy","Settings":{"Id":"bad","Name":"bad","PolicyType":"IPSET","Values":"10.9.0.0/16"}}
        {"Type":"SetPolicy","Settings":{"Id":"outside","Name":"outside","PolicyType":"NESTEDIPSET","Values":"bad,guests"}}
        {"Type":"NetworkACL","Settings":{"Action":"Block","Direction":"In","LocalAddresses":"outside","Priority":1000}}
        "#);
        // In the other order they go, and a set is named by its name.
        let blue = owner(Kind::Network, &json!(given));
        let words =
            ["--network", "blue", "--set", "bad", "--set-of", "outside", "--acl", "in block from outside"];
        let gone = change(&words).policies_of(&blue).expect("they are there");
        assert_eq!(gone, [given[2].clone(), given[1].clone(), given[0].clone()]);
        let none = change(&["--network", "blue", "--set", "good"]);
        assert_eq!(none.policies_of(&blue).expect_err("no such").to_string(), "network blue has no set good");
        let told = none.given(&blue).expect_err("it has no members").describe();
        insta::assert_snapshot!(told, @"
        error: the members of set good are missing
        hint: write good=MEMBER,MEMBER, or good= for a set without any
        ");
    }

    #[test]
    fn an_endpoint_has_no_sets_and_a_network_no_ports() {
        for words in [
            &["add"][..],
            &["add", "web", "--network", "blue"],
            &["add", "web", "--set", "bad=10.0.0.1"],
            &["add", "--set-of", "bad=worse"],
            &["add", "--network", "blue", "-p", "80:80"],
            &["set", "--network", "blue", "--bandwidth-out", "1mbit"],
            &["add", "--network", "blue", "--set", "bad=10.0.0.300"],
            &["ls"],
            &["ls", "web", "--network", "blue"],
        ] {
            let words = [&["hnsctl", "policy"], words].concat();
            assert!(Cli::try_parse_from(words.iter()).is_err(), "{words:?}");
        }
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
