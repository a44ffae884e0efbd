//! What is refused, by name, and leaves nothing behind.

use hns_testbed::needs;

use crate::stage::Stage;

#[test]
fn what_cannot_be_is_refused_by_name_and_leaves_nothing() {
    needs!(root, "nft");
    let stage = Stage::new(0);
    let there = stage.there.host().v4();
    let own = stage.here.host().v4();
    let vni = stage.here.hnsctl_json(&["network", "inspect", "blue"])["Ipams"][0]["Subnets"][0]["Policies"]
        [0]["Settings"]["IsolationId"]
        .to_string();
    let (other, over, mine) =
        (format!("10.244.1.128/25={there}"), format!("10.9.2.0/24={there}"), format!("10.9.2.0/24={own}"));
    let rows: [(&[&str], &str); 9] = [
        (&["--subnet=10.9.1.0/24", "--vsid", &vni], "is network \"blue\"'s"),
        (&["--subnet=10.9.1.0/24", "--vsid=16777216"], "is no VNI: 1 to 16777215"),
        (
            &["--subnet=10.9.1.0/24", "--provider=203.0.113.99"],
            "203.0.113.99 is no address of this host's own",
        ),
        (&["--subnet=10.244.1.0/24", "--peer", &other], "overlaps 10.244.1.0/24, which this host has itself"),
        (
            &["--subnet=10.9.1.0/24", "--peer", &over, "--peer", &over],
            "10.9.2.0/24 is another host's already",
        ),
        (&["--subnet=10.9.1.0/24", "--peer", &mine], "is this host"),
        (
            &["--subnet=10.9.1.0/24", "--peer", "10.9.2.0/24=fd00::99", "--provider", &own.to_string()],
            "family",
        ),
        (&["--subnet=10.9.1.0/24", "--mtu=1500"], "1500 bytes are more than the 1450"),
        (&[], "an overlay needs the prefix"),
    ];
    let links = stage.here.host().links();
    for (options, said) in rows {
        let words = [&["network", "create", "wrong", "-t", "overlay"], options].concat();
        let refusal = stage.here.try_hnsctl(&words).expect_failure();
        assert!(refusal.contains(said), "{options:?}: {refusal}");
        assert_eq!(stage.here.host().links(), links, "{options:?}");
    }
    // A device that is on that UDP port already.
    stage
        .here
        .host()
        .sh("ip link add flannel.1 type vxlan id 1 dstport 4799 local 127.0.0.1; ip link set flannel.1 up");
    let words = ["network", "create", "wrong", "-t", "overlay", "--subnet=10.9.1.0/24", "--vxlan-port=4799"];
    let refusal = stage.here.try_hnsctl(&words).expect_failure();
    assert!(refusal.contains("UDP port 4799"), "{refusal}");
    assert!(!stage.here.host().links().contains(&"hnx4799".to_owned()));
}
