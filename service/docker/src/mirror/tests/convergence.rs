//! Whatever both sides show, one start makes them alike: a second one finds nothing to do.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::plan::{Deed, Occasion, plan};
use super::super::view::{DockerEndpoint, DockerNetwork, Hns, HnsEndpoint, HnsNetwork, Suspects};
use super::{docker, docker_id, guid, hns, showing};
use crate::ids;

const ENGINE: &str = "this";
const NAMES: [&str; 4] = ["nat", "blue", "green", "red"];

/// Both sides, and what the deeds make of them.
#[derive(Debug, Clone)]
struct Sides {
    docker: Vec<DockerNetwork>,
    hns: Hns,
    /// Ids that were never used.
    next: u8,
}

impl Sides {
    fn occasion(&self) -> Occasion {
        Occasion {
            is_start: true,
            suspects: Suspects::of(&self.hns),
            engine: Some(ENGINE.to_owned()),
            can_be_v6_only: true,
            ..Occasion::default()
        }
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Show { network, .. } => {
                self.next += 1;
                let number = self.next;
                assert!(
                    !self.docker.iter().any(|known| known.name == network.name),
                    "Docker refuses the name"
                );
                let option = ("hnsid".to_owned(), network.id.to_string());
                let shown = DockerNetwork {
                    options: [option].into(),
                    ipam_driver: "hns".to_owned(),
                    ..docker(number, &network.name)
                };
                self.docker.push(shown);
                self.serve(network.id, number);
            }
            Deed::Remove { docker, .. } => self.docker.retain(|known| known.id != docker),
            Deed::Remake(lost) => self.remake(&lost),
            Deed::Amend { network, name, range, engine } => {
                let amended = self.hns.networks.iter_mut().find(|known| known.id == network).unwrap();
                amended.name = name.unwrap_or_else(|| amended.name.clone());
                amended.range = range.unwrap_or_else(|| amended.range.clone());
                amended.engine = engine.or_else(|| amended.engine.clone());
            }
            Deed::Name { endpoint, name } => {
                self.hns.endpoints.iter_mut().find(|known| known.id == endpoint).unwrap().name = name;
            }
            Deed::Collect { endpoint } => self.hns.endpoints.retain(|known| known.id != endpoint),
            Deed::Forget { docker } => self.hns.networks.retain(|known| !known.is_made_for(&docker)),
            Deed::Leave { .. } => {}
        }
    }

    fn serve(&mut self, id: hns_net::Guid, number: u8) {
        let network = self.hns.networks.iter_mut().find(|known| known.id == id).unwrap();
        network.serves.push(docker_id(number));
    }

    fn remake(&mut self, lost: &DockerNetwork) {
        match lost.bound_to() {
            Some(id) => {
                let network = self.hns.networks.iter_mut().find(|known| known.id == id).unwrap();
                network.serves.push(lost.id.clone());
            }
            None => self.hns.networks.push(HnsNetwork {
                id: ids::guid(&lost.id).unwrap(),
                serves: vec![lost.id.clone()],
                ..hns(0, &lost.id, &[])
            }),
        }
    }
}

/// Networks 1 to 5 of HNS's own, 11 to 15 made by Docker; each may be missing on either side.
fn sides() -> impl Strategy<Value = Sides> {
    let own = proptest::collection::vec((any::<[bool; 3]>(), 0..NAMES.len()), 5);
    let made = proptest::collection::vec((any::<[bool; 3]>(), 0..NAMES.len()), 5);
    let endpoints = proptest::collection::vec((any::<[bool; 2]>(), 0..5u8), 0..6);
    (own, made, endpoints).prop_map(|(own, made, endpoints)| {
        let mut sides = Sides { docker: Vec::new(), hns: Hns::default(), next: 100 };
        for (number, ([in_hns, in_docker, is_known], name)) in (1..).zip(own) {
            sides.add(number, 20 + number, NAMES[name], [in_hns, in_docker, is_known]);
        }
        for (number, ([in_hns, in_docker, is_amended], name)) in (11..).zip(made) {
            if in_hns {
                let made = hns(number, &docker_id(number), &[number]);
                let engine = is_amended.then(|| ENGINE.to_owned());
                sides.hns.networks.push(HnsNetwork { engine, ..made });
            }
            if in_docker && sides.is_free(NAMES[name]) {
                sides.docker.push(docker(number, NAMES[name]));
            }
        }
        for (number, ([in_hns, in_docker], network)) in (40..).zip(endpoints) {
            let on = docker_id(11 + network);
            if in_hns {
                let name = String::new();
                sides.hns.endpoints.push(HnsEndpoint { id: guid(number), name, docker: on.clone() });
            }
            if let Some(known) = sides.docker.iter_mut().find(|known| known.id == on && in_docker) {
                known.endpoints.push(DockerEndpoint { id: docker_id(number), name: "web".to_owned() });
            }
        }
        sides
    })
}

impl Sides {
    fn is_free(&self, name: &str) -> bool {
        !self.docker.iter().any(|known| known.name == name)
    }

    fn add(&mut self, number: u8, shown_as: u8, name: &str, [in_hns, in_docker, is_known]: [bool; 3]) {
        let name = if self.hns.networks.iter().any(|known| known.name == name) {
            format!("{name}{number}")
        } else {
            name.to_owned()
        };
        if in_hns {
            let serves: &[u8] = if is_known { &[shown_as] } else { &[] };
            self.hns.networks.push(hns(number, &name, serves));
        }
        if in_docker && self.is_free(&name) {
            self.docker.push(showing(shown_as, &name, number));
        }
    }
}

proptest! {
    #[test]
    fn a_second_start_finds_nothing_to_do(mut sides in sides()) {
        let before = sides.clone();
        // What is made again is told the rest right afterwards.
        for _ in 0..2 {
            for deed in plan(&sides.docker, &sides.hns, &sides.occasion()) {
                sides.perform(deed);
            }
        }
        let rest = plan(&sides.docker, &sides.hns, &sides.occasion());
        let undone: Vec<_> = rest.iter().filter(|deed| !matches!(deed, Deed::Leave { .. })).collect();
        prop_assert!(undone.is_empty(), "{before:#?}\nstill has {undone:#?}");
        // Nothing that Docker made is lost, and no container that it has.
        let ids: BTreeSet<_> = sides.docker.iter().map(|network| network.id.clone()).collect();
        for network in before.docker.iter().filter(|network| network.bound_to().is_none()) {
            prop_assert!(ids.contains(&network.id));
            prop_assert!(sides.hns.serving(&network.id).is_some());
        }
        for endpoint in sides.docker.iter().flat_map(|network| &network.endpoints) {
            let id = ids::guid(&endpoint.id).unwrap();
            let was = before.hns.endpoints.iter().any(|known| known.id == id);
            let is = sides.hns.endpoints.iter().any(|known| known.id == id && known.name == "web");
            prop_assert_eq!(was, is);
        }
    }
}
