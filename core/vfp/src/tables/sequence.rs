//! The order of a ruleset: rules and the ends of tiers, each at a position with gaps between, kept from version to version.

use std::sync::Arc;

use hns_abi::{CHUNK_BITS, CHUNKS_PER_ROW};

use crate::model::{Acl, Action, Rule};

use super::hash;
use super::hash::QuickMap;

/// What stands at a position.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub position: u32,
    /// Of what the rule does, not of its labels.
    pub hash: u64,
    /// Absent: a tier ends; it is where that tier's Pass leads to.
    pub rule: Option<Arc<Rule>>,
}

/// What shall stand in the order; absent: a tier ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub rule: Option<&'a Rule>,
    pub hash: u64,
}

/// Tiers in their order, then the rules.
pub(super) fn wishes(acl: &Acl) -> Vec<Wish<'_>> {
    let mut wishes = Vec::with_capacity(acl.rules.len());
    let wish = |rule| Wish { rule: Some(rule), hash: hash::of_rule(rule) };
    for tier in &acl.tiers {
        wishes.extend(tier.rules.iter().map(wish));
        wishes.push(Wish { rule: None, hash: 0 });
    }
    wishes.extend(acl.rules.iter().map(wish));
    wishes
}

/// Of a whole list.
pub(super) fn content(wishes: &[Wish]) -> u64 {
    wishes.iter().fold(0, |sum, wish| hash::scatter(sum ^ wish.hash))
}

impl Item {
    /// Whether it decides as the wish does.
    pub fn acts_as(&self, wish: &Wish) -> bool {
        self.hash == wish.hash
            && match (&self.rule, wish.rule) {
                (Some(own), Some(other)) => own.action == other.action && own.matches == other.matches,
                (None, None) => true,
                _ => false,
            }
    }

    /// Whether it is the wish, labels included, given that it acts as it.
    pub fn reads_as(&self, wish: &Wish) -> bool {
        match (&self.rule, wish.rule) {
            (Some(own), Some(other)) => {
                own.id == other.id && own.origin == other.origin && own.priority == other.priority
            }
            _ => true,
        }
    }
}

/// Chunks of a row for so many items: room for half as many again, as far as there is.
pub(super) fn slots(items: usize) -> usize {
    (items + items / 2 + 1).div_ceil(CHUNK_BITS).clamp(1, CHUNKS_PER_ROW)
}

/// Places for a new order of `items` in `slots` chunks, far apart.
pub(super) fn spread(items: usize, slots: usize) -> Vec<u32> {
    let room = slots * CHUNK_BITS;
    (0..items).map(|place| u32::try_from((2 * place + 1) * room / (2 * items)).unwrap_or(u32::MAX)).collect()
}

/// For every wish the place among `items` of the one that stays for it. The places ascend.
pub(super) fn staying(items: &[Item], wishes: &[Wish]) -> Vec<Option<usize>> {
    let same = |(item, wish): &(&Item, &Wish)| item.acts_as(wish);
    let head = items.iter().zip(wishes).take_while(same).count();
    let (rest_items, rest_wishes) = (&items[head..], &wishes[head..]);
    let tail = rest_items.iter().rev().zip(rest_wishes.iter().rev()).take_while(same).count();
    let middle_items = &rest_items[..rest_items.len() - tail];
    let middle_wishes = &rest_wishes[..rest_wishes.len() - tail];

    let mut staying: Vec<Option<usize>> = (0..head).map(Some).collect();
    staying.extend(
        ascending(&pairs(middle_items, middle_wishes)).into_iter().map(|place| place.map(|p| p + head)),
    );
    staying.extend((items.len() - tail..items.len()).map(Some));
    staying
}

/// For every wish an item that acts as it; each item once.
fn pairs(items: &[Item], wishes: &[Wish]) -> Vec<Option<usize>> {
    let mut by_hash: QuickMap<u64, Vec<usize>> = QuickMap::default();
    for (place, item) in items.iter().enumerate().rev() {
        by_hash.entry(item.hash).or_default().push(place);
    }
    let mut pair = |wish: &Wish| {
        let places = by_hash.get_mut(&wish.hash)?;
        let place = places.pop()?;
        items[place].acts_as(wish).then_some(place)
    };
    wishes.iter().map(&mut pair).collect()
}

/// Keeps of the places the longest ascending series (patience sorting, Aldous and Diaconis 1999).
fn ascending(places: &[Option<usize>]) -> Vec<Option<usize>> {
    // Where the best series of each length ends, and what comes before in it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; places.len()];
    for (at, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let length = ends.partition_point(|&end| places[end].is_some_and(|p| p < *place));
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut kept = vec![None; places.len()];
    let mut at = ends.last().copied();
    while let Some(here) = at {
        kept[here] = places[here];
        at = before[here];
    }
    kept
}

/// Positions for all wishes: those that stay keep theirs, the others get free ones between. None when a gap is used up.
pub(super) fn place(items: &[Item], staying: &[Option<usize>], slots: usize) -> Option<Vec<u32>> {
    let room = u32::try_from(slots * CHUNK_BITS).ok()?;
    let mut positions = Vec::with_capacity(staying.len());
    let mut wish = 0;
    let mut next_item = 0;
    while wish < staying.len() {
        if let Some(item) = staying[wish] {
            positions.push(items[item].position);
            next_item = item + 1;
            wish += 1;
            continue;
        }
        let new = staying[wish..].iter().take_while(|stays| stays.is_none()).count();
        let until = staying.get(wish + new).copied().flatten();
        let from = next_item.checked_sub(1).map_or(0, |item| items[item].position + 1);
        let to = until.map_or(room, |item| items[item].position);
        let between = &items[next_item..until.unwrap_or(items.len())];
        positions.extend(pick(from, to, between, new)?);
        wish += new;
    }
    Some(positions)
}

/// `count` positions of `from..to` that none of `taken` has, far apart.
fn pick(from: u32, to: u32, taken: &[Item], count: usize) -> Option<Vec<u32>> {
    let mut taken = taken.iter().map(|item| item.position).peekable();
    let free: Vec<u32> = (from..to).filter(|position| taken.next_if_eq(position).is_none()).collect();
    (free.len() >= count).then(|| (0..count).map(|i| free[(2 * i + 1) * free.len() / (2 * count)]).collect())
}

/// Where the Pass of each item leads to: the end of its tier, or behind all.
pub(super) fn pass_targets(items: &[Item], slots: usize) -> Vec<u32> {
    let mut target = u32::try_from(slots * CHUNK_BITS).unwrap_or(u32::MAX);
    let mut targets = vec![target; items.len()];
    for (place, item) in items.iter().enumerate().rev() {
        if item.rule.is_none() {
            target = item.position;
        }
        targets[place] = target;
    }
    targets
}

/// Whether a rule's meaning hangs on the end of its tier.
pub(super) fn passes(item: &Item) -> bool {
    item.rule.as_ref().is_some_and(|rule| rule.action == Action::Pass)
}
