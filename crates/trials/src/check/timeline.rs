//! What really happened to the store: every revision with its changes, and each key's versions.
//!
//! Merged from all sources; where two contradict each other the first counts here, and `agreement`
//! reports it. Create revisions and versions are counted here rather than believed.

use crate::history::{Fact, Kv, Revision, Run};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

/// One key's state from a revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    pub revision: i64,
    /// `None`: deleted.
    pub value: Option<&'a str>,
    pub create: i64,
    pub version: i64,
    pub lease: i64,
}

/// A revision as it was first told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub what: &'a Revision,
    /// When; the revision had happened by then.
    pub time: u64,
    pub index: usize,
}

#[derive(Debug, Default)]
pub struct Timeline<'a> {
    pub revisions: BTreeMap<i64, Told<'a>>,
    pub keys: BTreeMap<&'a str, Vec<Version<'a>>>,
    /// Where a value was put under a key; more than once is a finding of its own.
    pub written: HashMap<(&'a str, &'a str), Vec<i64>>,
    /// The first revision between the first and the last that nobody tells.
    pub gap: Option<i64>,
    /// When the last fact about a revision was written.
    pub complete: u64,
    /// When somebody asked to forget what was before which revision.
    compactions: Vec<(u64, i64)>,
}

impl<'a> Timeline<'a> {
    #[must_use]
    pub fn new(run: &'a Run) -> Self {
        let mut timeline = Self::default();
        for (record, fact) in run.facts() {
            match fact {
                Fact::Revision(what) => {
                    let told = Told { what, time: record.time, index: record.index as usize };
                    timeline.revisions.entry(what.revision).or_insert(told);
                    timeline.complete = record.time;
                }
                Fact::Compaction(compaction) => timeline.compactions.push((compaction.asked, compaction.revision)),
                _ => {}
            }
        }
        let mut last = None;
        for (revision, told) in &timeline.revisions {
            if last.is_some_and(|last| last + 1 != *revision) && timeline.gap.is_none() {
                timeline.gap = last.map(|last: i64| last + 1);
            }
            last = Some(*revision);
            for change in &told.what.changes {
                let versions = timeline.keys.entry(&change.key).or_default();
                let before = versions.last().filter(|version| version.value.is_some());
                let (create, version) = before.map_or((*revision, 1), |version| (version.create, version.version + 1));
                let value = change.value.as_deref();
                versions.push(Version { revision: *revision, value, create, version, lease: change.lease });
                if let Some(value) = value {
                    timeline.written.entry((&change.key, value)).or_default().push(*revision);
                }
            }
        }
        timeline
    }

    #[must_use]
    pub fn first(&self) -> i64 {
        self.revisions.keys().next().copied().unwrap_or(0)
    }

    #[must_use]
    pub fn last(&self) -> i64 {
        self.revisions.keys().next_back().copied().unwrap_or(0)
    }

    /// A key's newest version at a revision, unless it is absent then.
    #[must_use]
    pub fn at(&self, key: &str, revision: i64) -> Option<&Version<'a>> {
        let versions = self.keys.get(key)?;
        let newest = versions.partition_point(|version| version.revision <= revision).checked_sub(1)?;
        Some(&versions[newest]).filter(|version| version.value.is_some())
    }

    /// Whether the state at a revision may be forgotten by a time.
    #[must_use]
    pub fn may_be_compacted(&self, revision: i64, by: u64) -> bool {
        self.compactions.iter().any(|(asked, compacted)| *asked <= by && *compacted > revision)
    }

    /// Keys with a prefix, with all their versions.
    pub fn versions_under<'t>(&'t self, prefix: &str) -> impl Iterator<Item = (&'a str, &'t Vec<Version<'a>>)> {
        let from = self.keys.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.map(|(key, versions)| (*key, versions)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Keys with a prefix that exist at a revision.
    pub fn under<'t>(&'t self, prefix: &str, revision: i64) -> impl Iterator<Item = (&'a str, &'t Version<'a>)> {
        self.versions_under(prefix).filter_map(move |(key, _)| Some((key, self.at(key, revision)?)))
    }

    /// By when a revision had surely happened, and the record that says so.
    #[must_use]
    pub fn seen(&self, revision: i64) -> Option<(u64, usize)> {
        self.revisions.get(&revision).map(|told| (told.time, told.index))
    }

    /// Whether `kv` is what stands here; zeros in it are not compared.
    #[must_use]
    pub fn agrees(version: &Version<'_>, kv: &Kv) -> bool {
        let same = |told: i64, truth: i64| told == 0 || told == truth;
        version.value == Some(kv.value.as_str())
            && version.revision == kv.modified
            && same(kv.create, version.create)
            && same(kv.version, version.version)
            && same(kv.lease, version.lease)
    }
}
