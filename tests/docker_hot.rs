//! Networks are plugged into running containers and out of them; the others of the same container notice nothing.
//!
//! T-HOT-1, T-HOT-2.

use std::net::SocketAddr;

use hns_testbed::{eventually, needs, tcp, udp};
use hns_tests::story_support::DockerScene;
use hns_tests::story_support::docker::fetch;

/// What of ours there is in the kernel: links, the elements of every set and map, addresses and routes of a container.
fn kernel(stage: &DockerScene, container: &str) -> String {
    let host = &stage.scene.host;
    let links: Vec<String> = host.links();
    let table = host.sh("nft list table inet hns | grep -v 'counter packets'");
    let inside = stage
        .docker
        .exec(container, "ip link | grep -o ' eth[0-9]*'; ip addr | grep -o 'inet.*' | sed 's/ tentative//'; ip route; ip -6 route");
    let inside: Vec<&str> = inside.lines().map(str::trim).collect();
    format!("{links:#?}\n{table}\n{inside:#?}")
}

#[test]
fn the_network_with_the_highest_priority_is_the_gateway_and_has_the_ports() {
    needs!(root, engines, "nft");
    let stage = DockerScene::newest();
    let (first, second) = (stage.dual_network("first", 50, &[]), stage.dual_network("second", 51, &[]));
    assert_ne!(first["ID"], second["ID"]);
    stage.web("web", &["--network", "name=first,gw-priority=1", "-p", "8080:80"]);
    let gateway = |family: &str| {
        stage.docker.exec("web", &format!("ip {family} route show default | grep -o 'via [^ ]*' || true"))
    };
    let mapped = |network: &str| stage.endpoint("web", network)["Policies"].as_array().unwrap().len();
    let serves = || {
        let outside = stage.scene.outside.netns();
        eventually!(
            stage
                .scene
                .host_addresses()
                .iter()
                .try_for_each(|ip| fetch(&outside, SocketAddr::new(*ip, 8080)))
        );
    };
    assert_eq!((gateway(""), gateway("-6")), ("via 10.50.0.1".into(), "via fd00:50::1".into()));
    serves();

    // A network that stands behind changes nothing; one that stands before takes the role, and the ports with it.
    stage.docker.run(&["network", "connect", "--gw-priority", "0", "second", "web"]);
    assert_eq!((gateway(""), mapped("first"), mapped("second")), ("via 10.50.0.1".into(), 1, 0));
    serves();
    stage.docker.run(&["network", "disconnect", "second", "web"]);
    stage.docker.run(&["network", "connect", "--gw-priority", "2", "second", "web"]);
    assert_eq!((gateway(""), gateway("-6")), ("via 10.51.0.1".into(), "via fd00:51::1".into()));
    assert_eq!((mapped("first"), mapped("second")), (0, 1));
    serves();

    // And back.
    stage.docker.run(&["network", "disconnect", "second", "web"]);
    assert_eq!(
        (gateway(""), gateway("-6"), mapped("first")),
        ("via 10.50.0.1".into(), "via fd00:50::1".into(), 1)
    );
    serves();
    stage.docker.run(&["network", "disconnect", "first", "web"]);
    assert_eq!(gateway(""), "");
    assert!(stage.endpoints().is_empty());
    let outside = stage.scene.outside.netns();
    assert!(fetch(&outside, (stage.scene.host.v4(), 8080).into()).is_err(), "nobody is there to answer");
}

/// These count every packet.
mod alone {
    use super::*;

    const TIMES: usize = 100;

    #[test]
    fn a_hundred_connects_under_load_lose_nothing_and_leave_nothing() {
        needs!(root, engines, "nft");
        let stage = DockerScene::newest();
        stage.dual_network("first", 50, &[]);
        stage.dual_network("second", 51, &[]);
        stage.idle(
            "busy",
            &["--network", "name=first,gw-priority=1", "-p", "5000:53/udp", "-p", "5000:53/tcp"],
        );
        stage.idle("peer", &["--network", "first"]);
        let busy = stage.docker.netns("busy");
        let (_udp, _tcp) = (udp::Echo::serve(&busy, "[::]:53"), tcp::Echo::serve(&busy, "[::]:53"));
        let outside = stage.scene.outside.netns();
        let [v4, v6] = stage.scene.host_addresses();
        for at in [v4, v6] {
            eventually!(udp::ask(&outside, (at, 5000)));
        }
        let before = kernel(&stage, "busy");
        let own = stage.addresses("busy", "first")[0];
        let mut conversation = tcp::Conversation::open(&outside, (v4, 5000)).unwrap();
        let streams = [
            ("from outside", udp::Stream::start(&outside, (v4, 5000), 500)),
            ("from outside by IPv6", udp::Stream::start(&outside, (v6, 5000), 500)),
            ("from a neighbour", udp::Stream::start(&stage.docker.netns("peer"), (own, 53), 500)),
        ];
        let rounds = format!(
            "for i in $(seq {TIMES}); do docker network connect second busy; docker network disconnect second busy; done"
        );
        stage.docker.root().sh(&rounds);
        conversation.say("still here").unwrap();
        for (who, stream) in streams {
            let report = stream.stop();
            assert!(report.sent > 1000, "{who}: {report:?}");
            assert_eq!(report.lost, 0, "{who}: {report:?}\n{}", stage.scene.hnsd.log());
        }
        eventually!({
            let after = kernel(&stage, "busy");
            if after == before { Ok(()) } else { Err(format!("{after}\nbefore it was\n{before}")) }
        });
        assert_eq!(stage.endpoints().len(), 2);
        // All its addresses are free: as many containers find place as ever.
        stage.docker.run(&[
            "network",
            "connect",
            "--ip",
            "10.51.0.2",
            "--ip6",
            "fd00:51::2",
            "second",
            "busy",
        ]);
        assert_eq!(stage.addresses("busy", "second").len(), 2);
    }
}
