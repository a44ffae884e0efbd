//! From the compiled object to programs and maps in the kernel.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use aya::maps::{Map as LoadedMap, MapData, MapError, RingBuf};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfError, EbpfLoader};
use hns_abi::{Direction, Map};

use crate::bpf::{MappedArray, RawMap};
use crate::pins::{Pins, lives_on};
use crate::{DatapathError, Missing};

/// Of the verifier's words the last ones say what is wrong.
const LOG_LINES: usize = 40;

/// The kernel's name of the program of a direction.
pub(crate) const fn program_name(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "port_in",
        Direction::Out => "port_out",
    }
}

/// Where the programs of an external switch stand, and that of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// What the adapter receives.
    AdapterIn,
    /// What the host sends by it.
    AdapterOut,
    /// What the bridge sends to the wire.
    UplinkOut,
    /// What comes out of a VXLAN device.
    TunnelIn,
    /// What the adapter receives at which tunnels end.
    TunnelNear,
}

impl Hook {
    const ALL: [Self; 5] =
        [Self::AdapterIn, Self::AdapterOut, Self::UplinkOut, Self::TunnelIn, Self::TunnelNear];

    const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::AdapterIn => "adapter_in",
            Self::AdapterOut => "adapter_out",
            Self::UplinkOut => "uplink_out",
            Self::TunnelIn => "tunnel_in",
            Self::TunnelNear => "tunnel_near",
        }
    }
}

/// Programs and maps of one object. They are the kernel's, and live as long as anything refers to them.
#[derive(Debug)]
pub(crate) struct Loaded {
    maps: BTreeMap<Map, RawMap>,
    arrays: BTreeMap<Map, MappedArray>,
    /// What the object's programs name, for pinning, and for those that are loaded later.
    data: BTreeMap<Map, MapData>,
    /// By [`Direction::index`].
    programs: [Program; 2],
    /// Each once a link needs it, since the kernel takes long to verify one; by [`Hook::index`].
    hooked: [OnceLock<Program>; Hook::ALL.len()],
    object: Mutex<Ebpf>,
}

#[derive(Debug)]
struct Program {
    fd: ProgramFd,
    number: u32,
}

/// Where events come from.
pub(crate) type Ring = RingBuf<MapData>;

/// The rings of one object.
pub(crate) struct Rings {
    pub drops: Ring,
    pub sightings: Ring,
}

impl Loaded {
    /// Loads `object` with maps of policy of its own. What lives on is taken from `pins`, and put there when it is new.
    pub(crate) fn load(object: &[u8], pins: &Pins) -> Result<(Self, Rings), DatapathError> {
        let mut loader = EbpfLoader::new();
        // Nothing in our programs depends on the kernel's own types, and reading them takes long.
        loader.btf(None);
        for map in Map::ALL.iter().filter(|map| lives_on(**map)) {
            loader.map_pin_path(map.name(), pins.path(*map));
        }
        let mut ebpf = loader.load(object).map_err(refused)?;
        let [inward, outward] =
            [Direction::In, Direction::Out].map(|direction| load_program(&mut ebpf, program_name(direction)));
        let data = Map::ALL.iter().map(|map| Ok((*map, take(&mut ebpf, *map)?)));
        let mut loaded = Self {
            maps: BTreeMap::new(),
            arrays: BTreeMap::new(),
            data: data.collect::<Result<_, DatapathError>>()?,
            programs: [inward?, outward?],
            hooked: Default::default(),
            object: Mutex::new(ebpf),
        };
        let rings = Rings { drops: loaded.ring(Map::Events)?, sightings: loaded.ring(Map::Sightings)? };
        for map in Map::ALL.iter().filter(|map| !matches!(map, Map::Events | Map::Sightings)) {
            loaded.open(*map)?;
        }
        Ok((loaded, rings))
    }

    fn ring(&self, map: Map) -> Result<Ring, DatapathError> {
        let failed = |error| absent(map.name(), error);
        let fd =
            self.data[&map].fd().as_fd().try_clone_to_owned().map_err(|error| absent(map.name(), error))?;
        let data = MapData::from_fd(fd).map_err(failed)?;
        RingBuf::try_from(LoadedMap::RingBuf(data)).map_err(failed)
    }

    fn open(&mut self, map: Map) -> Result<(), DatapathError> {
        let data = &self.data[&map];
        let failed = |source| DatapathError::Map { operation: "open", map: map.name(), source };
        let processors = if map == Map::Drops { nr_cpus().map_err(|(_, error)| failed(error))? } else { 1 };
        let raw = RawMap::of(data, processors).map_err(failed)?;
        if is_mapped(map) {
            self.arrays.insert(map, MappedArray::new(&raw).map_err(failed)?);
        }
        self.maps.insert(map, raw);
        Ok(())
    }

    /// # Panics
    /// For [`Map::Events`] and [`Map::Sightings`], which are no maps of keys and values.
    pub(crate) fn map(&self, map: Map) -> &RawMap {
        &self.maps[&map]
    }

    pub(crate) fn array(&self, map: Map) -> Option<&MappedArray> {
        self.arrays.get(&map)
    }

    pub(crate) fn program(&self, direction: Direction) -> BorrowedFd<'_> {
        self.programs[direction.index()].fd.as_fd()
    }

    /// By which the kernel knows the program.
    pub(crate) const fn program_number(&self, direction: Direction) -> u32 {
        self.programs[direction.index()].number
    }

    pub(crate) fn hooked(&self, hook: Hook) -> Result<BorrowedFd<'_>, DatapathError> {
        let place = &self.hooked[hook.index()];
        let mut object = self.object.lock().unwrap_or_else(PoisonError::into_inner);
        let program = match place.get() {
            Some(program) => program,
            None => {
                let program = load_program(&mut object, hook.program())?;
                place.get_or_init(|| program)
            }
        };
        Ok(program.fd.as_fd())
    }

    /// By which the kernel knows the program of a hook. None: no link has needed it.
    pub(crate) fn hooked_number(&self, hook: Hook) -> Option<u32> {
        self.hooked[hook.index()].get().map(|program| program.number)
    }

    /// The maps of policy, to be pinned.
    pub(crate) fn policy(&self) -> impl Iterator<Item = (Map, &MapData)> {
        self.data
            .iter()
            .map(|(map, data)| (*map, data))
            .filter(|(map, _)| !lives_on(*map) && *map != Map::Sightings)
    }
}

/// Whether we write it in our own memory.
const fn is_mapped(map: Map) -> bool {
    matches!(
        map,
        Map::Slots
            | Map::Ports
            | Map::SetSpaces
            | Map::Directory
            | Map::Chunks
            | Map::Watching
            | Map::Watches
    )
}

fn take(ebpf: &mut Ebpf, map: Map) -> Result<MapData, DatapathError> {
    match ebpf.take_map(map.name()) {
        Some(
            LoadedMap::Array(data)
            | LoadedMap::HashMap(data)
            | LoadedMap::LruHashMap(data)
            | LoadedMap::PerCpuHashMap(data)
            | LoadedMap::LpmTrie(data)
            | LoadedMap::RingBuf(data),
        ) => Ok(data),
        Some(_) => Err(absent(map.name(), "it is of another type than the daemon knows")),
        None => Err(absent(map.name(), "it is not in the object")),
    }
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<Program, DatapathError> {
    let program = ebpf.program_mut(name).ok_or_else(|| absent(name, "it is not in the object"))?;
    let program: &mut SchedClassifier = program.try_into().map_err(|error| absent(name, error))?;
    program.load().map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            if log.is_empty() {
                return without_words(io_error, name);
            }
            let lines: Vec<&str> = log.lines().collect();
            let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            DatapathError::Verifier { program: name, log }
        }
        other => DatapathError::Load(Box::new(other)),
    })?;
    let failed = |error: ProgramError| DatapathError::Load(Box::new(error));
    let number = program.info().map_err(failed)?.id();
    let fd = program.fd().map_err(failed)?;
    let fd = fd.try_clone().map_err(|error| absent(name, error))?;
    Ok(Program { fd, number })
}

/// A program that was refused before the verifier looked at it.
fn without_words(error: io::Error, program: &'static str) -> DatapathError {
    match missing(&error) {
        Some(missing) => DatapathError::Unavailable { missing, source: error },
        None => DatapathError::Verifier { program, log: error.to_string() },
    }
}

fn absent(what: &str, why: impl Into<Box<dyn Error + Send + Sync>>) -> DatapathError {
    DatapathError::Load(format!("{what}: {}", why.into()).into())
}

/// Tells a host without eBPF from a fault of ours.
fn refused(error: EbpfError) -> DatapathError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    if let EbpfError::MapError(map) = &error {
        cause = Some(map);
        if let MapError::CreateError { io_error, .. } = map {
            cause = Some(io_error);
        }
    }
    while let Some(found) = cause {
        if let Some(io_error) = found.downcast_ref::<io::Error>()
            && let Some(missing) = missing(io_error)
        {
            let source = io::Error::from_raw_os_error(io_error.raw_os_error().unwrap_or_default());
            return DatapathError::Unavailable { missing, source };
        }
        cause = found.source();
    }
    DatapathError::Load(Box::new(error))
}

fn missing(error: &io::Error) -> Option<Missing> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some(Missing::Permission),
        Some(libc::ENOSYS) => Some(Missing::Kernel),
        _ => None,
    }
}
