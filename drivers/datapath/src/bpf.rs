//! Maps as bytes, by bpf(2): what the loader's typed maps do not offer, which are batches, mapped arrays, and test runs with
//! a context.
#![expect(
    unsafe_code,
    reason = "no library call maps an array, updates in batches, or runs a program on a context"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use aya::maps::MapData;

const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_MAP_DELETE_ELEM: u32 = 3;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;
const BPF_MAP_UPDATE_BATCH: u32 = 26;

/// The kernel's own number for "not supported", which libc does not name.
const ENOTSUPP: i32 = 524;
/// The kernel rounds the size of an array's elements, and of a value's copy for each processor, up to this.
const ROUND: usize = 8;

/// The parts of `union bpf_attr` that are used here; the kernel takes every size and reads zero for the rest.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// How many; the kernel answers with how many it did.
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestAttr {
    program: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

/// Asks the kernel.
///
/// # Safety
/// `Attr` is a prefix of `union bpf_attr` as `command` reads it, and every address in it is of memory that is as long as
/// `command` will read or write there.
pub(crate) unsafe fn bpf<Attr>(command: u32, attr: &mut Attr) -> io::Result<()> {
    // SAFETY: the caller's promise; the size is the attribute's own.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<Attr>()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(crate) fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

pub(crate) fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

pub(crate) fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// A map whose keys and values are bytes. Every call checks their lengths.
#[derive(Debug)]
pub(crate) struct RawMap {
    fd: OwnedFd,
    key_len: usize,
    /// As user space sees it: with a part for each processor where the map is one per processor.
    value_len: usize,
    max_entries: u32,
}

impl RawMap {
    /// `processors`: how many values there are to each key.
    pub(crate) fn of(data: &MapData, processors: usize) -> io::Result<Self> {
        let wide = |length: u32| usize::try_from(length).expect("a usize holds 32 bits");
        let info = data.info().map_err(io::Error::other)?;
        let value_len = match processors {
            1 => wide(info.value_size()),
            many => wide(info.value_size()).next_multiple_of(ROUND) * many,
        };
        let fd = data.fd().as_fd().try_clone_to_owned()?;
        Ok(Self { fd, key_len: wide(info.key_size()), value_len, max_entries: info.max_entries() })
    }

    fn check(&self, key: &[u8], value_len: usize) -> io::Result<()> {
        let fits = key.len() == self.key_len && value_len == self.value_len;
        if fits { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
    }

    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.check(key, self.value_len)?;
        let mut value = vec![0; self.value_len];
        let mut attr = ElementAttr {
            map: raw(&self.fd),
            key: address(key),
            value: address_mut(&mut value),
            ..ElementAttr::default()
        };
        // SAFETY: key and value are as long as the map's.
        match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, value.len())?;
        let mut attr = ElementAttr {
            map: raw(&self.fd),
            key: address(key),
            value: address(value),
            ..ElementAttr::default()
        };
        // SAFETY: key and value are as long as the map's.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }
    }

    /// Fine when the key is absent.
    pub(crate) fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.check(key, self.value_len)?;
        let mut attr = ElementAttr { map: raw(&self.fd), key: address(key), ..ElementAttr::default() };
        // SAFETY: the key is as long as the map's.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts many entries, in this order, with few calls.
    pub(crate) fn put_all<'a>(&self, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> io::Result<()> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            self.check(key, value.len())?;
            keys.extend_from_slice(key);
            values.extend_from_slice(value);
        }
        let count = keys.len() / self.key_len;
        let mut done = 0;
        // For a single entry the plain call is the cheaper one.
        while count - done > 1 {
            let mut attr = BatchAttr {
                keys: address(&keys[done * self.key_len..]),
                values: address(&values[done * self.value_len..]),
                count: u32::try_from(count - done).unwrap_or(u32::MAX),
                map: raw(&self.fd),
                ..BatchAttr::default()
            };
            // SAFETY: from these addresses on there are `count` keys and values, each as long as the map's.
            match unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) } {
                Ok(()) => done += usize::try_from(attr.count).unwrap_or_default().max(1),
                // Kernels before 5.14 know no batches of LPM tries.
                Err(error) if matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL)) => break,
                Err(error) => return Err(error),
            }
        }
        for place in done..count {
            let key = &keys[place * self.key_len..][..self.key_len];
            self.put(key, &values[place * self.value_len..][..self.value_len])?;
        }
        Ok(())
    }

    /// A walk through a hash from its beginning.
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.walk_from(None)
    }

    /// A walk that goes on where an earlier one stopped.
    pub(crate) const fn walk_from(&self, cursor: Option<Cursor>) -> Walk<'_> {
        Walk { map: self, cursor, ended: false }
    }
}

/// How many entries a batch asks for first. A bucket of a hash is never larger than this, but for collisions by intent.
const BATCH: usize = 1024;

/// A place in a hash: the number of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(u32);

/// Reads a hash in batches. What is put or deleted meanwhile may be seen or not.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    map: &'a RawMap,
    cursor: Option<Cursor>,
    ended: bool,
}

impl Walk<'_> {
    /// Where to go on later; `None` at the end.
    pub(crate) const fn cursor(&self) -> Option<Cursor> {
        if self.ended { None } else { self.cursor }
    }

    /// Shows some more entries, key and value each; `false` when there were no more.
    pub(crate) fn batch(&mut self, mut see: impl FnMut(&[u8], &[u8])) -> io::Result<bool> {
        let (key_len, value_len) = (self.map.key_len, self.map.value_len);
        let most = usize::try_from(self.map.max_entries).unwrap_or(usize::MAX);
        let mut room = BATCH;
        while !self.ended {
            let (mut keys, mut values) = (vec![0; room * key_len], vec![0; room * value_len]);
            let mut from = self.cursor.unwrap_or(Cursor(0)).0.to_ne_bytes();
            let mut to = [0; 4];
            let mut attr = BatchAttr {
                in_batch: if self.cursor.is_some() { address_mut(&mut from) } else { 0 },
                out_batch: address_mut(&mut to),
                keys: address_mut(&mut keys),
                values: address_mut(&mut values),
                count: u32::try_from(room).unwrap_or(u32::MAX),
                map: raw(&self.map.fd),
                ..BatchAttr::default()
            };
            // SAFETY: there is room for `count` keys and values, each as long as the map's; the place in a hash is a number
            // of 32 bits.
            match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.ended = true,
                // A bucket is larger than what was asked for. None is larger than the map.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < most => {
                    room *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.cursor = Some(Cursor(u32::from_ne_bytes(to)));
            let count = usize::try_from(attr.count).unwrap_or_default().min(room);
            for (key, value) in keys.chunks_exact(key_len).zip(values.chunks_exact(value_len)).take(count) {
                see(key, value);
            }
            if count > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// An array whose beginning is mapped into our memory, as far as it was written to: a write takes no call, and what is never
/// used is not counted as ours.
#[derive(Debug)]
pub(crate) struct MappedArray {
    map: OwnedFd,
    /// Bytes of the whole array.
    bytes: usize,
    /// Bytes of an element, and from one to the next.
    element: usize,
    stride: usize,
    window: Mutex<Option<Window>>,
}

/// The first bytes of an array.
#[derive(Debug)]
struct Window {
    memory: NonNull<AtomicU32>,
    bytes: usize,
}

// SAFETY: the memory is the kernel's, is not moved, and is accessed through atomics alone.
unsafe impl Send for Window {}

/// The smallest window.
const WINDOW: usize = 64 * 1024;

impl Window {
    fn open(map: &OwnedFd, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses; the file is an array map, whose memory it becomes.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { memory, bytes })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and nothing refers into it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

impl MappedArray {
    pub(crate) fn new(map: &RawMap) -> io::Result<Self> {
        let element = map.value_len;
        if !element.is_multiple_of(size_of::<u32>()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let stride = element.next_multiple_of(ROUND);
        let bytes = stride * usize::try_from(map.max_entries).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self { map: map.fd.try_clone()?, bytes, element, stride, window: Mutex::default() })
    }

    /// Writes consecutive elements from `index` on; a reader sees every 32 bits of them whole, and all of them before
    /// anything that is written to a map later.
    pub(crate) fn write(&self, index: u32, elements: &[u8]) -> io::Result<()> {
        let first = usize::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = (first + elements.len() / self.element) * self.stride;
        if !elements.len().is_multiple_of(self.element) || end > self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match &mut *window {
            Some(window) if window.bytes >= end => window,
            narrow => {
                let bytes = end.next_power_of_two().max(WINDOW).min(self.bytes);
                narrow.insert(Window::open(&self.map, bytes)?)
            }
        };
        for (place, element) in elements.chunks_exact(self.element).enumerate() {
            let start = (first + place) * self.stride / size_of::<u32>();
            for (offset, word) in element.as_chunks().0.iter().enumerate() {
                // SAFETY: within the window, as seen to above, and aligned, since strides are multiples of 8.
                let target = unsafe { window.memory.add(start + offset).as_ref() };
                target.store(u32::from_ne_bytes(*word), Ordering::Relaxed);
            }
        }
        fence(Ordering::Release);
        Ok(())
    }
}

/// `struct __sk_buff` of linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
struct Context {
    length: u32,
    packet_type: u32,
    mark: u32,
    queue_mapping: u32,
    protocol: u32,
    vlan: [u32; 3],
    priority: u32,
    ingress_ifindex: u32,
    ifindex: u32,
    tc_index: u32,
    cb: [u32; 5],
    hash: u32,
    tc_classid: u32,
    data: [u32; 2],
    napi_id: u32,
    family: u32,
    addresses: [u32; 10],
    ports: [u32; 2],
    data_meta: u32,
    pointers: [u32; 2],
    timestamp: [u32; 2],
    wire_length: u32,
    gso_segments: u32,
    socket: [u32; 2],
    gso_size: u32,
    timestamp_type: u32,
    hardware_timestamp: [u32; 2],
}

/// What a program made of a packet.
pub(crate) struct Ran {
    pub retval: u32,
    pub packet: Vec<u8>,
    pub cb: [u32; 5],
    pub mark: u32,
    /// Mean, of one run.
    pub nanoseconds: u32,
}

/// A packet grows by at most this much.
const GROWTH: usize = 256;

/// Runs a program on a packet that is not on the wire, at the link `ifindex` of the calling thread's network namespace.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    ifindex: u32,
    mark: u32,
    repeat: u32,
) -> io::Result<Ran> {
    use zerocopy::IntoBytes;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut out = vec![0; packet.len() + GROWTH];
    let (context, mut after) = (Context { ifindex, mark, ..Context::default() }, Context::default());
    let mut attr = TestAttr {
        program: raw(&program),
        data_size_in: length(packet),
        data_size_out: length(&out),
        data_in: address(packet),
        data_out: address_mut(&mut out),
        repeat,
        ctx_size_in: length(context.as_bytes()),
        ctx_size_out: length(after.as_bytes()),
        ctx_in: address(context.as_bytes()),
        ctx_out: address_mut(after.as_mut_bytes()),
        ..TestAttr::default()
    };
    // SAFETY: each address comes with the length of its own bytes.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr)? };
    out.truncate(usize::try_from(attr.data_size_out).unwrap_or_default());
    Ok(Ran { retval: attr.retval, packet: out, cb: after.cb, mark: after.mark, nanoseconds: attr.duration })
}
