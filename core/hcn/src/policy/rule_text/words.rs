//! The words of a rule, and how a text is taken apart into them.

use super::RuleTextError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    From,
    To,
    Port,
    LocalPort,
    RemotePort,
    Type,
    Prio,
    Id,
    Host,
    Observe,
}

impl Keyword {
    pub const ALL: [Self; 10] = [
        Self::From,
        Self::To,
        Self::Port,
        Self::LocalPort,
        Self::RemotePort,
        Self::Type,
        Self::Prio,
        Self::Id,
        Self::Host,
        Self::Observe,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
            Self::Port => "port",
            Self::LocalPort => "local-port",
            Self::RemotePort => "remote-port",
            Self::Type => "type",
            Self::Prio => "prio",
            Self::Id => "id",
            Self::Host => "host",
            Self::Observe => "observe",
        }
    }

    pub const fn expected(self) -> &'static str {
        match self {
            Self::From | Self::To => "addresses, prefixes or the ids of sets",
            Self::Port | Self::LocalPort | Self::RemotePort => "ports or ranges of ports",
            Self::Type => "types of ICMP",
            Self::Prio => "a number from 0 to 65535, of which the lowest decides",
            Self::Id => "a label",
            Self::Host | Self::Observe => "nothing",
        }
    }

    pub const fn example(self) -> &'static str {
        match self {
            Self::From => "in block from 10.0.0.0/8,192.0.2.7",
            Self::To => "out allow udp to 192.0.2.53 port 53",
            Self::Port => "in allow tcp port 80,8000-8010",
            Self::LocalPort => "out allow udp local-port 5353",
            Self::RemotePort => "in allow udp remote-port 53",
            Self::Type => "in allow icmp type 8,3/4",
            Self::Prio => "in allow tcp port 443 prio 100",
            Self::Id => "in allow tcp port 443 id web",
            Self::Host => "in block tcp port 22 host",
            Self::Observe => "in block tcp port 22 observe",
        }
    }

    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.word().eq_ignore_ascii_case(text))
    }

    pub fn list() -> String {
        Self::ALL.map(Self::word).join(", ")
    }
}

pub(super) struct Word {
    pub text: String,
    pub quoted: bool,
}

impl Word {
    /// Whether it may stand behind this keyword; a list of commas alone would be read as "any".
    pub fn is_value_of(&self, keyword: Keyword) -> bool {
        let says_something = match keyword {
            Keyword::Id => !self.text.is_empty(),
            _ => self.text.split(',').any(|part| !part.trim().is_empty()),
        };
        says_something && (self.quoted || Keyword::find(&self.text).is_none())
    }
}

/// The words of a text. A backslash takes the next character as it is, double quotes a whole part.
pub(super) fn words(text: &str) -> Result<Vec<Word>, RuleTextError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut in_quotes = false;
    let mut characters = text.chars();
    let open = || RuleTextError::OpenQuote { text: text.to_owned() };
    while let Some(character) = characters.next() {
        if character.is_whitespace() && !in_quotes {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| Word { text: String::new(), quoted: false });
        match character {
            '"' => {
                in_quotes = !in_quotes;
                word.quoted = true;
            }
            '\\' => word.text.push(characters.next().ok_or_else(open)?),
            other => word.text.push(other),
        }
    }
    words.extend(word);
    if in_quotes { Err(open()) } else { Ok(words) }
}

/// A text as one word.
pub(super) fn quoted(text: &str) -> String {
    let needs_quotes = |c: char| c.is_whitespace() || c == '"' || c == '\\';
    if !text.is_empty() && !text.contains(needs_quotes) && Keyword::find(text).is_none() {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
