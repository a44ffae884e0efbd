//! The tables as a whole: loading them, and telling whether they are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::{Command, Stdio};

use hns_net::Family;
use hns_planner::Element;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use super::batch::{self, is_missing};
use super::element::{self, Set};
use super::wire;
use crate::HostError;
use crate::netlink::{Attributes, Batch, Netlink, Subject};

/// Both our tables have this name, in their families.
pub(crate) const NAME: &str = "hns";

/// Without its chains, which come and go.
const TEXT: &str = include_str!("table.nft");
const CHAINS: &str = include_str!("chains.nft");
const BRIDGE_TEXT: &str = include_str!("bridge.nft");
/// What the bridge's table has besides while the chains are away.
const ALONE: &str = include_str!("alone.nft");

/// One of our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Main,
    Bridge,
}

impl Table {
    pub(crate) const fn family(self) -> u8 {
        match self {
            Self::Main => wire::family::INET,
            Self::Bridge => wire::family::BRIDGE,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Main => TEXT,
            Self::Bridge => BRIDGE_TEXT,
        }
    }

    /// The text that its rules are in, with the chains of the main table or without.
    fn rules_text(self, chains: bool) -> String {
        match (self, chains) {
            (Self::Main, true) => CHAINS.to_owned(),
            (Self::Main, false) => String::new(),
            (Self::Bridge, true) => BRIDGE_TEXT.to_owned(),
            (Self::Bridge, false) => [BRIDGE_TEXT, ALONE].concat(),
        }
    }

    const ALL: [Self; 2] = [Self::Main, Self::Bridge];

    /// An empty chain carries a digest of the text, so that the table of another version of this program is not taken
    /// for ours.
    fn render(self) -> String {
        let text = self.text();
        let family = wire::family::name(self.family());
        format!(
            "table {family} {NAME}\ndelete table {family} {NAME}\n{text}\nadd chain {family} {NAME} {}\n",
            self.mark()
        )
    }

    fn mark(self) -> String {
        let texts = match self {
            Self::Main => [TEXT, CHAINS].concat(),
            Self::Bridge => [BRIDGE_TEXT, ALONE].concat(),
        };
        format!("text_{:016x}", digest(&texts))
    }

    /// How many rules each chain has.
    fn rules(self, chains: bool) -> BTreeMap<String, usize> {
        let mut rules = BTreeMap::new();
        let text = self.rules_text(chains);
        let mut chain: Option<&str> = None;
        for line in text.lines().map(str::trim) {
            if let Some(name) = name_of_chain(line) {
                chain = Some(name);
            } else if line == "}" {
                chain = None;
            } else if let Some(chain) = chain
                && !line.is_empty()
                && !line.starts_with('#')
                && !line.starts_with("type ")
            {
                *rules.entry(chain.to_owned()).or_default() += 1;
            }
        }
        rules
    }
}

/// The chain that a line of a text opens.
fn name_of_chain(line: &str) -> Option<&str> {
    line.strip_prefix("chain ")?.split(' ').next()
}

/// The chains of a text.
fn chains_of(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter_map(name_of_chain)
}

/// The transaction that puts our tables in place of whatever has their names.
pub(crate) fn render(chains: bool) -> String {
    Table::ALL.map(Table::render).concat() + if chains { CHAINS } else { ALONE }
}

/// Adds the chains to a table that has its sets. Fine if they are there.
pub(crate) fn add_chains(netlink: &mut Netlink, started: impl FnOnce(u32)) -> Result<(), HostError> {
    if !is_ours(netlink)? {
        return Err(HostError::NoTable);
    }
    if there(netlink, Table::Main, CHAINS)?.len() == chains_of(CHAINS).count() {
        return Ok(());
    }
    // Half of them may be there.
    let again = removals(netlink, Table::Main, CHAINS)?;
    let text = format!("{again}{CHAINS}{}", removals(netlink, Table::Bridge, ALONE)?);
    change(netlink, &text, started)
}

/// Takes the chains out of the table, whose sets stay. Fine if they are gone.
pub(crate) fn remove_chains(netlink: &mut Netlink, started: impl FnOnce(u32)) -> Result<(), HostError> {
    if !is_ours(netlink)? {
        return Err(HostError::NoTable);
    }
    if there(netlink, Table::Main, CHAINS)?.is_empty() {
        return Ok(());
    }
    let again = removals(netlink, Table::Bridge, ALONE)?;
    let text = format!("{}{again}{ALONE}", removals(netlink, Table::Main, CHAINS)?);
    change(netlink, &text, started)
}

/// A table that went away meanwhile comes back as a whole.
fn change(netlink: &mut Netlink, text: &str, started: impl FnOnce(u32)) -> Result<(), HostError> {
    match load(text, started) {
        Err(HostError::NftRefused { .. }) if !is_ours(netlink)? => Err(HostError::NoTable),
        outcome => outcome,
    }
}

/// Whether both tables have the marks of this program.
fn is_ours(netlink: &mut Netlink) -> Result<bool, HostError> {
    for table in Table::ALL {
        if !has_chain(netlink, table, &table.mark())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What removes those of the chains that are there: first what jumps from one to another.
fn removals(netlink: &mut Netlink, table: Table, text: &'static str) -> Result<String, HostError> {
    let chains = there(netlink, table, text)?;
    let family = wire::family::name(table.family());
    let each = |verb| chains.iter().map(move |chain| format!("{verb} chain {family} {NAME} {chain}\n"));
    Ok(each("flush").chain(each("delete")).collect())
}

/// Those of the chains that are there. They are asked for one by one: a host may have thousands of others.
fn there(netlink: &mut Netlink, table: Table, text: &'static str) -> Result<Vec<&'static str>, HostError> {
    let mut there = Vec::new();
    for chain in chains_of(text) {
        if has_chain(netlink, table, chain)? {
            there.push(chain);
        }
    }
    Ok(there)
}

/// FNV-1a: short, and the same in every build, which std's hashers do not promise.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Gives `text` to nft in one transaction. `started` is told the process's number before nft says anything
/// to the kernel.
pub(crate) fn load(text: &str, started: impl FnOnce(u32)) -> Result<(), HostError> {
    let mut command = nft();
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nft = command.spawn().map_err(HostError::NftMissing)?;
    started(nft.id());
    let failed =
        |source| HostError::Conversation { operation: "load", object: format!("table {NAME}"), source };
    if let Some(mut stdin) = nft.stdin.take()
        && let Err(error) = stdin.write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(failed(error));
    }
    let output = nft.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(HostError::NftRefused { said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

fn nft() -> Command {
    let mut command = Command::new("nft");
    // A daemon may be started without the folders of the administrator's tools.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command
}

pub(crate) fn nft_version() -> io::Result<String> {
    let output = nft().arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn describe(table: Table) -> String {
    format!("table {} {NAME}", wire::family::name(table.family()))
}

fn found(answer: Result<(), HostError>) -> Result<bool, HostError> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_chain(netlink: &mut Netlink, table: Table, name: &str) -> Result<bool, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("look at", describe(table));
    question.message(wire::message(wire::GET_CHAIN), NLM_F_ACK, subject, |writer| {
        wire::header(writer, table.family(), 0);
        writer.text(wire::chain::TABLE, NAME);
        writer.text(wire::chain::NAME, name);
    });
    found(netlink.ask(&question, |_, _| ()))
}

/// Whether the table is there with the text of this program and all its rules, those that come and go as they should be.
fn is_whole(netlink: &mut Netlink, table: Table, chains: bool) -> Result<bool, HostError> {
    if !has_chain(netlink, table, &table.mark())? {
        return Ok(false);
    }
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for chain in chains_of_rules(netlink, table)? {
        *rules.entry(chain).or_default() += 1;
    }
    if rules != table.rules(chains) {
        return Ok(false);
    }
    let sets = sets(netlink, table)?;
    let followed = [Set::HostDrops(Family::V4), Set::HostDrops(Family::V6), Set::WaysOut];
    let mut expected =
        Set::ALL.into_iter().chain(followed).filter(|set| set.table_family() == table.family());
    Ok(expected.all(|set| sets.contains(set.name())))
}

/// The chain of each rule.
fn chains_of_rules(netlink: &mut Netlink, table: Table) -> Result<Vec<String>, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("rules of {}", describe(table)));
    question.message(wire::message(wire::GET_RULE), NLM_F_DUMP, subject, |writer| {
        wire::header(writer, table.family(), 0);
        writer.text(wire::rule::TABLE, NAME);
    });
    netlink.dump(&question, |message| {
        let rule = Attributes::after(wire::HEADER_LEN, message);
        // Older kernels do not filter by table.
        let ours = rule.text(wire::rule::TABLE) == Some(NAME);
        rule.text(wire::rule::CHAIN).filter(|_| ours).map(str::to_owned)
    })
}

fn sets(netlink: &mut Netlink, table: Table) -> Result<BTreeSet<String>, HostError> {
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("sets of {}", describe(table)));
    question.message(wire::message(wire::GET_SET), NLM_F_DUMP, subject, |writer| {
        wire::header(writer, table.family(), 0);
        writer.text(wire::ANY_TABLE, NAME);
    });
    let names = netlink.dump(&question, |message| {
        Attributes::after(wire::HEADER_LEN, message).text(wire::set::NAME).map(str::to_owned)
    })?;
    Ok(names.into_iter().collect())
}

/// All elements and whether the chains are there, or nothing when one of the tables is missing or not whole: they stand or fall
/// together.
pub(crate) fn observe(netlink: &mut Netlink) -> Result<Option<(BTreeSet<Element>, bool)>, HostError> {
    let chains = !there(netlink, Table::Main, CHAINS)?.is_empty();
    for table in Table::ALL {
        if !is_whole(netlink, table, chains)? {
            return Ok(None);
        }
    }
    let mut members = Vec::new();
    for set in Set::ALL {
        match batch::list(netlink, set) {
            // Removed since we looked.
            Err(error) if is_missing(&error) => return Ok(None),
            list => members.extend(list?),
        }
    }
    Ok(element::elements(&members).map(|elements| (elements, chains)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the programs ask for is what the rules set.
    #[test]
    fn the_mark_is_the_programs() {
        let set = format!("meta mark set meta mark | {:#x}", hns_abi::MARK_RULED);
        let cleared = format!("meta mark set meta mark & {:#x}", !hns_abi::MARK_RULED);
        let count = |text: &str| super::CHAINS.matches(text).count();
        assert_eq!((count(&set), count(&cleared)), (3, 1));
        assert_eq!(count("meta mark set"), 4);
    }

    #[test]
    fn the_rules_of_each_chain_are_counted_from_the_text() {
        let rules = Table::Main.rules(true);
        assert_eq!(rules["loopback"], 4);
        assert_eq!(rules["forward"], 9);
        assert_eq!(rules["postrouting"], 11);
        assert_eq!(Table::Bridge.rules(true)["guard"], 2);
        assert_eq!(Table::Bridge.rules(true)["forward"], 2);
        assert_eq!(Table::Main.rules(false), BTreeMap::new());
        assert_eq!(Table::Bridge.rules(false)["to_host"], 1);
    }

    #[test]
    fn every_set_is_declared_in_its_table() {
        for set in Set::ALL {
            let table = if set.table_family() == wire::family::BRIDGE { Table::Bridge } else { Table::Main };
            let declared = |kind| table.text().contains(&format!("\t{kind} {} {{", set.name()));
            assert!(declared("set") || declared("map"), "{}", set.name());
        }
    }

    #[test]
    fn replacing_the_tables_is_one_transaction() {
        let text = render(true);
        assert!(text.starts_with("table inet hns\ndelete table inet hns\n"));
        assert!(text.contains("\nadd chain inet hns text_"));
        assert!(text.contains("\ntable bridge hns\ndelete table bridge hns\n"));
        assert!(text.contains("hook postrouting"));
    }

    /// A packet is the host's, or it comes from a port of ours: one of the two closes.
    #[test]
    fn the_bridges_table_closes_the_host_while_the_other_has_no_chains() {
        assert!(!render(true).contains("iifname \"hn*\""));
        assert!(render(false).contains("iifname \"hn*\" counter name private_drops drop"));
    }

    #[test]
    fn without_its_chains_the_table_of_the_host_hooks_in_nowhere() {
        let text = render(false);
        let (inet, bridge) = text.split_once("\ntable bridge hns\n").unwrap();
        assert!(!inet.contains(" hook ") && inet.contains("set switches"));
        assert!(bridge.contains("hook prerouting"));
    }
}
