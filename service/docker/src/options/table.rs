use serde_json::{Map, Value};

use crate::drivers::{DRIVERS, Driver};
use crate::refusal::Refusal;

/// What an option is to one driver.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Takes,
    /// It can never mean anything there; the sentence says why.
    Meaningless(&'static str),
    /// It means something that this version does not do.
    Unsupported(&'static str),
}

/// One option. `T` is what the options of its place are read into.
pub(super) struct Row<T> {
    /// The whole name, as Windows and Docker spell it.
    pub key: &'static str,
    /// The same without its prefix; empty where there is none.
    pub short: &'static str,
    /// One a driver, in the order of [`DRIVERS`].
    pub uses: [Use; DRIVERS.len()],
    /// Reads the value; the error says what it should have been.
    pub read: fn(&mut T, &str) -> Result<(), String>,
}

/// The options of one place.
pub(super) struct Table<T: 'static> {
    /// In sentences: `docker network create -o`.
    pub place: &'static str,
    pub rows: &'static [Row<T>],
    /// Whether an option without a row is refused: those that are meant for us. Others are somebody else's.
    pub is_ours: fn(&str) -> bool,
}

/// Options as they were read, with the names of those that were given.
pub(super) struct Reading<T> {
    pub options: T,
    /// By the whole name of each option the name that was used.
    pub given: Vec<(&'static str, String)>,
}

impl<T: Default> Table<T> {
    pub fn read(&self, driver: &Driver, options: &Map<String, Value>) -> Result<Reading<T>, Refusal> {
        let mut reading = Reading { options: T::default(), given: Vec::new() };
        for (key, value) in options {
            let Some(row) = self.rows.iter().find(|row| row.is_named(key)) else {
                if (self.is_ours)(key) {
                    return Err(self.unknown(driver, key));
                }
                continue;
            };
            if let Some((_, other)) = reading.given.iter().find(|(whole, _)| *whole == row.key) {
                return Err(Refusal::OptionTwice { key: key.clone(), other: other.clone() });
            }
            row.check(driver, key)?;
            let value = text(value);
            let wrong = |expected| Refusal::OptionValue { key: key.clone(), value: value.clone(), expected };
            (row.read)(&mut reading.options, &value).map_err(wrong)?;
            reading.given.push((row.key, key.clone()));
        }
        Ok(reading)
    }

    fn unknown(&self, driver: &Driver, key: &str) -> Refusal {
        let taken = self.rows.iter().filter(|row| matches!(row.used_by(driver), Use::Takes));
        let names: Vec<&str> =
            taken.map(|row| if row.short.is_empty() { row.key } else { row.short }).collect();
        Refusal::OptionUnknown {
            key: key.to_owned(),
            driver: driver.name,
            place: self.place,
            valid: names.join(", "),
        }
    }
}

impl<T> Row<T> {
    fn is_named(&self, name: &str) -> bool {
        self.key == name || (!self.short.is_empty() && self.short == name)
    }

    fn used_by(&self, driver: &Driver) -> Use {
        let column = DRIVERS.iter().position(|known| *known == driver).unwrap_or(0);
        self.uses[column]
    }

    fn check(&self, driver: &Driver, key: &str) -> Result<(), Refusal> {
        match self.used_by(driver) {
            Use::Takes => Ok(()),
            Use::Meaningless(why) => {
                Err(Refusal::OptionMeaningless { key: key.to_owned(), driver: driver.name, why })
            }
            Use::Unsupported(why) => Err(Refusal::OptionUnsupported { key: key.to_owned(), why }),
        }
    }
}

/// Docker sends the values of users as text; booleans and numbers come from Docker itself.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
