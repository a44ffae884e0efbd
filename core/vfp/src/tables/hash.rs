//! A quick hash for what is looked up in bulk, and for rules. What it finds is always compared as well, so whoever provokes
//! collisions only makes his own change slow.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::model::{Addresses, Rule};

pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// 2^64 divided by the golden ratio, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        scatter(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut wide = [0; 8];
            wide[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(wide));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(FACTOR);
    }

    fn write_u128(&mut self, number: u128) {
        let bytes = number.to_le_bytes();
        self.write(&bytes);
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&number.to_le_bytes());
    }
}

/// The finalizer of SplitMix64 (Steele et al., OOPSLA 2014).
pub(super) const fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(FACTOR);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Of what a rule does; its labels are left out.
pub(super) fn of_rule(rule: &Rule) -> u64 {
    let mut mix = Mix::default();
    let matches = &rule.matches;
    (rule.action as u8, &matches.protocols).hash(&mut mix);
    for addresses in [&matches.local, &matches.remote] {
        match addresses {
            Addresses::Any => mix.write_u64(1),
            Addresses::Prefixes(prefixes) => prefixes.hash(&mut mix),
            Addresses::Sets(ids) => ids.hash(&mut mix),
        }
    }
    (&matches.local_ports, &matches.remote_ports, &matches.icmp).hash(&mut mix);
    mix.finish()
}
