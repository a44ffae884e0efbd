use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::ContainerError;

/// The files that say to a container who it is and whom to ask for names.
#[derive(Debug)]
pub struct EtcFiles {
    pub resolv_conf: String,
    pub hosts: String,
    pub hostname: String,
}

impl EtcFiles {
    /// `servers` and `search` are the network's; without servers of its own, the host's are used.
    pub fn new(
        name: &str,
        addresses: &[IpAddr],
        servers: &[String],
        search: &[String],
        host_resolv_conf: &str,
    ) -> Self {
        Self {
            resolv_conf: match servers {
                [] => without_loopback(host_resolv_conf),
                _ => resolv_conf(servers, search),
            },
            hosts: hosts(name, addresses),
            hostname: format!("{name}\n"),
        }
    }

    /// Writes the files into `folder`, which is made. Whatever our umask, everybody in the container reads them, and only
    /// root writes.
    pub fn write(&self, folder: &Path) -> Result<(), ContainerError> {
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
                .map_err(|source| ContainerError::Write { path, source })
        };
        fs::create_dir_all(folder)
            .map_err(|source| ContainerError::Write { path: folder.to_owned(), source })?;
        write(folder.join("resolv.conf"), &self.resolv_conf)?;
        write(folder.join("hosts"), &self.hosts)?;
        write(folder.join("hostname"), &self.hostname)
    }

    /// The host's own, which need not be there.
    pub fn host_resolv_conf() -> Result<String, ContainerError> {
        let path = Path::new("/etc/resolv.conf");
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| ContainerError::Read { path: path.to_owned(), source }),
        }
    }
}

fn resolv_conf(servers: &[String], search: &[String]) -> String {
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text
}

/// A resolver on the host's loopback cannot be reached from a namespace of its own.
fn without_loopback(text: &str) -> String {
    let is_loopback = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("nameserver")
            && words.next().is_some_and(|server| {
                let bare = server.split('%').next().unwrap_or(server);
                bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            })
    };
    text.lines().filter(|line| !is_loopback(line)).map(|line| format!("{line}\n")).collect()
}

fn hosts(name: &str, addresses: &[IpAddr]) -> String {
    let mut text =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned();
    for address in addresses {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_on_the_hosts_loopback_are_left_out() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n  nameserver 127.0.0.1\nsearch example.org\noptions edns0";
        let files = EtcFiles::new("web", &[], &[], &["ignored".into()], host);
        assert_eq!(
            files.resolv_conf,
            "# made by hand\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n"
        );
    }

    #[test]
    fn servers_of_the_network_come_before_those_of_the_host() {
        let servers = ["9.9.9.9".to_owned(), "2620:fe::fe".to_owned()];
        let files =
            EtcFiles::new("web", &[], &servers, &["example.org".into(), "b".into()], "nameserver 192.0.2.1");
        assert_eq!(files.resolv_conf, "nameserver 9.9.9.9\nnameserver 2620:fe::fe\nsearch example.org b\n");
    }

    #[test]
    fn a_container_finds_itself_under_its_name() {
        let addresses = ["172.16.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let files = EtcFiles::new("web", &addresses, &[], &[], "");
        assert!(files.hosts.ends_with("172.16.0.2\tweb\nfd00::2\tweb\n"), "{}", files.hosts);
        assert_eq!(files.hostname, "web\n");
    }
}
