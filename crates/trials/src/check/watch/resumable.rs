//! A watch from a revision begins there: it brings nothing of before, and between that revision and
//! the first that it brought nothing is missing.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    stream::streams,
};

pub(crate) const PROPERTY: Property = Property {
    name: "watch-resumable",
    workloads: &["watch"],
    says: "A watch that begins at a revision misses nothing from there on.",
    judge,
};

/// Counts beginnings.
fn judge(case: &Case<'_>) -> Judged {
    let timeline = case.truth()?;
    let mut judged = 0;
    for stream in streams(case) {
        for part in &stream.parts {
            if let Some((index, change)) = part.changes().find(|(_, change)| change.modified < part.from) {
                let sentence = format!(
                    "watch {} from revision {} on brought {} at revision {}",
                    stream.name, part.from, change.key, change.modified
                );
                return Err(violation(&[part.index, index], sentence));
            }
            let Some((index, first)) = part.changes().next() else { continue };
            judged += 1;
            if let Some((revision, missed)) = part.truth(timeline, part.from, first.modified - 1).next() {
                let seen = timeline.seen(revision).map_or(index, |(_, seen)| seen);
                let sentence = format!(
                    "watch {} from revision {} on began with revision {} and missed {} at revision {revision}",
                    stream.name, part.from, first.modified, missed.key
                );
                return Err(violation(&[part.index, seen, index], sentence));
            }
        }
    }
    Ok(judged)
}
