/// A version of the CNI specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    pub const NEWEST: Self = Self::V1_1_0;

    /// All of them: those before 0.3.1 because configurations written for Windows say them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::V0_1_0, "0.1.0"),
        (Self::V0_2_0, "0.2.0"),
        (Self::V0_3_0, "0.3.0"),
        (Self::V0_3_1, "0.3.1"),
        (Self::V0_4_0, "0.4.0"),
        (Self::V1_0_0, "1.0.0"),
        (Self::V1_1_0, "1.1.0"),
    ];

    /// The version of a configuration; one that says none is of 0.1.0, which had no such field.
    pub fn find(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::V0_1_0) };
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(version, _)| *version)
    }

    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(version, _)| *version == self).map_or("1.1.0", |(_, text)| text)
    }

    /// Every version's text, oldest first.
    pub fn texts() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_order_and_are_found_by_their_text() {
        assert!(Version::ALL.is_sorted_by_key(|(version, _)| *version));
        for (version, text) in Version::ALL {
            assert_eq!((Version::find(Some(text)), version.text()), (Some(version), text));
        }
        assert_eq!(Version::find(None), Some(Version::V0_1_0));
        assert_eq!(Version::find(Some("1.2.0")), None);
        assert_eq!(Version::ALL.last(), Some(&(Version::NEWEST, "1.1.0")));
    }
}
