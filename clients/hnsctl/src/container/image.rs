use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::Value;

use super::archive::{Allowance, Source};
use super::beneath::Beneath;
use super::error::ContainerError;
use super::{layer, removal};

/// The longest index, manifest or configuration; containerd reads no longer ones either.
const DOCUMENT_LENGTH_MAX: u64 = 4 << 20;

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
    /// Takes a folder as it is; unpacks an OCI layout, or a file of `docker save` or `docker export`, below `folder`.
    pub fn prepare(source: &Path, folder: &Path) -> Result<Self, ContainerError> {
        let read_error =
            |source_error| ContainerError::Read { path: source.to_owned(), source: source_error };
        let path = source.canonicalize().map_err(read_error)?;
        if path.is_dir() && !is_layout(&path) {
            return Ok(Self { path, config: ImageConfig::default() });
        }
        let root = folder.join("rootfs");
        let unpacked = make_folder(&root).and_then(|()| unpack(&path, &folder.join("image"), &root));
        match unpacked {
            Ok(config) => Ok(Self { path: root, config }),
            Err(error) => {
                // Half a root is of no use to anybody; why it is half is what the operator wants to hear.
                let _half = removal::remove(&root);
                Err(error)
            }
        }
    }
}

/// Whether a folder is an image rather than a root. A container must not write into an image.
fn is_layout(path: &Path) -> bool {
    ["oci-layout", "index.json"].iter().all(|name| path.join(name).symlink_metadata().is_ok())
}

/// Makes a folder that everybody in the container may pass, whatever our umask.
fn make_folder(path: &Path) -> Result<(), ContainerError> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(|source| ContainerError::Write { path: path.to_owned(), source })
}

/// Unpacks whatever `path` is into `root`; `parts` is for what is needed meanwhile.
fn unpack(path: &Path, parts: &Path, root: &Path) -> Result<ImageConfig, ContainerError> {
    let mut allowance = Allowance::default();
    if path.is_dir() {
        return Parts::open(path, path)?.unpack(root, &mut allowance);
    }
    match kind_of(path)? {
        Kind::RootFilesystem => {
            layer::apply(open(path)?, root, &mut allowance)?;
            Ok(ImageConfig::default())
        }
        Kind::Image => {
            let config = unpack_image(path, parts, root);
            let removed = removal::remove(parts);
            let config = config?;
            removed.map_err(|source| ContainerError::Remove { path: parts.to_owned(), source })?;
            Ok(config)
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
    let (mut is_image, mut has_entries) = (false, false);
    let looked = open(path)?.for_each(&mut Allowance::default(), |name, _| {
        is_image |= name == Path::new("manifest.json") || name == Path::new("index.json");
        has_entries = true;
        Ok(())
    });
    match looked {
        Err(ContainerError::Unpack { .. }) if !has_entries => Err(not_a_root()),
        Err(error) => Err(error),
        Ok(()) if is_image => Ok(Kind::Image),
        Ok(()) if has_entries => Ok(Kind::RootFilesystem),
        Ok(()) => Err(not_a_root()),
    }
}

/// A file that the operator has named. One that is no regular file has no end, or keeps its reader waiting.
fn open(path: &Path) -> Result<Source, ContainerError> {
    let read_error = |source| ContainerError::Read { path: path.to_owned(), source };
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(read_error)?;
    if !file.metadata().map_err(read_error)?.is_file() {
        return Err(ContainerError::NotAFile { path: path.to_owned() });
    }
    Source::new(path.to_owned(), file)
}

/// Unpacks the image's own parts, then its layers in order.
fn unpack_image(path: &Path, parts: &Path, root: &Path) -> Result<ImageConfig, ContainerError> {
    make_folder(parts)?;
    layer::unpack_parts(open(path)?, parts, &mut Allowance::default())?;
    Parts::open(path, parts)?.unpack(root, &mut Allowance::default())
}

/// The parts of an image, each a file.
struct Parts<'a> {
    image: &'a Path,
    folder: Beneath,
}

/// A part by its name in the image.
type Part = PathBuf;

impl<'a> Parts<'a> {
    fn open(image: &'a Path, folder: &Path) -> Result<Self, ContainerError> {
        let opened = Beneath::open(folder);
        let folder = opened.map_err(|source| ContainerError::Read { path: folder.to_owned(), source })?;
        Ok(Self { image, folder })
    }

    fn unpack(&self, root: &Path, allowance: &mut Allowance) -> Result<ImageConfig, ContainerError> {
        let (config, layers) = match self.find("manifest.json")? {
            Some(manifest) => self.of_docker(&manifest)?,
            None => self.of_oci()?,
        };
        // First what is small: an image without a configuration is not worth unpacking.
        let config = self.json(&config)?;
        for layer in layers {
            let source = Source::new(self.image.join(&layer), self.file(&layer)?)?;
            layer::apply(source, root, allowance)?;
        }
        Ok(ImageConfig::from_json(config.get("config").unwrap_or(&Value::Null)))
    }

    /// `manifest.json` of `docker save` names files.
    fn of_docker(&self, manifest: &Value) -> Result<(Part, Vec<Part>), ContainerError> {
        let image = manifest.get(0).ok_or_else(|| self.incomplete("image in its manifest"))?;
        let config = image.get("Config").and_then(Value::as_str);
        let config = config.ok_or_else(|| self.incomplete("configuration"))?;
        let layers = image.get("Layers").and_then(Value::as_array);
        let layers = layers.ok_or_else(|| self.incomplete("list of layers"))?.iter();
        Ok((config.into(), layers.map(|layer| layer.as_str().unwrap_or_default().into()).collect()))
    }

    /// `index.json` of an OCI layout names blobs, through indexes when it holds several platforms.
    fn of_oci(&self) -> Result<(Part, Vec<Part>), ContainerError> {
        // What it says changes nothing for us, but without it this is no layout.
        self.json(Path::new("oci-layout"))?;
        let mut manifest = self.json(Path::new("index.json"))?;
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

    fn blob(&self, descriptor: &Value) -> Result<Part, ContainerError> {
        let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
        let (algorithm, hash) = digest.split_once(':').ok_or_else(|| self.incomplete("digest"))?;
        Ok(format!("blobs/{algorithm}/{hash}").into())
    }

    /// Opens a part, whose name must not lead elsewhere.
    fn file(&self, name: &Path) -> Result<File, ContainerError> {
        let is_inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        let nameless = name.as_os_str().is_empty();
        let opened = (is_inside && !nameless).then(|| self.folder.regular_file(name));
        match opened.transpose() {
            Ok(Some(Some(file))) => Ok(file),
            Ok(Some(None)) => Err(ContainerError::NotAFile { path: self.image.join(name) }),
            // It is missing, or a link that leads out.
            Ok(None) | Err(_) => Err(self.incomplete("file for a part it names")),
        }
    }

    /// The document of a part that need not be there.
    fn find(&self, name: &str) -> Result<Option<Value>, ContainerError> {
        match self.folder.regular_file(Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => self.json(Path::new(name)).map(Some),
        }
    }

    fn json(&self, name: &Path) -> Result<Value, ContainerError> {
        let path = self.image.join(name);
        let mut text = Vec::new();
        let read = self.file(name)?.take(DOCUMENT_LENGTH_MAX + 1).read_to_end(&mut text);
        if read.map_err(|source| ContainerError::Read { path: path.clone(), source })? as u64
            > DOCUMENT_LENGTH_MAX
        {
            return Err(ContainerError::TooLong { path, length_max: DOCUMENT_LENGTH_MAX });
        }
        serde_json::from_slice(&text).map_err(|source| ContainerError::Parse { path, source })
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
