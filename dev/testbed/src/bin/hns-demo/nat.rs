//! A real container on the default network, fetched from outside.

use std::process::ExitCode;

use hns_testbed::{Hnsd, Lab};

use crate::narration::{fetch, fetch_from_container, root_folder, run, show, step};

pub fn tell() -> ExitCode {
    step("A world of namespaces: a container host, a LAN, and a client somewhere on it");
    let lab = Lab::new();
    let (host, client) = (lab.host("host"), lab.host("client"));
    println!("host    {}  {}", host.v4(), host.v6());
    println!("client  {}  {}", client.v4(), client.v6());

    step("hnsd starts on the host, and makes the network nat because there is none yet");
    let mut hnsd = Hnsd::start(&host);
    show(&hnsd, &["network", "ls"]);

    step("A container on nat, started by crun, with a published port");
    let web = root_folder(&lab, "web");
    show(
        &hnsd,
        &[
            "run", "--detach", "-p", "8080:80", "--name", "web", &web, "--", "httpd", "-f", "-p", "80", "-h",
            "/www",
        ],
    );

    step("The client fetches its page through the host's address");
    fetch(&client, &format!("http://{}:8080/", host.v4()), "web");

    step("A second network, with both IP families, and a second container");
    show(&hnsd, &["network", "create", "blue", "--ipv6"]);
    let shop = root_folder(&lab, "shop");
    show(
        &hnsd,
        &[
            "run",
            "--detach",
            "-p",
            "8081:80",
            "--network",
            "blue",
            "--name",
            "shop",
            &shop,
            "--",
            "httpd",
            "-f",
            "-p",
            "[::]:80",
            "-h",
            "/www",
        ],
    );
    fetch(&client, &format!("http://{}:8081/", host.v4()), "shop");
    fetch(&client, &format!("http://[{}]:8081/", host.v6()), "shop");

    step(
        "From the host itself by localhost, and from a container of the other network by the host's address",
    );
    fetch(&host, "http://127.0.0.1:8080/", "web");
    fetch_from_container(&hnsd, "shop", &format!("http://{}:8080/", host.v4()), "web");

    step("What there is now");
    for command in [&["network", "ls"][..], &["endpoint", "ls"], &["namespace", "ls"], &["ps"]] {
        show(&hnsd, command);
    }
    run(&host, &["ip", "-br", "link"]);

    step("What was counted: on the container's port, and in the table that translates");
    show(&hnsd, &["endpoint", "stats", "web"]);
    run(&host, &["nft", "list", "counters", "table", "inet", "hns"]);

    step("Is anything in the way?");
    show(&hnsd, &["doctor"]);

    step("hnsd is killed and started again; the connection of a client would not notice");
    hnsd.kill9();
    fetch(&client, &format!("http://{}:8080/", host.v4()), "web");
    hnsd.start_again();
    fetch(&client, &format!("http://{}:8080/", host.v4()), "web");

    step("Cleaning up");
    show(&hnsd, &["stop", "-t", "1", "web", "shop"]);
    show(&hnsd, &["network", "rm", "blue"]);
    show(&hnsd, &["endpoint", "ls"]);
    let status = hnsd.terminate();
    println!("hnsd ended with {status}; the namespaces end with this program");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
