//! A watch goes forward: revisions never fall, within a message, from message to message, and over
//! reconnections that resume.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    stream::streams,
};

pub(crate) const PROPERTY: Property = Property {
    name: "watch-ordered",
    workloads: &["watch"],
    says: "A watch brings changes in the order of their revisions.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for stream in streams(case) {
        let mut last: Option<(i64, usize)> = None;
        for part in &stream.parts {
            last = last.filter(|_| part.call.resumes);
            for (index, change) in part.changes() {
                if let Some((revision, before)) = last
                    && change.modified < revision
                {
                    let sentence = format!(
                        "watch {} brought revision {} ({}) after revision {revision}",
                        stream.name, change.modified, change.key
                    );
                    return Err(violation(&[before, index], sentence));
                }
                last = Some((change.modified, index));
                judged += 1;
            }
        }
    }
    Ok(judged)
}
