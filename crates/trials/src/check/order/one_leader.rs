//! In one Raft term there is at most one leader, by all reports: term to leader is a function over
//! everything that was told. Not judged where leader and term are not of one moment
//! (`dated_leaders`: etcd tells the term of the last entry that it applied).

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::Fact;
use std::collections::HashMap;

pub(crate) const PROPERTY: Property =
    Property { name: "one-leader", workloads: &[], says: "No Raft term has two leaders.", judge };

fn judge(case: &Case<'_>) -> Judged {
    let mut leaders: HashMap<u64, (u64, usize)> = HashMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let Fact::Leader(told) = fact else { continue };
        if told.leader == 0 || !case.run.bounds.dated_leaders {
            continue;
        }
        judged += 1;
        let (leader, index) = *leaders.entry(told.term).or_insert((told.leader, record.index as usize));
        if leader != told.leader {
            let sentence = format!("term {} has two leaders: {leader} and {}", told.term, told.leader);
            return Err(violation(&[index, record.index as usize], sentence));
        }
    }
    Ok(judged)
}
