//! Linearizability of single registers by search, after Wing and Gong, with Lowe's memory of states
//! seen: independent of revisions, to guard against revisions that agree with each other and are
//! wrong, and against a fault in `linearizable`.
//!
//! Registers are judged one by one (linearizability is local), without those that transactions
//! write. A write of unknown outcome takes part if its value stands in the timeline; else it never
//! happened. A cas expects the *value* that its client knew by the expected revision. The memory
//! compares exactly. A register whose search exceeds its budget is unknown.

use super::super::{
    Property,
    case::Case,
    timeline::Timeline,
    verdict::{Judged, unknown, violation},
};
use crate::history::{Answer, Call, KvAnswer, KvCall, NEVER, Op, Outcome, Run, TxnOp};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "wgl",
    workloads: &["kv"],
    says: "The calls and answers of each register have an order that explains them (searched for, without looking at revisions).",
    judge,
};

/// What a call does to a register whose value is a number; 0 is absent.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read(u32),
    Write(u32),
    Swap { from: u32, to: u32 },
    Delete { found: Option<bool> },
}

impl Step {
    /// The value afterwards, if the step is possible.
    fn apply(self, value: u32) -> Option<u32> {
        match self {
            Self::Read(seen) => (seen == value).then_some(value),
            Self::Write(to) => Some(to),
            Self::Swap { from, to } => (from == value).then_some(to),
            Self::Delete { found } => found.is_none_or(|found| found == (value != 0)).then_some(0),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    step: Step,
    op: &'a Op,
}

fn judge(case: &Case<'_>) -> Judged {
    let timeline = case.truth()?;
    let registers = registers(case.run, timeline);
    let (mut judged, mut over) = (0, None);
    for (key, items) in &registers {
        match search(items, case.run.bounds.wgl_steps) {
            Search::Found => judged += items.len(),
            Search::OverBudget => over = Some(*key),
            Search::Impossible { done, stuck } => {
                let stuck = items[stuck].op;
                let mut window = vec![stuck.index, stuck.completed];
                let around =
                    items.iter().filter(|item| item.op.invoked <= stuck.returned && item.op.index != stuck.index);
                window.extend(around.rev_take(6).flat_map(|item| [item.op.index, item.op.completed]));
                let sentence = format!(
                    "no order explains the {} operations on {key}: {done} of them can be put in order, then the one that was sent as \
                     number {} cannot follow",
                    items.len(),
                    stuck.index
                );
                return Err(violation(&window, sentence));
            }
        }
    }
    match over {
        Some(key) => unknown(format!("the search over {key} exceeded its budget")),
        None => Ok(judged),
    }
}

/// The last few of an iterator.
trait LastFew: Iterator + Sized {
    fn rev_take(self, count: usize) -> impl Iterator<Item = Self::Item> {
        let all: Vec<_> = self.collect();
        let skip = all.len().saturating_sub(count);
        all.into_iter().skip(skip)
    }
}

impl<I: Iterator> LastFew for I {}

fn registers<'a>(run: &'a Run, timeline: &Timeline<'_>) -> BTreeMap<&'a str, Vec<Item<'a>>> {
    let excluded = in_transactions(run);
    let mut names: HashMap<(&str, &str), u32> = HashMap::new();
    let mut found: BTreeMap<&str, Vec<Item<'_>>> = BTreeMap::new();
    let known = known_versions(run);
    for op in &run.ops {
        let Call::Kv(call) = &op.call else { continue };
        let (KvCall::Get { key, .. } | KvCall::Put { key, .. } | KvCall::Cas { key, .. } | KvCall::Delete { key, .. }) =
            call
        else {
            continue;
        };
        if excluded.contains(key.as_str()) {
            continue;
        }
        let next = names.len() as u32 + 1;
        let mut number = |value: &'a str| *names.entry((key, value)).or_insert(next);
        if let Some(step) = step(op, call, timeline, &known, &mut number) {
            found.entry(key).or_default().push(Item { step, op });
        }
    }
    // A lease takes its keys without anybody's call.
    found.retain(|key, _| {
        timeline.keys.get(key).is_none_or(|versions| versions.iter().all(|version| version.lease == 0))
    });
    found
}

fn step<'a>(
    op: &'a Op,
    call: &'a KvCall,
    timeline: &Timeline<'_>,
    known: &HashMap<(&'a str, i64), &'a str>,
    number: &mut impl FnMut(&'a str) -> u32,
) -> Option<Step> {
    let happened = |key: &str, value: &str| timeline.written.contains_key(&(key, value));
    match (call, &op.outcome) {
        (KvCall::Get { serializable: false, revision: 0, .. }, Outcome::Ok(Answer::Kv(KvAnswer::Read { kvs, .. })))
        | (KvCall::Cas { .. }, Outcome::Ok(Answer::Kv(KvAnswer::Read { kvs, .. }))) => {
            Some(Step::Read(kvs.first().map_or(0, |kv| number(&kv.value))))
        }
        (KvCall::Put { value, .. }, Outcome::Ok(_)) => Some(Step::Write(number(value))),
        (KvCall::Put { key, value, .. }, Outcome::Unknown(_)) if happened(key, value) => {
            Some(Step::Write(number(value)))
        }
        (KvCall::Cas { key, value, expected, .. }, outcome) => {
            let done = match outcome {
                Outcome::Ok(_) => true,
                Outcome::Unknown(_) => happened(key, value),
                Outcome::Fail(_) => false,
            };
            let from =
                if *expected == 0 { Some(0) } else { known.get(&(key.as_str(), *expected)).map(|from| number(from)) };
            let to = done.then(|| number(value))?;
            Some(from.map_or(Step::Write(to), |from| Step::Swap { from, to }))
        }
        (KvCall::Delete { .. }, Outcome::Ok(Answer::Kv(KvAnswer::Deleted { count, .. }))) => {
            Some(Step::Delete { found: Some(*count > 0) })
        }
        (KvCall::Delete { .. }, Outcome::Unknown(_)) => Some(Step::Delete { found: None }),
        _ => None,
    }
}

/// Values as clients knew them by their revision.
fn known_versions(run: &Run) -> HashMap<(&str, i64), &str> {
    let mut known = HashMap::new();
    for op in &run.ops {
        match (&op.call, op.answer()) {
            (
                Call::Kv(KvCall::Put { key, value, .. } | KvCall::Cas { key, value, .. }),
                Some(Answer::Kv(KvAnswer::Written { revision, .. })),
            ) => {
                known.insert((key.as_str(), *revision), value.as_str());
            }
            (_, Some(Answer::Kv(KvAnswer::Read { kvs, .. }))) => {
                known.extend(kvs.iter().map(|kv| ((kv.key.as_str(), kv.modified), kv.value.as_str())));
            }
            _ => {}
        }
    }
    known
}

fn in_transactions(run: &Run) -> HashSet<&str> {
    let mut keys = HashSet::new();
    for op in &run.ops {
        let Call::Kv(KvCall::Txn { then, otherwise, .. }) = &op.call else { continue };
        for step in then.iter().chain(otherwise) {
            if let TxnOp::Put { key, .. } | TxnOp::Delete { key } = step {
                keys.insert(key.as_str());
            }
        }
    }
    keys
}

enum Search {
    Found,
    OverBudget,
    /// The longest order, and the item whose return it could not pass.
    Impossible {
        done: usize,
        stuck: usize,
    },
}

/// Items that are put in order, as bits.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn flip(&mut self, item: usize) {
        self.0[item / 64] ^= 1 << (item % 64);
    }
}

/// Calls and returns in a list from which they are lifted as they are put in order, and put back
/// when that leads nowhere.
struct Moments {
    /// (item, is a return), by time; the list's node is the place + 1, node 0 is its head.
    events: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Nodes of each item's call and return.
    nodes: Vec<(usize, Option<usize>)>,
}

impl Moments {
    fn new(items: &[Item<'_>]) -> Self {
        let mut times = Vec::with_capacity(items.len() * 2);
        for (i, item) in items.iter().enumerate() {
            times.push((item.op.invoked, false, i));
            if item.op.returned != NEVER {
                times.push((item.op.returned, true, i));
            }
        }
        times.sort_unstable();
        let count = times.len();
        let mut nodes = vec![(0, None); items.len()];
        for (place, (_, is_return, item)) in times.iter().enumerate() {
            if *is_return {
                nodes[*item].1 = Some(place + 1);
            } else {
                nodes[*item].0 = place + 1;
            }
        }
        Self {
            events: times.into_iter().map(|(_, is_return, item)| (item, is_return)).collect(),
            next: (1..=count + 2).collect(),
            previous: (0..=count + 1).map(|node: usize| node.saturating_sub(1)).collect(),
            nodes,
        }
    }

    fn tail(&self) -> usize {
        self.events.len() + 1
    }

    fn lift(&mut self, item: usize) {
        let (call, back) = self.nodes[item];
        for node in [Some(call), back].into_iter().flatten() {
            let (before, after) = (self.previous[node], self.next[node]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    fn put_back(&mut self, item: usize) {
        let (call, back) = self.nodes[item];
        for node in [back, Some(call)].into_iter().flatten() {
            let (before, after) = (self.previous[node], self.next[node]);
            self.next[before] = node;
            self.previous[after] = node;
        }
    }
}

fn search(items: &[Item<'_>], budget: u64) -> Search {
    let mut moments = Moments::new(items);
    let mut remaining = items.iter().filter(|item| item.op.returned != NEVER).count();
    let mut done = Done(vec![0; items.len().div_ceil(64)].into());
    let mut seen: HashSet<(Done, u32)> = HashSet::new();
    let mut stack: Vec<(usize, u32)> = Vec::new();
    let (mut value, mut at, mut longest, mut stuck) = (0, moments.next[0], 0, 0);
    for _ in 0..budget {
        if remaining == 0 {
            return Search::Found;
        }
        let event = (at != moments.tail()).then(|| moments.events[at - 1]);
        if let Some((item, false)) = event {
            at = moments.next[at];
            let Some(after) = items[item].step.apply(value) else { continue };
            done.flip(item);
            if seen.insert((done.clone(), after)) {
                stack.push((item, value));
                value = after;
                moments.lift(item);
                remaining -= usize::from(items[item].op.returned != NEVER);
                at = moments.next[0];
            } else {
                done.flip(item);
            }
            continue;
        }
        // A return of something that is not yet in order: what was chosen before was wrong.
        if let Some((item, true)) = event
            && stack.len() >= longest
        {
            (longest, stuck) = (stack.len(), item);
        }
        let Some((item, before)) = stack.pop() else { return Search::Impossible { done: longest, stuck } };
        value = before;
        done.flip(item);
        moments.put_back(item);
        remaining += usize::from(items[item].op.returned != NEVER);
        at = moments.next[moments.nodes[item].0];
    }
    if remaining == 0 { Search::Found } else { Search::OverBudget }
}
