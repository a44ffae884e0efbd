use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::error::ContainerError;
use super::{private, removal};

/// The longest name that also fits a host name.
const NAME_LENGTH_MAX: usize = 63;

/// The folder of all containers.
#[derive(Debug, Clone)]
pub struct Containers {
    path: PathBuf,
}

/// What is known about a container beside what its runtime and the daemon say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub name: String,
    pub network: String,
    pub command: Vec<String>,
    pub runtime: PathBuf,
    /// Ids of what the daemon makes for it; the objects may not be there yet, or no longer.
    pub namespace: Option<String>,
    pub endpoint: Option<String>,
}

impl Containers {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the runtime keeps its own state. No container has this name.
    pub fn runtime_state(&self) -> PathBuf {
        self.path.join(".runtime")
    }

    /// Takes the name, for which there can be only one folder.
    pub fn create(&self, record: &Record) -> Result<(), ContainerError> {
        if !is_name(&record.name) {
            return Err(ContainerError::Name { name: record.name.clone() });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&self.path)
            .map_err(|source| ContainerError::Write { path: self.path.clone(), source })?;
        let folder = self.folder_of(&record.name);
        match private::create_dir(&folder) {
            Ok(()) => self.save(record),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ContainerError::NameTaken { name: record.name.clone() })
            }
            Err(source) => Err(ContainerError::Write { path: folder, source }),
        }
    }

    pub fn save(&self, record: &Record) -> Result<(), ContainerError> {
        let path = self.folder_of(&record.name).join("record.json");
        let new = path.with_extension("new");
        let text = format!("{:#}\n", record.to_json());
        // Renamed into place, so that a reader and a crash see one record or the other.
        private::write(&new, &text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| ContainerError::Write { path, source })
    }

    pub fn load(&self, name: &str) -> Result<Record, ContainerError> {
        if !is_name(name) {
            return Err(ContainerError::NotFound { name: name.to_owned() });
        }
        let path = self.folder_of(name).join("record.json");
        match fs::read(&path) {
            Ok(text) => {
                let json =
                    serde_json::from_slice(&text).map_err(|source| ContainerError::Parse { path, source })?;
                Ok(Record::from_json(name, &json))
            }
            // Its maker was killed between making the folder and the record.
            Err(_) if self.folder_of(name).is_dir() => {
                Ok(Record { name: name.to_owned(), ..Record::default() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ContainerError::NotFound { name: name.to_owned() })
            }
            Err(source) => Err(ContainerError::Read { path, source }),
        }
    }

    /// All containers, by name.
    pub fn list(&self) -> Result<Vec<Record>, ContainerError> {
        let unreadable = |source| ContainerError::Read { path: self.path.clone(), source };
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(unreadable(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            if is_name(&name) {
                names.push(name);
            }
        }
        names.sort();
        let mut records = Vec::new();
        for name in names {
            match self.load(&name) {
                // It was removed while we looked.
                Err(ContainerError::NotFound { .. }) => {}
                record => records.push(record?),
            }
        }
        Ok(records)
    }

    pub fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let path = self.folder_of(name);
        removal::remove(&path).map_err(|source| ContainerError::Remove { path, source })
    }
}

fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= NAME_LENGTH_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(is_inner)
}

impl Record {
    pub fn to_json(&self) -> Value {
        json!({
            "Name": self.name,
            "Network": self.network,
            "Command": self.command,
            "Runtime": self.runtime,
            "Namespace": self.namespace,
            "Endpoint": self.endpoint,
        })
    }

    fn from_json(name: &str, json: &Value) -> Self {
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
        let words = json.get("Command").and_then(Value::as_array).into_iter().flatten();
        Self {
            name: name.to_owned(),
            network: text("Network").unwrap_or_default(),
            command: words.filter_map(|word| word.as_str().map(str::to_owned)).collect(),
            runtime: text("Runtime").unwrap_or_default().into(),
            namespace: text("Namespace"),
            endpoint: text("Endpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        Record { name: name.to_owned(), command: vec!["sh".into()], ..Record::default() }
    }

    #[test]
    fn a_record_is_read_back_and_a_name_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let containers = Containers::new(folder.path().join("containers"));
        assert_eq!(containers.list().unwrap(), []);
        let mut web = record("web");
        containers.create(&web).unwrap();
        assert!(matches!(containers.create(&web), Err(ContainerError::NameTaken { .. })));
        web.endpoint = Some("1F0E".into());
        containers.save(&web).unwrap();
        fs::create_dir(containers.runtime_state()).unwrap();
        fs::create_dir(containers.folder_of("half")).unwrap();
        assert_eq!(containers.list().unwrap(), [Record { name: "half".into(), ..Record::default() }, web]);
        containers.remove("web").unwrap();
        containers.remove("web").unwrap();
        assert!(matches!(containers.load("web"), Err(ContainerError::NotFound { .. })));
    }

    #[test]
    fn a_name_is_a_file_name_and_a_host_name() {
        let folder = tempfile::tempdir().unwrap();
        let containers = Containers::new(folder.path().to_owned());
        let long = "a".repeat(64);
        for name in ["", ".runtime", "..", "a/b", "-x", "a b", "é", &long] {
            assert!(matches!(containers.create(&record(name)), Err(ContainerError::Name { .. })), "{name}");
            assert!(matches!(containers.load(name), Err(ContainerError::NotFound { .. })), "{name}");
        }
        for name in ["a", "web-1", "web_1.x", "0"] {
            containers.create(&record(name)).unwrap();
        }
    }
}
