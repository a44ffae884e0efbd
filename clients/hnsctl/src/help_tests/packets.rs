use super::help;

#[test]
fn hnsctl_trace() {
    insta::assert_snapshot!(help("trace"), @"
    Tell what would become of a packet, layer by layer, or follow real ones

    Usage: hnsctl trace [OPTIONS] --from <ENDPOINT|ADDRESS[:PORT]>

    Options:
          --from <ENDPOINT|ADDRESS[:PORT]>  Who sends it: an endpoint, or an address that is none's
          --to <ENDPOINT|ADDRESS[:PORT]>    Who it is for
          --port <PORT>                     Another way to give the port that it is for
          --protocol <PROTOCOL>             tcp, udp, sctp, icmp, icmpv6 or a number [default: tcp with
                                            a port, an echo request without; any, if --live]
          --as <ADDRESS>                    The source address that the endpoint gives, instead of its
                                            own
          --icmp-type <TYPE>                Of ICMP another type than an echo request's
          --live                            Show packets of real connections at the ports that they
                                            pass, one a line, until Ctrl-C
          --count <N>                       End after so many lines
      -h, --help                            Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Without --live nothing is sent and nothing counted: the rules that ports obey now are asked, and the
    connections that they know. TCP is traced by a SYN, which passes as part of a known connection with
    the same addresses and ports. An address that is no endpoint's can send to an endpoint, and be sent
    to; what the host does beyond its ports is told as far as our own table says it.

    Ends with 0 when the packet would be delivered or leave for the host, and with 1 when it would be
    dropped or not even sent.

    With --live the packets of real connections between both ends are shown, in both directions, whoever
    began, at each port that they pass: its layer and rule that decided, and where the packet went from
    there. Where many pass, some are left out, and their number is told. What is not said is any: the
    other end, ports, the protocol.

    Examples:
      hnsctl trace --from web --to db:5432
      hnsctl trace --from web --to 192.0.2.1:53 --protocol udp
      hnsctl trace --from web --to db
      hnsctl trace --from 192.0.2.1 --to web:80
      hnsctl trace --from web:40000 --to [fd00::3]:80 -o json
      hnsctl trace --live --from web --to db:5432
      hnsctl trace --live --from web --protocol icmp --count 10
      hnsctl trace --live --from 192.0.2.1 --to web:80 -o json | jq .Rule
    ");
}

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
