//! `hnsctl trace --live` shows what becomes of real packets at each port, and only of those that were asked for.

use std::net::{IpAddr, SocketAddr};

use hns_testbed::{eventually, needs, tcp};
use hns_tests::story_support::Scene;
use hns_tests::story_support::live::{Live, at, watching};
use hns_tests::story_support::policies::{Stage, acl, asks, of};
use serde_json::{Value, json};

#[test]
fn a_connection_is_followed_from_port_to_port_with_the_rules_that_decide() {
    needs!(root, "nft", "bpftool");
    let stage = Stage::on("nat");
    let (web, friend, foe) = (&stage.web, &stage.friend, &stage.foe);
    stage.modify(
        "Update",
        &json!([
            acl("Block", "In", 77, &json!({"Id": "no-foe", "RemoteAddresses": of(foe)})),
            acl("Allow", "In", 200, &json!({"Id": "web", "Protocols": "6", "LocalPorts": "80"})),
            acl("Allow", "Out", 300, &json!({"Id": "out"})),
        ]),
    );
    let allowed = Live::start(&stage.scene.hnsd, &["--from", "friend", "--to", "web:80"]);
    let refused = Live::start(&stage.scene.hnsd, &["--from", "foe", "--to", "web", "--protocol", "tcp"]);
    assert_eq!(watching(&stage.scene.hnsd), 4, "each in both families");
    for to in web.addresses() {
        asks(&friend.netns, to, 80).expect("a rule lets it in");
        asks(&foe.netns, to, 80).expect_err("a rule blocks it");
        let [to, from, others] = [to, friend.like(to), foe.like(to)].map(|address| address.to_string());
        let way = |from: &str, to: &str| {
            [
                ("/Packet/Source", json!(from)),
                ("/Packet/Destination", json!(to)),
                ("/Packet/Protocol", json!("tcp")),
            ]
        };
        // The first packet: out at one port, which has no rules, and in at the other one, by a rule.
        let (first, back) = (way(&from, &to), way(&to, &from));
        let syn = [("/Packet/TcpFlags", json!("syn"))];
        let sent = [
            ("/Result", json!("Passed")),
            ("/Onward", json!("Port")),
            ("/Receiver/Endpoint", json!(*web.id)),
        ];
        let line = allowed.sees(&at(friend, "Out", &[&first[..], &sent, &syn].concat()));
        assert_eq!(
            (&line["Rule"], &line["Reason"], &line["EndpointName"]),
            (&Value::Null, &Value::Null, &json!("friend"))
        );
        let let_in = [
            ("/Layer", json!("acl")),
            ("/Result", json!("Allowed")),
            ("/Rule/Id", json!("web")),
            ("/Rule/Priority", json!(200)),
            ("/Onward", json!("Container")),
        ];
        allowed.sees(&at(web, "In", &[&first[..], &let_in, &syn].concat()));
        // The answer passes as part of what came in.
        let known = [
            ("/Result", json!("Known")),
            ("/State", json!("replied")),
            ("/RulesOf", json!("In")),
            ("/Rule/Id", json!("web")),
            ("/Packet/TcpFlags", json!("syn,ack")),
            ("/Receiver/Endpoint", json!(*friend.id)),
        ];
        allowed.sees(&at(web, "Out", &[&back[..], &known].concat()));
        allowed.sees(&at(friend, "In", &[&back[..], &[("/Onward", json!("Container"))]].concat()));
        // What is blocked says by which rule, and goes nowhere.
        let came = way(&others, &to);
        let blocked = [
            ("/Result", json!("Dropped")),
            ("/Reason", json!("acl-in")),
            ("/Rule/Id", json!("no-foe")),
            ("/Rule/Priority", json!(77)),
            ("/Onward", Value::Null),
        ];
        refused.sees(&at(web, "In", &[&came[..], &blocked, &syn].concat()));
    }
    // What another rule lets in is seen by him who asked for it alone.
    asks(&friend.netns, web.v4().into(), 81).expect_err("no rule lets it in");
    for (live, about) in [(allowed, friend), (refused, foe)] {
        let own: Vec<String> = about.addresses().iter().map(IpAddr::to_string).collect();
        let lines = live.interrupt();
        let is_own = |line: &Value| {
            let ends = [&line["Packet"]["Source"], &line["Packet"]["Destination"]];
            let ports = [&line["Packet"]["SourcePort"], &line["Packet"]["DestinationPort"]];
            ends.iter().any(|end| own.iter().any(|own| **end == *own)) && ports.contains(&&json!(80))
        };
        assert!(lines.iter().all(is_own), "{lines:#?}");
    }
    eventually!(if watching(&stage.scene.hnsd) == 0 { Ok(()) } else { Err(watching(&stage.scene.hnsd)) });
}

#[test]
fn what_leaves_for_the_host_and_what_comes_through_it_is_followed_too() {
    needs!(root, "nft", "bpftool", "ping");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    let web = scene.container("blue", "web", &["-p", "8080:80"]);
    let servers: Vec<_> =
        web.addresses().into_iter().map(|own| tcp::Echo::serve(&web.netns, (own, 80))).collect();
    let all = Live::start(&scene.hnsd, &["--from", "web"]);
    for (own, (client, host)) in
        web.addresses().into_iter().zip(scene.outside.addresses().into_iter().zip(scene.host_addresses()))
    {
        let one = Live::start(
            &scene.hnsd,
            &["--from", &client.to_string(), "--to", &SocketAddr::new(own, 80).to_string()],
        );
        tcp::ask(&scene.outside.netns(), (host, 8080)).expect("it is published");
        let came = [("/Packet/Source", json!(client.to_string())), ("/Packet/DestinationPort", json!(80))];
        let went = [("/Packet/Destination", json!(client.to_string())), ("/Onward", json!("Switch"))];
        for live in [&one, &all] {
            live.sees(&at(&web, "In", &[&came[..], &[("/Onward", json!("Container"))]].concat()));
            live.sees(&at(&web, "Out", &went));
        }
        one.interrupt();
        scene.host.sh(&format!("ip netns exec web ping -c 1 -W 5 {host}"));
        let echo = [("/Packet/Destination", json!(host.to_string())), ("/Onward", json!("Switch"))];
        let line = all.sees(&at(&web, "Out", &echo));
        assert!([json!(8), json!(128)].contains(&line["Packet"]["IcmpType"]), "{line:#}");
    }
    drop(servers);
    all.interrupt();
}

#[test]
fn a_watch_ends_with_its_client_and_with_the_daemon() {
    needs!(root, "nft", "bpftool");
    let mut stage = Stage::on("nat");
    let counted = Live::spawn(&stage.scene.hnsd, &["--from", "friend", "--to", "web:80", "--count", "3"]);
    let killed = Live::start(&stage.scene.hnsd, &["--from", "friend"]);
    let mut counted = counted.process;
    let status = eventually!({
        asks(&stage.friend.netns, stage.web.v4().into(), 80).expect("it is let in");
        counted.ended()
    });
    assert!(status.success(), "{}", counted.output());
    let lines: Vec<String> = counted.output().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("  friend  Out  security  passed  tcp ") && line.ends_with("  to web"))
    );
    stage.scene.host.sh(&format!("kill -KILL {}", killed.process.pid_in_host()));
    drop(killed);
    eventually!(if watching(&stage.scene.hnsd) == 0 { Ok(()) } else { Err(watching(&stage.scene.hnsd)) });

    let mut left = Live::start(&stage.scene.hnsd, &["--from", "friend"]).process;
    stage.scene.hnsd.restart();
    let status = eventually!(left.ended());
    assert!(
        !status.success() && left.output().contains("the stream of traced packets ended"),
        "{}",
        left.output()
    );
    assert_eq!(watching(&stage.scene.hnsd), 0);
    asks(&stage.friend.netns, stage.web.v4().into(), 80).expect("traffic goes on");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    needs!(root, "nft", "bpftool");
    let scene = Scene::new();
    scene.network("blue", 7, &[]);
    scene.container("blue", "web", &[]);
    let cases: [(&[&str], &str); 4] = [
        (&["--from", "nobody"], "there is no endpoint \"nobody\""),
        (&["--from", "192.0.2.1", "--to", "192.0.2.2"], "From: neither it nor To is an endpoint"),
        (&["--from", "10.7.0.2", "--to", "fd00:7::9"], "no two addresses of one family"),
        (&["--from", "web", "--to", "10.7.0.9:80", "--protocol", "icmp"], "To.Port: icmp has no ports"),
    ];
    for (words, said) in cases {
        let stderr = scene.hnsd.try_hnsctl(&[&["trace", "--live"], words].concat()).expect_failure();
        assert!(stderr.contains(said) && stderr.contains("hint: "), "{words:?}: {stderr}");
    }
    for wrong in [
        &["--live", "--from", "web", "--as", "10.7.0.9"][..],
        &["--from", "web"],
        &["--from", "web", "--to", "10.7.0.9", "--count", "1"],
    ] {
        let finished = scene.hnsd.try_hnsctl(&[&["trace"], wrong].concat());
        assert_eq!(finished.status.code(), Some(2), "{finished}");
    }
    for query in ["follow=maybe", "live=true"] {
        let answer = scene.hnsd.api().post(&format!("/v2/trace?{query}"), &json!({}));
        let answer = answer.expect("the daemon answers");
        answer.expect_error(0x8007_0057, "expected follow=true or follow=false");
    }
    // Each takes a place for either family.
    let lives: Vec<Live<'_>> = (0..8).map(|_| Live::start(&scene.hnsd, &["--from", "web"])).collect();
    let stderr = scene.hnsd.try_hnsctl(&["trace", "--live", "--from", "web"]).expect_failure();
    assert!(stderr.contains("no place to watch 2 more pairs of addresses: 16 of 16 are taken"), "{stderr}");
    assert!(stderr.contains("hint: end another hnsctl trace --live"), "{stderr}");
    for live in lives {
        live.interrupt();
    }
    // Their places are free a moment after they have gone.
    eventually!(match watching(&scene.hnsd) {
        0 => Ok(()),
        left => Err(format!("{left} are still watched")),
    });
    Live::start(&scene.hnsd, &["--from", "web"]).interrupt();
}
