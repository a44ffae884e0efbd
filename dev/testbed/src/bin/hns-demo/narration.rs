//! What a demonstration does, shown as a user would do it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hns_testbed::{Hnsd, Host, Lab, eventually};

/// What `timeout` says of a program that it has ended.
const TIMED_OUT: i32 = 124;

pub fn step(title: &str) {
    println!("\n\x1b[1m== {title}\x1b[0m");
}

/// Runs `hnsctl` and shows the command as a user would type it, and its answer, which it gives.
pub fn show(hnsd: &Hnsd, words: &[&str]) -> String {
    println!("$ hnsctl {}", as_typed(words));
    let answer = hnsd.hnsctl(words);
    print!("{answer}");
    answer
}

/// The same where there are several hosts.
pub fn show_at(hnsd: &Hnsd, words: &[&str]) -> String {
    print!("{}", hnsd.host().name());
    show(hnsd, words)
}

/// Quoted where a shell would take it apart.
fn as_typed(words: &[&str]) -> String {
    let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

pub fn run(host: &Host, words: &[&str]) {
    println!("{}$ {}", host.name(), as_typed(words));
    print!("{}", host.run(words));
}

/// Fetches a page that must say whose it is.
pub fn fetch(from: &Host, url: &str, whose: &str) {
    println!("{}$ wget -qO- {url}", from.name());
    let page = eventually!(within 5 s, {
        let fetched = from.try_run(&["busybox", "wget", "-qO-", url]);
        if fetched.success() { Ok(fetched.stdout) } else { Err(fetched.stderr) }
    });
    assert!(page.contains(whose), "not the page of {whose}: {page}");
    print!("{page}");
}

/// Asks for a page that nobody lets it have: there is no answer, not even a refusal.
pub fn fetch_in_vain(from: &Host, url: &str) {
    println!("{}$ timeout 1 wget -qO- {url}", from.name());
    let fetched = from.try_run(&["timeout", "1", "busybox", "wget", "-qO-", url]);
    assert_eq!(fetched.status.code(), Some(TIMED_OUT), "{fetched}");
    println!("(no answer)");
}

/// Fetches a page from inside a container's network namespace.
pub fn fetch_from_container(hnsd: &Hnsd, container: &str, url: &str, whose: &str) {
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
pub fn root_folder(lab: &Lab, name: &str) -> String {
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
