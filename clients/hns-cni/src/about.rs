use crate::version::Version;

/// What a human sees who runs the plugin.
pub const HELP: &str = r#"hns-cni connects containers to networks of HNS. Container runtimes run it, not people: it is configured by a file
in /etc/cni/net.d, and lies in /opt/cni/bin.

  {"cniVersion": "1.0.0", "name": "web",
   "plugins": [{"type": "hns-cni", "networkType": "nat", "subnet": "10.20.0.0/24",
                "capabilities": {"portMappings": true, "dns": true}}]}

By hand, as a runtime runs it:

  CNI_COMMAND=VERSION hns-cni < /dev/null
  CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/c1 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
    hns-cni < one-plugin.conf

CNI_COMMAND is one of ADD, DEL, CHECK, GC, STATUS, VERSION. HNS_SOCKET, or "socket" in the configuration, names the
daemon's socket if it is not /run/hns/hns.sock. docs/reference/cni.md lists every key."#;

/// The plugin's version and the versions it speaks.
pub fn about() -> String {
    let versions: Vec<&str> = Version::texts().collect();
    format!("hns-cni {}, speaking CNI {}", env!("CARGO_PKG_VERSION"), versions.join(", "))
}
