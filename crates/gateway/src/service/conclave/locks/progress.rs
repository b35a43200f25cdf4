//! AcquireStream: the place in line while it lasts.
//!
//! Nobody enters a line before those who stand in it, so what is before a request only becomes
//! less: it is counted once, and then what goes is subtracted. The client of a line that moves fast
//! gets some of the numbers only.

use super::acquire::{Granted, Place, reached};
use crate::follow::{Batch, Ended, Span, Subscription};
use crate::gateway::Gateway;
use crate::status::{internal, text};
use conclave_api::conclave::v1::{AcquireProgress, acquire_progress::Now};
use conclave_state::coord::{self, Shown};
use conclave_state::{EventKind, LockPart};
use futures::FutureExt;
use futures::future::select_all;
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// Between two answers that tell of the line.
const STEP: Duration = Duration::from_millis(50);

/// One of the lines that a request stands in.
struct Line {
    part: LockPart,
    changes: Subscription,
    before: u64,
}

struct Run {
    gateway: Arc<Gateway>,
    place: Place,
    lines: Vec<Line>,
    revision: i64,
    told: Option<u64>,
    next_step: Instant,
}

pub(super) fn run(gateway: Arc<Gateway>, place: Place) -> BoxStream<'static, Result<AcquireProgress, Status>> {
    let run = Run { gateway, place, lines: Vec::new(), revision: 0, told: None, next_step: Instant::now() };
    let answers = stream::unfold(Some(run), |run| async {
        let mut run = run?;
        match run.next().await {
            Ok((answer, true)) => Some((Ok(answer), None)),
            Ok((answer, false)) => Some((Ok(answer), Some(run))),
            Err(status) => Some((Err(status), None)),
        }
    });
    answers.boxed()
}

impl Run {
    /// The next answer, and whether it is the last.
    async fn next(&mut self) -> Result<(AcquireProgress, bool), Status> {
        loop {
            if self.lines.is_empty() && self.place.granted().is_none() {
                self.open_lines().await?;
            }
            if let Some(granted) = self.place.granted() {
                self.place.keep();
                return Ok((self.held(granted), true));
            }
            let before = self.lines.iter().map(|line| line.before).max().unwrap_or_default();
            let news = self.told != Some(before);
            if news && Instant::now() >= self.next_step {
                (self.told, self.next_step) = (Some(before), Instant::now() + STEP);
                return Ok((self.waits(before), false));
            }
            self.follow(news.then_some(self.next_step)).await?;
        }
    }

    /// Takes in a change of a line; ends without one at `step`.
    async fn follow(&mut self, step: Option<Instant>) -> Result<(), Status> {
        let stopping = self.gateway.node.stopping.clone();
        let deadline = self.place.deadline();
        let (told, at) = {
            let any = select_all(self.lines.iter_mut().map(|line| line.changes.next().boxed()));
            tokio::select! {
                biased;
                (told, at, _) = any => (told, at),
                () = reached(step) => return Ok(()),
                () = stopping.cancelled() => return Err(text::STOPPED.status()),
                () = reached(deadline) => return Err(text::LOCK_WAIT_OVER.status()),
            }
        };
        match told {
            Ok(batch) => self.take_in(at, &batch),
            // Counted anew.
            Err(Ended::Compacted(_)) => {
                self.lines.clear();
                Ok(())
            }
            Err(Ended::Fault(reason)) => Err(internal(reason)),
        }
    }

    async fn open_lines(&mut self) -> Result<(), Status> {
        for part in self.place.parts().to_vec() {
            let mut changes =
                self.place.acquiring().feed.subscribe(Span::prefix(coord::lock_waiters_prefix(&part.lock)), None);
            let (before, revision) = self.place.acquiring().requests.before(&part, self.place.fence()).await?;
            changes.skip(revision);
            self.revision = self.revision.max(revision);
            self.lines.push(Line { part, changes, before });
        }
        self.place.look()
    }

    fn take_in(&mut self, at: usize, batch: &Batch) -> Result<(), Status> {
        self.revision = self.revision.max(batch.revision);
        let (line, fence) = (&mut self.lines[at], self.place.fence());
        let mut own = false;
        for event in batch.events.iter().filter(|event| event.kind == EventKind::Delete) {
            match Shown::parse(&event.kv.key) {
                Some(Shown::LockWaiter { fence: other, lock }) if lock == line.part.lock => {
                    line.before = line.before.saturating_sub(u64::from(other < fence));
                    own |= other == fence;
                }
                _ => {}
            }
        }
        if own { self.place.look() } else { Ok(()) }
    }

    fn waits(&self, before: u64) -> AcquireProgress {
        let header = Some(self.gateway.header(self.revision));
        AcquireProgress { header, fence: self.place.fence(), now: Some(Now::Before(before)) }
    }

    fn held(&self, granted: Granted) -> AcquireProgress {
        let header = self.gateway.header(granted.revision);
        let held = super::answer(header, &self.place, granted);
        AcquireProgress { header: Some(header), fence: granted.fence, now: Some(Now::Held(held)) }
    }
}
