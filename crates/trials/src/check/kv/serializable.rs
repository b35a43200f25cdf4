//! Reads that need not be linearizable may be old, but on one member they never go back: of two
//! that one member answered one after the other, the later shows no smaller revision, unless the
//! member was down or disturbed in between. (That each shows the state at its revision is part of
//! `linearizable`.)

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, KvAnswer, KvCall, Op};
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "serializable",
    workloads: &["kv"],
    says: "Serializable reads of one member never go back.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut members: BTreeMap<u32, Vec<(&Op, i64)>> = BTreeMap::new();
    for op in &case.run.ops {
        if let (
            Call::Kv(KvCall::Get { serializable: true, .. } | KvCall::Range { serializable: true, .. }),
            Some(Answer::Kv(KvAnswer::Read { revision, .. })),
            Some(node),
        ) = (&op.call, op.answer(), op.node)
        {
            members.entry(node).or_default().push((op, *revision));
        }
    }
    let broken = case.run.broken();
    let mut judged = 0;
    for (node, mut reads) in members {
        judged += reads.len();
        let name = format!("n{node}");
        let mut told = reads.clone();
        told.sort_by_key(|(op, _)| op.returned);
        reads.sort_by_key(|(op, _)| op.invoked);
        let (mut told, mut newest) = (told.into_iter().peekable(), None::<(&Op, i64)>);
        for (op, revision) in reads {
            while let Some(known) = told.next_if(|(known, _)| known.returned < op.invoked) {
                newest = newest.filter(|(_, newest)| *newest >= known.1).or(Some(known));
            }
            let Some((by, known)) = newest.filter(|(_, known)| *known > revision) else { continue };
            // It may have started again from an older state.
            let down = broken.iter().any(|(from, until, fault)| {
                fault.targets.contains(&name) && *from <= op.returned && *until >= by.invoked
            });
            if down {
                newest = None;
                continue;
            }
            let sentence =
                format!("n{node} answered a serializable read at revision {revision} after one at revision {known}");
            return Err(violation(&[by.index, by.completed, op.index, op.completed], sentence));
        }
    }
    Ok(judged)
}
