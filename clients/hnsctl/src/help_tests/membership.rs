use super::help;

#[test]
fn hnsctl_namespace() {
    insta::assert_snapshot!(help("namespace"), @"
    Network namespaces that endpoints are attached to

    Usage: hnsctl namespace [OPTIONS] <COMMAND>

    Commands:
      ls       List namespaces with their paths and members [alias: list]
      create   Create a namespace, or make one that exists known to the daemon
      inspect  Print the documents of namespaces
      rm       Remove namespaces; their endpoints stay, detached, and a namespace that was given stays
               too [alias: remove]
      attach   Put an endpoint's interface into a namespace
      detach   Take an endpoint's interface out of a namespace
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
fn hnsctl_namespace_ls() {
    insta::assert_snapshot!(help("namespace ls"), @"
    List namespaces with their paths and members

    Usage: hnsctl namespace ls [OPTIONS]

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl namespace ls
    ");
}

#[test]
fn hnsctl_namespace_create() {
    insta::assert_snapshot!(help("namespace create"), @"
    Create a namespace, or make one that exists known to the daemon

    Usage: hnsctl namespace create [OPTIONS] [NAME]

    Arguments:
      [NAME]

    Options:
          --path <FILE>   A namespace that exists, by its file
          --pid <PID>     A namespace that exists, by a process in it
          --host-default  The host's own namespace
      -h, --help          Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Examples:
      hnsctl namespace create pod1
      hnsctl namespace create --path /run/netns/x
      hnsctl namespace create router --host-default
    ");
}

#[test]
fn hnsctl_namespace_inspect() {
    insta::assert_snapshot!(help("namespace inspect"), @"
    Print the documents of namespaces

    Usage: hnsctl namespace inspect [OPTIONS] <NAMESPACE>...

    Arguments:
      <NAMESPACE>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl namespace inspect pod1
    ");
}

#[test]
fn hnsctl_namespace_rm() {
    insta::assert_snapshot!(help("namespace rm"), @"
    Remove namespaces; their endpoints stay, detached, and a namespace that was given stays too

    Usage: hnsctl namespace rm [OPTIONS] <NAMESPACE>...

    Arguments:
      <NAMESPACE>...

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl namespace rm pod1
    ");
}

#[test]
fn hnsctl_namespace_attach() {
    insta::assert_snapshot!(help("namespace attach"), @"
    Put an endpoint's interface into a namespace

    Usage: hnsctl namespace attach [OPTIONS] <NAMESPACE> <ENDPOINT>

    Arguments:
      <NAMESPACE>
      <ENDPOINT>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl namespace attach pod1 web
    ");
}

#[test]
fn hnsctl_namespace_detach() {
    insta::assert_snapshot!(help("namespace detach"), @"
    Take an endpoint's interface out of a namespace

    Usage: hnsctl namespace detach [OPTIONS] <NAMESPACE> <ENDPOINT>

    Arguments:
      <NAMESPACE>
      <ENDPOINT>

    Options:
      -h, --help  Print help

    Options of every command:
          --socket <PATH>    The daemon's socket [env: HNS_SOCKET] [default: /run/hns/hns.sock]
      -o, --output <FORMAT>  Aligned columns, more of them with ids in full, or the daemon's documents
                             [default: table] [possible values: table, wide, json]

    Example:
      hnsctl namespace detach pod1 web
    ");
}
