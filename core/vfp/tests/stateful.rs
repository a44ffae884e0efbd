//! Connections: replies, timeouts, changed rules, errors, fragments.

#![allow(clippy::unwrap_used, reason = "what cannot be built fails the test")]

mod bed;

use bed::{A, B, Bed, HOST, at_port, mac, protocol, remote, rule, to_port};
use hns_abi::{Direction, Reason};
use hns_vfp::flow::{State, idle_timeout};
use hns_vfp::generate::{Content, Datagram, Link, Random, board, story};
use hns_vfp::model::{Acl, Action, Match, Rate, Verdict};
use proptest::prelude::*;

const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 4;
const SECOND: u64 = 1_000_000_000;

/// A may connect to port 80 of others, and nothing else.
fn client() -> Bed {
    let mut bed = Bed::open();
    bed.rules(
        A,
        vec![],
        vec![rule(Action::Allow, 100, to_port(6, 80)), rule(Action::Allow, 100, to_port(17, 53))],
    );
    bed
}

fn state(bed: &Bed) -> State {
    bed.switch.memory().flows().find(|(port, ..)| *port == A).map(|(_, _, flow)| flow.state).unwrap()
}

#[test]
fn an_open_port_remembers_nothing() {
    let mut bed = Bed::open();
    let frame = bed.tcp(A, B, (1000, 80), SYN);
    bed.switch.out(A, &frame, 0);
    bed.switch.inward(A, &bed.tcp(B, A, (80, 1000), SYN_ACK), true, 0);
    assert_eq!(bed.switch.memory().flows().count(), 0);
}

#[test]
fn replies_of_allowed_connections_pass_and_others_do_not() {
    let mut bed = client();
    let reply = bed.tcp(B, A, (80, 1000), SYN_ACK);
    assert_eq!(bed.switch.out(B, &reply, 0).reason(), Some(Reason::AclIn));
    let syn = bed.tcp(A, B, (1000, 80), SYN);
    assert_eq!(bed.switch.out(A, &syn, 0).reason(), None);
    assert_eq!(bed.switch.out(B, &reply, 0).reason(), None);
    let other = bed.tcp(B, A, (80, 1001), SYN_ACK);
    assert_eq!(bed.switch.out(B, &other, 0).reason(), Some(Reason::AclIn));
    let forbidden = bed.tcp(A, B, (1000, 81), SYN);
    assert_eq!(bed.switch.out(A, &forbidden, 0).reason(), Some(Reason::AclOut));
}

/// Whoever is refused sends again, while connections that nobody has followed are still taken over.
#[test]
fn a_connection_that_a_change_ended_is_not_taken_over() {
    const ADOPTS: u64 = 300 * SECOND;
    let mut bed = Bed::open();
    let all = |action| vec![rule(action, 100, protocol(6))];
    bed.rules(A, all(Action::Allow), all(Action::Allow));
    for (from, flags) in [(B, SYN), (A, SYN_ACK), (B, ACK)] {
        let frame =
            if from == B { bed.tcp(B, A, (1000, 80), flags) } else { bed.tcp(A, B, (80, 1000), flags) };
        assert_eq!(bed.switch.out(from, &frame, 0).reason(), None);
    }
    let mut port = bed.switch.board().ports[&A].clone();
    port.acl[Direction::In.index()].rules = all(Action::Block);
    bed.switch.set_port(A, port, ADOPTS);
    for flags in [ACK, RST, ACK, SYN, ACK] {
        let frame = bed.tcp(B, A, (1000, 80), flags);
        assert_eq!(bed.switch.out(B, &frame, 0).reason(), Some(Reason::AclIn), "flags {flags:#x}");
    }
    let unknown = bed.tcp(B, A, (2000, 80), ACK);
    assert_eq!(bed.switch.out(B, &unknown, 0).reason(), None);
}

#[test]
fn tcp_goes_through_its_states() {
    let mut bed = client();
    let play = |bed: &mut Bed, from: u32, flags: u8| {
        let frame =
            if from == A { bed.tcp(A, B, (1000, 80), flags) } else { bed.tcp(B, A, (80, 1000), flags) };
        let outcome = bed.switch.out(from, &frame, 0);
        assert_eq!(outcome.reason(), None, "flags {flags:#x}");
        state(bed)
    };
    assert_eq!(play(&mut bed, A, SYN), State::New);
    assert_eq!(play(&mut bed, A, SYN), State::New);
    assert_eq!(play(&mut bed, B, SYN_ACK), State::Replied);
    assert_eq!(play(&mut bed, A, ACK), State::Established);
    assert_eq!(play(&mut bed, B, ACK), State::Established);
    assert_eq!(play(&mut bed, B, FIN), State::Closing);
    assert_eq!(play(&mut bed, A, ACK), State::Closing);
    assert_eq!(play(&mut bed, A, FIN), State::Closed);
    assert_eq!(play(&mut bed, B, ACK), State::Closed);
    assert_eq!(play(&mut bed, A, SYN), State::New, "the ports are used again");
    assert_eq!(play(&mut bed, B, RST), State::Closed);
}

#[test]
fn what_is_silent_for_too_long_is_forgotten() {
    for (number, state, port) in [(6, State::New, 80), (17, State::New, 53)] {
        let limit = idle_timeout(number, state);
        for (after, expected) in [(limit, None), (limit + 1, Some(Reason::AclIn))] {
            let mut bed = client();
            let (ask, answer) = match number {
                6 => (bed.tcp(A, B, (1000, port), SYN), bed.tcp(B, A, (port, 1000), SYN_ACK)),
                _ => (bed.udp(A, B, (1000, port)), bed.udp(B, A, (port, 1000))),
            };
            assert_eq!(bed.switch.out(A, &ask, SECOND).reason(), None);
            assert_eq!(bed.switch.out(B, &answer, SECOND + after).reason(), expected, "protocol {number}");
        }
    }
    assert_eq!(idle_timeout(6, State::Established), 7440 * SECOND, "RFC 5382 REQ-5");
}

#[test]
fn changed_rules_meet_the_next_packet_of_every_connection_and_touch_no_other() {
    let mut bed = client();
    let (syn, reply) = (bed.tcp(A, B, (1000, 80), SYN), bed.tcp(B, A, (80, 1000), SYN_ACK));
    let (ask, answer) = (bed.udp(A, B, (1000, 53)), bed.udp(B, A, (53, 1000)));
    bed.switch.out(A, &syn, 0);
    bed.switch.out(A, &ask, 0);
    bed.rules(A, vec![], vec![rule(Action::Allow, 100, to_port(17, 53))]);
    assert_eq!(bed.switch.out(B, &reply, 0).reason(), Some(Reason::AclOut), "judged as it began");
    assert_eq!(bed.switch.memory().flows().filter(|(port, ..)| *port == A).count(), 2, "TCP stays known");
    assert_eq!(bed.switch.out(B, &answer, 0).reason(), None);
}

#[test]
fn tcp_in_mid_stream_is_taken_over_while_rules_are_new() {
    let reply = |bed: &Bed, port| bed.tcp(B, A, (port, 1000), ACK);
    let mut bed = client();
    let port = bed.switch.board().ports[&A].clone();
    bed.switch.set_port(A, port, 10 * SECOND);
    let frame = reply(&bed, 80);
    assert_eq!(bed.switch.out(B, &frame, 9 * SECOND).reason(), None);
    assert_eq!(state(&bed), State::Established);
    let frame = reply(&bed, 81);
    assert_eq!(
        bed.switch.out(B, &frame, 9 * SECOND).reason(),
        Some(Reason::AclIn),
        "not of an allowed connection"
    );
    let mut bed = client();
    let frame = reply(&bed, 80);
    assert_eq!(bed.switch.out(B, &frame, 11 * SECOND).reason(), Some(Reason::AclIn));
}

fn error(bed: &Bed, about: &[u8], from: std::net::IpAddr) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend(&about[14..14 + 28]);
    let content = Content::Icmp { kind: 3, code: 3, rest };
    Datagram::new(from, bed.address(A), content).frame(Link { destination: mac(1), source: mac(9) })
}

#[test]
fn an_icmp_error_passes_when_it_is_about_a_known_connection() {
    let mut bed = client();
    let ask = bed.udp(A, B, (1000, 53));
    let unreachable = error(&bed, &ask, HOST);
    assert_eq!(bed.switch.inward(A, &unreachable, true, 0).reason(), Some(Reason::AclIn));
    bed.switch.out(A, &ask, 0);
    assert_eq!(bed.switch.inward(A, &unreachable, true, 0).reason(), None);
}

#[test]
fn later_fragments_pass_after_an_allowed_first_one() {
    let mut bed = client();
    let fragment = |bed: &Bed, port: u16, field: u16| {
        let content = Content::Udp { source: 1000, destination: port, bytes: 40 };
        let whole = Datagram::new(bed.address(A), bed.address(B), content);
        Datagram { fragment: (port, field), ..whole }.frame(bed.link(A, B))
    };
    let frames: Vec<_> = [(53, 6), (53, 0x2000), (53, 6), (54, 0x2000), (54, 6)]
        .map(|(port, field)| fragment(&bed, port, field))
        .into();
    let outcomes: Vec<_> = frames.iter().map(|frame| bed.switch.out(A, frame, 0).reason()).collect();
    let gone = Some(Reason::Fragment);
    assert_eq!(outcomes, [gone, None, None, Some(Reason::AclOut), gone]);
}

#[test]
fn echo_has_its_reply() {
    let mut bed = Bed::open();
    bed.rules(A, vec![], vec![rule(Action::Allow, 1, protocol(1))]);
    let ping = |kind, id| Content::Icmp { kind, code: 0, rest: vec![0, id, 0, 1] };
    let (request, reply, other) =
        (bed.frame(A, B, ping(8, 7)), bed.frame(B, A, ping(0, 7)), bed.frame(B, A, ping(0, 8)));
    assert_eq!(bed.switch.out(A, &request, 0).reason(), None);
    assert_eq!(bed.switch.out(B, &reply, 0).reason(), None);
    assert_eq!(bed.switch.out(B, &other, 0).reason(), Some(Reason::AclIn));
}

#[test]
fn both_ports_have_their_say() {
    let mut bed = client();
    bed.rules(
        B,
        vec![rule(Action::Block, 10, remote("10.0.0.1/32")), rule(Action::Allow, 20, at_port(6, 80))],
        vec![],
    );
    let syn = bed.tcp(A, B, (1000, 80), SYN);
    let outcome = bed.switch.out(A, &syn, 0);
    assert_eq!(outcome.reason(), Some(Reason::AclIn));
    let hns_vfp::interpreter::Verdict::Drop(refusal) = outcome.verdict else { panic!("passed") };
    assert_eq!((refusal.ifindex, refusal.direction), (B, Direction::In));
    bed.rules(B, vec![rule(Action::Allow, 20, at_port(6, 80))], vec![]);
    assert_eq!(bed.switch.out(A, &syn, 0).reason(), None);
}

#[test]
fn neighbour_discovery_on_the_link_is_not_for_rules() {
    let mut bed = Bed::open();
    bed.rules(A, vec![], vec![]);
    let link = bed.link(A, B);
    let icmp = |kind: u8, hop_limit: u8, to: &str| {
        let mut rest = vec![0; 4];
        rest.extend("fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let content = Content::Icmp { kind, code: 0, rest };
        let datagram = Datagram::new(bed::ip("fd00::1"), bed::ip(to), content);
        Datagram { hop_limit, ..datagram }.frame(link)
    };
    let mut passes = |frame: Vec<u8>| bed.switch.out(A, &frame, 0).reason().is_none();
    assert!(passes(icmp(135, 255, "ff02::1:ff00:2")));
    assert!(!passes(icmp(135, 64, "ff02::1:ff00:2")), "it could come from anywhere");
    assert!(passes(icmp(143, 1, "ff02::16")));
    assert!(!passes(icmp(143, 1, "2001:db8::1")), "a report is for the link");
    assert!(!passes(icmp(143, 64, "ff02::16")));
    // As a protocol of IPv4 the number means nothing.
    let content = Content::Other { protocol: 58, bytes: vec![143; 24] };
    let frame = Datagram { hop_limit: 1, ..Datagram::new(HOST_OF_A, HOST, content) }.frame(link);
    assert!(!passes(frame));
}

const HOST_OF_A: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// Only SYN alone opens a connection; what is in its midst is half open until the other end is heard.
#[test]
fn tcp_begins_with_syn_or_in_its_midst() {
    for flags in [SYN | FIN, SYN_ACK, SYN | RST, FIN, RST, 0] {
        let mut bed = client();
        let frame = bed.tcp(A, B, (1000, 80), flags);
        assert_eq!(bed.switch.out(A, &frame, 0).reason(), None, "the rules allow it: {flags:#x}");
        let frame = bed.tcp(B, A, (80, 1000), ACK);
        assert_eq!(bed.switch.out(B, &frame, 0).reason(), Some(Reason::AclIn), "{flags:#x}");
    }
    let mut bed = client();
    let frame = bed.tcp(A, B, (1000, 80), ACK);
    bed.switch.out(A, &frame, 0);
    assert_eq!(state(&bed), State::New);
    let frame = bed.tcp(B, A, (80, 1000), ACK);
    assert_eq!(bed.switch.out(B, &frame, 0).reason(), None);
    assert_eq!(state(&bed), State::Established);
}

#[test]
fn nothing_but_tcp_in_its_midst_is_taken_over() {
    for flags in [SYN, SYN | FIN, SYN_ACK, FIN, RST | ACK, 0] {
        let mut bed = client();
        let port = bed.switch.board().ports[&A].clone();
        bed.switch.set_port(A, port, 10 * SECOND);
        let frame = bed.tcp(B, A, (80, 1000), flags);
        assert_eq!(bed.switch.out(B, &frame, 9 * SECOND).reason(), Some(Reason::AclIn), "{flags:#x}");
    }
}

/// Whoever knows the ports can send a reset.
#[test]
fn a_forged_reset_does_not_end_a_connection() {
    let mut bed = client();
    for (from, flags) in [(A, SYN), (B, SYN_ACK), (A, ACK), (B, RST)] {
        let frame =
            if from == A { bed.tcp(A, B, (1000, 80), flags) } else { bed.tcp(B, A, (80, 1000), flags) };
        assert_eq!(bed.switch.out(from, &frame, 0).reason(), None);
    }
    assert_eq!(state(&bed), State::Closed);
    let frame = bed.tcp(A, B, (1000, 80), ACK);
    bed.switch.out(A, &frame, 0);
    assert_eq!(state(&bed), State::Established);
}

#[test]
fn a_later_fragment_does_not_pass_changed_rules() {
    let mut bed = client();
    let fragment = |bed: &Bed, field: u16| {
        let content = Content::Udp { source: 1000, destination: 53, bytes: 40 };
        let whole = Datagram::new(bed.address(A), bed.address(B), content);
        Datagram { fragment: (7, field), ..whole }.frame(bed.link(A, B))
    };
    let (first, later) = (fragment(&bed, 0x2000), fragment(&bed, 6));
    assert_eq!(bed.switch.out(A, &first, 0).reason(), None);
    assert_eq!(bed.switch.out(A, &later, 0).reason(), None);
    bed.rules(A, vec![], vec![]);
    assert_eq!(bed.switch.out(A, &later, 0).reason(), Some(Reason::Fragment));
}

#[test]
fn an_icmp_error_goes_to_whom_it_is_about() {
    let mut bed = client();
    let ask = bed.udp(A, B, (1000, 53));
    bed.switch.out(A, &ask, 0);
    let mut rest = vec![0; 4];
    rest.extend(&ask[14..14 + 28]);
    let content = Content::Icmp { kind: 3, code: 3, rest };
    let link = Link { destination: mac(1), source: mac(9) };
    let other = Datagram::new(HOST, bed::ip("10.0.0.77"), content).frame(link);
    assert_eq!(bed.switch.inward(A, &other, true, 0).reason(), Some(Reason::AclIn));
}

/// What does not arrive is not charged.
#[test]
fn a_refused_packet_takes_nothing_of_the_limit() {
    let mut bed = client();
    let rate = Rate { bytes_per_second: 1, burst_bytes: 100 };
    bed.change(A, |port| port.meters[Direction::In.index()] = Some(rate));
    let stranger = bed.udp(B, A, (9, 9));
    for _ in 0..10 {
        assert_eq!(bed.switch.inward(A, &stranger, true, 0).reason(), Some(Reason::AclIn));
    }
    let ask = bed.udp(A, B, (1000, 53));
    bed.switch.out(A, &ask, 0);
    let answer = bed.udp(B, A, (53, 1000));
    assert_eq!(bed.switch.inward(A, &answer, true, 0).reason(), None);
    let answers = (0..3).map(|_| bed.switch.inward(A, &answer, true, 0).reason()).last().flatten();
    assert_eq!(answers, Some(Reason::MeterIn));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// With nothing to refuse no flow is ever made, whatever comes.
    #[test]
    fn without_policy_nothing_is_remembered(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let mut board = board(random, &[1, 2, 3, 4]);
        for port in board.ports.values_mut() {
            port.acl = [Acl::open(), Acl::open()];
        }
        let mut switch = hns_vfp::Switch::new(board.clone());
        for shot in story(random, &board, 60) {
            match shot.direction {
                Direction::Out => switch.out(shot.ifindex, &shot.frame, 0),
                Direction::In => switch.inward(shot.ifindex, &shot.frame, shot.ruled, 0),
            };
        }
        prop_assert_eq!(switch.memory().flows().count(), 0);
    }

    /// A frame leaves as it came, and nothing ever panics.
    #[test]
    fn frames_are_not_touched(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let board = board(random, &[1, 2, 3, 4]);
        let mut switch = hns_vfp::Switch::new(board.clone());
        for (number, shot) in story(random, &board, 60).into_iter().enumerate() {
            let now = u64::try_from(number).unwrap() * 40_000_000;
            let outcome = match shot.direction {
                Direction::Out => switch.out(shot.ifindex, &shot.frame, now),
                Direction::In => switch.inward(shot.ifindex, &shot.frame, shot.ruled, now),
            };
            prop_assert_eq!(outcome.frame, shot.frame);
        }
    }

    /// Whatever a port lets out, its reply comes in.
    #[test]
    fn a_reply_follows_where_a_request_went(seed in any::<u64>(), port in 1u16.., udp in any::<bool>()) {
        let random = &mut Random::new(seed);
        let mut bed = Bed::open();
        let rules = hns_vfp::generate::rules(random, &[], 12, false);
        bed.change(A, |port| {
            port.acl[Direction::Out.index()] = Acl { tiers: vec![], rules, fallback: Verdict::Allow };
            port.acl[Direction::In.index()].fallback = Verdict::Block;
        });
        let (ask, answer) = if udp {
            (bed.udp(A, B, (999, port)), bed.udp(B, A, (port, 999)))
        } else {
            (bed.tcp(A, B, (999, port), SYN), bed.tcp(B, A, (port, 999), SYN_ACK))
        };
        let asked = bed.switch.out(A, &ask, 0).reason();
        let answered = bed.switch.out(B, &answer, 0).reason();
        match asked {
            None => prop_assert_eq!(answered, None),
            Some(reason) => {
                prop_assert_eq!(reason, Reason::AclOut);
                prop_assert_eq!(answered, Some(Reason::AclIn));
            }
        }
    }
}

#[test]
fn a_rule_that_matches_everything_decides_everything() {
    let mut bed = Bed::open();
    bed.rules(A, vec![], vec![rule(Action::Block, 1, Match::default())]);
    let frame = bed.frame(A, B, Content::Other { protocol: 47, bytes: vec![0; 4] });
    assert_eq!(bed.switch.out(A, &frame, 0).reason(), Some(Reason::AclOut));
}
