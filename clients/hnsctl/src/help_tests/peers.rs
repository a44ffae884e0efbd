use super::help;

#[test]
fn hnsctl_network_peer() {
    insta::assert_snapshot!(help("network peer"), @"
    What other hosts have of an overlay

    Usage: hnsctl network peer [OPTIONS] <COMMAND>

    Commands:
      ls    List what other hosts have of a network [alias: list]
      add   Say what other hosts have of a network, while traffic flows
      rm    Forget what another host has, by its prefix [alias: remove]
      help  Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]
    ");
}

#[test]
fn hnsctl_network_peer_ls() {
    insta::assert_snapshot!(help("network peer ls"), @"
    List what other hosts have of a network

    Usage: hnsctl network peer ls [OPTIONS] <NETWORK>

    Arguments:
      <NETWORK>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl network peer ls blue
    ");
}

#[test]
fn hnsctl_network_peer_add() {
    insta::assert_snapshot!(help("network peer add"), @"
    Say what other hosts have of a network, while traffic flows

    Usage: hnsctl network peer add [OPTIONS] <NETWORK> <PEER>...

    Arguments:
      <NETWORK>
      <PEER>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    A PEER is PREFIX=HOST[,vni=NUMBER][,router=MAC][,key=PUBLIC-KEY]: the prefix that a host has of the
    network, and the address at which that
    host's tunnels end. Without vni it is the network's own; without router the MAC address that hnsd
    gives the router of a host with such
    an address. Where the network is encrypted, and only there, the key of that host stands beside it,
    as hnsctl network inspect shows it
    there (PublicKey).

    Examples:
      hnsctl network peer add blue 10.244.2.0/24=198.51.100.2
      hnsctl network peer add red
      10.244.2.0/24=198.51.100.2,key=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
      hnsctl network peer add blue 10.244.3.0/24=198.51.100.3 fd00:244:3::/64=198.51.100.3,vni=4097
    ");
}

#[test]
fn hnsctl_network_peer_rm() {
    insta::assert_snapshot!(help("network peer rm"), @"
    Forget what another host has, by its prefix

    Usage: hnsctl network peer rm [OPTIONS] <NETWORK> <PREFIX>...

    Arguments:
      <NETWORK>
      <PREFIX>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl network peer rm blue 10.244.2.0/24
    ");
}
