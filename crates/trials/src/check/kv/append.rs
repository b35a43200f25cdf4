//! Strict serializability of list-append transactions, without looking at revisions, after Elle:
//! what is read of a list tells the order of its appends, and from the orders of all lists follow
//! dependencies between transactions, in which there may be no cycle.
//!
//! 1. An element is read once in a list, was appended by somebody, and not by a transaction that
//!    surely failed.
//! 2. Of two reads of one list one is the beginning of the other; a transaction's own appends
//!    follow in its own reads.
//! 3. ww: appends in the order of the list. wr: from the appender of the last element read to the
//!    reader. rw: from the reader to the appender of the element after. Real time: from what had
//!    returned to what was sent after. All together have no cycle.

use super::super::{
    Property,
    case::Case,
    verdict::{Flaw, Judged, violation},
};
use crate::history::{Answer, Call, ListOp, NEVER, Op, Outcome};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "append",
    workloads: &["append"],
    says: "Transactions over lists are strictly serializable.",
    judge,
};

struct Txn<'a> {
    op: &'a Op,
    ops: &'a [ListOp],
    /// What each operation read, where it is known.
    lists: Option<&'a [Vec<u64>]>,
}

fn judge(case: &Case<'_>) -> Judged {
    let mut txns = Vec::new();
    for op in &case.run.ops {
        let Call::Append(call) = &op.call else { continue };
        let lists = match op.answer() {
            Some(Answer::Append(answer)) if answer.lists.len() == call.ops.len() => Some(answer.lists.as_slice()),
            Some(_) => return Err(violation(&[op.index, op.completed], "the answer does not fit the transaction")),
            None => None,
        };
        txns.push(Txn { op, ops: &call.ops, lists });
    }
    let appenders = appenders(&txns);
    let orders = orders(&txns, &appenders)?;
    own_appends(&txns)?;
    acyclic(&txns, &appenders, &orders)?;
    Ok(txns.iter().filter(|txn| txn.lists.is_some()).count())
}

fn appenders<'a>(txns: &[Txn<'a>]) -> HashMap<(&'a str, u64), usize> {
    let mut found = HashMap::new();
    for (i, txn) in txns.iter().enumerate() {
        for op in txn.ops {
            if let ListOp::Append { key, element } = op {
                found.insert((key.as_str(), *element), i);
            }
        }
    }
    found
}

/// Reads of lists as they stood before the transaction's own appends.
fn reads<'a>(txn: &Txn<'a>) -> Vec<(&'a str, &'a [u64])> {
    let mut own: HashMap<&str, usize> = HashMap::new();
    let mut found = Vec::new();
    for (op, list) in txn.ops.iter().zip(txn.lists.into_iter().flatten()) {
        match op {
            ListOp::Append { key, .. } => *own.entry(key).or_default() += 1,
            ListOp::Read { key } => {
                let others = list.len().saturating_sub(own.get(key.as_str()).copied().unwrap_or(0));
                found.push((key.as_str(), &list[..others]));
            }
        }
    }
    found
}

/// The longest read of each list, with which all others agree, and who read it.
fn orders<'a>(
    txns: &[Txn<'a>],
    appenders: &HashMap<(&'a str, u64), usize>,
) -> Result<BTreeMap<&'a str, (&'a [u64], usize)>, Flaw> {
    let mut longest: BTreeMap<&str, (&[u64], usize)> = BTreeMap::new();
    for (i, txn) in txns.iter().enumerate() {
        let shown = [txn.op.index, txn.op.completed];
        for (key, list) in reads(txn) {
            if longest.get(key).is_some_and(|(known, _)| known.starts_with(list)) {
                continue;
            }
            let mut once = HashSet::new();
            for element in list {
                let sentence = match appenders.get(&(key, *element)) {
                    _ if !once.insert(element) => format!("{element} stands twice in a read of list {key}"),
                    None => format!("{element} was read in list {key}, and nobody appended it"),
                    Some(by) if matches!(txns[*by].op.outcome, Outcome::Fail(_)) => {
                        format!("{element} was read in list {key}, but the transaction that was to append it failed")
                    }
                    Some(_) => continue,
                };
                return Err(violation(&shown, sentence));
            }
            let known = longest.entry(key).or_insert((list, i));
            let (short, long) = if known.0.len() < list.len() { (known.0, list) } else { (list, known.0) };
            if !long.starts_with(short) {
                let other = txns[known.1].op;
                let sentence =
                    format!("list {key} was read as {short:?} and as {long:?}: neither is the other's beginning");
                return Err(violation(&[shown[0], shown[1], other.index, other.completed], sentence));
            }
            if list.len() > known.0.len() {
                *known = (list, i);
            }
        }
    }
    Ok(longest)
}

/// A read shows, at its end, what the same transaction appended before.
fn own_appends(txns: &[Txn<'_>]) -> Result<(), Flaw> {
    for txn in txns {
        let mut own: HashMap<&str, Vec<u64>> = HashMap::new();
        for (op, list) in txn.ops.iter().zip(txn.lists.into_iter().flatten()) {
            match op {
                ListOp::Append { key, element } => own.entry(key).or_default().push(*element),
                ListOp::Read { key } => {
                    if own.get(key.as_str()).is_some_and(|own| !list.ends_with(own)) {
                        let sentence = format!("a transaction did not see its own appends in list {key}");
                        return Err(violation(&[txn.op.index, txn.op.completed], sentence));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Builds the graph and looks for a cycle.
fn acyclic(
    txns: &[Txn<'_>],
    appenders: &HashMap<(&str, u64), usize>,
    orders: &BTreeMap<&str, (&[u64], usize)>,
) -> Result<(), Flaw> {
    let mut graph = Graph::default();
    for (key, (order, _)) in orders {
        for pair in order.windows(2) {
            graph.edge(appenders[&(*key, pair[0])], appenders[&(*key, pair[1])], "was appended before");
        }
    }
    let read: HashSet<(&str, u64)> =
        orders.iter().flat_map(|(key, (order, _))| order.iter().map(|element| (*key, *element))).collect();
    let mut unread: HashMap<&str, Vec<usize>> = HashMap::new();
    for (append, by) in appenders {
        if !read.contains(append) && txns[*by].op.answer().is_some() {
            unread.entry(append.0).or_default().push(*by);
        }
    }
    for (i, txn) in txns.iter().enumerate() {
        for (key, list) in reads(txn) {
            if let Some(last) = list.last() {
                graph.edge(appenders[&(key, *last)], i, "was seen by");
            }
            let next = orders.get(key).and_then(|(order, _)| order.get(list.len()));
            match next {
                Some(next) => graph.edge(i, appenders[&(key, *next)], "did not see"),
                // Whatever was appended and acknowledged but is in no read comes after everything
                // that was read.
                None => {
                    for by in unread.get(key).into_iter().flatten() {
                        graph.edge(i, *by, "did not see");
                    }
                }
            }
        }
    }
    real_time(&mut graph, txns);
    let Some(cycle) = graph.cycle() else { return Ok(()) };
    let steps: Vec<_> = cycle.iter().filter(|(node, _)| *node < txns.len()).collect();
    let window: Vec<_> = steps.iter().flat_map(|(i, _)| [txns[*i].op.index, txns[*i].op.completed]).collect();
    let mut sentence = String::from("the transactions form a cycle:");
    for (i, how) in &steps {
        sentence.push_str(&format!(" number {} {how}", txns[*i].op.index));
    }
    sentence.push_str(" the first");
    Err(violation(&window, sentence))
}

/// Edges from what returned to what was sent later, through one node for each return: linear in
/// number.
fn real_time(graph: &mut Graph, txns: &[Txn<'_>]) {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (i, txn) in txns.iter().enumerate() {
        if txn.lists.is_some() || txn.op.returned == NEVER {
            moments.push((txn.op.invoked, false, i));
        }
        if txn.lists.is_some() {
            moments.push((txn.op.returned, true, i));
        }
    }
    moments.sort_unstable();
    let mut barrier = None;
    let mut next = txns.len();
    for (_, is_return, i) in moments {
        if is_return {
            if let Some(before) = barrier {
                graph.edge(before, next, "then");
            }
            graph.edge(i, next, "returned before");
            barrier = Some(next);
            next += 1;
        } else if let Some(before) = barrier {
            graph.edge(before, i, "then");
        }
    }
}

#[derive(Default)]
struct Graph {
    edges: Vec<Vec<(usize, &'static str)>>,
}

impl Graph {
    fn edge(&mut self, from: usize, to: usize, how: &'static str) {
        if from == to {
            return;
        }
        let size = from.max(to) + 1;
        if self.edges.len() < size {
            self.edges.resize_with(size, Vec::new);
        }
        self.edges[from].push((to, how));
    }

    /// A cycle as nodes with how each leads to the next, by a depth-first walk without recursion.
    fn cycle(&self) -> Option<Vec<(usize, &'static str)>> {
        let mut state = vec![0_u8; self.edges.len()];
        for start in 0..self.edges.len() {
            if state[start] != 0 {
                continue;
            }
            let mut path = vec![(start, 0)];
            state[start] = 1;
            while let Some((node, at)) = path.last_mut() {
                let Some((to, _)) = self.edges[*node].get(*at) else {
                    state[*node] = 2;
                    path.pop();
                    continue;
                };
                *at += 1;
                match state[*to] {
                    0 => {
                        state[*to] = 1;
                        path.push((*to, 0));
                    }
                    1 => {
                        let from = path.iter().position(|(node, _)| node == to)?;
                        let step = |(node, at): &(usize, usize)| (*node, self.edges[*node][at - 1].1);
                        return Some(path[from..].iter().map(step).collect());
                    }
                    _ => {}
                }
            }
        }
        None
    }
}
