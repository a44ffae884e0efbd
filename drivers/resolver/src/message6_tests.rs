use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode,
    UnknownOption,
};
use dhcproto::{Decodable, Encodable};

use super::*;

const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);
const ROUTER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const ID: [u8; 3] = [1, 2, 3];
const SERVER: [u8; 6] = [0, 3, 0, 1, 9, 9];
const IAID: u32 = 7;

fn client() -> Client {
    Client { mac: MAC, host_name: Some("web".into()) }
}

fn given() -> Ipv6Addr {
    "fd00:198:18::77".parse().unwrap()
}

fn address(address: Ipv6Addr, preferred_life: u32, valid_life: u32) -> DhcpOption {
    DhcpOption::IAAddr(IAAddr { addr: address, preferred_life, valid_life, opts: DhcpOptions::new() })
}

fn status(status: Status, msg: &str) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: msg.into() })
}

fn ia(id: u32, t1: u32, t2: u32, options: impl IntoIterator<Item = DhcpOption>) -> DhcpOption {
    DhcpOption::IANA(IANA { id, t1, t2, opts: options.into_iter().collect() })
}

/// What a server sends, as another implementation writes it.
fn answer(kind: MessageType, more: impl IntoIterator<Item = DhcpOption>) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, ID);
    let ours = [DhcpOption::ClientId(duid(MAC)), DhcpOption::ServerId(SERVER.to_vec())];
    ours.into_iter().chain(more).for_each(|option| message.opts_mut().insert(option));
    message.to_vec().unwrap()
}

fn read_whole(bytes: &[u8]) -> Option<Answer<'_>> {
    read(bytes, &client(), ID, ("fe80::1".parse().unwrap(), ROUTER))
}

fn lease(options: impl IntoIterator<Item = DhcpOption>) -> Result<LanLease, Refusal> {
    let bytes = answer(MessageType::Reply, options);
    read_whole(&bytes).unwrap().lease(Some(given()), 1_000)
}

#[test]
fn a_reply_is_read_whole() {
    // The other implementation would compress the second one.
    let names = b"\x04corp\x07example\x00\x03lab\x07example\x00".to_vec();
    let servers = ["fd00:198:18::53", "fe80::53", "ff02::1"].map(|server| server.parse().unwrap());
    let lease = lease([
        ia(IAID, 50, 80, [address(given(), 90, 100)]),
        DhcpOption::DomainNameServers(servers.to_vec()),
        DhcpOption::Unknown(UnknownOption::new(OptionCode::DomainSearchList, names)),
    ])
    .unwrap();
    assert_eq!(lease.grant, Grant::Dhcp6 { server_id: SERVER.to_vec() });
    assert_eq!(lease.addresses, ["fd00:198:18::77/128".parse().unwrap()]);
    assert_eq!(lease.dns, ["fd00:198:18::53".parse::<IpAddr>().unwrap()]);
    assert_eq!(lease.search, ["corp.example", "lab.example"]);
    assert_eq!(lease.server, LanServer { address: "fe80::1".parse().unwrap(), mac: ROUTER });
    let Term { obtained, renew_after, rebind_after, lifetime } = lease.term;
    assert_eq!((obtained, renew_after, rebind_after, lifetime), (1_000, 50, 80, 100));
    assert!(lease.routes.is_empty() && lease.domain.is_none());
}

#[test]
fn times_are_the_servers_where_they_make_sense() {
    let times = |t1, t2, preferred, valid| {
        let term = lease([ia(IAID, t1, t2, [address(given(), preferred, valid)])]).unwrap().term;
        (term.renew_after, term.rebind_after, term.lifetime)
    };
    for (given, meant) in [
        ((0, 0, 100, 200), (50, 80, 200)),
        ((60, 0, 100, 200), (60, 80, 200)),
        ((90, 85, 100, 200), (50, 85, 200)),
        ((300, 400, 100, 200), (50, 80, 200)),
        ((FOREVER, FOREVER, 100, 200), (50, 80, 200)),
        ((0, 0, FOREVER, FOREVER), (FOREVER, FOREVER, FOREVER)),
        ((0, 0, 100, FOREVER), (50, 80, FOREVER)),
    ] {
        let (t1, t2, preferred, valid) = given;
        assert_eq!(times(t1, t2, preferred, valid), meant, "{given:?}");
    }
}

#[test]
fn an_address_that_no_container_can_have_is_named_with_its_fault() {
    for (text, preferred, valid, why) in [
        ("fe80::7", 50, 100, "no host's address"),
        ("ff02::7", 50, 100, "no host's address"),
        ("::1", 50, 100, "no host's address"),
        ("::", 50, 100, "no host's address"),
        ("::ffff:198.18.0.7", 50, 100, "no host's address"),
        ("fd00::7", 0, 0, "valid lifetime is 0"),
        ("fd00::7", 0, 100, "preferred lifetime is 0"),
        ("fd00::7", 200, 100, "longer than"),
    ] {
        let given: Ipv6Addr = text.parse().unwrap();
        let said = lease([ia(IAID, 0, 0, [address(given, preferred, valid)])]).unwrap_err();
        assert!(
            matches!(&said, Refusal::Unusable { address, why: said } if *address == given && said.contains(why)),
            "{text}: {said:?}"
        );
    }
}

#[test]
fn of_several_addresses_the_held_one_counts_or_one_that_can_be_used() {
    let other: Ipv6Addr = "fd00::8".parse().unwrap();
    let chosen = |all: [DhcpOption; 2]| lease([ia(IAID, 0, 0, all)]).unwrap().address();
    assert_eq!(chosen([address(other, 50, 100), address(given(), 50, 100)]), Some(given().into()));
    assert_eq!(chosen([address(given(), 0, 0), address(other, 50, 100)]), Some(other.into()));
    // What is for another association is none of ours.
    let strange = ia(8, 0, 0, [address(other, 50, 100)]);
    let ours = ia(IAID, 0, 0, [address(given(), 50, 100)]);
    assert_eq!(lease([strange, ours]).unwrap().address(), Some(given().into()));
}

#[test]
fn a_refusal_has_its_name_and_what_the_server_says_to_it() {
    let refused = |text: &str| Refusal::Refused(Some(text.to_owned()));
    let in_ia = |option| lease([ia(IAID, 0, 0, [option])]).unwrap_err();
    for (said, meant) in [
        (in_ia(status(Status::NoAddrsAvail, "nothing\nleft")), refused("NoAddrsAvail: nothingleft")),
        (lease([status(Status::NoAddrsAvail, "")]).unwrap_err(), refused("NoAddrsAvail")),
        (in_ia(status(Status::NoBinding, "who?")), Refusal::NoBinding),
        (in_ia(status(Status::NotOnLink, "")), refused("NotOnLink")),
        (lease([status(Status::UnspecFail, "")]).unwrap_err(), Refusal::Failure),
        (in_ia(status(Status::Unknown(77), "")), refused("status 77")),
        (in_ia(status(Status::Success, "all is well")), refused("it gives no address")),
        (lease([]).unwrap_err(), refused("it gives no address")),
    ] {
        assert_eq!(said, meant);
    }
}

#[test]
fn nothing_but_an_answer_to_this_question_is_read() {
    let ours = ia(IAID, 50, 80, [address(given(), 90, 100), status(Status::Success, "")]);
    let names = DhcpOption::DomainSearchList(vec!["corp.example.".parse().unwrap()]);
    let whole = answer(MessageType::Advertise, [ours, names, DhcpOption::Preference(9)]);
    let read_so = |client: &Client, id| read(&whole, client, id, (given(), ROUTER)).is_some();
    assert!(read_so(&client(), ID));
    assert!(!read_so(&client(), [1, 2, 4]));
    assert!(!read_so(&Client { mac: ROUTER, host_name: None }, ID));
    assert_eq!(read_whole(&whole).map(|answer| (answer.preference(), answer.is_rapid())), Some((9, false)));
    for (place, byte) in [(0, 1), (0, 12), (1, 9), (5, 9), (19, 9)] {
        let mut wrong = whole.clone();
        wrong[place] = byte;
        assert!(read_whole(&wrong).is_none(), "byte {place}");
    }
    for length in 0..whole.len() {
        // Without its last options it is another message, but none that brings anybody down.
        let _ = read_whole(&whole[..length]).map(|answer| answer.lease(None, 0).is_ok());
    }
    // A status without its code, names without an end, with a pointer, and of strange characters.
    for option in [
        option(STATUS, &[0]),
        option(SEARCH_LIST, &[4, b'c']),
        option(SEARCH_LIST, &[0xc0, 0]),
        option(SEARCH_LIST, &[2, b'a', b'\n', 0]),
        option(SEARCH_LIST, &[0, 0, 0]),
    ] {
        let strange = [&whole[..], &option].concat();
        let _ = read_whole(&strange).unwrap().lease(None, 0).unwrap();
        let found = find(&option, SEARCH_LIST).map_or_else(Vec::new, domains);
        assert_eq!(found, [""; 0]);
    }
}

#[test]
fn questions_say_who_asks_and_for_what() {
    let (address, server) = (given(), &SERVER[..]);
    for (question, kind) in [
        (Question::Solicit { wanted: None }, MessageType::Solicit),
        (Question::Solicit { wanted: Some(address) }, MessageType::Solicit),
        (Question::Request { address, server }, MessageType::Request),
        (Question::Renew { address, server }, MessageType::Renew),
        (Question::Rebind { address }, MessageType::Rebind),
        (Question::Decline { address, server }, MessageType::Decline),
        (Question::Release { address, server }, MessageType::Release),
    ] {
        let bytes = write(&client(), ID, question, Duration::from_millis(1_230));
        let message = Message::from_bytes(&bytes).unwrap();
        assert_eq!((message.msg_type(), message.xid()), (kind, ID));
        let options = message.opts();
        assert_eq!(
            options.get(OptionCode::ClientId),
            Some(&DhcpOption::ClientId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 7]))
        );
        assert_eq!(options.get(OptionCode::ElapsedTime), Some(&DhcpOption::ElapsedTime(123)));
        let is_of_server = options.get(OptionCode::ServerId) == Some(&DhcpOption::ServerId(SERVER.to_vec()));
        let is_to_all = matches!(question, Question::Solicit { .. } | Question::Rebind { .. });
        assert_eq!(is_of_server, !is_to_all, "{question:?}");
        let Some(DhcpOption::IANA(ours)) = options.get(OptionCode::IANA) else { panic!("{question:?}") };
        let named = match ours.opts.get(OptionCode::IAAddr) {
            Some(DhcpOption::IAAddr(named)) => Some(named.addr),
            _ => None,
        };
        assert_eq!((ours.id, named), (IAID, question.address()), "{question:?}");
        let is_rapid = options.get(OptionCode::RapidCommit).is_some();
        assert_eq!(is_rapid, kind == MessageType::Solicit, "{question:?}");
        let is_named = bytes.windows(5).any(|bytes| bytes == [1, 3, b'w', b'e', b'b']);
        assert_eq!(is_named, question.asks_for_options(), "{question:?}");
    }
}
