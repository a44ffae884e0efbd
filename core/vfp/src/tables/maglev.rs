//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).

use super::hash::scatter;

/// Primes below powers of two, so that a table fills its run of `choices`.
const SIZES: [u32; 9] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521];

/// A table may go on with fewer entries a backend than this before it grows, and grow it must not often: another size moves
/// nearly every entry.
const PER_BACKEND: [u32; 2] = [100, 50];

/// One that gets entries. Its place in the table hangs on `name` alone, not on its number or order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub name: u64,
    pub number: u32,
    /// Not 0.
    pub weight: u16,
}

/// The size of the table for so many backends; `current` is kept while it does, 0: there is none.
pub(super) fn size(backends: usize, current: u32) -> u32 {
    let backends = u32::try_from(backends).unwrap_or(u32::MAX);
    let largest = SIZES[SIZES.len() - 1];
    let wanted = |each: u32| backends.saturating_mul(each).min(largest);
    let fresh = SIZES.into_iter().find(|size| *size >= wanted(PER_BACKEND[0])).unwrap_or(largest);
    if current >= wanted(PER_BACKEND[1]) && current != 0 && current / 8 <= fresh { current } else { fresh }
}

/// For every entry the number of a candidate. Shares are as the weights are; when one comes or goes, few others move.
pub(super) fn table(candidates: &[Candidate], size: u32) -> Vec<u32> {
    let mut candidates: Vec<Candidate> = candidates.to_vec();
    candidates.sort_unstable();
    let heaviest = candidates.iter().map(|candidate| u64::from(candidate.weight)).max().unwrap_or(0);
    if heaviest == 0 {
        return Vec::new();
    }
    let mut walks: Vec<Walk> = candidates.iter().map(|candidate| Walk::of(candidate.name, size)).collect();
    let mut credits = vec![0; candidates.len()];
    let mut table: Vec<Option<u32>> = vec![None; size as usize];
    let mut left = size;
    loop {
        for ((candidate, walk), credit) in candidates.iter().zip(&mut walks).zip(&mut credits) {
            *credit += u64::from(candidate.weight);
            if *credit < heaviest {
                continue;
            }
            *credit -= heaviest;
            let mut place = walk.next();
            while table[place].is_some() {
                place = walk.next();
            }
            table[place] = Some(candidate.number);
            left -= 1;
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
}

/// A candidate's order of preference: a permutation of all entries, since the size is prime.
struct Walk {
    at: u64,
    skip: u64,
    size: u64,
}

impl Walk {
    fn of(name: u64, size: u32) -> Self {
        let size = u64::from(size);
        Self { at: scatter(name) % size, skip: scatter(!name) % (size - 1) + 1, size }
    }

    fn next(&mut self) -> usize {
        let place = self.at;
        self.at = (self.at + self.skip) % self.size;
        usize::try_from(place).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(count: u32) -> Vec<Candidate> {
        (0..count).map(|number| Candidate { name: u64::from(number) + 77, number, weight: 1 }).collect()
    }

    fn share(table: &[u32], number: u32) -> usize {
        table.iter().filter(|entry| **entry == number).count()
    }

    #[test]
    fn sizes_are_primes_below_powers_of_two() {
        for size in SIZES {
            assert!((2..size).take_while(|d| d * d <= size).all(|divisor| size % divisor != 0), "{size}");
            assert!(size.next_power_of_two() - size < 40, "{size}");
        }
    }

    #[test]
    fn equal_backends_get_equal_shares() {
        let table = table(&candidates(10), 1021);
        for number in 0..10 {
            assert!((102..=103).contains(&share(&table, number)), "{number}: {}", share(&table, number));
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut two = candidates(2);
        two[1].weight = 300;
        two[0].weight = 100;
        let table = table(&two, 1021);
        assert!((254..=257).contains(&share(&table, 0)), "{}", share(&table, 0));
    }

    #[test]
    fn few_entries_move_when_a_backend_goes() {
        let all = candidates(10);
        let before = table(&all, 1021);
        let after = table(&all[1..], 1021);
        let kept =
            before.iter().zip(&after).filter(|(before, after)| **before != 0 && before == after).count();
        let others = before.iter().filter(|entry| **entry != 0).count();
        assert!(kept * 100 > others * 85, "{kept} of {others}");
    }

    #[test]
    fn the_size_changes_seldom() {
        assert_eq!(
            [1, 2, 3, 10, 40, 1000].map(|backends| size(backends, 0)),
            [251, 251, 509, 1021, 4093, 65521]
        );
        assert_eq!(size(5, 251), 251);
        assert_eq!(size(6, 251), 1021);
        assert_eq!(size(3, 1021), 1021);
    }
}
