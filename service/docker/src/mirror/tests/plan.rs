use std::collections::BTreeSet;

use hns_hcn::NetworkType;

use super::super::plan::{Deed, Obstacle, Occasion, for_docker, plan};
use super::super::view::{DockerEndpoint, DockerNetwork, Hns, HnsEndpoint, HnsNetwork, Suspects};
use super::{docker, docker_id, guid, hns, showing};

fn start() -> Occasion {
    Occasion { is_start: true, can_be_v6_only: true, ..Occasion::default() }
}

fn with(networks: Vec<HnsNetwork>) -> Hns {
    Hns { networks, endpoints: Vec::new() }
}

fn show(network: HnsNetwork) -> Deed {
    Deed::Show { network, driver: "nat" }
}

fn remove(number: u8, name: &str) -> Deed {
    Deed::Remove { docker: docker_id(number), name: name.to_owned() }
}

fn leave(number: u8, name: &str, why: Obstacle) -> Deed {
    Deed::Leave { network: guid(number), name: name.to_owned(), why }
}

#[test]
fn a_network_is_shown_at_the_start_and_when_it_appears_and_never_otherwise() {
    let world = with(vec![hns(1, "nat", &[])]);
    assert_eq!(plan(&[], &world, &start()), [show(hns(1, "nat", &[]))]);
    let appeared = Occasion { appeared: BTreeSet::from([guid(1)]), ..Occasion::default() };
    assert_eq!(plan(&[], &world, &appeared), [show(hns(1, "nat", &[]))]);
    // Nobody knows it in Docker, since the user removed it there.
    assert_eq!(plan(&[], &world, &Occasion::default()), []);
    let another = Occasion { appeared: BTreeSet::from([guid(2)]), ..Occasion::default() };
    assert_eq!(plan(&[], &world, &another), []);
}

#[test]
fn networks_that_only_the_host_sees_are_not_shown() {
    for kind in [NetworkType::Internal, NetworkType::Private] {
        let world = with(vec![HnsNetwork { kind, ..hns(1, "inside", &[]) }]);
        assert_eq!(plan(&[], &world, &start()), [], "{kind:?}");
    }
}

#[test]
fn what_docker_shows_already_is_not_shown_again() {
    let world = with(vec![hns(1, "nat", &[8])]);
    assert_eq!(plan(&[showing(8, "nat", 1)], &world, &start()), []);
    // By another name, or by a Docker network that HNS does not remember.
    assert_eq!(plan(&[showing(8, "mine", 1)], &world, &start()), []);
    let forgetful = with(vec![hns(1, "nat", &[])]);
    assert_eq!(plan(&[showing(8, "nat", 1)], &forgetful, &start()), [Deed::Remake(showing(8, "nat", 1))]);
}

#[test]
fn a_network_that_docker_is_making_is_left_to_docker() {
    let world = with(vec![hns(7, &docker_id(7), &[7])]);
    assert_eq!(plan(&[], &world, &start()), []);
    let appeared = Occasion { appeared: BTreeSet::from([guid(7)]), ..Occasion::default() };
    assert_eq!(plan(&[], &world, &appeared), []);
}

#[test]
fn a_binding_to_a_network_that_docker_forgot_hides_nothing() {
    let world = with(vec![hns(1, "nat", &[8])]);
    assert_eq!(plan(&[], &world, &start()), [show(hns(1, "nat", &[8]))]);
}

#[test]
fn a_name_of_dockers_stays_dockers() {
    let bridge = DockerNetwork { driver: "bridge".to_owned(), ..docker(8, "nat") };
    let world = with(vec![hns(1, "nat", &[])]);
    assert_eq!(plan(&[bridge], &world, &start()), [leave(1, "nat", Obstacle::NameTaken)]);
}

#[test]
fn an_old_docker_gets_no_network_without_ipv4() {
    let six = HnsNetwork { subnets: vec![("fd00::/64".parse().unwrap(), None)], ..hns(1, "six", &[]) };
    let old = Occasion { can_be_v6_only: false, ..start() };
    assert_eq!(plan(&[], &with(vec![six.clone()]), &old), [leave(1, "six", Obstacle::NeedsIpv4)]);
    assert_eq!(plan(&[], &with(vec![six.clone()]), &start()), [show(six)]);
}

#[test]
fn a_bridge_with_other_subnets_is_shown_anew_unless_somebody_is_on_it() {
    let adopted = HnsNetwork { is_adopted: true, ..hns(1, "CORP", &[8]) };
    let told = Occasion { appeared: BTreeSet::from([guid(1)]), ..Occasion::default() };
    // `showing` says 10.8.0.0/24, and HNS has 10.1.0.0/24.
    let before = [showing(8, "CORP", 1)];
    for occasion in [&told, &start()] {
        let deeds = plan(&before, &with(vec![adopted.clone()]), occasion);
        assert_eq!(deeds, [remove(8, "CORP"), show(adopted.clone())]);
    }
    assert_eq!(plan(&before, &with(vec![adopted.clone()]), &Occasion::default()), []);
    let on_it = HnsEndpoint { id: guid(3), name: "web".into(), docker: docker_id(8) };
    let used = Hns { networks: vec![adopted.clone()], endpoints: vec![on_it] };
    assert_eq!(plan(&before, &used, &told), []);
    // The same subnet with another gateway, and with the right one.
    let gateway = |last: u8| Some(std::net::IpAddr::from([10, 8, 0, last]));
    let subnets = vec![("10.8.0.0/24".parse().unwrap(), gateway(254))];
    let adopted = HnsNetwork { subnets, ..adopted };
    let mut shown = showing(8, "CORP", 1);
    shown.subnets[0].gateway = gateway(1);
    let deeds = plan(&[shown.clone()], &with(vec![adopted.clone()]), &told);
    assert_eq!(deeds, [remove(8, "CORP"), show(adopted.clone())]);
    shown.subnets[0].gateway = gateway(254);
    assert_eq!(plan(&[shown], &with(vec![adopted.clone()]), &told), []);
    // A network of Docker's from before the bridge was there.
    let returned = HnsNetwork { serves: Vec::new(), ..adopted.clone() };
    let former = showing(8, "CORP", 1);
    assert_eq!(plan(std::slice::from_ref(&former), &with(vec![returned]), &told), [Deed::Remake(former)]);
    // Without an address of the host's there is nothing to say.
    let bare = HnsNetwork { subnets: Vec::new(), serves: Vec::new(), ..adopted };
    assert_eq!(plan(&[], &with(vec![bare]), &told), [leave(1, "CORP", Obstacle::NoSubnet)]);
}

#[test]
fn what_hns_deleted_goes_from_docker() {
    let vanished = Occasion { vanished: BTreeSet::from([guid(1), guid(7)]), ..Occasion::default() };
    let both = [showing(8, "late", 1), docker(7, "blue")];
    assert_eq!(plan(&both, &Hns::default(), &vanished), [remove(8, "late"), remove(7, "blue")]);
    // But what Docker deletes, it deletes itself.
    let departing = Occasion { departing: BTreeSet::from([docker_id(7)]), ..vanished };
    assert_eq!(plan(&both, &Hns::default(), &departing), [remove(8, "late")]);
    assert_eq!(plan(&both, &Hns::default(), &Occasion::default()), []);
}

#[test]
fn what_hns_lost_is_made_again_and_what_it_showed_is_shown_anew() {
    let lost = [docker(7, "blue"), showing(8, "nat", 1)];
    let world = with(vec![hns(2, "nat", &[])]);
    let deeds = plan(&lost, &world, &start());
    assert_eq!(deeds, [Deed::Remake(lost[0].clone()), remove(8, "nat"), show(hns(2, "nat", &[]))]);
}

#[test]
fn networks_of_other_drivers_are_nobodys_business() {
    let vanished = Occasion { vanished: BTreeSet::from([guid(7)]), ..start() };
    for driver in ["bridge", "overlay", "macvlan"] {
        let network = DockerNetwork { driver: driver.to_owned(), ..docker(7, "blue") };
        assert_eq!(plan(&[network], &Hns::default(), &vanished), [], "{driver}");
    }
}

#[test]
fn hns_learns_the_name_and_the_range_once() {
    let engine = || Some("this".to_owned());
    let occasion = Occasion { engine: engine(), ..Occasion::default() };
    let amended = |network, served| for_docker(&network, &with(vec![served]), &occasion);
    let half = vec!["10.7.0.128/25".parse().unwrap()];
    let fresh = hns(7, &docker_id(7), &[7]);
    let everything = Deed::Amend {
        network: guid(7),
        name: Some("blue".into()),
        range: Some(half.clone()),
        engine: engine(),
    };
    assert_eq!(amended(docker(7, "blue"), fresh.clone()), [everything]);
    let done = HnsNetwork { name: "blue".into(), range: half.clone(), engine: engine(), ..fresh.clone() };
    assert_eq!(amended(docker(7, "blue"), done.clone()), []);
    // The name was given, by the option networkname.
    let named = HnsNetwork { name: "crimson".into(), ..done.clone() };
    assert_eq!(amended(docker(7, "blue"), named), []);
    // With another IPAM driver nothing is divided.
    let ours = DockerNetwork { ipam_driver: "hns".into(), ..docker(7, "blue") };
    assert_eq!(amended(ours, HnsNetwork { range: Vec::new(), ..done }), []);
    // What was there before Docker came keeps everything.
    assert_eq!(amended(showing(8, "mine", 1), hns(1, "nat", &[8])), []);
}

fn endpoint(number: u8, name: &str, network: u8) -> HnsEndpoint {
    HnsEndpoint { id: guid(number), name: name.to_owned(), docker: docker_id(network) }
}

fn container(number: u8, name: &str) -> DockerEndpoint {
    DockerEndpoint { id: docker_id(number), name: name.to_owned() }
}

#[test]
fn endpoints_are_called_as_their_containers() {
    let world = Hns {
        networks: vec![hns(1, "nat", &[8])],
        endpoints: vec![endpoint(20, "", 8), endpoint(21, "two", 8), endpoint(22, "kept", 8)],
    };
    let containers =
        vec![container(20, "one"), container(21, "two"), container(22, ""), container(23, "unknown")];
    let network = DockerNetwork { endpoints: containers, ..showing(8, "nat", 1) };
    let named = Deed::Name { endpoint: guid(20), name: "one".to_owned() };
    assert_eq!(for_docker(&network, &world, &Occasion::default()), [named]);
}

#[test]
fn only_suspects_that_docker_does_not_know_are_collected() {
    let world = Hns {
        networks: vec![hns(1, "nat", &[8]), hns(2, "other", &[9])],
        endpoints: vec![
            endpoint(20, "live", 8),
            endpoint(21, "dead", 8),
            endpoint(22, "young", 8),
            endpoint(23, "far", 9),
        ],
    };
    let network = DockerNetwork { endpoints: vec![container(20, "live")], ..showing(8, "nat", 1) };
    let suspects =
        Suspects { endpoints: BTreeSet::from([guid(20), guid(21), guid(23)]), networks: BTreeSet::new() };
    let occasion = Occasion { suspects, ..Occasion::default() };
    // The last one is of a network that this Docker does not know: perhaps of another Docker.
    assert_eq!(
        plan(std::slice::from_ref(&network), &world, &occasion),
        [Deed::Collect { endpoint: guid(21) }]
    );
    assert_eq!(plan(&[network], &world, &Occasion::default()), []);
}

#[test]
fn what_docker_deleted_unheard_is_forgotten_if_it_was_this_dockers() {
    let made = HnsNetwork { engine: Some("this".into()), ..hns(7, "blue", &[7]) };
    let suspects =
        Suspects { endpoints: BTreeSet::new(), networks: BTreeSet::from([docker_id(7), docker_id(8)]) };
    let occasion = Occasion { suspects, engine: Some("this".into()), ..Occasion::default() };
    let forget = Deed::Forget { docker: docker_id(7) };
    assert_eq!(plan(&[], &with(vec![made.clone()]), &occasion), [forget]);
    for engine in [None, Some("another".to_owned())] {
        let other = HnsNetwork { engine, ..made.clone() };
        assert_eq!(plan(&[], &with(vec![other]), &occasion), []);
    }
    // One that was bound was there before Docker came.
    let bound = HnsNetwork { engine: Some("this".into()), ..hns(1, "nat", &[8]) };
    assert_eq!(plan(&[], &with(vec![bound]), &occasion), []);
}
