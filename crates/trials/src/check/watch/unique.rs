//! A watch brings a change once: no key twice at one revision, also over reconnections that resume.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    stream::streams,
};
use std::collections::HashMap;

pub(crate) const PROPERTY: Property =
    Property { name: "watch-unique", workloads: &["watch"], says: "A watch brings each change once.", judge };

fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for stream in streams(case) {
        let mut seen: HashMap<(&str, i64), usize> = HashMap::new();
        for part in &stream.parts {
            if !part.call.resumes {
                seen.clear();
            }
            for (index, change) in part.changes() {
                if let Some(before) = seen.insert((&change.key, change.modified), index) {
                    let sentence =
                        format!("watch {} brought {} at revision {} twice", stream.name, change.key, change.modified);
                    return Err(violation(&[before, index], sentence));
                }
                judged += 1;
            }
        }
    }
    Ok(judged)
}
