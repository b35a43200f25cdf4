//! The overlay shows what the base would show after the writes were stored, however a scan steps
//! and jumps.

use conclave_state::overlay::Overlay;
use conclave_state::{MemoryView, Step, Table, View};
use proptest::collection::vec;
use proptest::prelude::*;

type Row = (Vec<u8>, Option<Vec<u8>>);

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(0..3_u8, 0..3)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    vec((key(), proptest::option::of(vec(any::<u8>(), 0..2))), 0..12)
}

fn written<'a>(view: &'a MemoryView, rows: &[Row]) -> Overlay<'a, MemoryView> {
    let mut overlay = Overlay::new(view);
    for (key, value) in rows {
        match value {
            Some(value) => overlay.put(Table::Kv, key.clone(), value.clone()),
            None => overlay.delete(Table::Kv, key.clone()),
        }
    }
    overlay
}

/// What a scan shows that takes its steps from a list, and where the jumps go.
fn scan(view: &impl View, from: &[u8], below: &[u8], steps: &[(u8, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    view.scan(Table::Kv, from, below, &mut |key, value| {
        let step = steps.get(seen.len() % steps.len().max(1));
        seen.push((key.to_vec(), value.to_vec()));
        Ok(match step {
            Some((0, to)) => Step::Seek(to.clone()),
            Some((1, _)) if seen.len() > 3 => Step::Stop,
            _ => Step::Next,
        })
    })
    .expect("memory can be read");
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shows_what_storing_would(
        base in rows(),
        own in rows(),
        (from, below) in (key(), key()),
        steps in vec((0..6_u8, key()), 0..6),
    ) {
        let empty = MemoryView::new();
        let mut view = MemoryView::new();
        view.write(&written(&empty, &base).into_writes());
        let overlay = written(&view, &own);
        let mut stored = view.clone();
        stored.write(&written(&view, &own).into_writes());

        prop_assert_eq!(scan(&overlay, &from, &below, &steps), scan(&stored, &from, &below, &steps));
        prop_assert_eq!(
            overlay.get(Table::Kv, &from).expect("memory can be read"),
            stored.get(Table::Kv, &from).expect("memory can be read")
        );
        prop_assert!(scan(&overlay, b"", b"\xff", &[]).len() == stored.rows(Table::Kv));
    }

    /// Of rows that come and go in turn, a batch writes each at most once, and only those that are
    /// different afterwards.
    #[test]
    fn rows_that_alternate_are_written_once(base in vec(0..4_u8, 0..4), touched in vec(0..4_u8, 0..12)) {
        let mut view = MemoryView::new();
        let mut there = std::collections::BTreeSet::new();
        let mut overlay = Overlay::new(&view);
        for key in base {
            if there.insert(key) {
                overlay.add(Table::Live, vec![key]);
            }
        }
        let writes = overlay.into_writes();
        view.write(&writes);
        let before = there.clone();
        let mut overlay = Overlay::new(&view);
        for key in touched {
            if there.insert(key) {
                overlay.add(Table::Live, vec![key]);
            } else {
                there.remove(&key);
                overlay.take(Table::Live, vec![key]);
            }
        }
        let shown = |view: &MemoryView| (0..4).filter(|key| view.get(Table::Live, &[*key]).unwrap_or(None).is_some()).collect::<std::collections::BTreeSet<u8>>();
        let writes = overlay.into_writes();
        let written: Vec<_> = writes.iter().map(|(_, key, value)| (key[0], value.is_some())).collect();
        let different = before.symmetric_difference(&there).map(|key| (*key, there.contains(key)));
        prop_assert_eq!(written, different.collect::<Vec<_>>());
        view.write(&writes);
        prop_assert_eq!(shown(&view), there);
    }

    /// Rows as apply writes them: a key, its end, and a number that falls from version to version.
    #[test]
    fn finds_the_version_that_storing_would(
        base in vec((0..3_u8, 20..30_u8), 0..8),
        own in vec((0..3_u8, 10..20_u8), 0..8),
        key in 0..3_u8,
        from in 9..32_u8,
    ) {
        let rows = |of: &[(u8, u8)]| of.iter().map(|(key, at)| (vec![*key, b'/', *at], Some(vec![*at]))).collect::<Vec<_>>();
        let empty = MemoryView::new();
        let mut view = MemoryView::new();
        view.write(&written(&empty, &rows(&base)).into_writes());
        let overlay = written(&view, &rows(&own));
        let mut stored = view.clone();
        stored.write(&written(&view, &rows(&own)).into_writes());

        let found = |row: &[u8], value: &[u8]| Ok((row.to_vec(), value.to_vec()));
        let (prefix, from) = ([key, b'/'], [key, b'/', from]);
        let expected = own.iter().chain(&base).filter(|(k, at)| *k == key && *at >= from[2]).map(|(_, at)| *at).min();
        let seen = overlay.version(&prefix, &from, found).expect("memory can be read");
        prop_assert_eq!(seen.as_ref().map(|(row, _)| row[2]), expected);
        prop_assert_eq!(&seen, &stored.version(&prefix, &from, found).expect("memory can be read"));
    }
}
