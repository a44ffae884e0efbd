use std::fmt;
use std::str::FromStr;

const DAY_MS: u64 = 86_400_000;
/// From 0000-03-01 to 1970-01-01, and the days of the Gregorian calendar's period of 400 years.
const DAYS_TO_EPOCH: u64 = 719_468;
const ERA_DAYS: u64 = 146_097;
/// The end of the year 9999, the last that RFC 3339 can write.
const LAST_DAY: u64 = 2_932_896;

/// A moment since 1970 in UTC, to the millisecond; written as RFC 3339 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no moment in UTC, such as 2026-01-02T03:04:05.678Z")]
pub struct TimestampError {
    text: String,
}

impl Timestamp {
    /// Moments after the year 9999 are its last day.
    #[must_use]
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms: unix_ms.min(LAST_DAY * DAY_MS + DAY_MS - 1) }
    }

    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }
}

/// Year, month and day of a day since 1970. Years begin in March here, so that a leap day is the last of its year.
fn date_of(day: u64) -> (u64, u64, u64) {
    let day = day + DAYS_TO_EPOCH;
    let (era, day) = (day / ERA_DAYS, day % ERA_DAYS);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The reverse. Absent: before 1970, or no day of the calendar.
fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let (shifted, before) = if month > 2 { (month.checked_sub(3)?, 0) } else { (month + 9, 1) };
    let of_year = year.checked_sub(before)?;
    let days = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let (era, of_era) = (of_year / 400, of_year % 400);
    let number = era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + days;
    let number = number.checked_sub(DAYS_TO_EPOCH)?;
    (date_of(number) == (year, month, day)).then_some(number)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.unix_ms / DAY_MS);
        let ms = self.unix_ms % DAY_MS;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads what [`Display`](fmt::Display) writes, with any number of digits behind the seconds, or none.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        read(text).map(Self::from_unix_ms).ok_or_else(|| TimestampError { text: text.to_owned() })
    }
}

fn read(text: &str) -> Option<u64> {
    let number = |from: &str, digits: usize| {
        let is_one = from.len() == digits && from.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| from.parse::<u64>().ok()).flatten()
    };
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let day = day_of(number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':');
    let (hour, minute) = (number(time.next()?, 2)?, number(time.next()?, 2)?);
    let second = number(time.next()?, 2)?;
    let is_whole = date.next().is_none() && time.next().is_none();
    let ms = number(format!("{fraction:0<3}").get(..3)?, 3)?;
    (is_whole && hour < 24 && minute < 60 && second < 60)
        .then_some(day * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339_has_it() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(Timestamp::from_unix_ms(ms).to_string(), text);
        }
        let whole: Timestamp = "2026-01-02T03:04:05Z".parse().expect("no fraction is fine");
        assert_eq!(whole.unix_ms(), 1_767_323_045_000);
        for wrong in [
            "",
            "2026-01-02",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05+01:00",
            "1969-12-31T23:59:59Z",
            "2026-01-02T03:04:05.é0Z",
        ] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in 0..=LAST_DAY * DAY_MS) {
            let moment = Timestamp::from_unix_ms(ms);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>(), Ok(moment));
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
