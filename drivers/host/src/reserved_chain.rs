//! The chain that Docker keeps for others: `DOCKER-USER`, which its policy of dropping all that is forwarded
//! comes after. Docker never changes what is in it.

use hns_abi::MARK_RULED;
use hns_net::Family;
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};

use crate::HostError;
use crate::nat::batch;
use crate::nat::wire::{self, family};
use crate::netlink::{Batch, Netlink, Subject, Writer};
use crate::ruleset::{self, Chain, Direction, IPTABLES_FILTER, Rule, Verdict, expression};

pub(crate) const NAME: &str = "DOCKER-USER";
/// All our switches begin with it, so that two rules serve them all.
pub(crate) const PREFIX: &str = "hns";

/// Accepts our switches there, in each family that has the chain: all that goes to one, which our own table decides over, and of what
/// leaves one that which our table has marked. The rules look as if iptables had made them ([`as_iptables`]), and are found again by
/// that. Where Docker drops by policy what is forwarded, they stand behind all others in FORWARD as well: a Docker that starts
/// takes the jump to its chain out for a moment.
///
/// Docker sets that policy when it is Docker that makes the host forward. Where we did (`forwards_for_us`), Docker came later, and
/// left the policy: it gets what it would have had without us.
pub(crate) fn open(netlink: &mut Netlink, forwards_for_us: impl Fn(Family) -> bool) -> Result<(), HostError> {
    let chains = ruleset::chains(netlink)?;
    for chain in chains.iter().filter(|chain| is_reserved(chain)) {
        let mut batch = Batch::new();
        let is_new = accept_where_missing(netlink, &mut batch, chain)?;
        if let Some(forward) = chains.iter().find(|other| is_forward_beside(other, chain)) {
            let family = if chain.family == family::IPV4 { Family::V4 } else { Family::V6 };
            let sets_policy = is_new && !forward.drops_by_default && forwards_for_us(family);
            if forward.drops_by_default || sets_policy {
                accept_where_missing(netlink, &mut batch, forward)?;
            }
            if sets_policy {
                drop_by_policy(&mut batch, forward);
            }
        }
        if !batch.is_empty() {
            batch::end(&mut batch);
            netlink.execute(&batch)?;
        }
    }
    Ok(())
}

/// Says whether one of the two rules was missing.
fn accept_where_missing(netlink: &mut Netlink, batch: &mut Batch, chain: &Chain) -> Result<bool, HostError> {
    let rules = ruleset::rules(netlink, Some(chain))?;
    let is_missing = |direction: &Direction| !rules.iter().any(|rule| is_ours(rule, *direction));
    let missing: Vec<Direction> = [Direction::In, Direction::Out].into_iter().filter(is_missing).collect();
    for direction in &missing {
        if batch.is_empty() {
            batch::begin(batch);
        }
        accept(batch, chain, *direction, closing_return(&rules));
    }
    Ok(!missing.is_empty())
}

pub(crate) fn is_reserved(chain: &Chain) -> bool {
    matches!(chain.family, family::IPV4 | family::IPV6)
        && chain.table == IPTABLES_FILTER
        && chain.name == NAME
}

/// Whether it is the chain whose policy Docker sets in this family.
fn is_forward_beside(chain: &Chain, reserved: &Chain) -> bool {
    chain.family == reserved.family && chain.table == reserved.table && chain.name == "FORWARD"
}

fn drop_by_policy(batch: &mut Batch, chain: &Chain) {
    let subject = Subject::new("set the policy of", format!("chain {}", chain.path()));
    batch.message(wire::message(wire::NEW_CHAIN), NLM_F_ACK, subject, |writer| {
        wire::header(writer, chain.family, 0);
        writer.text(wire::chain::TABLE, &chain.table);
        writer.text(wire::chain::NAME, &chain.name);
        writer.be32(wire::chain::POLICY, wire::chain::POLICY_DROP);
    });
}

/// The bits of the mark that a packet must bear.
const fn marks(direction: Direction) -> u32 {
    match direction {
        Direction::In => MARK_RULED,
        Direction::Out => 0,
    }
}

/// What makes the rules, for an operator. Of another chain than the one that we care for.
pub(crate) fn as_iptables(tool: &str, chain: &str) -> String {
    let insert = format!("{tool} -I {chain}");
    format!(
        "{insert} -i {PREFIX}+ -m mark --mark {MARK_RULED:#x}/{MARK_RULED:#x} -j ACCEPT; {insert} -o {PREFIX}+ -j ACCEPT"
    )
}

/// Whether it accepts all that we ask to be accepted on one side, or more.
pub(crate) fn accepts_us(rule: &Rule, direction: Direction) -> bool {
    let [test] = &rule.interfaces[..] else { return false };
    let ours = test.direction == direction && test.equal && test.name == PREFIX.as_bytes();
    ours && rule.marks & !marks(direction) == 0 && !rule.tests_more && rule.verdict == Verdict::Accept
}

/// Whether it is one of the two rules that [`open`] makes.
fn is_ours(rule: &Rule, direction: Direction) -> bool {
    accepts_us(rule, direction) && rule.marks == marks(direction)
}

/// Older versions of Docker end the chain with a bare RETURN, behind which nothing is reached.
fn closing_return(rules: &[Rule]) -> Option<u64> {
    let last = rules.last()?;
    let bare = last.interfaces.is_empty() && !last.tests_more && last.verdict == Verdict::Return;
    bare.then_some(last.handle)
}

fn accept(batch: &mut Batch, chain: &Chain, direction: Direction, before: Option<u64>) {
    let placed = if before.is_some() { 0 } else { NLM_F_APPEND };
    let subject = Subject::new("add a rule to", format!("chain {}", chain.path()));
    let flags = NLM_F_CREATE | NLM_F_ACK | placed;
    batch.message(wire::message(wire::NEW_RULE), flags, subject, |writer| {
        wire::header(writer, chain.family, 0);
        writer.text(wire::rule::TABLE, &chain.table);
        writer.text(wire::rule::CHAIN, &chain.name);
        if let Some(handle) = before {
            writer.bytes(wire::rule::POSITION, &handle.to_be_bytes());
        }
        writer.nest(wire::rule::EXPRESSIONS, |list| write_accept(list, direction));
    });
}

fn write_accept(list: &mut Writer<'_>, direction: Direction) {
    let key = match direction {
        Direction::In => expression::META_IIFNAME,
        Direction::Out => expression::META_OIFNAME,
    };
    write_expression(list, "meta", |data| {
        data.be32(expression::META_KEY, key);
        data.be32(expression::META_REGISTER, expression::REGISTER_1);
    });
    write_expression(list, "cmp", |data| {
        data.be32(expression::CMP_REGISTER, expression::REGISTER_1);
        data.be32(expression::CMP_OPERATION, expression::CMP_EQUAL);
        data.nest(expression::CMP_DATA, |value| value.bytes(expression::VALUE, PREFIX.as_bytes()));
    });
    if marks(direction) != 0 {
        write_mark_test(list, marks(direction));
    }
    write_expression(list, "counter", |data| {
        data.bytes(expression::COUNTER_BYTES, &[0; 8]);
        data.bytes(expression::COUNTER_PACKETS, &[0; 8]);
    });
    write_expression(list, "immediate", |data| {
        data.be32(expression::IMMEDIATE_REGISTER, expression::REGISTER_VERDICT);
        data.nest(expression::IMMEDIATE_DATA, |value| {
            value.nest(expression::VERDICT, |verdict| {
                verdict.be32(expression::VERDICT_CODE, expression::ACCEPT.cast_unsigned());
            });
        });
    });
}

fn write_mark_test(list: &mut Writer<'_>, marks: u32) {
    write_expression(list, "meta", |data| {
        data.be32(expression::META_KEY, expression::META_MARK);
        data.be32(expression::META_REGISTER, expression::REGISTER_1);
    });
    write_expression(list, "bitwise", |data| {
        data.be32(expression::BITWISE_SOURCE, expression::REGISTER_1);
        data.be32(expression::BITWISE_DESTINATION, expression::REGISTER_1);
        data.be32(expression::BITWISE_LENGTH, 4);
        data.nest(expression::BITWISE_MASK, |value| value.bytes(expression::VALUE, &marks.to_ne_bytes()));
        data.nest(expression::BITWISE_XOR, |value| value.bytes(expression::VALUE, &[0; 4]));
    });
    write_expression(list, "cmp", |data| {
        data.be32(expression::CMP_REGISTER, expression::REGISTER_1);
        data.be32(expression::CMP_OPERATION, expression::CMP_EQUAL);
        data.nest(expression::CMP_DATA, |value| value.bytes(expression::VALUE, &marks.to_ne_bytes()));
    });
}

fn write_expression(list: &mut Writer<'_>, name: &str, data: impl FnOnce(&mut Writer<'_>)) {
    list.nest(expression::ITEM, |item| {
        item.text(expression::NAME, name);
        item.nest(expression::DATA, data);
    });
}
