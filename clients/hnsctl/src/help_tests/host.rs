use super::help;

#[test]
fn hnsctl_run() {
    insta::assert_snapshot!(help("run"), @"
    Start a container in a namespace of its own, with an endpoint on a network

    Usage: hnsctl run [OPTIONS] <ROOT> [-- <COMMAND>...]

    Arguments:
      <ROOT>        A root folder, used where it is, or an image: a file of `docker save` or `docker
                    export`, an OCI layout
      [COMMAND]...  What it runs [default: what the image says]

    Options:
      -p, --publish <PORTS>       Publish a port on the host:
                                  [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the daemon
                                  chooses
          --acl <RULE>            Allow or block packets, such as: 'in block tcp from 10.0.0.0/8 port
                                  22'; once for each rule
          --bandwidth-out <RATE>  The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in
                                  bytes 20kB
          --bandwidth-in <RATE>   The most that it receives in a second
          --network <NETWORK>     The network it is on [default: nat]
          --name <NAME>           Its name, also as a host [default: one is made up]
      -d, --detach                Leave it running and print its name
          --ip <ADDR>             Its address; once for each family
          --mac <MAC>             Its MAC address
      -e, --env <KEY[=VALUE]>     Set a variable, or pass ours on
      -w, --workdir <DIR>         Where its command starts [default: what the image says, or /]
          --runtime <PROGRAM>     The OCI runtime [default: crun, or else runc]
          --container-dir <DIR>   Where containers are kept [env: HNS_CONTAINER_DIR] [default:
                                  /run/hns/containers]
      -h, --help                  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    A RULE is: in|out allow|block [PROTOCOL,..] [from ADDRS] [to ADDRS] [port PORTS] [type ICMPTYPES]
    [prio N] [id TEXT] [host] [observe], in this order or another. A rule that is observed counts what
    it would drop and lets it go on. Protocols are tcp, udp, sctp, icmp, icmp6 and numbers; addresses,
    prefixes, ports and ranges stand with commas. port is the destination's; local-port and remote-port
    name a side. The lowest prio decides, which is 1000 unless it is said, and of equals block. Once
    there is a rule, what no rule allows is blocked in both directions, unless the endpoint or its
    network says otherwise.

    In the foreground, signals are passed on, everything made for the container is removed when it ends,
    and its exit code is ours.

    Examples:
      hnsctl run -p 8080:80 --network nat ./rootfs -- httpd -f -p 80
      hnsctl run --acl 'in allow tcp port 80' --acl 'out allow' --bandwidth-out 10mbit ./rootfs -- httpd
      -f -p 80
      docker save nginx -o nginx.tar && hnsctl run --detach --name web -p 8080:80 nginx.tar
    ");
}

#[test]
fn hnsctl_ps() {
    insta::assert_snapshot!(help("ps"), @"
    List containers that `hnsctl run` started, with what they publish

    Usage: hnsctl ps [OPTIONS]

    Options:
          --container-dir <DIR>  Where containers are kept [env: HNS_CONTAINER_DIR] [default:
                                 /run/hns/containers]
      -h, --help                 Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl ps -o wide
    ");
}

#[test]
fn hnsctl_stop() {
    insta::assert_snapshot!(help("stop"), @"
    Stop containers and remove everything made for them; also cleans up after dead ones

    Usage: hnsctl stop [OPTIONS] <NAME>...

    Arguments:
      <NAME>...

    Options:
      -t, --timeout <SECONDS>    How long a container may take to end before it is killed [default: 10]
          --container-dir <DIR>  Where containers are kept [env: HNS_CONTAINER_DIR] [default:
                                 /run/hns/containers]
      -h, --help                 Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl stop web --timeout 30
    ");
}

#[test]
fn hnsctl_events() {
    insta::assert_snapshot!(help("events"), @"
    Follow what happens: a line for each object that is made, changed or removed

    Usage: hnsctl events [OPTIONS]

    Options:
          --from <REVISION>  Begin after this revision instead of now
      -f, --follow           Keep following; this is what happens without the flag too
      -h, --help             Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Examples:
      hnsctl events
      hnsctl events --from 41 -o json
    ");
}

#[test]
fn hnsctl_doctor() {
    insta::assert_snapshot!(help("doctor"), @"
    Look for what keeps networks from working: missing kernel features, foreign rules, leaks

    Usage: hnsctl doctor [OPTIONS]

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Ends with 1 when it finds a problem; warnings are none.

    Example:
      hnsctl doctor
    ");
}

#[test]
fn hnsctl_export() {
    insta::assert_snapshot!(help("export"), @"
    Write all networks, namespaces and endpoints into one JSON document

    Usage: hnsctl export [OPTIONS] [FILE]

    Arguments:
      [FILE]  Where to; without it, or for -, standard output

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl export backup.json
    ");
}

#[test]
fn hnsctl_import() {
    insta::assert_snapshot!(help("import"), @"
    Create what is missing of an exported document; what is there stays as it is

    Usage: hnsctl import [OPTIONS] <FILE>

    Arguments:
      <FILE>  What `hnsctl export` wrote; - reads standard input

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl import backup.json
    ");
}

#[test]
fn hnsctl_completion() {
    insta::assert_snapshot!(help("completion"), @"
    Print the completion script for a shell

    Usage: hnsctl completion [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl completion bash > /etc/bash_completion.d/hnsctl
    ");
}

#[test]
fn hnsctl_version() {
    insta::assert_snapshot!(help("version"), @"
    Print the version of hnsctl and of the daemon

    Usage: hnsctl version [OPTIONS]

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl version -o json
    ");
}
