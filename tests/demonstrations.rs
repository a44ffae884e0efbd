//! What `./x demo` shows: it compares what it sees with what it tells, and ends with an error when they differ.

use std::process::Command;

use hns_testbed::{needs, program};

/// Runs a demonstration to its end and gives what it told.
#[track_caller]
fn told(words: &[&str]) -> String {
    let output = Command::new(program("hns-demo")).args(words).output().expect("it has been built");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?} ended with {}\n{told}{said}", output.status);
    told
}

#[test]
fn the_default_network_is_shown() {
    needs!(root, "nft", "crun", "busybox", "ip");
    let told = told(&[]);
    assert!(told.contains("$ hnsctl run --detach -p 8080:80") && told.contains("Cleaning up"), "{told}");
}

#[test]
fn a_container_on_the_lan_is_shown() {
    needs!(root, "nft", "crun", "busybox", "ip", "dnsmasq");
    let told = told(&["lan"]);
    assert!(told.contains("host$ wget -qO- http://198.18.0.1") && told.contains("Cleaning up"), "{told}");
    assert!(told.contains("CORP"), "{told}");
}

#[test]
fn an_encrypted_network_of_three_hosts_is_shown() {
    needs!(root, "nft", "crun", "busybox", "ip");
    let told = told(&["overlay"]);
    assert!(told.contains("of which 0 show a page") && told.contains("Cleaning up"), "{told}");
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let output = Command::new(program("hns-demo")).args(["lan", "wan"]).output().expect("it has been built");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && told.contains("no demonstration of 'lan wan'"), "{told}");
}
