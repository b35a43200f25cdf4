//! Sets that only grow: what was added is there from then on, after Jepsen's `set-full`.
//!
//! 1. A read shows every element whose addition had been acknowledged before the read was sent.
//! 2. It shows every element that a read showed which had returned before.
//! 3. It shows nothing that nobody asked to add, or whose addition surely failed, or was sent after
//!    the read returned; nothing twice.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, Op, Outcome, SetAnswer, SetCall};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "set",
    workloads: &["set"],
    says: "An element that was added and acknowledged is in every later read; nothing else is.",
    judge,
};

#[derive(Default)]
struct Set<'a> {
    adds: HashMap<u64, &'a Op>,
    reads: Vec<(&'a Op, &'a [u64])>,
}

fn judge(case: &Case<'_>) -> Judged {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for op in &case.run.ops {
        match (&op.call, op.answer()) {
            (Call::Set(SetCall::Add { set, element }), _) => {
                sets.entry(set).or_default().adds.insert(*element, op);
            }
            (Call::Set(SetCall::Read { set }), Some(Answer::Set(SetAnswer::Read { elements, .. }))) => {
                sets.entry(set).or_default().reads.push((op, elements));
            }
            _ => {}
        }
    }
    let mut judged = 0;
    for (name, mut set) in sets {
        set.reads.sort_by_key(|(op, _)| op.invoked);
        judged += judge_one(name, &set)?;
    }
    Ok(judged)
}

fn judge_one(name: &str, set: &Set<'_>) -> Judged {
    // From when on an element must be seen, and by which operation that is known.
    let mut due: Vec<(u64, u64, &Op)> = Vec::new();
    for (element, op) in &set.adds {
        if op.answer().is_some() {
            due.push((op.returned, *element, op));
        }
    }
    for (op, elements) in &set.reads {
        let mut once = HashSet::new();
        for element in *elements {
            let wrong = match set.adds.get(element) {
                _ if !once.insert(element) => "twice",
                None => "though nobody added it",
                Some(add) if matches!(add.outcome, Outcome::Fail(_)) => "though its addition failed",
                Some(add) if add.invoked > op.returned => "before anybody asked to add it",
                Some(_) => continue,
            };
            let mut window = vec![op.index, op.completed];
            window.extend(set.adds.get(element).into_iter().flat_map(|add| [add.index, add.completed]));
            return Err(violation(&window, format!("a read of {name} shows {element} {wrong}")));
        }
        due.extend(once.into_iter().map(|element| (op.returned, *element, *op)));
    }
    due.sort_by_key(|(time, element, _)| (*time, *element));
    let mut due = due.into_iter().peekable();
    let mut must: BTreeMap<u64, &Op> = BTreeMap::new();
    for (op, elements) in &set.reads {
        while let Some((_, element, by)) = due.next_if(|(time, ..)| *time < op.invoked) {
            must.entry(element).or_insert(by);
        }
        let shown: HashSet<_> = elements.iter().collect();
        if let Some((element, by)) = must.iter().find(|(element, _)| !shown.contains(element)) {
            let how =
                if matches!(by.call, Call::Set(SetCall::Add { .. })) { "its addition" } else { "a read that shows it" };
            let sentence = format!("a read of {name} lacks {element}, although {how} had returned before it was sent");
            return Err(violation(&[by.index, by.completed, op.index, op.completed], sentence));
        }
    }
    Ok(set.reads.len())
}
