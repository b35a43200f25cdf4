//! What the user sees. The only module that prints.
//!
//! 1. Answers go to standard output, everything else (errors, advice, progress) to standard error.
//! 2. One answer is one write, flushed before anything else happens: readers of a pipe see it
//!    whole.
//! 3. A reader that went away ends the program quietly, as with any filter; but not before what the
//!    program holds is given back.

mod basics;
pub(crate) mod election;
pub(crate) mod etcd;
mod fields;
pub(crate) mod human;
pub(crate) mod json;
mod migration;
pub(crate) mod placement;
pub(crate) mod quote;
pub mod style;
mod table;
mod text;

pub use table::Table;
pub(crate) use {
    basics::{header_fields, header_json},
    fields::Fields,
    json::Json,
    migration::{MigrationDone, MigrationStatus},
    text::Text,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};
use std::io::{IsTerminal, Write};

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, as etcdctl prints it
    #[default]
    Simple,
    /// One `"Name" : value` a line
    Fields,
    /// One JSON document; keys and values are base64
    Json,
    /// The answer's message as it came
    Protobuf,
    /// With borders
    Table,
}

/// Something that can be shown.
pub(crate) trait Show {
    /// For people.
    fn simple(&self, text: &mut Text);
    /// The whole of it, for programs.
    fn json(&self) -> Json;
    /// The whole of it, line by line.
    fn fields(&self, fields: &mut Fields) {
        fields.flatten(&self.json());
    }
    /// Whether its JSON has ids of members, which `--hex` prints in hexadecimal.
    fn has_ids(&self) -> bool {
        false
    }
    /// As rows; `None` if it has no rows, and then its fields are.
    fn table(&self) -> Option<Table> {
        None
    }
    /// As on the wire, if it is one message.
    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Where and how to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    pub format: Format,
    /// Byte strings in hexadecimal, in the simple format; ids of members, in that of JSON.
    pub(crate) hex: bool,
    /// With colours, in the simple format.
    pub(crate) color: bool,
}

impl Output {
    /// Shows an answer.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn show(self, item: &impl Show) -> Result<()> {
        write_out(&self.render(item))
    }

    /// An answer as it would be shown.
    pub(crate) fn render(self, item: &impl Show) -> Vec<u8> {
        match self.format {
            Format::Simple => {
                let mut text = Text::new(self.hex, self.color);
                item.simple(&mut text);
                text.into_bytes()
            }
            Format::Json if self.hex && item.has_ids() => (item.json().with_hex_ids().line() + "\n").into_bytes(),
            Format::Json => (item.json().line() + "\n").into_bytes(),
            Format::Fields => {
                let mut fields = Fields::default();
                item.fields(&mut fields);
                fields.into_text().into_bytes()
            }
            Format::Table => item.table().unwrap_or_else(|| fields::table(item)).bordered().into_bytes(),
            Format::Protobuf => item.protobuf().unwrap_or_else(|| (item.json().line() + "\n").into_bytes()),
        }
    }

    /// Whether a person reads the answers at a terminal.
    pub(crate) fn at_terminal(self) -> bool {
        self.format == Format::Simple && std::io::stdout().is_terminal()
    }
}

/// Prints text as it is.
///
/// # Errors
/// It cannot be written.
pub fn raw(text: &str) -> Result<()> {
    write_out(text.as_bytes())
}

/// Tells the user something that is not the answer.
pub(crate) fn note(text: &str) {
    note_by("conclavectl", text);
}

/// The same, in the name of another program.
pub fn note_by(program: &str, text: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr().lock(), "{program}: {text}");
}

/// Tells the user why it failed, if there is anybody left to read it.
pub(crate) fn tell(failure: &Failure) {
    if !failure.message().is_empty() {
        let error = style::paint(style::on_stderr(), style::ALARM, "Error:");
        complain(&format!("{failure}\n").replacen("Error:", &error, 1));
    }
}

/// Tells the user text that has its own form, such as a usage error.
pub(crate) fn complain(text: &str) {
    let _ = write!(std::io::stderr().lock(), "{text}");
}

/// Never ends the process: the caller may hold something that it has to give back first.
fn write_out(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::quiet(Exit::Io),
        _ => Failure::from(error).about("standard output"),
    })
}
