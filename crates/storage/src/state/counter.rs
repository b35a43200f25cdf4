//! Counts the living keys anew, in the background.

use super::counts::{END, LivingCounts};
use super::shared::StateShared;
use conclave_state::{KeyCountsBuilder, Step, Table, View};
use std::sync::mpsc::Receiver;

/// Rows that the thread counts before it looks whether it should go on.
const PIECE: usize = 16_384;

/// Counts all rows each time it is woken and the counts are unknown. Ends when the sender is
/// dropped, or between two pieces.
pub(super) fn run(state: &StateShared, wakeups: &Receiver<()>) {
    while wakeups.recv().is_ok() {
        while wakeups.try_recv().is_ok() {}
        if state.stopping() {
            return;
        }
        count(state);
    }
}

fn count(state: &StateShared) {
    let (view, begun) = state.view_and(LivingCounts::begin);
    if !begun {
        return;
    }
    let mut builder = KeyCountsBuilder::default();
    let mut from = Vec::new();
    loop {
        let mut left = PIECE;
        let mut next = None;
        let piece = view.scan(Table::Live, &from, END, &mut |row, _| {
            if left == 0 {
                next = Some(row.to_vec());
                return Ok(Step::Stop);
            }
            left -= 1;
            builder.row(row);
            Ok(Step::Next)
        });
        // A failed read has stopped the node.
        if piece.is_err() || state.stopping() {
            return;
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    state.counts.finish(builder.finish());
}
