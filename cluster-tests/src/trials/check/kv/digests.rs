//! Members that hold the same compute the same: digests of one kind, at one revision and one compaction, are equal.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::trials::history::Fact;
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property =
    Property { name: "digests", workloads: &[], says: "At one revision all members have the same digest.", judge };

/// A digest with who told it, in which record.
type Told<'a> = (&'a str, Option<u32>, usize);

/// Counts digests that were compared with one of another member.
fn judge(case: &Case<'_>) -> Judged {
    let mut known: BTreeMap<(&str, i64, i64), Told<'_>> = BTreeMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let Fact::Digest(told) = fact else { continue };
        let key = (told.kind.as_str(), told.revision, told.compacted);
        let (digest, node, index) = *known.entry(key).or_insert((&told.digest, record.node, record.index as usize));
        if digest != told.digest {
            let name = |node: Option<u32>| node.map_or_else(|| "a member".into(), |node| format!("n{node}"));
            let sentence = format!(
                "at revision {} {} has digest {digest} and {} has {}",
                told.revision,
                name(node),
                name(record.node),
                told.digest
            );
            return Err(violation(&[index, record.index as usize], sentence));
        }
        judged += usize::from(node != record.node);
    }
    Ok(judged)
}
