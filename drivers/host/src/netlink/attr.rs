//! Netlink attributes: a writer for messages that no library builds for us, and a tolerant reader.

use netlink_packet_core::NlasIterator;

const NESTED: u16 = 1 << 15;
const HEADER_LEN: usize = 4;
const ALIGNMENT: usize = 4;

/// Appends attributes to a message.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start);
    }

    /// A text with its closing zero, as the kernel reads names.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.close(start);
    }

    /// A number in network order, as all of netfilter wants them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.open(kind | NESTED);
        fill(&mut Writer(self.0));
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).expect("our attributes are far below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// The attributes of a message or nest that was received. What is malformed is as good as absent: the kernel
/// sends none of it, and attributes that we do not know are none of our business.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those that follow a message's fixed part of `header` bytes.
    pub(crate) fn after(header: usize, message: &'a [u8]) -> Self {
        Self(message.get(header..).unwrap_or_default())
    }

    pub(crate) fn each(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let bytes = self.0;
        NlasIterator::new(bytes).map_while(Result::ok).scan(0, move |offset, found| {
            // The library's iterator hides the lifetime of the bytes, so the value is cut out again here.
            let start = *offset + HEADER_LEN;
            let value = bytes.get(start..start + found.value_length())?;
            *offset = (start + found.value_length()).next_multiple_of(ALIGNMENT);
            Some((found.kind(), value))
        })
    }

    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.each().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub(crate) fn nest(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    pub(crate) fn ne32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        text(self.get(kind)?)
    }
}

/// The text up to the closing zero.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = vec![9, 9, 9, 9];
        let mut writer = Writer(&mut bytes);
        writer.text(1, "hns");
        writer.nest(2, |nest| {
            nest.be32(3, 7);
            nest.bytes(4, &[1, 2, 3, 4, 5]);
        });
        writer.bytes(5, &[]);
        assert_eq!(bytes.len() % ALIGNMENT, 0);

        let attributes = Attributes::after(4, &bytes);
        assert_eq!(attributes.text(1), Some("hns"));
        let nest = attributes.nest(2).unwrap();
        assert_eq!(nest.be32(3), Some(7));
        assert_eq!(nest.get(4), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(attributes.get(5), Some(&[][..]));
        assert_eq!(attributes.get(6), None);
    }

    #[test]
    fn a_message_cut_short_has_fewer_attributes() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).text(1, "a");
        Writer(&mut bytes).be32(2, 1);
        bytes.truncate(bytes.len() - 2);
        let attributes = Attributes::after(0, &bytes);
        assert_eq!(attributes.text(1), Some("a"));
        assert_eq!(attributes.get(2), None);
    }
}
