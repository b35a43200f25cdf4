//! What an operator of etcd starts a member with: its flags as Go's `flag` package reads them, its
//! `ETCD_*` variables, and the settings that only etcd has.
//!
//! Every flag of etcd 3.4 to 3.8 is either one of Conclave's settings or a row of [`table`]. A
//! row's value passes if it asks for what is the case anyway, or if it only tunes a part that does
//! not exist here; it is refused if the member would not do what the operator counts on.

pub(super) mod arguments;
pub(super) mod environment;
pub(super) mod table;
#[cfg(test)]
mod tests;

use super::settings::Settings;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use table::{Judgement, Row};

/// Whether the program was started under etcd's name.
pub fn is_etcd(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("etcd"))
}

/// Go's words for a truth value.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What a name of etcd's means here.
pub(super) enum Meaning {
    /// The setting of this name.
    Setting(&'static str),
    /// `debug` is the level of that name.
    Debug,
    Foreign(&'static Row),
}

/// `None`: no name of etcd's that differs from Conclave's.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    match name {
        "debug" => return Some(Meaning::Debug),
        "experimental-max-learners" => return Some(Meaning::Setting("max-learners")),
        "experimental-watch-progress-notify-interval" => {
            return Some(Meaning::Setting("watch-progress-notify-interval"));
        }
        _ => {}
    }
    table::find(name.strip_prefix("experimental-").unwrap_or(name)).map(Meaning::Foreign)
}

/// Settings that only etcd has, with their values, from one place or from several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Foreign(BTreeMap<&'static str, String>);

impl Foreign {
    /// The last one counts. Empty is unset.
    pub(super) fn set(&mut self, row: &'static Row, value: String) {
        match value.is_empty() {
            true => self.0.remove(row.name),
            false => self.0.insert(row.name, value),
        };
    }

    /// What is set here, else what is set there.
    pub(super) fn or(mut self, other: Foreign) -> Foreign {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// What becomes of them.
    pub(super) fn judge(&self) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (name, value) in &self.0 {
            let Some(row) = table::find(name) else { continue };
            match row.judge(value) {
                Judgement::Holds => verdicts.notes.push(format!("--{name}={value} is etcd's, and is the case here")),
                Judgement::Idle(why) => verdicts.warnings.push(format!("--{name} has no effect: {why}")),
                Judgement::Refused(why) => verdicts.problems.push((row.name, why)),
            }
        }
        verdicts
    }
}

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// For the log at debug.
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<(&'static str, String)>,
}

/// Sets a setting, or a row of the table, by a name that flags, variables and the file have in
/// common. `false`: no such name.
pub(super) fn set(settings: &mut Settings, foreign: &mut Foreign, name: &str, value: String) -> bool {
    if settings.set(name, value.clone()) {
        return true;
    }
    match meaning(name) {
        Some(Meaning::Setting(name)) => settings.set(name, value),
        Some(Meaning::Debug) => match truth(&value) {
            Some(true) => settings.set("log-level", "debug".to_owned()),
            _ => true,
        },
        Some(Meaning::Foreign(row)) => {
            foreign.set(row, value);
            true
        }
        None => false,
    }
}
