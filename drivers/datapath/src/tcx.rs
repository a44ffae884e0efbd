//! Programs at a link beside those of others, by bpf(2): each is held to it by a file of the bpf file system, and goes with that.
#![expect(
    unsafe_code,
    reason = "the loader's library pins no such link under a name of ours, and places none before others"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::bpf::{address, address_mut, raw};

const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_LINK_CREATE: u32 = 28;
const BPF_LINK_UPDATE: u32 = 29;
const BPF_LINK_DETACH: u32 = 34;

/// In front of all that others have there, and will put behind.
const BPF_F_BEFORE: u32 = 1 << 3;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TYPE_TCX: u32 = 11;

/// Which way frames run past a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ingress = 46,
    Egress = 47,
}

/// The parts of `union bpf_attr` that are used here; the kernel takes every size and reads zero for the rest.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    _pad: u32,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct UpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
#[derive(Default)]
struct DetachAttr {
    link: u32,
}

#[repr(C)]
#[derive(Default)]
struct FileAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_link_info` as far as its part for tcx goes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    ifindex: u32,
    attach_type: u32,
}

/// A program that is held to a link.
#[derive(Debug)]
pub(crate) struct Attached(OwnedFd);

/// Asks for a new descriptor.
///
/// # Safety
/// As for [`crate::bpf::bpf`], and the command answers with a descriptor.
unsafe fn descriptor<Attr>(command: u32, attr: &mut Attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the size is the attribute's own.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<Attr>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor, and to nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Attached {
    /// Puts a program in front of all others at a link of the calling thread's network namespace.
    pub(crate) fn first(program: BorrowedFd<'_>, ifindex: u32, way: Way) -> io::Result<Self> {
        let mut attr = CreateAttr {
            program: raw(&program),
            ifindex,
            attach_type: way as u32,
            flags: BPF_F_BEFORE,
            ..CreateAttr::default()
        };
        // SAFETY: the attribute names no memory, and the command answers with a descriptor.
        unsafe { descriptor(BPF_LINK_CREATE, &mut attr) }.map(Self)
    }

    /// The one that a file holds; absent: there is no such file.
    pub(crate) fn held_at(path: &Path) -> io::Result<Option<Self>> {
        let name = c_path(path)?;
        let mut attr = FileAttr { path: address(name.as_bytes_with_nul()), ..FileAttr::default() };
        // SAFETY: the path ends with a zero and outlives the call, which answers with a descriptor.
        match unsafe { descriptor(BPF_OBJ_GET, &mut attr) } {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets a file hold it from now on.
    pub(crate) fn hold(&self, path: &Path) -> io::Result<()> {
        let name = c_path(path)?;
        let mut attr =
            FileAttr { path: address(name.as_bytes_with_nul()), fd: raw(&self.0), ..FileAttr::default() };
        // SAFETY: the path ends with a zero and outlives the call.
        unsafe { crate::bpf::bpf(BPF_OBJ_PIN, &mut attr) }
    }

    /// Puts another program in the place of the one there is. No frame passes without one of them.
    pub(crate) fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr = UpdateAttr { link: raw(&self.0), program: raw(&program), ..UpdateAttr::default() };
        // SAFETY: the attribute names no memory.
        unsafe { crate::bpf::bpf(BPF_LINK_UPDATE, &mut attr) }
    }

    /// Takes the program off. To let go of it would do the same, but some time later.
    pub(crate) fn detach(&self) -> io::Result<()> {
        let mut attr = DetachAttr { link: raw(&self.0) };
        // SAFETY: the attribute names no memory.
        match unsafe { crate::bpf::bpf(BPF_LINK_DETACH, &mut attr) } {
            // Its link is gone, or somebody was here before.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV | libc::ENOENT)) =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// At which link it stands and which program it is; absent: it was taken off, or the link is gone.
    pub(crate) fn look(&self) -> io::Result<Option<(u32, u32)>> {
        use zerocopy::IntoBytes;
        let mut info = LinkInfo::default();
        let length = u32::try_from(size_of::<LinkInfo>()).unwrap_or_default();
        let mut attr = InfoAttr { fd: raw(&self.0.as_fd()), length, info: address_mut(info.as_mut_bytes()) };
        // SAFETY: the kernel writes as many bytes as `length` says, which `info` has.
        unsafe { crate::bpf::bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
        let stands = info.kind == LINK_TYPE_TCX && info.ifindex != 0;
        Ok(stands.then_some((info.ifindex, info.program)))
    }
}
