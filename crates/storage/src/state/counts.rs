//! The counts of living keys, kept beside the rows.
//!
//! After a start, and after a snapshot from the leader, the counts are unknown: a thread
//! (`counter`) counts all rows of a view, and the changes that are applied meanwhile are noted and
//! counted at the end. From then on each applied batch changes the counts together with the numbers
//! of the state, so a view has the counts of its moment.
//!
//! Without counts everything works the same, and counting visits each key.

use super::view::Rows;
use bytes::Bytes;
use conclave_state::{Fault, KeyCounts, Step, Table, View};
use parking_lot::RwLock;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct LivingCounts {
    phase: RwLock<Phase>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Unknown,
    /// The rows of a view are being counted. Holds the changes since.
    Counting(Vec<(Bytes, bool)>),
    Known(Arc<KeyCounts>),
}

impl LivingCounts {
    /// The counts, if they are known.
    pub(super) fn get(&self) -> Option<Arc<KeyCounts>> {
        match &*self.phase.read() {
            Phase::Known(counts) => Some(counts.clone()),
            _ => None,
        }
    }

    /// From here on changes are noted. False if the counts are known already.
    pub(super) fn begin(&self) -> bool {
        let mut phase = self.phase.write();
        if matches!(*phase, Phase::Known(_)) {
            return false;
        }
        *phase = Phase::Counting(Vec::new());
        true
    }

    /// Takes the counts of the view that was there at `begin`. False if the state was replaced, or
    /// the rows do not fit.
    pub(super) fn finish(&self, mut counts: KeyCounts) -> bool {
        let mut phase = self.phase.write();
        let Phase::Counting(since) = &mut *phase else { return false };
        let fits = since.iter().all(|(row, born)| counts.changed(row, *born).is_ok());
        *phase = if fits { Phase::Known(Arc::new(counts)) } else { Phase::Unknown };
        fits
    }

    /// Another state is in place of the one that was counted.
    pub(super) fn forget(&self) {
        *self.phase.write() = Phase::Unknown;
    }

    /// Counts the keys that a batch brought to life or ended. Returns the first rows of blocks that
    /// have become too large. Called while no view is taken.
    pub(super) fn changed(&self, living: &[(Bytes, bool)]) -> Changed {
        if living.is_empty() {
            return Changed::Counted(Vec::new());
        }
        let mut phase = self.phase.write();
        match &mut *phase {
            Phase::Unknown => Changed::Counted(Vec::new()),
            Phase::Counting(since) => {
                since.extend_from_slice(living);
                Changed::Counted(Vec::new())
            }
            Phase::Known(counts) => {
                let counts = Arc::make_mut(counts);
                let crowded: Result<Vec<_>, _> = living.iter().map(|(row, born)| counts.changed(row, *born)).collect();
                match crowded {
                    Ok(crowded) => Changed::Counted(crowded.into_iter().flatten().collect()),
                    Err(_) => {
                        *phase = Phase::Unknown;
                        Changed::CountAnew
                    }
                }
            }
        }
    }

    /// Divides blocks that have become too large. `rows` are those of the same moment.
    pub(super) fn divide(&self, mut crowded: Vec<Bytes>, rows: &Rows<'_>) -> Result<(), Fault> {
        crowded.dedup();
        for first in crowded {
            let Some(counts) = self.get() else { return Ok(()) };
            let Some((from, below)) = counts.rows_of(&first) else { continue };
            let mut members = Vec::new();
            rows.scan(Table::Live, &from, below.as_deref().unwrap_or(END), &mut |row, _| {
                members.push(Bytes::copy_from_slice(row));
                Ok(Step::Next)
            })?;
            drop(counts);
            if let Phase::Known(counts) = &mut *self.phase.write() {
                Arc::make_mut(counts).divide(&first, &members);
            }
        }
        Ok(())
    }
}

/// The result of [`LivingCounts::changed`].
pub(super) enum Changed {
    /// The first rows of blocks that are too large.
    Counted(Vec<Bytes>),
    /// The counts did not fit the rows, and are forgotten.
    CountAnew,
}

/// Every row of the table of living keys is less.
pub(super) const END: &[u8] = &[0xff];
