//! A container runtime that knows nothing but CNI: it runs a list of plugins as the specification's section 3 has it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hns_testbed::{Host, program};
use serde_json::{Map, Value, json};

/// Where Debian's package containernetworking-plugins puts the reference plugins.
pub const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

/// A runtime in a host, with one list of plugins.
#[derive(Debug, Clone)]
pub struct CniRuntime {
    host: Host,
    socket: PathBuf,
    list: Value,
    /// `CNI_PATH`.
    path: String,
    /// `CNI_ARGS`.
    args: String,
}

/// What a plugin said.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    /// Its standard output, or null when it said nothing.
    pub document: Value,
}

impl Said {
    /// The document of a success.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn granted(self) -> Value {
        assert!(self.success, "refused: {:#}", self.document);
        self.document
    }

    /// The code of an error.
    ///
    /// # Panics
    /// When it succeeded.
    #[track_caller]
    pub fn code(&self) -> u64 {
        assert!(!self.success, "granted: {:#}", self.document);
        self.document["code"].as_u64().expect("an error has a code")
    }

    /// The message of an error.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn message(&self) -> String {
        super::text(&self.document, "msg")
    }
}

impl CniRuntime {
    /// A runtime with this list, or with a single plugin's configuration.
    #[must_use]
    pub fn new(host: &Host, socket: PathBuf, list: &Value) -> Self {
        let list = if list["plugins"].is_null() {
            json!({"cniVersion": list["cniVersion"], "name": list["name"], "plugins": [list]})
        } else {
            list.clone()
        };
        let ours = program("hns-cni").parent().map(Path::to_path_buf).unwrap_or_default();
        let path = format!("{}:{REFERENCE_PLUGINS}", ours.display());
        Self { host: host.clone(), socket, list, path, args: "IgnoreUnknown=1".to_owned() }
    }

    /// The same with one more folder of plugins, looked into first.
    #[must_use]
    pub fn plugins_in(mut self, folder: &Path) -> Self {
        self.path = format!("{}:{}", folder.display(), self.path);
        self
    }

    /// The same with `CNI_ARGS`.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        args.clone_into(&mut self.args);
        self
    }

    /// ADD through the whole list, for the namespace `/run/netns/NAME` of the host. `wishes` are by capability.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn add(&self, name: &str, wishes: &Value) -> Said {
        let mut before = Value::Null;
        for plugin in self.plugins() {
            let conf = self.conf(plugin, wishes, &before);
            let said = self.run(plugin, "ADD", name, &netns(name), &conf);
            if !said.success {
                return said;
            }
            before = said.document;
        }
        Said { success: true, document: before }
    }

    /// DEL through the list in reverse, as the runtime does after an ADD with the result `told`, or after none.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn del(&self, name: &str, told: &Value) -> Said {
        self.del_at(name, &netns(name), told)
    }

    /// The same with another namespace, or with none.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn del_at(&self, name: &str, namespace: &str, told: &Value) -> Said {
        let mut last = Said { success: true, document: Value::Null };
        for plugin in self.plugins().rev() {
            let conf = self.conf(plugin, &Value::Null, told);
            last = self.run(plugin, "DEL", name, namespace, &conf);
            if !last.success {
                return last;
            }
        }
        last
    }

    /// CHECK through the list.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn check(&self, name: &str, told: &Value) -> Said {
        self.check_at(name, &netns(name), told)
    }

    /// The same with another namespace than the one of the ADD.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn check_at(&self, name: &str, namespace: &str, told: &Value) -> Said {
        let mut last = Said { success: true, document: Value::Null };
        for plugin in self.plugins() {
            last = self.run(plugin, "CHECK", name, namespace, &self.conf(plugin, &Value::Null, told));
            if !last.success {
                return last;
            }
        }
        last
    }

    /// GC: containers of these names, all with `eth0`, are valid.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn gc(&self, valid: &[&str]) -> Said {
        let valid: Vec<Value> =
            valid.iter().map(|name| json!({"containerID": name, "ifname": "eth0"})).collect();
        self.tell("GC", &json!({"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid}))
    }

    /// STATUS.
    ///
    /// # Panics
    /// When a plugin cannot be started.
    #[track_caller]
    pub fn status(&self) -> Said {
        self.tell("STATUS", &json!({}))
    }

    /// VERSION of the first plugin.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn version(&self) -> Said {
        let plugin = &self.list["plugins"][0];
        self.run(plugin, "VERSION", "", "", &json!({"cniVersion": self.list["cniVersion"]}))
    }

    fn tell(&self, verb: &str, more: &Value) -> Said {
        let plugin = &self.list["plugins"][0];
        let mut conf = self.conf(plugin, &Value::Null, &Value::Null);
        for (key, value) in more.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        self.run(plugin, verb, "", "", &conf)
    }

    fn plugins(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.list["plugins"].as_array().into_iter().flatten()
    }

    /// A plugin's own configuration: with the list's name and version, what it is capable of, and the result before.
    fn conf(&self, plugin: &Value, wishes: &Value, before: &Value) -> Value {
        let mut conf = plugin.clone();
        conf["cniVersion"] = self.list["cniVersion"].clone();
        conf["name"] = self.list["name"].clone();
        let capable = |key: &&String| plugin["capabilities"][key.as_str()] == true;
        let granted: Map<String, Value> = wishes
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| capable(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !granted.is_empty() {
            conf["runtimeConfig"] = Value::Object(granted);
        }
        if !before.is_null() {
            conf["prevResult"] = before.clone();
        }
        conf
    }

    /// Runs one plugin in the host.
    #[track_caller]
    fn run(&self, plugin: &Value, verb: &str, container: &str, namespace: &str, conf: &Value) -> Said {
        let kind = super::text(plugin, "type");
        let folders = self.path.split(':').map(Path::new);
        let found = folders.map(|folder| folder.join(&kind)).find(|path| path.exists());
        let mut command = Command::new(found.unwrap_or_else(|| panic!("no plugin {kind} in {}", self.path)));
        command.env_clear().envs([("CNI_COMMAND", verb), ("CNI_PATH", &self.path), ("CNI_ARGS", &self.args)]);
        command.env("HNS_SOCKET", &self.socket).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if !container.is_empty() {
            command.envs([("CNI_CONTAINERID", container), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", namespace)]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = conf.to_string();
        let output = self.host.inside(move || {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("{kind} {verb}: {error}"));
        let document = match output.stdout.trim_ascii() {
            b"" => Value::Null,
            said => serde_json::from_slice(said).unwrap_or_else(|error| {
                let [said, also] = [said, &output.stderr].map(String::from_utf8_lossy);
                panic!("{kind} {verb}: {error}\n{said}\n{also}")
            }),
        };
        Said { success: output.status.success(), document }
    }
}

fn netns(name: &str) -> String {
    format!("/run/netns/{name}")
}
