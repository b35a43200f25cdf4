//! The overlay shows what the base would show after the writes were stored, however a scan steps and jumps.

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
            overlay.first(Table::Kv, &from, &below).expect("memory can be read"),
            stored.first(Table::Kv, &from, &below).expect("memory can be read")
        );
        prop_assert_eq!(
            overlay.get(Table::Kv, &from).expect("memory can be read"),
            stored.get(Table::Kv, &from).expect("memory can be read")
        );
        prop_assert!(scan(&overlay, b"", b"\xff", &[]).len() == stored.rows(Table::Kv));
    }
}
