//! A progress message is a promise: everything up to its revision has been brought before it,
//! nothing of then comes after it. So a client may resume from there.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    stream::streams,
};
use crate::history::WatchMessage;
use std::collections::HashSet;

pub(crate) const PROPERTY: Property = Property {
    name: "watch-bookmarkable",
    workloads: &["watch"],
    says: "After a progress message nothing up to its revision is outstanding.",
    judge,
};

/// Counts progress messages.
fn judge(case: &Case<'_>) -> Judged {
    let timeline = case.truth()?;
    let mut judged = 0;
    for stream in streams(case) {
        for part in &stream.parts {
            let mut brought: HashSet<(&str, i64)> = HashSet::new();
            let mut upto = part.from - 1;
            let mut promise: Option<(i64, usize)> = None;
            for message in &part.messages {
                for change in message.changes() {
                    if let Some((revision, index)) = promise
                        && change.modified <= revision
                        && !brought.contains(&(change.key.as_str(), change.modified))
                    {
                        let sentence = format!(
                            "watch {} brought {} at revision {} after a progress message for revision {revision}",
                            stream.name, change.key, change.modified
                        );
                        return Err(violation(&[index, message.index], sentence));
                    }
                    brought.insert((&change.key, change.modified));
                }
                if !matches!(message.what, WatchMessage::Progress) {
                    continue;
                }
                judged += 1;
                let last = brought.iter().map(|(_, revision)| *revision).max().unwrap_or(upto).max(upto);
                if let Some((revision, missing)) = part.truth(timeline, last + 1, message.revision).next() {
                    let seen = timeline.seen(revision).map_or(message.index, |(_, seen)| seen);
                    let sentence = format!(
                        "watch {} had a progress message for revision {} without {} at revision {revision}",
                        stream.name, message.revision, missing.key
                    );
                    return Err(violation(&[seen, message.index], sentence));
                }
                upto = upto.max(message.revision);
                promise = promise.max(Some((message.revision, message.index)));
            }
        }
    }
    Ok(judged)
}
