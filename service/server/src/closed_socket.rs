use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, chown};
use tokio::net::{UnixListener, UnixStream};

use crate::socket::ServerError;

/// How many callers wait in the kernel for the door. Root waits in the same line as everybody, so a line that somebody
/// has filled must be short enough; whoever finds it full waits, or tries again.
const QUEUE_MAX: i32 = 512;

/// Who may connect to a socket, beside the user that made it.
#[derive(Debug, Clone, Copy)]
pub enum Openness {
    Nobody,
    Group(Gid),
    Everyone,
}

/// Makes a socket at `path` and listens on it. One that nobody listens on any more is replaced.
///
/// It is open to nobody else before it has its final owner and mode, under any umask.
///
/// # Errors
/// When somebody else listens there, when something else is there, or when it cannot be made.
pub async fn listen_at(path: &Path, openness: Openness) -> Result<UnixListener, ServerError> {
    remove_stale(path).await?;
    let failed =
        |operation| move |source: io::Error| ServerError::Socket { operation, path: path.to_owned(), source };
    let socket = bind_closed(path).map_err(failed("bind"))?;
    let mode = match openness {
        Openness::Nobody => 0o600,
        Openness::Group(group) => {
            chown(path, None, Some(group)).map_err(|errno| failed("hand over")(errno.into()))?;
            0o660
        }
        Openness::Everyone => 0o666,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed("protect"))?;
    let queue = Backlog::new(QUEUE_MAX).map_err(|errno| failed("listen on")(errno.into()))?;
    listen(&socket, queue).map_err(|errno| failed("listen on")(errno.into()))?;
    UnixListener::from_std(socket.into()).map_err(failed("listen on"))
}

/// A bound socket whose file has mode 0600 from its first moment.
///
/// Linux gives the file the mode of the socket itself, less the umask (`unix_bind_bsd`). So the mode is set on the
/// descriptor before there is a file; changing the umask instead would change it for all threads of the process.
fn bind_closed(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

async fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ServerError::NotASocket { path: path.to_owned() });
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServerError::InUse { socket: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(|source| ServerError::Socket {
        operation: "remove the stale socket",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_socket_is_closed_to_others_from_its_first_moment_under_any_umask() {
        let folder = tempfile::TempDir::new().unwrap();
        let before = nix::sys::stat::umask(Mode::empty());
        let (ours, others) = (folder.path().join("ours"), folder.path().join("others"));
        let socket = bind_closed(&ours);
        let plain = std::os::unix::net::UnixListener::bind(&others);
        nix::sys::stat::umask(before);
        assert!(socket.is_ok() && plain.is_ok());
        // What the same umask makes of a socket that nobody took care of.
        assert_eq!((mode_of(&ours), mode_of(&others)), (0o600, 0o777));
    }

    #[tokio::test]
    async fn a_socket_ends_as_open_as_it_should_be() {
        let folder = tempfile::TempDir::new().unwrap();
        let own = nix::unistd::getgid();
        for (openness, mode) in
            [(Openness::Nobody, 0o600), (Openness::Group(own), 0o660), (Openness::Everyone, 0o666)]
        {
            let path = folder.path().join(format!("{mode:o}"));
            let _listener = listen_at(&path, openness).await.unwrap();
            assert_eq!(mode_of(&path), mode);
            assert!(UnixStream::connect(&path).await.is_ok());
        }
    }
}
