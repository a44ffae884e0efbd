use super::help;

#[test]
fn hnsctl() {
    insta::assert_snapshot!(help(""), @"
    The command line of HNS for Linux: networks, endpoints, namespaces and policies of this host

    Usage: hnsctl [OPTIONS] <COMMAND>

    Commands:
      network     Virtual networks of this host [alias: net]
      endpoint    Ports on networks, each with its addresses and policies [alias: ep]
      namespace   Network namespaces that endpoints are attached to [alias: ns]
      policy      Policies of endpoints and networks: rules, published ports, limits, sets of addresses
      run         Start a container in a namespace of its own, with an endpoint on a network
      ps          List containers that `hnsctl run` started, with what they publish
      stop        Stop containers and remove everything made for them; also cleans up after dead ones
      drops       Count the packets that ports dropped, by reason, or show them as they are dropped
      flows       List the connections that ports know, of one endpoint or of all
      trace       Tell what would become of a packet, layer by layer, or follow real ones
      events      Follow what happens: a line for each object that is made, changed or removed
      doctor      Look for what keeps networks from working: missing kernel features, foreign rules,
                  leaks
      export      Write all networks, namespaces and endpoints into one JSON document
      import      Create what is missing of an exported document; what is there stays as it is
      completion  Print the completion script for a shell
      version     Print the version of hnsctl and of the daemon
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Networks, endpoints and namespaces are named by their names, their ids, or unambiguous beginnings of
    their ids.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 daemon unreachable. `hnsctl run` in the
    foreground ends with the container's exit code.

    Example:
      hnsctl network create blue --subnet 10.7.0.0/24
      hnsctl run -p 8080:80 --network blue ./rootfs -- httpd -f
    ");
}

#[test]
fn hnsctl_network() {
    insta::assert_snapshot!(help("network"), @"
    Virtual networks of this host

    Usage: hnsctl network [OPTIONS] <COMMAND>

    Commands:
      ls       List networks [alias: list]
      create   Create a network; what is not given, the daemon chooses
      inspect  Print the documents of networks
      rm       Remove networks, unless endpoints are attached to them [alias: remove]
      peer     What other hosts have of an overlay
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]
    ");
}

#[test]
fn hnsctl_network_ls() {
    insta::assert_snapshot!(help("network ls"), @"
    List networks

    Usage: hnsctl network ls [OPTIONS]

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl network ls -o wide
    ");
}

#[test]
fn hnsctl_network_create() {
    insta::assert_snapshot!(help("network create"), @"
    Create a network; what is not given, the daemon chooses

    Usage: hnsctl network create [OPTIONS] [NAME]

    Arguments:
      [NAME]  Its name, unique on the host

    Options:
      -t, --type <TYPE>                Endpoints reach each other; with internal the host too, with nat
                                       also the outside, and they publish ports; with overlay those of
                                       other hosts as well; with transparent they are on a LAN of the
                                       host's, with l2bridge too, under the MAC address of the host's
                                       adapter; with l2tunnel all that they send goes to the switch
                                       outside, which sends back what is for this host [default: nat]
                                       [possible values: nat, overlay, transparent, l2bridge, l2tunnel,
                                       internal, private]
          --interface <NAME>           The adapter on whose LAN the endpoints are, which the host goes
                                       on to use
          --vlan <NUMBER>              The VLAN of that adapter
          --dhcp                       Let that LAN give the endpoints their addresses: its DHCP server,
                                       and with --ipv6 its routers
          --peer <PEER>                What another host has of an overlay: PREFIX=HOST, such as
                                       10.244.2.0/24=198.51.100.2; once for each prefix
          --vsid <NUMBER>              The VNI of an overlay, the same on all its hosts; without it, one
                                       that follows from the name
          --provider <ADDR>            The address of this host at which the tunnels of an overlay end;
                                       without it, the one from which the host sends to the peers
          --host-route                 Let the host have a port on an overlay: it and its own containers
                                       there reach each other, and they reach the outside under the
                                       host's address and publish ports
          --encrypted                  Encrypt what goes from host to host of an overlay, by WireGuard;
                                       each peer is given with its host's key, which hnsctl network
                                       inspect shows there
          --vxlan-port <PORT>          The UDP port of those tunnels [default: 4789]
          --no-direct-tunnel           Send every packet of those tunnels through the host's firewall,
                                       small ones too
          --subnet <CIDR>              A subnet; once for each family or more often
          --gateway <ADDR>             A subnet's gateway; once for each subnet
          --ip-range <CIDR>            Give out addresses of these blocks only
          --aux <NAME=ADDR>            An address that is never given out, under a name
          --mac-pool <START-END>       Give out MAC addresses of this range only
          --mtu <BYTES>                The largest packet, in bytes
          --non-persistent             Forget the network when the daemon ends
          --ipv6                       Add an IPv6 subnet of the daemon's choice; with --dhcp, addresses
                                       of that LAN's prefixes
          --no-ipv4                    Make a network without IPv4
          --gateway-mode <MODE[:4|6]>  Translate to the host's address or route, for both families or
                                       one [possible: nat, routed, nat:6, ...]
          --dns <ADDR>                 A DNS server for the endpoints
          --dns-search <DOMAIN>        A search domain for the endpoints
      -f, --file <FILE>                Create from this HCN document as it is; - reads standard input
      -h, --help                       Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Examples:
      hnsctl network create blue
      hnsctl network create blue --subnet 10.7.0.0/24 --subnet fd00:7::/64 --gateway 10.7.0.1
      hnsctl network create lab --type internal --ipv6 --mtu 1400
      hnsctl network create corp -t transparent --interface eth0 --subnet 192.0.2.0/24
      hnsctl network create home -t transparent --interface eth0 --dhcp
      hnsctl network create blue -t overlay --subnet 10.244.1.0/24 --peer 10.244.2.0/24=198.51.100.2
      hnsctl network create public6 --subnet 2001:db8:7::/64 --gateway-mode routed:6
      hnsctl network create -f network.json
    ");
}

#[test]
fn hnsctl_network_inspect() {
    insta::assert_snapshot!(help("network inspect"), @"
    Print the documents of networks

    Usage: hnsctl network inspect [OPTIONS] <NETWORK>...

    Arguments:
      <NETWORK>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl network inspect nat
    ");
}

#[test]
fn hnsctl_network_rm() {
    insta::assert_snapshot!(help("network rm"), @"
    Remove networks, unless endpoints are attached to them

    Usage: hnsctl network rm [OPTIONS] <NETWORK>...

    Arguments:
      <NETWORK>...

    Options:
      -f, --force  Remove the attached endpoints too
      -h, --help   Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl network rm blue
    ");
}

#[test]
fn hnsctl_endpoint() {
    insta::assert_snapshot!(help("endpoint"), @"
    Ports on networks, each with its addresses and policies

    Usage: hnsctl endpoint [OPTIONS] <COMMAND>

    Commands:
      ls       List endpoints [alias: list]
      create   Create an endpoint; what is not given, the daemon chooses
      inspect  Print the documents of endpoints
      rm       Remove endpoints, attached or not [alias: remove]
      attach   Put an endpoint's interface into a namespace
      detach   Take an endpoint's interface out of its namespace; the endpoint keeps its addresses and
               policies
      check    Look whether endpoints are inside their containers as they should be; changes nothing
      stats    Show how much an endpoint has sent and received
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]
    ");
}

#[test]
fn hnsctl_endpoint_ls() {
    insta::assert_snapshot!(help("endpoint ls"), @"
    List endpoints

    Usage: hnsctl endpoint ls [OPTIONS]

    Options:
          --network <NETWORK>  Only those of this network
      -h, --help               Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint ls --network nat
    ");
}

#[test]
fn hnsctl_endpoint_create() {
    insta::assert_snapshot!(help("endpoint create"), @"
    Create an endpoint; what is not given, the daemon chooses

    Usage: hnsctl endpoint create [OPTIONS]

    Options:
          --network <NETWORK>          The network it is a port of
          --name <NAME>                Its name, which need not be unique
          --ip <ADDR>                  Its address; once for each family
          --mac <MAC>                  Its MAC address
      -p, --publish <PORTS>            Publish a port on the host:
                                       [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the
                                       daemon chooses
          --acl <RULE>                 Allow or block packets, such as: 'in block tcp from 10.0.0.0/8
                                       port 22'; once for each rule
          --bandwidth-out <RATE>       The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in
                                       bytes 20kB
          --bandwidth-in <RATE>        The most that it receives in a second
          --namespace <NAMESPACE>      Attach it to this namespace at once
          --interface <NAME>           Its interface's name in the namespace [default: eth0, eth1, ...
                                       by order]
          --gateway-priority <NUMBER>  Of several endpoints in a namespace, the one with the highest
                                       number gives the default route
          --disable-icc                Keep it from talking to other endpoints of its network
          --remote <HOST>              It is a container of this other host of an overlay, by the
                                       address at which its tunnels end: nothing is made here but the
                                       way to its address and its MAC address
      -f, --file <FILE>                Create from this HCN document as it is, or from a list of
                                       documents of remote endpoints; - reads standard input
      -h, --help                       Print help

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

    Examples:
      hnsctl endpoint create --network nat --name web -p 8080:80
      hnsctl endpoint create --network nat --namespace pod1 --ip 172.16.0.20 -p
      127.0.0.1:8000-8010:80-90 -p [::1]:53:53/udp
      hnsctl endpoint create --network nat --name db --acl 'in allow tcp from 172.16.0.20 port 5432'
      --bandwidth-out 10mbit
      hnsctl endpoint create --network blue --name db --remote 198.51.100.2 --ip 10.244.1.30 --mac
      02:00:0a:f4:01:1e
      hnsctl endpoint create -f endpoint.json
    ");
}

#[test]
fn hnsctl_endpoint_inspect() {
    insta::assert_snapshot!(help("endpoint inspect"), @"
    Print the documents of endpoints

    Usage: hnsctl endpoint inspect [OPTIONS] <ENDPOINT>...

    Arguments:
      <ENDPOINT>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint inspect web
    ");
}

#[test]
fn hnsctl_endpoint_rm() {
    insta::assert_snapshot!(help("endpoint rm"), @"
    Remove endpoints, attached or not

    Usage: hnsctl endpoint rm [OPTIONS] <ENDPOINT>...

    Arguments:
      <ENDPOINT>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint rm web
    ");
}

#[test]
fn hnsctl_endpoint_attach() {
    insta::assert_snapshot!(help("endpoint attach"), @"
    Put an endpoint's interface into a namespace

    Usage: hnsctl endpoint attach [OPTIONS] <ENDPOINT> <NAMESPACE>

    Arguments:
      <ENDPOINT>
      <NAMESPACE>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint attach web pod1
    ");
}

#[test]
fn hnsctl_endpoint_detach() {
    insta::assert_snapshot!(help("endpoint detach"), @"
    Take an endpoint's interface out of its namespace; the endpoint keeps its addresses and policies

    Usage: hnsctl endpoint detach [OPTIONS] <ENDPOINT>

    Arguments:
      <ENDPOINT>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint detach web
    ");
}

#[test]
fn hnsctl_endpoint_check() {
    insta::assert_snapshot!(help("endpoint check"), @"
    Look whether endpoints are inside their containers as they should be; changes nothing

    Usage: hnsctl endpoint check [OPTIONS] <ENDPOINT>...

    Arguments:
      <ENDPOINT>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint check web db
    ");
}

#[test]
fn hnsctl_endpoint_stats() {
    insta::assert_snapshot!(help("endpoint stats"), @"
    Show how much an endpoint has sent and received

    Usage: hnsctl endpoint stats [OPTIONS] <ENDPOINT>

    Arguments:
      <ENDPOINT>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl endpoint stats web
    ");
}
