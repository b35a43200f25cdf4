//! What a sweep of compacted versions reads.

use crate::world::{Graveyard, Node};
use bytes::Bytes;
use conclave_state::view::Fault;
use conclave_state::*;

/// Versions of ten keys, two of which are deleted in between.
fn node_with_history() -> Node {
    let mut node = Node::new(0);
    for i in 0..1_000 {
        let key = Bytes::from(format!("k{}", i % 10));
        node.apply(Command::Put(Put { key, value: "v".into(), ..Put::default() }));
        if i == 500 {
            let range = KeyRange { key: "k0".into(), end: "k2".into() };
            node.apply(Command::DeleteRange(DeleteRange { range, prev_kv: false }));
        }
    }
    node
}

#[test]
fn a_sweep_looks_at_the_changes_and_hardly_at_the_keys() {
    let mut node = node_with_history();
    let mut swept = None;
    let cost = node.cost(|node| swept = Some(sweep::sweep(&node.view, 0, 900, 1_000).expect("memory can be read")));
    assert!(cost.0 == 0 && cost.1 <= 901 + 10, "{cost:?}");
    let (rows, next) = swept.expect("it ran");
    // 900 changes in 899 revisions: their rows but for the newest, what 886 puts replaced, and two
    // rows for each deletion.
    assert_eq!((rows.len(), next), (899 + 886 + 4, None));
}

/// Rows of the rev table as they were written before changes told what was there before them.
struct Older<'a>(&'a Graveyard);

impl View for Older<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.0.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.0.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<view::Step, Fault>,
    ) -> Result<(), Fault> {
        self.0.scan(table, from, below, &mut |row, value| {
            visit(if table == Table::Rev { &row[..12] } else { row }, value)
        })
    }
}

#[test]
fn a_sweep_of_older_rows_looks_and_finds_the_same() {
    let mut node = node_with_history();
    for compacted in [1, 400, 501, 502, 503, 900, 1_001] {
        let of = |(mut rows, next): (Vec<(Table, Vec<u8>)>, Option<i64>)| {
            rows.retain(|(table, _)| *table == Table::Kv);
            rows.sort_by(|a, b| a.1.cmp(&b.1));
            // A put finds the tombstone before it, which that itself has named.
            rows.dedup();
            (rows, next)
        };
        let told = sweep::sweep(&node.view, 0, compacted, 10_000).expect("memory can be read");
        let mut looked = None;
        let cost = node.cost(|node| {
            looked = Some(sweep::sweep(&Older(&node.view), 0, compacted, 10_000).expect("memory can be read"));
        });
        assert!(cost.1 as i64 >= 2 * compacted - 12, "{cost:?}");
        assert!(Some(of(told)) == looked.map(of), "up to {compacted}");
    }
}
