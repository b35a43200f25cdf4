//! Members that hold the same compute the same: digests of one kind, at one revision and one
//! compaction, are equal; and so are the digests that two members' states had right after the same
//! entry of the log, whenever in the run that was.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::Fact;
use std::collections::HashMap;

pub(crate) const PROPERTY: Property = Property {
    name: "digests",
    workloads: &[],
    says: "At one revision, and after one entry of the log, all members have the same digest.",
    judge,
};

/// What a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of<'a> {
    Revision { kind: &'a str, revision: i64, compacted: i64 },
    Entry(u64),
}

/// A digest with who told it, in which record.
type Told<'a> = (&'a str, Option<u32>, usize);

/// Counts digests that were compared with one of another member.
fn judge(case: &Case<'_>) -> Judged {
    let mut known: HashMap<Of<'_>, Told<'_>> = HashMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let (of, told) = match fact {
            Fact::Digest(told) => {
                let (kind, revision, compacted) = (told.kind.as_str(), told.revision, told.compacted);
                (Of::Revision { kind, revision, compacted }, &told.digest)
            }
            Fact::Mark(mark) => (Of::Entry(mark.index), &mark.digest),
            _ => continue,
        };
        let (digest, node, index) = *known.entry(of).or_insert((told, record.node, record.index as usize));
        if digest != told {
            let name = |node: Option<u32>| node.map_or_else(|| "a member".into(), |node| format!("n{node}"));
            let at = match of {
                Of::Revision { revision, .. } => format!("at revision {revision}"),
                Of::Entry(index) => format!("after entry {index} of the log"),
            };
            let (first, second) = (name(node), name(record.node));
            let sentence = format!("{at} {first} has digest {digest} and {second} has {told}");
            return Err(violation(&[index, record.index as usize], sentence));
        }
        judged += usize::from(node != record.node);
    }
    Ok(judged)
}
