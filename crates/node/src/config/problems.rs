//! What is wrong with the settings, all of it at once.

use super::{duration, etcd};
use std::str::FromStr;
use std::time::Duration;

/// Collects problems.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<(&'static str, String)>);

impl Problems {
    pub(super) fn add(&mut self, name: &'static str, why: impl Into<String>) {
        self.0.push((name, why.into()));
    }

    pub(super) fn require(&mut self, holds: bool, name: &'static str, why: impl FnOnce() -> String) {
        if !holds {
            self.add(name, why());
        }
    }

    /// The value. If it is invalid, records the problem and returns a default.
    pub(super) fn take<T>(&mut self, name: &'static str, parsed: Result<T, String>, stand_in: T) -> T {
        parsed.unwrap_or_else(|why| {
            self.add(name, why);
            stand_in
        })
    }

    pub(super) fn number<T: FromStr>(
        &mut self,
        name: &'static str,
        text: Option<&String>,
        default: T,
        unit: &str,
    ) -> T {
        let Some(text) = text else { return default };
        let parsed = text.trim().parse().map_err(|_| format!("{text:?} is not a whole number of {unit}"));
        self.take(name, parsed, default)
    }

    pub(super) fn duration(&mut self, name: &'static str, text: Option<&String>, default: Duration) -> Duration {
        let parsed = text.map_or(Ok(default), |text| duration::parse(text));
        self.take(name, parsed, default)
    }

    pub(super) fn switch(&mut self, name: &'static str, text: Option<&String>, default: bool) -> bool {
        let Some(text) = text else { return default };
        self.take(name, etcd::truth(text).ok_or_else(|| format!("{text:?} is neither true nor false")), default)
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, text: Option<&String>, choices: &[(&str, T)]) -> T {
        let (_, default) = choices[0];
        let Some(text) = text else { return default };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.take(name, found.ok_or_else(|| format!("{text:?} is none of: {}", words.join(", "))), default)
    }
}
