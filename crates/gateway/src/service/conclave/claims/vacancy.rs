//! Waiting until a tenure ends.
//!
//! 1. No end is missed: what happened from the revision asked for is read from history, what
//!    happens from now on is followed, and nothing is between the two.
//! 2. Who waits costs a place in the topic of that claim, shared by all who wait for it.

use super::super::decide::look_at;
use crate::auth::Reading;
use crate::follow::{Batch, Ended, Span};
use crate::gateway::Gateway;
use crate::status::{internal, text};
use conclave_api::conclave::v1::AwaitVacantResponse;
use conclave_state::auth::prefix_range;
use conclave_state::coord::{claim_prefix, read, tenures_prefix};
use conclave_state::{EventKind, Name};
use tonic::Status;

pub(super) async fn wait(gateway: &Gateway, claim: &Name, from: Option<i64>) -> Result<AwaitVacantResponse, Status> {
    let range = || prefix_range(&claim_prefix(claim));
    let mut reading = Reading::new(&gateway.access);
    let mut tenures = gateway.feed.subscribe(Span::prefix(tenures_prefix(claim)), from);
    let name = claim.clone();
    let (state, revision) = look_at(gateway, false, false, range, move |view| read::claim(view, &name)).await?;
    if from.is_none() {
        tenures.skip(revision);
    }
    let answer =
        |revision, handed_over| AwaitVacantResponse { header: Some(gateway.header(revision)), revision, handed_over };
    // The first end in history comes before the present.
    while let Some(batch) = tenures.ready().await.map_err(ended)? {
        if let Some(handed_over) = end_of_tenure(&batch) {
            return Ok(answer(batch.revision, handed_over));
        }
    }
    if state.and_then(|state| state.holder).is_none() {
        return Ok(answer(revision, false));
    }
    loop {
        let batch = tokio::select! {
            batch = tenures.next() => batch.map_err(ended)?,
            () = reading.changed() => {
                reading.check(&range())?;
                continue;
            }
            () = gateway.node.stopping.cancelled() => return Err(text::STOPPED.status()),
        };
        if let Some(handed_over) = end_of_tenure(&batch) {
            return Ok(answer(batch.revision, handed_over));
        }
    }
}

/// Whether a tenure ended in that revision, and if so whether another began.
fn end_of_tenure(batch: &Batch) -> Option<bool> {
    let any = |kind| batch.events.iter().any(|event| event.kind == kind);
    any(EventKind::Delete).then(|| any(EventKind::Put))
}

#[cold]
pub(super) fn ended(why: Ended) -> Status {
    match why {
        Ended::Compacted(_) => text::COMPACTED.status(),
        Ended::Fault(reason) => internal(reason),
    }
}
