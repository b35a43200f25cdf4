//! A watch leaves nothing out and makes nothing up: after the first revision that a part brought
//! and up to its last, it brought exactly the changes that the store has; and what it says was
//! there before was. (The beginning of a part belongs to `watch-resumable`, its end to
//! `watch-bookmarkable`.)

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    stream::{right_before, same, streams},
};
use std::collections::HashSet;

pub(crate) const PROPERTY: Property = Property {
    name: "watch-reliable",
    workloads: &["watch"],
    says: "A watch brings every change of its keys, and only what happened.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let timeline = case.truth()?;
    let mut judged = 0;
    for stream in streams(case) {
        for part in &stream.parts {
            let mut brought: HashSet<(&str, i64)> = HashSet::new();
            for (index, change) in part.changes() {
                let mut truth = part.truth(timeline, change.modified, change.modified);
                let real = truth.any(|(_, truth)| same(change, truth));
                let before = !part.call.prev || right_before(timeline, change, case.run.records[index].time);
                if !real || !before {
                    let what = change.value.as_deref().unwrap_or("deleted");
                    let problem = if real { "with a wrong value before it" } else { "which did not happen" };
                    let sentence = format!(
                        "watch {} brought {} = {what} at revision {}, {problem}",
                        stream.name, change.key, change.modified
                    );
                    let seen = timeline.seen(change.modified).map_or(index, |(_, seen)| seen);
                    return Err(violation(&[index, seen], sentence));
                }
                brought.insert((&change.key, change.modified));
                judged += 1;
            }
            let revisions = || brought.iter().map(|(_, revision)| *revision);
            let (Some(first), Some(last)) = (revisions().min(), revisions().max()) else { continue };
            let missing =
                part.truth(timeline, first, last).find(|(at, truth)| !brought.contains(&(truth.key.as_str(), *at)));
            if let Some((revision, change)) = missing {
                let after = part.changes().find(|(_, later)| later.modified > revision).map_or(part.index, |(i, _)| i);
                let seen = timeline.seen(revision).map_or(after, |(_, seen)| seen);
                let sentence = format!(
                    "watch {} left out {} at revision {revision}, between revisions {first} and {last} that it brought",
                    stream.name, change.key
                );
                return Err(violation(&[seen, after], sentence));
            }
        }
    }
    Ok(judged)
}
