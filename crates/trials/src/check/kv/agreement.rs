//! All sources tell the same of each revision: members do not diverge, streams leave nothing out.
//!
//! 1. Two sources that tell a revision tell the same changes in the same order.
//! 2. A source that tells revisions before and after one that another source knows tells that one
//!    too.
//! 3. Create revisions and versions, where they are told, are those that counting gives.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, unknown, violation},
};
use crate::history::{Change, Fact, Revision};
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "agreement",
    workloads: &[],
    says: "All members tell the same history of the store, revision by revision.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut sources: BTreeMap<&str, BTreeMap<i64, usize>> = BTreeMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let Fact::Revision(told) = fact else { continue };
        let index = record.index as usize;
        judged += 1;
        sources.entry(&told.source).or_default().insert(told.revision, index);
        let Some(first) = case.timeline.revisions.get(&told.revision) else { continue };
        if let Some(difference) = difference(first.what, told) {
            let sentence = format!(
                "{} and {} tell revision {} differently: {difference}",
                first.what.source, told.source, told.revision
            );
            return Err(violation(&[first.index, index], sentence));
        }
        miscounted(case, told, index)?;
    }
    for (source, told) in &sources {
        let (Some((first, _)), Some((last, after))) = (told.first_key_value(), told.last_key_value()) else { continue };
        let missing = case.timeline.revisions.range(first..last).find(|(revision, _)| !told.contains_key(revision));
        if let Some((revision, known)) = missing {
            let sentence = format!("{source} leaves out revision {revision}, which {} tells", known.what.source);
            return Err(violation(&[known.index, *after], sentence));
        }
    }
    match case.timeline.gap {
        Some(revision) => unknown(format!("no source tells what revision {revision} changed")),
        None => Ok(judged),
    }
}

fn difference(first: &Revision, second: &Revision) -> Option<String> {
    let show = |change: &Change| match &change.value {
        Some(value) => format!("{} = {value}", change.key),
        None => format!("{} deleted", change.key),
    };
    let same = |a: &Change, b: &Change| (&a.key, &a.value, a.lease) == (&b.key, &b.value, b.lease);
    for i in 0..first.changes.len().max(second.changes.len()) {
        let (a, b) = (first.changes.get(i), second.changes.get(i));
        if !a.zip(b).is_some_and(|(a, b)| same(a, b)) {
            let text = |change: Option<&Change>| change.map_or_else(|| "no more".into(), show);
            return Some(format!("{} against {}", text(a), text(b)));
        }
    }
    None
}

fn miscounted(case: &Case<'_>, told: &Revision, index: usize) -> Result<(), super::super::Flaw> {
    for change in told.changes.iter().filter(|change| change.value.is_some()) {
        let Some(truth) = case.timeline.at(&change.key, told.revision) else { continue };
        let wrong = (change.create != 0 && change.create != truth.create)
            || (change.version != 0 && change.version != truth.version)
            || (change.modified != told.revision);
        if wrong {
            let sentence = format!(
                "{} at revision {} is told as created at {}, version {}, of revision {}; it is created at {}, version {}",
                change.key, told.revision, change.create, change.version, change.modified, truth.create, truth.version
            );
            return Err(violation(&[index], sentence));
        }
    }
    Ok(())
}
