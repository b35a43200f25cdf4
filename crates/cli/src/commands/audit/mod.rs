//! `audit`: what members have recorded with `--audit-log`.

mod filter;
mod record;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{self, Format, Json, Output, Show, Table, Text},
};
use clap::Args;
use filter::FilterArgs;
use record::Record;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, stdin},
    path::{Path, PathBuf},
};

/// No record is longer.
const LONGEST: u64 = 4 << 20;

/// Who changed what and who was denied what, from the audit logs of members
///
/// Reads what `conclave --audit-log` has written, from files or standard input (-). Each member
/// records the calls that it was asked. Records come in the order of the files; -w json prints
/// their lines as they are.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl audit /var/log/conclave/audit.log
  conclavectl audit audit.log.1 audit.log --by alice --since 2026-11-30T12:00
  conclavectl audit audit.log --denied
  conclavectl audit audit.log --prefix /app/ --kind kv. -w json
  kubectl logs conclave-0 | conclavectl audit - --name default/scheduler

Times are in UTC, and may be shortened: --since 2026-11-30 is the whole of that day and what
follows, --until 2026-12-01 is what was before that day. Lines that are no records are counted;
then the exit code is 3.")]
pub(crate) struct AuditArgs {
    /// Files of --audit-log, the oldest first; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
}

struct Shown(Table);

impl Show for Shown {
    fn simple(&self, text: &mut Text) {
        text.table(&self.0);
    }

    /// Lines are printed as they come.
    fn json(&self) -> Json {
        Json::Null
    }

    fn table(&self) -> Option<Table> {
        Some(self.0.clone())
    }
}

impl AuditArgs {
    pub(crate) fn run(&self, format: Format) -> Result<Exit> {
        if matches!(format, Format::Fields | Format::Protobuf) {
            return Err(Failure::usage("audit writes simple, table or json"));
        }
        let mut table = Table::new(["TIME", "USER", "FROM", "KIND", "WHAT", "RESULT"]);
        let mut wrong = 0_u64;
        for path in &self.files {
            let named = |error: io::Error| Failure::from(error).about(path.display());
            let mut reader = open(path).map_err(named)?;
            let mut line = Vec::new();
            while next(&mut reader, &mut line).map_err(named)? {
                match Record::read(&line) {
                    None if line.trim_ascii().is_empty() => {}
                    None => wrong += 1,
                    Some(record) if !self.filter.admits(&record) => {}
                    Some(_) if format == Format::Json => {
                        output::raw(&format!("{}\n", String::from_utf8_lossy(line.trim_ascii())))?;
                    }
                    Some(record) => {
                        table.row(record.row());
                        if record.denied {
                            table.alarm(5);
                        }
                    }
                }
            }
        }
        if format != Format::Json {
            Output { format, ..Output::default() }.show(&Shown(table))?;
        }
        if wrong == 0 {
            return Ok(Exit::Done);
        }
        output::note(&format!("{wrong} lines are no records of an audit log"));
        Ok(Exit::BadInput)
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

/// The next line, or the next part of one that is too long for a record. `false`: there is none.
fn next(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    Ok(reader.take(LONGEST).read_until(b'\n', line)? > 0)
}
