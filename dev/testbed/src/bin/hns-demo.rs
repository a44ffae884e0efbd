//! The product in a minute: a real container on the default network, fetched from outside, told as it goes.
//!
//! `./x demo` builds what this needs and starts it as root. Everything happens in namespaces of its own.

#![expect(clippy::print_stdout, reason = "a demonstration speaks")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hns_testbed::{Hnsd, Host, Lab, eventually, program};

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("the demonstration makes network namespaces, which takes root: ./x demo asks for it");
        return ExitCode::FAILURE;
    }
    println!("{} and {}", program("hnsd").display(), program("hnsctl").display());

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
    show(&hnsd, &["stop", "web", "shop"]);
    show(&hnsd, &["network", "rm", "blue"]);
    show(&hnsd, &["endpoint", "ls"]);
    let status = hnsd.terminate();
    println!("hnsd ended with {status}; the namespaces end with this program");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn step(title: &str) {
    println!("\n\x1b[1m== {title}\x1b[0m");
}

/// Runs `hnsctl` and shows the command as a user would type it, and its answer.
fn show(hnsd: &Hnsd, words: &[&str]) {
    println!("$ hnsctl {}", words.join(" "));
    print!("{}", hnsd.hnsctl(words));
}

fn run(host: &Host, words: &[&str]) {
    println!("$ {}", words.join(" "));
    print!("{}", host.run(words));
}

/// Fetches a page that must say whose it is.
fn fetch(from: &Host, url: &str, whose: &str) {
    println!("{}$ wget -qO- {url}", from.name());
    let page = eventually!(within 5 s, {
        let fetched = from.try_run(&["busybox", "wget", "-qO-", url]);
        if fetched.success() { Ok(fetched.stdout) } else { Err(fetched.stderr) }
    });
    assert!(page.contains(whose), "not the page of {whose}: {page}");
    print!("{page}");
}

/// The same from inside a container's network namespace.
fn fetch_from_container(hnsd: &Hnsd, container: &str, url: &str, whose: &str) {
    println!("{container}$ wget -qO- {url}");
    let netns = hnsd.host().netns_at(namespace_path(hnsd, container));
    let output = netns.command("busybox").args(["wget", "-qO-", url]).output();
    let page = String::from_utf8_lossy(&output.expect("busybox is there").stdout).into_owned();
    assert!(page.contains(whose), "not the page of {whose}: {page}");
    print!("{page}");
}

/// Where the namespace of an endpoint's container is.
fn namespace_path(hnsd: &Hnsd, container: &str) -> PathBuf {
    let endpoint = hnsd.hnsctl_json(&["endpoint", "inspect", container]);
    let id = endpoint["HostComputeNamespace"].as_str().expect("the endpoint is attached");
    let namespace = hnsd.hnsctl_json(&["namespace", "inspect", id]);
    PathBuf::from(namespace["AdditionalParams"]["Path"].as_str().expect("every namespace shows its path"))
}

/// A root folder for a container: one static program and a page.
fn root_folder(lab: &Lab, name: &str) -> String {
    let root = lab.folder().join(format!("{name}-root"));
    let make = || {
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "www"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        std::fs::copy(busybox(), root.join("bin/busybox"))?;
        for applet in ["httpd", "sh", "wget"] {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        std::fs::write(root.join("www/index.html"), format!("Hello, this is {name}.\n"))
    };
    make().unwrap_or_else(|error: std::io::Error| panic!("{}: {error}", root.display()));
    root.display().to_string()
}

fn busybox() -> &'static Path {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    places.into_iter().find(|path| path.exists()).expect("./x installs busybox-static")
}
