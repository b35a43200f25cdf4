//! etcd's variables: `ETCD_` and a flag's name in capitals.

use super::super::settings::{Settings, variable};
use super::{Foreign, meaning, set};
use std::collections::BTreeMap;
use std::path::PathBuf;

const PREFIX: &str = "ETCD_";

/// What etcd's variables say.
#[derive(Debug, Default)]
pub(in super::super) struct Environment {
    pub(in super::super) settings: Settings,
    pub(in super::super) foreign: Foreign,
    pub(in super::super) config_file: Option<PathBuf>,
    /// Variables that set something, and those that set nothing because something else does.
    used: Vec<String>,
    pub(in super::super) warnings: Vec<String>,
}

impl Environment {
    /// `stronger`: what a setting has from a flag or from a variable of Conclave's, and the name of
    /// that.
    pub(in super::super) fn read<'a>(
        variables: &'a BTreeMap<String, String>,
        stronger: impl Fn(&str) -> Option<(String, &'a str)>,
    ) -> Environment {
        let mut read = Environment::default();
        let mut unknown = Vec::new();
        for (variable, value) in variables.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
        {
            let name = variable[PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
            if name == "config-file" {
                read.config_file = Some(value.into());
            } else if !set(&mut read.settings, &mut read.foreign, &name, value.clone()) {
                unknown.push(variable.as_str());
                continue;
            }
            match stronger(&setting(&name)) {
                None => read.used.push(variable.clone()),
                Some((_, other)) if other == value => {}
                Some((by, _)) => read.warnings.push(format!("{variable} has no effect: {by} says otherwise")),
            }
        }
        if !unknown.is_empty() {
            // The names alone: there may be passwords among the values.
            read.warnings.push(format!("no settings of etcd's or Conclave's: {}", unknown.join(", ")));
        }
        read
    }

    /// The variables that set something, those of Conclave's among them.
    pub(in super::super) fn in_force(&self, variables: &BTreeMap<String, String>) -> Vec<String> {
        let own = Settings::keys().into_iter().chain(["config-file".to_owned()]).map(|key| variable(&key));
        let own = own.filter(|name| variables.get(name).is_some_and(|value| !value.is_empty()));
        let mut all: Vec<String> = own.chain(self.used.iter().cloned()).collect();
        all.sort();
        all
    }
}

/// The setting that a name of etcd's stands for.
fn setting(name: &str) -> String {
    match meaning(name) {
        Some(super::Meaning::Setting(name)) => name.to_owned(),
        Some(super::Meaning::Debug) => "log-level".to_owned(),
        _ => name.to_owned(),
    }
}
