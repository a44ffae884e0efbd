use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tar::Archive;

use super::error::ContainerError;
use super::layer;

/// How many indexes may refer to each other before the image's manifest.
const INDEX_DEPTH_MAX: usize = 3;

/// What a container is made from.
#[derive(Debug)]
pub struct Root {
    pub path: PathBuf,
    pub config: ImageConfig,
}

/// What an image says about how to start it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    pub environment: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub working_dir: String,
    pub user: String,
}

impl Root {
    /// Takes a folder as it is; unpacks a file of `docker save`, `docker export` or an OCI layout below `folder`.
    pub fn prepare(source: &Path, folder: &Path) -> Result<Self, ContainerError> {
        let read_error =
            |source_error| ContainerError::Read { path: source.to_owned(), source: source_error };
        let path = source.canonicalize().map_err(read_error)?;
        if path.is_dir() {
            return Ok(Self { path, config: ImageConfig::default() });
        }
        let root = folder.join("rootfs");
        fs::create_dir(&root).map_err(|source| ContainerError::Write { path: root.clone(), source })?;
        match kind_of(&path)? {
            Kind::RootFilesystem => {
                let unpacked = layer::apply(open(&path)?, &root);
                unpacked.map_err(|source| ContainerError::Unpack { path, source })?;
                Ok(Self { path: root, config: ImageConfig::default() })
            }
            Kind::Image => {
                let parts = folder.join("image");
                let config = unpack_image(&path, &parts, &root);
                let removed = fs::remove_dir_all(&parts);
                let config = config?;
                removed.map_err(|source| ContainerError::Remove { path: parts, source })?;
                Ok(Self { path: root, config })
            }
        }
    }
}

enum Kind {
    RootFilesystem,
    Image,
}

/// An image has its contents at the top; everything else is taken for a root file system, unless it has no files.
fn kind_of(path: &Path) -> Result<Kind, ContainerError> {
    let not_a_root = || ContainerError::NotARoot { path: path.to_owned() };
    let mut archive = open(path)?;
    let mut has_entries = false;
    for entry in archive.entries().map_err(|_| not_a_root())? {
        let entry = entry.map_err(|_| not_a_root())?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if name == b"manifest.json" || name == b"index.json" {
            return Ok(Kind::Image);
        }
        has_entries = true;
    }
    if has_entries { Ok(Kind::RootFilesystem) } else { Err(not_a_root()) }
}

fn open(path: &Path) -> Result<Archive<Box<dyn Read>>, ContainerError> {
    let read_error = |source| ContainerError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_error)?;
    let mut magic = [0; 2];
    let length = file.read(&mut magic).map_err(read_error)?;
    file.rewind().map_err(read_error)?;
    let file = io::BufReader::with_capacity(1 << 16, file);
    let is_gzip = length == 2 && magic == [0x1F, 0x8B];
    let content: Box<dyn Read> = if is_gzip { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    Ok(Archive::new(content))
}

/// Unpacks the image's own parts, then its layers in order.
fn unpack_image(path: &Path, parts: &Path, root: &Path) -> Result<ImageConfig, ContainerError> {
    let unpack_error = |source| ContainerError::Unpack { path: path.to_owned(), source };
    fs::create_dir(parts)
        .and_then(|()| open(path).map_err(io::Error::other)?.unpack(parts))
        .map_err(unpack_error)?;
    let image = Parts { image: path, folder: parts };
    let (config, layers) = match image.folder.join("manifest.json").is_file() {
        true => image.of_docker()?,
        false => image.of_oci()?,
    };
    for layer in layers {
        layer::apply(open(&layer)?, root).map_err(unpack_error)?;
    }
    let config = image.json(&config)?;
    Ok(ImageConfig::from_json(config.get("config").unwrap_or(&Value::Null)))
}

/// The unpacked parts of an image.
struct Parts<'a> {
    image: &'a Path,
    folder: &'a Path,
}

impl Parts<'_> {
    /// `manifest.json` of `docker save` names files.
    fn of_docker(&self) -> Result<(PathBuf, Vec<PathBuf>), ContainerError> {
        let manifest = self.json(&self.folder.join("manifest.json"))?;
        let image = manifest.get(0).ok_or_else(|| self.incomplete("image in its manifest"))?;
        let config = image.get("Config").and_then(Value::as_str);
        let config = self.file(config.ok_or_else(|| self.incomplete("configuration"))?)?;
        let layers = image.get("Layers").and_then(Value::as_array);
        let layers = layers.ok_or_else(|| self.incomplete("list of layers"))?.iter();
        let layers = layers.map(|layer| self.file(layer.as_str().unwrap_or_default()));
        Ok((config, layers.collect::<Result<_, _>>()?))
    }

    /// `index.json` of an OCI layout names blobs, through indexes when it holds several platforms.
    fn of_oci(&self) -> Result<(PathBuf, Vec<PathBuf>), ContainerError> {
        let mut manifest = self.json(&self.folder.join("index.json"))?;
        for _ in 0..INDEX_DEPTH_MAX {
            let Some(choices) = manifest.get("manifests").and_then(Value::as_array) else { break };
            let chosen = choices.iter().find(|one| is_for_this_machine(one)).or(choices.first());
            manifest = self.json(&self.blob(chosen.ok_or_else(|| self.incomplete("manifest"))?)?)?;
        }
        let config = manifest.get("config").ok_or_else(|| self.incomplete("configuration"))?;
        let layers = manifest.get("layers").and_then(Value::as_array);
        let mut files = Vec::new();
        for layer in layers.ok_or_else(|| self.incomplete("list of layers"))? {
            let media_type = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
            if media_type.ends_with("+zstd") {
                let (path, media_type) = (self.image.to_owned(), media_type.to_owned());
                return Err(ContainerError::LayerType { path, media_type });
            }
            files.push(self.blob(layer)?);
        }
        Ok((self.blob(config)?, files))
    }

    fn blob(&self, descriptor: &Value) -> Result<PathBuf, ContainerError> {
        let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
        let (algorithm, hash) = digest.split_once(':').ok_or_else(|| self.incomplete("digest"))?;
        self.file(&format!("blobs/{algorithm}/{hash}"))
    }

    /// A part by its name, which must not lead elsewhere.
    fn file(&self, name: &str) -> Result<PathBuf, ContainerError> {
        let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        let path = self.folder.join(name);
        let leads_elsewhere = || !path.canonicalize().is_ok_and(|real| real.starts_with(self.folder));
        if name.is_empty() || !is_inside || leads_elsewhere() {
            return Err(self.incomplete("file for a part it names"));
        }
        Ok(path)
    }

    fn json(&self, path: &Path) -> Result<Value, ContainerError> {
        let text = fs::read(path).map_err(|source| ContainerError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| ContainerError::Parse { path: self.image.to_owned(), source })
    }

    fn incomplete(&self, part: &'static str) -> ContainerError {
        ContainerError::IncompleteImage { path: self.image.to_owned(), part }
    }
}

fn is_for_this_machine(descriptor: &Value) -> bool {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    descriptor.pointer("/platform/architecture").and_then(Value::as_str) == Some(architecture)
}

impl ImageConfig {
    fn from_json(config: &Value) -> Self {
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let words = |key: &str| {
            let list = config.get(key).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        Self {
            environment: words("Env"),
            entrypoint: words("Entrypoint"),
            command: words("Cmd"),
            working_dir: text("WorkingDir"),
            user: text("User"),
        }
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
