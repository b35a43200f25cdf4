//! What one revision changed comes in one message, or in fragments that say so and follow each
//! other.

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
    name: "watch-atomic",
    workloads: &["watch"],
    says: "A watch brings the changes of one revision together.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for stream in streams(case) {
        for part in &stream.parts {
            // The revision at the end of the message before, its keys, and whether more was
            // announced.
            let mut open: Option<(i64, HashSet<&str>, usize, bool)> = None;
            for message in &part.messages {
                let WatchMessage::Changes { changes, fragment } = message.what else { continue };
                let (Some(first), Some(last)) = (changes.first(), changes.last()) else { continue };
                judged += 1;
                if let Some((revision, keys, index, announced)) = &open
                    && first.modified == *revision
                    && !announced
                    && changes.iter().any(|change| change.modified == *revision && !keys.contains(change.key.as_str()))
                {
                    let sentence = format!(
                        "watch {} brought revision {revision} in two messages, {} apart",
                        stream.name, first.key
                    );
                    return Err(violation(&[*index, message.index], sentence));
                }
                let of_last = changes.iter().filter(|change| change.modified == last.modified);
                let keys = of_last.map(|change| change.key.as_str()).collect();
                open = Some((last.modified, keys, message.index, *fragment));
            }
        }
    }
    Ok(judged)
}
