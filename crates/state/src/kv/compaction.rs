//! Compaction in `apply` sets one number. The rows that become unreadable are removed later (see
//! [`crate::sweep`]).
//!
//! The compacted revision starts at -1, below every revision, so that compacting at 0 is legal
//! once, as in etcd.

use crate::machine::{Batch, Stop};
use crate::view::View;
use crate::{Rejection, Response};

impl<V: View> Batch<'_, V> {
    pub(crate) fn compact(&mut self, revision: i64) -> Result<Response, Stop> {
        let (compacted, current) = (self.machine.compacted, self.machine.revision);
        if revision <= compacted {
            return Err(Rejection::Compacted { compacted }.into());
        }
        if revision > current {
            return Err(Rejection::FutureRevision { current }.into());
        }
        self.machine.compacted = revision;
        self.machine.digest.other(5, &revision.to_be_bytes());
        Ok(Response::Compact)
    }
}
