//! The chain that Docker keeps for others: `DOCKER-USER`, which its policy of dropping all that is forwarded
//! comes after. Docker never changes what is in it.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};

use crate::HostError;
use crate::nat::batch;
use crate::nat::wire::{self, family};
use crate::netlink::{Batch, Netlink, Subject, Writer};
use crate::ruleset::{self, Chain, Direction, IPTABLES_FILTER, Rule, Verdict, expression};

pub(crate) const NAME: &str = "DOCKER-USER";
/// All our switches begin with it, so that two rules serve them all.
pub(crate) const PREFIX: &str = "hns";

/// Accepts our switches there, in each family that has the chain. The rules look as if
/// `iptables -A DOCKER-USER -i hns+ -j ACCEPT` had made them, and are found again by that.
pub(crate) fn open(netlink: &mut Netlink) -> Result<(), HostError> {
    for chain in ruleset::chains(netlink)?.iter().filter(|chain| is_reserved(chain)) {
        let rules = ruleset::rules(netlink, Some(chain))?;
        let mut batch = Batch::new();
        for direction in [Direction::In, Direction::Out] {
            if !rules.iter().any(|rule| accepts_us(rule, direction)) {
                if batch.is_empty() {
                    batch::begin(&mut batch);
                }
                accept(&mut batch, chain, direction, closing_return(&rules));
            }
        }
        if !batch.is_empty() {
            batch::end(&mut batch);
            netlink.execute(&batch)?;
        }
    }
    Ok(())
}

pub(crate) fn is_reserved(chain: &Chain) -> bool {
    matches!(chain.family, family::IPV4 | family::IPV6)
        && chain.table == IPTABLES_FILTER
        && chain.name == NAME
}

/// Whether it is one of the two rules that [`open`] makes.
pub(crate) fn accepts_us(rule: &Rule, direction: Direction) -> bool {
    let [test] = &rule.interfaces[..] else { return false };
    let ours = test.direction == direction && test.equal && test.name == PREFIX.as_bytes();
    ours && !rule.tests_more && rule.verdict == Verdict::Accept
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

fn write_expression(list: &mut Writer<'_>, name: &str, data: impl FnOnce(&mut Writer<'_>)) {
    list.nest(expression::ITEM, |item| {
        item.text(expression::NAME, name);
        item.nest(expression::DATA, data);
    });
}
