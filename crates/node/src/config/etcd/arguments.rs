//! The command line as Go's `flag` package reads it: one dash or two, `--flag=value` or
//! `--flag value`, `--switch` or `--switch=false`; the last one counts.
//!
//! What Conclave knows is handed to clap, each setting once, as `--name=value`; what only etcd
//! knows is taken out. Everything else is left to clap, which says what is wrong with it.

use super::super::settings::{Settings, variable};
use super::table;
use super::{Foreign, Meaning, meaning, truth};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// A command line.
#[derive(Debug, Default)]
pub(in super::super) struct Arguments {
    /// For clap, with the program's name.
    pub(in super::super) own: Vec<OsString>,
    pub(in super::super) foreign: Foreign,
    /// The values of the settings that it has.
    given: BTreeMap<String, String>,
}

impl Arguments {
    /// `is_switch`: whether a setting may stand without a value.
    pub(in super::super) fn read(
        arguments: impl Iterator<Item = OsString>,
        is_switch: impl Fn(&str) -> bool,
    ) -> Arguments {
        let mut read = Arguments::default();
        let mut arguments = arguments.peekable();
        read.own.extend(arguments.next());
        let mut rest: Vec<OsString> = Vec::new();
        while let Some(argument) = arguments.next() {
            let Some((name, value)) = argument.to_str().and_then(split) else {
                // As Go, which stops there.
                rest.push(argument);
                rest.extend(arguments.by_ref());
                break;
            };
            let name = match meaning(name) {
                Some(Meaning::Setting(name)) => name,
                _ => name,
            };
            let kind = Kind::of(name, &is_switch);
            let value = match (&kind, value) {
                (_, Some(value)) => Some(value.to_owned()),
                (Kind::Setting(false) | Kind::Foreign(_, false), None) => next(&mut arguments),
                (_, None) => None,
            };
            match kind {
                Kind::Answer(flag) => {
                    if value.as_deref().and_then(truth) != Some(false) {
                        rest.push(flag.into());
                    }
                }
                Kind::Setting(switch) => match value.or_else(|| switch.then(|| "true".to_owned())) {
                    Some(value) => read.give(name, value),
                    None => rest.push(format!("--{name}").into()),
                },
                Kind::Debug => {
                    if value.as_deref().map_or(Some(true), truth) == Some(true) {
                        read.given.insert("log-level".to_owned(), "debug".to_owned());
                    }
                }
                Kind::Foreign(row, switch) => match value.or_else(|| switch.then(|| "true".to_owned())) {
                    Some(value) => read.foreign.set(row, value),
                    None => rest.push(format!("--{name}").into()),
                },
                Kind::Unknown => rest.push(format!("--{}", argument.to_string_lossy().trim_start_matches('-')).into()),
            }
        }
        let settings = read.given.iter().map(|(name, value)| format!("--{name}={value}").into());
        read.own.extend(settings);
        read.own.extend(rest);
        read
    }

    /// The last value counts, but labels add up.
    fn give(&mut self, name: &str, value: String) {
        let value = match self.given.remove(name) {
            Some(before) if name == "member-label" => format!("{before},{value}"),
            _ => value,
        };
        self.given.insert(name.to_owned(), value);
    }

    /// The value of a setting that stands on the command line, or in its own variable.
    pub(in super::super) fn value<'a>(
        &'a self,
        name: &str,
        variables: &'a BTreeMap<String, String>,
    ) -> Option<(String, &'a str)> {
        if let Some(value) = self.given.get(name) {
            return Some((format!("--{name}"), value));
        }
        let variable = variable(name);
        variables.get(&variable).filter(|value| !value.is_empty()).map(|value| (variable, value.as_str()))
    }
}

enum Kind {
    /// Help or version.
    Answer(&'static str),
    /// Whether it may stand without a value.
    Setting(bool),
    Debug,
    Foreign(&'static table::Row, bool),
    Unknown,
}

impl Kind {
    fn of(name: &str, is_switch: impl Fn(&str) -> bool) -> Kind {
        match name {
            "h" | "help" => return Kind::Answer("--help"),
            "V" | "version" => return Kind::Answer("--version"),
            "config-file" => return Kind::Setting(false),
            _ => {}
        }
        if Settings::is_key(name) {
            return Kind::Setting(is_switch(name));
        }
        match meaning(name) {
            Some(Meaning::Debug) => Kind::Debug,
            Some(Meaning::Foreign(row)) => Kind::Foreign(row, row.switch),
            _ => Kind::Unknown,
        }
    }
}

/// Name and value of a flag; `None` for anything else.
fn split(argument: &str) -> Option<(&str, Option<&str>)> {
    let flag = argument.strip_prefix('-')?;
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
    (!name.is_empty() && !name.starts_with('-')).then_some((name, value))
}

/// The next argument is the value, whatever it is. Text only: a path that is not stays an argument
/// of its own, which clap refuses.
fn next(arguments: &mut std::iter::Peekable<impl Iterator<Item = OsString>>) -> Option<String> {
    let value = arguments.peek().and_then(|next| next.to_str()).map(str::to_owned)?;
    arguments.next();
    Some(value)
}

/// Whether the program's name among the arguments is etcd's.
pub(in super::super) fn program(arguments: &[OsString]) -> &OsStr {
    arguments.first().map_or(OsStr::new(""), OsString::as_os_str)
}
