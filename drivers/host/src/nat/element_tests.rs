use proptest::prelude::*;

use super::*;

fn any_name() -> impl Strategy<Value = IfName> {
    "[a-zA-Z0-9._-]{1,15}".prop_filter_map("reserved", |text| text.parse().ok())
}

fn any_address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<Ipv4Addr>().prop_map(IpAddr::V4).boxed(),
        Family::V6 => any::<Ipv6Addr>().prop_map(IpAddr::V6).boxed(),
    }
}

fn any_ports() -> impl Strategy<Value = PortRange> {
    (1..=u16::MAX, 1..=u16::MAX)
        .prop_filter_map("backwards", |(one, other)| PortRange::new(one.min(other), one.max(other)).ok())
}

fn any_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)]
}

fn any_element() -> impl Strategy<Value = Element> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    family.prop_flat_map(|family| {
        let address = move || any_address(family);
        let at = move || proptest::option::of(any_address(family));
        prop_oneof![
            any_name().prop_map(Element::Switch),
            any_name().prop_map(Element::Internal),
            any_name().prop_map(Element::Masquerade4),
            any_name().prop_map(Element::Masquerade6),
            any_name().prop_map(Element::Routed4),
            any_name().prop_map(Element::Routed6),
            any_name().prop_map(Element::QuietPort),
            any_name().prop_map(Element::HostSeat),
            (1..=u16::MAX).prop_map(Element::Tunnel),
            address().prop_map(Element::QuietAddress),
            (address(), address(), address()).prop_map(|(from, first, last)| Element::Outbound {
                from,
                first,
                last
            }),
            (any_name(), address(), 0..=family.bits()).prop_map(|(switch, address, length)| {
                Element::Inside { switch, prefix: Cidr::new(address, length).unwrap() }
            }),
            (any_name(), address()).prop_map(|(switch, address)| Element::Resident { switch, address }),
            (at(), any_transport(), 1..=u16::MAX, address(), 1..=u16::MAX).prop_map(
                |(at, transport, port, to, to_port)| Element::Publish { at, transport, port, to, to_port }
            ),
            (at(), any_transport(), any_ports(), address())
                .prop_map(|(at, transport, ports, to)| Element::PublishRange { at, transport, ports, to }),
            (address(), any_transport(), any_ports()).prop_map(|(address, transport, ports)| Element::Open {
                address,
                transport,
                ports
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_elements_are_read_back_as_they_were_written(
        wanted in proptest::collection::btree_set(any_element(), 0..20),
    ) {
        let members: Vec<Member> = wanted.iter().flat_map(members).collect();
        prop_assert_eq!(elements(&members), Some(wanted));
    }
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

/// One or more of every kind, in both families, with the extremes of each field.
fn samples() -> Vec<Element> {
    let switch = name("hns0a1b2c3d");
    let mut all = vec![
        Element::Switch(switch.clone()),
        Element::Switch(name("hnsffffffff")),
        Element::Internal(switch.clone()),
        Element::Masquerade4(switch.clone()),
        Element::Masquerade6(switch.clone()),
        Element::Routed4(switch.clone()),
        Element::Routed6(switch.clone()),
        Element::QuietPort(name("hnv0a1b2c3d4e5f")),
        Element::HostSeat(name("router0")),
        Element::Tunnel(4789),
    ];
    for prefix in ["172.16.0.0/16", "10.0.0.4/31", "10.0.0.9/32", "0.0.0.0/0", "fd00::/64", "fd00::1/128"] {
        all.push(Element::Inside { switch: switch.clone(), prefix: prefix.parse().unwrap() });
    }
    for (to, at) in [("172.16.0.2", "127.0.0.1"), ("fd00::2", "::1")] {
        let to: IpAddr = to.parse().unwrap();
        all.push(Element::QuietAddress(to));
        let (first, last) = (Family::of(to).unspecified(), Family::of(to).default_route().last());
        all.push(Element::Outbound { from: to, first, last });
        all.push(Element::Outbound { from: first, first: to, last: to });
        all.push(Element::Kept { from: to, first, last });
        all.push(Element::Resident { switch: switch.clone(), address: to });
        for transport in Transport::ALL {
            for at in [None, Some(at.parse().unwrap())] {
                all.push(Element::Publish { at, transport, port: 8080, to, to_port: 65535 });
                let ports = PortRange::new(1, 65535).unwrap();
                all.push(Element::PublishRange { at, transport, ports, to });
            }
            for ports in ["80", "8000-8010"] {
                all.push(Element::Open { address: to, transport, ports: ports.parse().unwrap() });
            }
        }
    }
    all
}

#[test]
fn every_element_is_read_back_as_it_was_written() {
    for sample in samples() {
        let members = members(&sample);
        assert_eq!(elements(&members), Some(BTreeSet::from([sample.clone()])), "{sample:?}: {members:?}");
    }
}

#[test]
fn all_elements_together_are_told_apart() {
    let members: Vec<Member> = samples().iter().flat_map(members).collect();
    let distinct: BTreeSet<&Member> = members.iter().collect();
    assert_eq!(distinct.len(), members.len());
    assert_eq!(elements(&members), Some(samples().into_iter().collect()));
}

#[test]
fn every_set_is_in_the_list_of_all_and_in_use() {
    let used: BTreeSet<Set> = samples().iter().flat_map(members).map(|member| member.set).collect();
    assert_eq!(used, Set::ALL.into_iter().collect());
}

#[test]
fn half_a_switch_is_no_set_of_elements() {
    for half in members(&Element::Switch(name("hns0a1b2c3d"))) {
        assert_eq!(elements(&[half]), None);
    }
}

#[test]
fn the_bytes_are_those_of_the_kernel() {
    let publish = Element::Publish {
        at: None,
        transport: Transport::Tcp,
        port: 8080,
        to: "172.16.0.2".parse().unwrap(),
        to_port: 80,
    };
    let expected = Member {
        set: Set::Publish(Family::V4),
        key: vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0],
        key_end: None,
        data: Some(vec![172, 16, 0, 2, 0, 80, 0, 0]),
    };
    assert_eq!(members(&publish), [expected]);
}
