//! The plugin against a scripted daemon: every verb in every version, every dialect, and any input at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod any_input;
mod configurations;
mod delegation;
mod scripted_daemon;
mod spec_rules;
mod verbs;

use std::ffi::OsString;
use std::path::Path;

use hns_cni::{Call, Environment, Outcome, Verb};
use scripted_daemon::Daemon;
use serde_json::{Value, json};

/// The versions that the issue of results has changed with, and those in between.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A runtime that calls the plugin for one container.
struct Runtime<'d> {
    daemon: &'d Daemon,
    args: String,
    path: String,
}

impl<'d> Runtime<'d> {
    fn new(daemon: &'d Daemon) -> Self {
        Self { daemon, args: String::new(), path: String::new() }
    }

    fn call(&self, verb: Verb, conf: &Value) -> Outcome {
        self.call_at(verb, conf, &self.daemon.namespace())
    }

    fn call_at(&self, verb: Verb, conf: &Value, namespace: &Path) -> Outcome {
        let variable = |name: &str| -> Option<OsString> {
            match name {
                "CNI_CONTAINERID" => Some("c1".into()),
                "CNI_IFNAME" => Some("eth0".into()),
                "CNI_NETNS" => Some(namespace.into()),
                "CNI_ARGS" => Some(self.args.clone().into()),
                "CNI_PATH" => Some(self.path.clone().into()),
                "HNS_SOCKET" => Some(self.daemon.socket().into()),
                _ => None,
            }
        };
        let environment = Environment::read(variable);
        let input = conf.to_string();
        perform(&Call { verb, environment: &environment, input: input.as_bytes() })
    }

    /// An ADD that succeeds.
    fn add(&self, conf: &Value) -> Value {
        self.call(Verb::Add, conf).unwrap().unwrap()
    }

    /// The error document of a call that fails, judged by the specification's rules.
    fn refused(&self, verb: Verb, conf: &Value) -> Value {
        let document = self.call(verb, conf).unwrap_err().document("1.1.0");
        spec_rules::error(&document).unwrap();
        document
    }
}

fn perform(call: &Call<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(call.perform());
    // A version's document has rules of its own.
    if let (Ok(Some(document)), true) = (&outcome, call.verb == Verb::Version) {
        spec_rules::versions(document).unwrap();
    }
    outcome
}

/// A configuration of ours, with `more` in it.
fn conf(version: &str, more: &Value) -> Value {
    let mut conf = json!({"cniVersion": version, "name": "web", "type": "hns-cni"});
    for (key, value) in more.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}
