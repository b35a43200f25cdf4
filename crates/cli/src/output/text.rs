//! The simple format: lines, with byte strings as they are or in hexadecimal.

use super::{Table, quote, style};

/// Lines that are being put together.
#[derive(Debug)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    hex: bool,
    color: bool,
}

impl Text {
    pub(crate) fn new(hex: bool, color: bool) -> Self {
        Self { bytes: Vec::new(), hex, color }
    }

    /// A part of a line that needs somebody's attention.
    pub(crate) fn alarm(&self, text: &str) -> String {
        style::paint(self.color, style::ALARM, text)
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.bytes.extend_from_slice(text.as_ref().as_bytes());
        self.bytes.push(b'\n');
    }

    /// A byte string on a line of its own.
    pub(crate) fn value(&mut self, bytes: &[u8]) {
        if self.hex {
            self.bytes.extend_from_slice(quote::hex(bytes).as_bytes());
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        self.bytes.push(b'\n');
    }

    /// A table in plain columns.
    pub(crate) fn table(&mut self, table: &Table) {
        self.bytes.extend_from_slice(table.plain(self.color).as_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
