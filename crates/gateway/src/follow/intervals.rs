//! Ranges of keys, found by a point in them.
//!
//! A treap ordered by (start, end) in which every node also keeps the greatest end below it: a
//! lookup skips each subtree that ends before the point, so it costs the logarithm of the number of
//! distinct ranges for each range found, however many there are elsewhere. Equal ranges share a
//! node. Clients choose the ranges, so priorities are hashes under a secret of this process, as
//! those of a hash map are: who could foresee them could make the tree a chain. The shape decides
//! how fast something is found, and the order in which groups are served, which nobody relies on.

use bytes::Bytes;
use slab::Slab;
use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

/// `None` is past every key.
type End = Option<Bytes>;

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    /// Greatest end in this subtree.
    reach: End,
    priority: u64,
    left: Option<usize>,
    right: Option<usize>,
    ids: Vec<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Intervals {
    nodes: Slab<Node>,
    root: Option<usize>,
    counter: u64,
    secret: RandomState,
}

fn compare_ends(a: &End, b: &End) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

fn is_past(end: &End, point: &[u8]) -> bool {
    end.as_ref().is_none_or(|end| end.as_ref() > point)
}

impl Intervals {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn insert(&mut self, start: &Bytes, end: &End, id: usize) {
        if let Some(node) = self.find(start, end) {
            self.nodes[node].ids.push(id);
            return;
        }
        self.counter += 1;
        let node = self.nodes.insert(Node {
            start: start.clone(),
            end: end.clone(),
            reach: end.clone(),
            priority: self.secret.hash_one(self.counter),
            left: None,
            right: None,
            ids: vec![id],
        });
        let (left, right) = self.split(self.root, start, end);
        let left = self.merge(left, Some(node));
        self.root = self.merge(left, right);
    }

    pub(crate) fn remove(&mut self, start: &Bytes, end: &End, id: usize) {
        let Some(node) = self.find(start, end) else { return };
        self.nodes[node].ids.retain(|&other| other != id);
        if self.nodes[node].ids.is_empty() {
            self.root = self.without(self.root, start, end);
            self.nodes.remove(node);
        }
    }

    /// Shows the ids of every range that holds `point`.
    pub(crate) fn at(&self, point: &[u8], found: &mut impl FnMut(usize)) {
        self.visit(self.root, point, found);
    }

    fn visit(&self, tree: Option<usize>, point: &[u8], found: &mut impl FnMut(usize)) {
        let Some(tree) = tree else { return };
        let node = &self.nodes[tree];
        if !is_past(&node.reach, point) {
            return;
        }
        self.visit(node.left, point, found);
        if node.start.as_ref() <= point {
            if is_past(&node.end, point) {
                node.ids.iter().for_each(|&id| found(id));
            }
            self.visit(node.right, point, found);
        }
    }

    fn compare(&self, start: &Bytes, end: &End, node: usize) -> Ordering {
        let node = &self.nodes[node];
        start.cmp(&node.start).then_with(|| compare_ends(end, &node.end))
    }

    fn find(&self, start: &Bytes, end: &End) -> Option<usize> {
        let mut tree = self.root;
        while let Some(node) = tree {
            tree = match self.compare(start, end, node) {
                Ordering::Equal => return Some(node),
                Ordering::Less => self.nodes[node].left,
                Ordering::Greater => self.nodes[node].right,
            };
        }
        None
    }

    fn refresh(&mut self, node: usize) {
        let mut reach = self.nodes[node].end.clone();
        for child in [self.nodes[node].left, self.nodes[node].right].into_iter().flatten() {
            if compare_ends(&self.nodes[child].reach, &reach) == Ordering::Greater {
                reach = self.nodes[child].reach.clone();
            }
        }
        self.nodes[node].reach = reach;
    }

    /// The ranges below (start, end), and the rest.
    fn split(&mut self, tree: Option<usize>, start: &Bytes, end: &End) -> (Option<usize>, Option<usize>) {
        let Some(node) = tree else { return (None, None) };
        if self.compare(start, end, node) == Ordering::Greater {
            let (left, right) = self.split(self.nodes[node].right, start, end);
            self.nodes[node].right = left;
            self.refresh(node);
            (Some(node), right)
        } else {
            let (left, right) = self.split(self.nodes[node].left, start, end);
            self.nodes[node].left = right;
            self.refresh(node);
            (left, Some(node))
        }
    }

    /// Joins two trees of which every range of the first is below every range of the second.
    fn merge(&mut self, left: Option<usize>, right: Option<usize>) -> Option<usize> {
        let (Some(a), Some(b)) = (left, right) else { return left.or(right) };
        if self.nodes[a].priority >= self.nodes[b].priority {
            self.nodes[a].right = self.merge(self.nodes[a].right, right);
            self.refresh(a);
            Some(a)
        } else {
            self.nodes[b].left = self.merge(left, self.nodes[b].left);
            self.refresh(b);
            Some(b)
        }
    }

    /// The tree without the node of exactly this range (which stays in the arena).
    fn without(&mut self, tree: Option<usize>, start: &Bytes, end: &End) -> Option<usize> {
        let node = tree?;
        match self.compare(start, end, node) {
            Ordering::Equal => return self.merge(self.nodes[node].left, self.nodes[node].right),
            Ordering::Less => self.nodes[node].left = self.without(self.nodes[node].left, start, end),
            Ordering::Greater => self.nodes[node].right = self.without(self.nodes[node].right, start, end),
        }
        self.refresh(node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(intervals: &Intervals, point: &[u8]) -> Vec<usize> {
        let mut ids = Vec::new();
        intervals.at(point, &mut |id| ids.push(id));
        ids.sort_unstable();
        ids
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_of_all_ranges_finds(
            steps in prop::collection::vec((0u8..12, prop::option::of(0u8..12), any::<bool>()), 1..120)
        ) {
            let mut intervals = Intervals::default();
            let mut model: Vec<(Bytes, End, usize)> = Vec::new();
            for (id, (start, end, add)) in steps.into_iter().enumerate() {
                let start = Bytes::from(vec![start]);
                let end = end.map(|end| Bytes::from(vec![end]));
                if add || model.is_empty() {
                    intervals.insert(&start, &end, id);
                    model.push((start, end, id));
                } else {
                    let (start, end, id) = model.swap_remove(start[0] as usize % model.len());
                    intervals.remove(&start, &end, id);
                }
                for point in 0u8..12 {
                    let mut expected: Vec<usize> = model
                        .iter()
                        .filter(|(start, end, _)| start.as_ref() <= &[point][..] && is_past(end, &[point]))
                        .map(|(_, _, id)| *id)
                        .collect();
                    expected.sort_unstable();
                    prop_assert_eq!(found(&intervals, &[point]), expected);
                }
            }
        }
    }

    fn depth(intervals: &Intervals, tree: Option<usize>) -> usize {
        tree.map_or(0, |n| {
            1 + depth(intervals, intervals.nodes[n].left).max(depth(intervals, intervals.nodes[n].right))
        })
    }

    /// Clients choose the ranges, and the order. Somebody who knew the priorities could build a
    /// chain, deep enough to overflow the stack.
    #[test]
    fn nobody_can_know_the_shape() {
        let bound = |n: usize| Bytes::from(format!("{n:06}"));
        let mut known = Intervals::default();
        (0..3000).for_each(|n| known.insert(&bound(n), &None, n));
        let priorities = known.nodes.iter().map(|(_, node)| (node.priority, node.ids[0]));
        let mut by_priority: Vec<(u64, usize)> = priorities.collect();
        by_priority.sort_unstable();
        let mut place = vec![0; by_priority.len()];
        by_priority.iter().enumerate().for_each(|(at, (_, n))| place[*n] = at);
        let mut intervals = Intervals::default();
        place.iter().enumerate().for_each(|(n, at)| intervals.insert(&bound(*at), &None, n));
        let depth = depth(&intervals, intervals.root);
        assert!(depth < 60, "{depth}");
    }

    #[test]
    fn many_disjoint_prefixes_stay_shallow() {
        let mut intervals = Intervals::default();
        let bound = |n: usize| Bytes::from(format!("{n:06}"));
        for n in 0..20_000 {
            intervals.insert(&bound(n), &Some(bound(n + 1)), n);
        }
        assert_eq!(intervals.len(), 20_000);
        assert!(depth(&intervals, intervals.root) < 60);
        assert_eq!(found(&intervals, b"012345/x"), vec![12345]);
        for n in 0..20_000 {
            intervals.remove(&bound(n), &Some(bound(n + 1)), n);
        }
        assert_eq!((intervals.len(), intervals.root), (0, None));
    }
}
