use super::help;

#[test]
fn hnsctl_drops() {
    insta::assert_snapshot!(help("drops"), @"
    Count the packets that ports dropped, by reason, or show them as they are dropped

    Usage: hnsctl drops [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]  Only those of this endpoint

    Options:
      -f, --follow  Show packets as they are dropped, one a line, until Ctrl-C
      -h, --help    Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Where many packets are dropped, --follow shows some of them; the counts have all. Reasons are
    explained in docs/reference/drops.md.

    Examples:
      hnsctl drops
      hnsctl drops web -o wide
      hnsctl drops web --follow
      hnsctl drops --follow -o json | jq .Packet
    ");
}

#[test]
fn hnsctl_flows() {
    insta::assert_snapshot!(help("flows"), @"
    List the connections that ports know, of one endpoint or of all

    Usage: hnsctl flows [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]  Only those of this endpoint

    Options:
          --protocol <PROTOCOL>  Only those of this protocol: tcp, udp, sctp, icmp, icmpv6 or a number
      -h, --help                 Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    A port whose endpoint lets everything in and out passes packets without knowing their connections.

    Examples:
      hnsctl flows
      hnsctl flows web --protocol tcp
      hnsctl flows -o wide
    ");
}
