use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one user that is not root: enough for a script that starts as many programs at once as it has
/// processors, a fraction of what all have together.
const USER_MAX: usize = 64;

/// Connections of all users that are not root.
const OTHERS_MAX: usize = 512;

/// Connections of root, whose seats nobody else can take: the plugins of a host that starts all its containers at once.
const ROOT_MAX: usize = 1024;

/// How many connections a socket serves at one time, by who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one user that is not root.
    pub user: usize,
    /// Of all users that are not root.
    pub others: usize,
    /// Of root, and of the user the daemon runs as.
    pub root: usize,
}

impl Limits {
    /// For a socket of all users, in a process that may hold this many descriptors: an eighth at most for others
    /// and a quarter for root, so that links, maps, rules and Docker's plugins have theirs, whoever connects.
    #[must_use]
    pub fn within(descriptors: usize) -> Self {
        Self {
            user: USER_MAX.min(descriptors / 16),
            others: OTHERS_MAX.min(descriptors / 8),
            root: ROOT_MAX.min(descriptors / 4),
        }
    }

    /// For sockets where root alone may speak.
    #[must_use]
    pub fn of_root(descriptors: usize) -> Self {
        Self { user: 0, others: 0, root: ROOT_MAX.min(descriptors / 4) }
    }
}

/// Whose seats a connection counts among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    Root,
    User(u32),
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Nobody but root has seats here.
    RootAlone,
    /// This user has as many as one may have.
    User { limit: usize },
    /// All users that are not root have as many as they may have together.
    Others { limit: usize },
    /// Root has as many as it may have.
    Root { limit: usize },
}

/// The connections there are, by user. What root has and what others have is counted apart, so that neither takes
/// from the other.
#[derive(Debug)]
pub(crate) struct Seats {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    root: usize,
    others: usize,
    /// Users with none are not in it, so that it is never longer than `others`.
    users: BTreeMap<u32, usize>,
}

/// A place among the connections; dropped, it is free.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    guest: Guest,
}

impl Seats {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    pub fn take(self: &Arc<Self>, guest: Guest) -> Result<Seat, Full> {
        let limits = self.limits;
        let mut taken = self.taken();
        match guest {
            Guest::Root if taken.root >= limits.root => return Err(Full::Root { limit: limits.root }),
            Guest::Root => taken.root += 1,
            Guest::User(_) if limits.others == 0 => return Err(Full::RootAlone),
            // A user's own limit first: whoever exceeds it is told so, also when there is no seat for anybody.
            Guest::User(user) if taken.of(user) >= limits.user => {
                return Err(Full::User { limit: limits.user });
            }
            Guest::User(_) if taken.others >= limits.others => {
                return Err(Full::Others { limit: limits.others });
            }
            Guest::User(user) => {
                taken.others += 1;
                *taken.users.entry(user).or_default() += 1;
            }
        }
        Ok(Seat { seats: Arc::clone(self), guest })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, user: u32) -> usize {
        self.users.get(&user).copied().unwrap_or_default()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match self.guest {
            Guest::Root => taken.root -= 1,
            Guest::User(user) => {
                taken.others -= 1;
                match taken.of(user) {
                    0 | 1 => drop(taken.users.remove(&user)),
                    more => drop(taken.users.insert(user, more - 1)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(seats: &Arc<Seats>, guest: Guest) -> (Vec<Seat>, Full) {
        let mut taken = Vec::new();
        loop {
            match seats.take(guest) {
                Ok(seat) => taken.push(seat),
                Err(full) => return (taken, full),
            }
        }
    }

    #[test]
    fn a_user_has_its_limit_and_others_still_have_theirs() {
        let seats = Seats::new(Limits { user: 3, others: 5, root: 2 });
        let (first, full) = take_all(&seats, Guest::User(7));
        assert_eq!((first.len(), full), (3, Full::User { limit: 3 }));
        let (second, full) = take_all(&seats, Guest::User(8));
        assert_eq!((second.len(), full), (2, Full::Others { limit: 5 }));
        assert_eq!(seats.take(Guest::User(7)).unwrap_err(), Full::User { limit: 3 });
    }

    #[test]
    fn root_has_its_seats_whoever_else_sits_there() {
        let seats = Seats::new(Limits { user: 5, others: 5, root: 2 });
        let (_others, _) = take_all(&seats, Guest::User(7));
        let (root, full) = take_all(&seats, Guest::Root);
        assert_eq!((root.len(), full), (2, Full::Root { limit: 2 }));
    }

    #[test]
    fn a_seat_that_is_left_is_free_and_nothing_is_remembered_of_its_user() {
        let seats = Seats::new(Limits { user: 2, others: 2, root: 1 });
        for user in 0..1000 {
            let (taken, _) = take_all(&seats, Guest::User(user));
            assert_eq!(taken.len(), 2);
        }
        drop(seats.take(Guest::Root).unwrap());
        assert_eq!(*seats.taken(), Taken::default());
    }

    #[test]
    fn where_root_alone_may_speak_nobody_else_has_a_seat() {
        let seats = Seats::new(Limits::of_root(1024));
        assert_eq!(seats.take(Guest::User(7)).unwrap_err(), Full::RootAlone);
        assert!(seats.take(Guest::Root).is_ok());
    }

    #[test]
    fn all_seats_together_leave_a_third_of_the_descriptors() {
        for descriptors in [256, 1024, 4096, 20_000, 1 << 20] {
            let (all, plugins) = (Limits::within(descriptors), Limits::of_root(descriptors));
            assert!(all.others + all.root + plugins.root <= descriptors * 2 / 3, "{descriptors}: {all:?}");
            assert!(all.user > 0 && all.user <= all.others, "{all:?}");
        }
        assert_eq!(Limits::within(1 << 20), Limits { user: 64, others: 512, root: 1024 });
    }
}
