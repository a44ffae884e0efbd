use crate::record::Revision;

/// What a commit survives before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process: the kernel has the data. For what cannot outlive the kernel anyway.
    Process,
    /// A power cut: the disk has the data, and everything committed before it.
    Power,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expectation {
    Absent { key: String },
    Revision { key: String, modified: Revision },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
}

/// Expectations and writes that hold or happen together. Writes happen in the order in which they were added; deleting
/// an absent key is no change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub(crate) durability: Durability,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) writes: Vec<Write>,
}

impl Txn {
    pub fn new(durability: Durability) -> Self {
        Self { durability, expectations: Vec::new(), writes: Vec::new() }
    }

    /// Conflicts when `key` has a record.
    pub fn expect_absent(mut self, key: impl Into<String>) -> Self {
        self.expectations.push(Expectation::Absent { key: key.into() });
        self
    }

    /// Conflicts unless the record under `key` was written by exactly revision `modified`.
    pub fn expect_revision(mut self, key: impl Into<String>, modified: Revision) -> Self {
        self.expectations.push(Expectation::Revision { key: key.into(), modified });
        self
    }

    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }
}

/// Whether `expectations` hold, given how to look up the revision that last wrote a key. Shared by the bodies, so that
/// they cannot disagree about what conflicts.
pub(crate) fn first_conflict<E>(
    expectations: &[Expectation],
    mut modified_of: impl FnMut(&str) -> Result<Option<Revision>, E>,
) -> Result<Option<String>, E> {
    for expectation in expectations {
        let (key, expected) = match expectation {
            Expectation::Absent { key } => (key, None),
            Expectation::Revision { key, modified } => (key, Some(*modified)),
        };
        if modified_of(key)? != expected {
            return Ok(Some(key.clone()));
        }
    }
    Ok(None)
}
