use super::help;

#[test]
fn hnsctl_policy() {
    insta::assert_snapshot!(help("policy"), @"
    Policies of endpoints and networks: rules, published ports, limits, sets of addresses

    Usage: hnsctl policy [OPTIONS] <COMMAND>

    Commands:
      ls       List the policies of an endpoint and what their rules did, or those of a network [alias:
               list]
      add      Add policies to an endpoint, attached or not, or to a network [alias: create]
      set      Replace the rules of an endpoint or a network, and what else is given
      inspect  Print the policies of an endpoint or a network as documents
      rm       Remove policies from an endpoint or a network, named as they were added [alias: remove]
      clear    Remove all rules and tiers of an endpoint, or all rules of a network; ports, limits and
               sets stay
      default  Say what becomes of packets that no rule decides
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
fn hnsctl_policy_ls() {
    insta::assert_snapshot!(help("policy ls"), @"
    List the policies of an endpoint and what their rules did, or those of a network

    Usage: hnsctl policy ls [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
          --network <NETWORK>  Those of this network, instead of an endpoint's
      -h, --help               Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Rules are shown in the order in which a packet is asked about them, with how many packets each
    decided on: of block all that it dropped, of allow the first of each connection. A rule that stays
    keeps its count while others come and go; of a direction with more than 1,024 rules the counts begin
    anew. The last row of a direction is what decides when no rule does.

    Examples:
      hnsctl policy ls web
      hnsctl policy ls web -o json
      hnsctl policy ls --network blue
    ");
}

#[test]
fn hnsctl_policy_add() {
    insta::assert_snapshot!(help("policy add"), @r#"
    Add policies to an endpoint, attached or not, or to a network

    Usage: hnsctl policy add [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
      -p, --publish <PORTS>       Publish a port on the host:
                                  [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the daemon
                                  chooses
          --acl <RULE>            Allow or block packets, such as: 'in block tcp from 10.0.0.0/8 port
                                  22'; once for each rule
          --bandwidth-out <RATE>  The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in
                                  bytes 20kB
          --bandwidth-in <RATE>   The most that it receives in a second
          --network <NETWORK>     Of this network, instead of an endpoint: rules hold for all its
                                  endpoints
          --set <NAME=ADDRS>      A set of addresses of the network, which rules name behind from and
                                  to; rm takes its name alone
          --set-of <NAME=SETS>    A set that has the members of other sets
          --json <POLICY>         A policy as HCN writes it: {"Type":..,"Settings":{..}}
      -f, --file <FILE>           Policies as HCN writes them: one, a list, or {"Policies":[..]}; -
                                  reads standard input
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

    Examples:
      hnsctl policy add web --acl 'in allow tcp port 80,443' --acl 'in block from 10.0.0.0/8 prio 100'
      hnsctl policy add web -p 8443:443 --bandwidth-out 10mbit
      hnsctl policy add web -f policies.json
      hnsctl policy add --network blue --set blocklist=10.9.0.0/16,192.0.2.7 --acl 'in block from
      blocklist prio 10'
    "#);
}

#[test]
fn hnsctl_policy_inspect() {
    insta::assert_snapshot!(help("policy inspect"), @"
    Print the policies of an endpoint or a network as documents

    Usage: hnsctl policy inspect [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
          --network <NETWORK>  Those of this network, instead of an endpoint's
      -h, --help               Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl policy inspect web
    ");
}

#[test]
fn hnsctl_policy_rm() {
    insta::assert_snapshot!(help("policy rm"), @r#"
    Remove policies from an endpoint or a network, named as they were added

    Usage: hnsctl policy rm [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
      -p, --publish <PORTS>       Publish a port on the host:
                                  [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the daemon
                                  chooses
          --acl <RULE>            Allow or block packets, such as: 'in block tcp from 10.0.0.0/8 port
                                  22'; once for each rule
          --bandwidth-out <RATE>  The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in
                                  bytes 20kB
          --bandwidth-in <RATE>   The most that it receives in a second
          --network <NETWORK>     Of this network, instead of an endpoint: rules hold for all its
                                  endpoints
          --set <NAME=ADDRS>      A set of addresses of the network, which rules name behind from and
                                  to; rm takes its name alone
          --set-of <NAME=SETS>    A set that has the members of other sets
          --json <POLICY>         A policy as HCN writes it: {"Type":..,"Settings":{..}}
      -f, --file <FILE>           Policies as HCN writes them: one, a list, or {"Policies":[..]}; -
                                  reads standard input
      -h, --help                  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    A rule is named by the same words, or by others that mean the same; `hnsctl policy ls` shows them.

    Examples:
      hnsctl policy rm web --acl 'in block from 10.0.0.0/8 prio 100'
      hnsctl policy rm web -p 8443:443 --bandwidth-out 10mbit
      hnsctl policy rm --network blue --acl 'in block from blocklist prio 10' --set blocklist
    "#);
}

#[test]
fn hnsctl_policy_set() {
    insta::assert_snapshot!(help("policy set"), @r#"
    Replace the rules of an endpoint or a network, and what else is given

    Usage: hnsctl policy set [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
      -p, --publish <PORTS>       Publish a port on the host:
                                  [HOSTIP:]HOST[-END]:CTR[-END][/tcp|udp|sctp]; without HOST the daemon
                                  chooses
          --acl <RULE>            Allow or block packets, such as: 'in block tcp from 10.0.0.0/8 port
                                  22'; once for each rule
          --bandwidth-out <RATE>  The most that it sends in a second: 500kbit, 10mbit, 1gbit, or in
                                  bytes 20kB
          --bandwidth-in <RATE>   The most that it receives in a second
          --network <NETWORK>     Of this network, instead of an endpoint: rules hold for all its
                                  endpoints
          --set <NAME=ADDRS>      A set of addresses of the network, which rules name behind from and
                                  to; rm takes its name alone
          --set-of <NAME=SETS>    A set that has the members of other sets
          --json <POLICY>         A policy as HCN writes it: {"Type":..,"Settings":{..}}
      -f, --file <FILE>           Policies as HCN writes them: one, a list, or {"Policies":[..]}; -
                                  reads standard input
      -h, --help                  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    All rules, tiers and proxies of an endpoint are replaced by those that are given. Of other types,
    those given replace all of their type, and types of which none is given stay. Of a network, rules
    that are given replace its rules, and a set that is there has other members.

    Examples:
      hnsctl policy set web --acl 'in allow tcp port 80' --acl 'out allow'
      hnsctl policy set web -f policies.json
      hnsctl policy set --network blue --set blocklist=10.9.0.0/16
    "#);
}

#[test]
fn hnsctl_policy_clear() {
    insta::assert_snapshot!(help("policy clear"), @"
    Remove all rules and tiers of an endpoint, or all rules of a network; ports, limits and sets stay

    Usage: hnsctl policy clear [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
          --network <NETWORK>  Those of this network, instead of an endpoint's
      -h, --help               Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Examples:
      hnsctl policy clear web
      hnsctl policy clear --network blue
    ");
}

#[test]
fn hnsctl_policy_default() {
    insta::assert_snapshot!(help("policy default"), @"
    Say what becomes of packets that no rule decides

    Usage: hnsctl policy default [OPTIONS] [ENDPOINT]

    Arguments:
      [ENDPOINT]

    Options:
          --network <NETWORK>  Of all endpoints of this network that say nothing themselves
          --in <ACTION>        What comes to it [possible values: allow, block, unset]
          --out <ACTION>       What it sends [possible values: allow, block, unset]
      -h, --help               Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Without a word of the endpoint its network's counts, and without one of the network: block where
    there is a rule, else allow.

    Examples:
      hnsctl policy default web --in block
      hnsctl policy default --network blue --in block --out allow
      hnsctl policy default web --in unset
    ");
}
