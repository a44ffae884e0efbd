//! Waiting for a condition with a deadline, and saying what was last seen when it never came true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Waits until an expression holds and gives its value: `true`, `Some(value)` or `Ok(value)`.
///
/// ```
/// # use hns_testbed::eventually;
/// let mut tries = 0;
/// let third = eventually!(within 1 s, { tries += 1; if tries < 3 { Err("too early") } else { Ok(tries) } });
/// assert_eq!(third, 3);
/// ```
///
/// Without `within`, ten seconds. After the deadline it panics with the expression and the last value.
#[macro_export]
macro_rules! eventually {
    (within $number:literal s, $condition:expr $(,)?) => {
        $crate::until(::std::time::Duration::from_secs($number), stringify!($condition), || $condition)
    };
    (within $number:literal ms, $condition:expr $(,)?) => {
        $crate::until(::std::time::Duration::from_millis($number), stringify!($condition), || $condition)
    };
    ($condition:expr $(,)?) => {
        $crate::until(::std::time::Duration::from_secs(10), stringify!($condition), || $condition)
    };
}

/// What a condition can answer: a value, or what stands in its way.
pub trait Outcome {
    /// What the waiting test gets.
    type Value;

    /// The value, or the words for "not yet".
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Outcome for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// The body of [`eventually!`]: asks again and again, at first every millisecond, later every 50.
///
/// # Panics
/// When the deadline passes, with the condition and what it last answered.
#[track_caller]
pub fn until<O: Outcome>(deadline: Duration, condition: &str, mut ask: impl FnMut() -> O) -> O::Value {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match ask().outcome() {
            Ok(value) => return value,
            Err(last) if begin.elapsed() >= deadline => {
                panic!("not within {deadline:?}: {condition}\n  last: {last}")
            }
            Err(_) => {}
        }
        // Never sleeps past the deadline: a limit of one second must not become one second and a pause.
        pause_for(pause.min(deadline.saturating_sub(begin.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where a test pauses between two looks")]
fn pause_for(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    #[test]
    fn a_condition_that_comes_true_gives_its_value() {
        let tries = Cell::new(0);
        let value = eventually!({
            tries.set(tries.get() + 1);
            (tries.get() == 4).then_some("here")
        });
        assert_eq!((value, tries.get()), ("here", 4));
    }

    #[test]
    #[should_panic(expected = "last: \"still closed\"")]
    fn a_condition_that_never_comes_true_shows_what_it_last_saw() {
        eventually!(within 5 ms, Err::<(), _>("still closed"));
    }
}
