//! The rules of others, read as far as it takes to say whether they are in our way.

use netlink_packet_core::NLM_F_DUMP;

use crate::HostError;
use crate::nat::wire::{self, family};
use crate::netlink::{Attributes, Batch, Netlink, Subject};

/// A hook's number, the same in all families that have it.
pub(crate) const PREROUTING: u32 = 0;
pub(crate) const INPUT: u32 = 1;
pub(crate) const FORWARD: u32 = 2;

pub(crate) const IPTABLES_FILTER: &str = "filter";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub family: u8,
    pub table: String,
    pub name: String,
    /// Of a base chain.
    pub hook: Option<u32>,
    /// Of a base chain: whether it is for filtering, rather than for translating or rerouting.
    pub filters: bool,
    pub drops_by_default: bool,
}

impl Chain {
    /// As an operator would name it to `nft`.
    pub(crate) fn path(&self) -> String {
        format!("{} {} {}", family::name(self.family), self.table, self.name)
    }

    /// Whether it belongs to a container engine that makes its bridges' frames pass IP rules.
    pub(crate) fn is_of_an_engine(&self) -> bool {
        let ip = matches!(self.family, family::IPV4 | family::IPV6);
        ip && matches!(self.table.as_str(), "filter" | "nat")
            && ["DOCKER", "KUBE-", "CNI-"].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Reject,
    Return,
    /// Goes on in this chain.
    Enter(String),
    /// Counts, marks, logs, translates.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// `iifname "hns*"` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterfaceTest {
    pub direction: Direction,
    pub equal: bool,
    /// With a closing zero, unless it is a prefix.
    pub name: Vec<u8>,
}

impl InterfaceTest {
    /// Whether an interface whose name begins with `prefix` may pass.
    fn may_hold_for(&self, prefix: &str) -> bool {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        let related = name.starts_with(prefix.as_bytes()) || prefix.as_bytes().starts_with(name);
        // Other than one name: all the others of ours still pass.
        !self.equal || related
    }
}

/// What an expression has loaded for the next one.
#[derive(Clone, Copy)]
enum Loaded {
    Interface(Direction),
    Mark,
    /// These bits of the mark.
    Bits(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub family: u8,
    pub table: String,
    pub chain: String,
    pub handle: u64,
    pub interfaces: Vec<InterfaceTest>,
    /// Bits of the packet's mark that must be set.
    pub marks: u32,
    /// Whether it looks at anything beside interfaces and bits of the mark.
    pub tests_more: bool,
    pub verdict: Verdict,
}

impl Rule {
    /// Whether traffic of our switches can match it, as far as interfaces tell.
    pub(crate) fn may_concern(&self, prefix: &str) -> bool {
        // A forwarded packet of ours has one of our switches on one side, and anything on the other.
        let sides = [Direction::In, Direction::Out];
        sides.iter().any(|side| {
            let mut tests = self.interfaces.iter().filter(|test| test.direction == *side);
            tests.all(|test| test.may_hold_for(prefix))
        })
    }

    pub(crate) fn is_in(&self, chain: &Chain) -> bool {
        self.family == chain.family && self.table == chain.table && self.chain == chain.name
    }
}

/// All chains of the namespace.
pub(crate) fn chains(netlink: &mut Netlink) -> Result<Vec<Chain>, HostError> {
    let mut question = Batch::new();
    question.message(wire::message(wire::GET_CHAIN), NLM_F_DUMP, Subject::new("list", "chains"), |writer| {
        wire::header(writer, family::UNSPECIFIED, 0);
    });
    netlink.dump(&question, read_chain)
}

fn read_chain(message: &[u8]) -> Option<Chain> {
    let attributes = Attributes::after(wire::HEADER_LEN, message);
    let hook = attributes.nest(wire::chain::HOOK);
    Some(Chain {
        family: *message.first()?,
        table: attributes.text(wire::chain::TABLE)?.to_owned(),
        name: attributes.text(wire::chain::NAME)?.to_owned(),
        hook: hook.and_then(|hook| hook.be32(wire::chain::HOOK_NUMBER)),
        filters: attributes.text(wire::chain::KIND) == Some("filter"),
        drops_by_default: attributes.be32(wire::chain::POLICY) == Some(wire::chain::POLICY_DROP),
    })
}

/// The rules of one chain, or of all.
pub(crate) fn rules(netlink: &mut Netlink, of: Option<&Chain>) -> Result<Vec<Rule>, HostError> {
    let mut question = Batch::new();
    let object = of.map_or_else(|| "rules".to_owned(), |chain| format!("rules of {}", chain.path()));
    question.message(wire::message(wire::GET_RULE), NLM_F_DUMP, Subject::new("list", object), |writer| {
        wire::header(writer, of.map_or(family::UNSPECIFIED, |chain| chain.family), 0);
        if let Some(chain) = of {
            writer.text(wire::rule::TABLE, &chain.table);
            writer.text(wire::rule::CHAIN, &chain.name);
        }
    });
    let mut rules = netlink.dump(&question, read_rule)?;
    // Older kernels do not filter.
    rules.retain(|rule| of.is_none_or(|chain| rule.is_in(chain)));
    Ok(rules)
}

fn read_rule(message: &[u8]) -> Option<Rule> {
    let attributes = Attributes::after(wire::HEADER_LEN, message);
    let handle = attributes.get(wire::rule::HANDLE)?.try_into().ok()?;
    let mut rule = Rule {
        family: *message.first()?,
        table: attributes.text(wire::rule::TABLE)?.to_owned(),
        chain: attributes.text(wire::rule::CHAIN)?.to_owned(),
        handle: u64::from_be_bytes(handle),
        interfaces: Vec::new(),
        marks: 0,
        tests_more: false,
        verdict: Verdict::None,
    };
    let expressions = attributes.nest(wire::rule::EXPRESSIONS);
    let mut loaded = None;
    for (_, expression) in expressions.into_iter().flat_map(Attributes::each) {
        let expression = Attributes::after(0, expression);
        let Some(name) = expression.text(expression::NAME) else { continue };
        let data = expression.nest(expression::DATA);
        rule.add(name, data, &mut loaded);
    }
    Some(rule)
}

impl Rule {
    /// Takes one expression into account. `loaded` is what the one just before it loaded.
    fn add(&mut self, name: &str, data: Option<Attributes<'_>>, loaded: &mut Option<Loaded>) {
        let before = loaded.take();
        match name {
            "counter" | "log" | "comment" => {}
            "meta" => match data.and_then(|data| data.be32(expression::META_KEY)) {
                Some(expression::META_IIFNAME) => *loaded = Some(Loaded::Interface(Direction::In)),
                Some(expression::META_OIFNAME) => *loaded = Some(Loaded::Interface(Direction::Out)),
                Some(expression::META_MARK) => *loaded = Some(Loaded::Mark),
                _ => self.tests_more = true,
            },
            "bitwise" => match (before, data.and_then(|data| word(data, expression::BITWISE_MASK))) {
                (Some(Loaded::Mark), Some(mask)) => *loaded = Some(Loaded::Bits(mask)),
                _ => self.tests_more = true,
            },
            "cmp" => match (before, data.and_then(InterfaceTest::read)) {
                (Some(Loaded::Interface(direction)), Some((equal, name))) => {
                    self.interfaces.push(InterfaceTest { direction, equal, name });
                }
                (Some(Loaded::Bits(mask)), Some((true, value))) if value == mask.to_ne_bytes() => {
                    self.marks |= mask;
                }
                _ => self.tests_more = true,
            },
            "immediate" => self.verdict = data.map_or(Verdict::None, Verdict::read),
            "reject" => self.verdict = Verdict::Reject,
            "target" if data.and_then(|data| data.text(expression::TARGET_NAME)) == Some("REJECT") => {
                self.verdict = Verdict::Reject;
            }
            "target" => {}
            _ => self.tests_more = true,
        }
    }
}

fn word(data: Attributes<'_>, attribute: u16) -> Option<u32> {
    let value = data.nest(attribute)?.get(expression::VALUE)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}

impl InterfaceTest {
    fn read(data: Attributes<'_>) -> Option<(bool, Vec<u8>)> {
        let equal = data.be32(expression::CMP_OPERATION)? == expression::CMP_EQUAL;
        let name = data.nest(expression::CMP_DATA)?.get(expression::VALUE)?;
        Some((equal, name.to_vec()))
    }
}

impl Verdict {
    fn read(data: Attributes<'_>) -> Self {
        let verdict = data.nest(expression::IMMEDIATE_DATA).and_then(|data| data.nest(expression::VERDICT));
        let Some(verdict) = verdict else { return Self::None };
        let chain = || verdict.text(expression::VERDICT_CHAIN).unwrap_or_default().to_owned();
        match verdict.be32(expression::VERDICT_CODE).map(u32::cast_signed) {
            Some(expression::DROP) => Self::Drop,
            Some(expression::ACCEPT) => Self::Accept,
            Some(expression::JUMP | expression::GOTO) => Self::Enter(chain()),
            Some(expression::RETURN) => Self::Return,
            _ => Self::None,
        }
    }
}

/// Attributes of expressions (`linux/netfilter/nf_tables.h`).
pub(crate) mod expression {
    pub(crate) const ITEM: u16 = 1;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;

    pub(crate) const META_REGISTER: u16 = 1;
    pub(crate) const META_KEY: u16 = 2;
    pub(crate) const META_IIFNAME: u32 = 6;
    pub(crate) const META_OIFNAME: u32 = 7;
    pub(crate) const META_MARK: u32 = 3;

    pub(crate) const BITWISE_SOURCE: u16 = 1;
    pub(crate) const BITWISE_DESTINATION: u16 = 2;
    pub(crate) const BITWISE_LENGTH: u16 = 3;
    pub(crate) const BITWISE_MASK: u16 = 4;
    pub(crate) const BITWISE_XOR: u16 = 5;

    pub(crate) const CMP_REGISTER: u16 = 1;
    pub(crate) const CMP_OPERATION: u16 = 2;
    pub(crate) const CMP_DATA: u16 = 3;
    pub(crate) const CMP_EQUAL: u32 = 0;
    pub(crate) const CMP_NOT_EQUAL: u32 = 1;

    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;

    pub(crate) const IMMEDIATE_REGISTER: u16 = 1;
    pub(crate) const IMMEDIATE_DATA: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const CONTINUE: i32 = -1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;

    pub(crate) const TARGET_NAME: u16 = 1;
    pub(crate) const REGISTER_VERDICT: u32 = 0;
    pub(crate) const REGISTER_1: u32 = 1;
}
