//! Whether both sides are the same at one revision, and whether clients can be switched over.

use super::{
    Mirror, Stop,
    scan::{At, Difference, Merge, Scan},
};
use crate::{exit::Exit, failure::Failure, output};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The source counts as quiet when its revision has been the same for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is said that the source is still written.
const TELL: Duration = Duration::from_secs(5);
/// Comparisons that may find differences in a row.
const ATTEMPTS: u32 = 5;
/// Keys that are named.
const NAMED: usize = 5;

/// Both sides were the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// At this revision of the source.
    pub(crate) revision: i64,
    pub(crate) keys: u64,
    pub(crate) leases: usize,
}

/// A cutover under way.
#[derive(Debug, Default)]
pub(super) struct Cutting {
    /// The revision of the source at the last look, and since when.
    seen: Option<(i64, Instant)>,
    /// What was found last.
    verified: Option<Verified>,
    told: Option<Instant>,
}

/// What a look came to.
pub(super) enum Cut {
    NotYet,
    Different,
    Done(Verified),
}

impl Cutting {
    pub(super) fn pause(&self) -> Duration {
        if self.seen.is_none() { Duration::ZERO } else { LOOK }
    }

    /// Notes the source's revision; gives how long it has been the same.
    fn note(&mut self, revision: i64, now: Instant) -> Duration {
        match self.seen {
            Some((seen, since)) if seen == revision => now.duration_since(since),
            _ => {
                self.seen = Some((revision, now));
                Duration::ZERO
            }
        }
    }

    /// Tells that writers are at work, now and then.
    fn tell(&mut self, revision: i64, now: Instant) {
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL) {
            self.told = Some(now);
            output::note(&format!(
                "the source is still written (revision {revision}): stop its writers, then it can be switched"
            ));
        }
    }
}

impl Mirror {
    /// Looks whether clients can be switched over now. Nothing is written meanwhile: the
    /// destination stands at one revision of the source.
    pub(super) async fn cut(&mut self, state: &mut Cutting) -> Result<Cut, Stop> {
        let written = self.progress.revision();
        let revision = self.source_revision().await?;
        let first = state.seen.is_none();
        let moved = state.seen.is_some_and(|(seen, _)| seen != revision);
        let quiet = state.note(revision, Instant::now());
        if moved {
            state.tell(revision, Instant::now());
        }
        // Once at the beginning, also while the source is written; then only when it may be the
        // last time.
        if first {
            return self.check(state, written).await;
        }
        if written < revision {
            return Ok(Cut::NotYet);
        }
        match state.verified.filter(|verified| verified.revision == revision) {
            Some(_) if quiet < QUIET => Ok(Cut::NotYet),
            Some(verified) => {
                self.leases.renew_all().await;
                Ok(Cut::Done(Verified { leases: self.leases.count(), ..verified }))
            }
            None if quiet < QUIET / 2 => Ok(Cut::NotYet),
            None => self.check(state, revision).await,
        }
    }

    /// Compares both sides at this revision, and notes that they are the same.
    async fn check(&mut self, state: &mut Cutting, revision: i64) -> Result<Cut, Stop> {
        let Some(verified) = self.verify(revision).await? else {
            self.unequal += 1;
            if self.unequal < ATTEMPTS {
                return Ok(Cut::Different);
            }
            let text = format!(
                "{ATTEMPTS} comparisons in a row found differences: does somebody else write at the destination?"
            );
            return Err(Failure::new(Exit::Failed, text).into());
        };
        self.unequal = 0;
        state.verified = Some(verified);
        output::note(&format!("both sides are the same at revision {revision}: {} keys", verified.keys));
        Ok(Cut::NotYet)
    }

    async fn source_revision(&self) -> Result<i64, Stop> {
        let range = self.plan.mapping.read();
        self.source.revision(&range).await.map_err(|error| Stop::of(&self.source, error))
    }

    /// Compares all keys with their values and leases at this revision, up to which everything was
    /// written. `None` if they differ.
    async fn verify(&mut self, revision: i64) -> Result<Option<Verified>, Stop> {
        let mapping = self.plan.mapping.clone();
        let source = Scan::new(&self.source, mapping.read(), At::Revision(revision));
        let destination = Scan::new(&self.destination, mapping.written(), At::First);
        let mut merge = Merge::new(source, Some(destination), mapping, self.carried());
        let mut differences = Vec::new();
        let mut count = 0;
        while let Some(difference) = merge.next().await? {
            count += 1;
            if differences.len() < NAMED {
                differences.push(match difference {
                    Difference::Write(key, _) => format!("{:?} differs", String::from_utf8_lossy(&key)),
                    Difference::Extra(key) => format!("{:?} is only at the destination", String::from_utf8_lossy(&key)),
                });
            }
        }
        self.progress.skipped.store(merge.skipped, Ordering::Relaxed);
        if count == 0 {
            return Ok(Some(Verified { revision, keys: merge.equal, leases: self.leases.count() }));
        }
        let more = if count > NAMED { ", …" } else { "" };
        output::note(&format!(
            "{count} keys differ at revision {revision}: {}{more}; they are written again",
            differences.join(", ")
        ));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_counted_from_the_last_change() {
        let (mut state, began) = (Cutting::default(), Instant::now());
        assert_eq!(state.pause(), Duration::ZERO);
        assert_eq!(state.note(5, began), Duration::ZERO);
        assert_eq!((state.note(5, began + QUIET), state.pause()), (QUIET, LOOK));
        assert_eq!(state.note(6, began + QUIET), Duration::ZERO);
        assert_eq!(state.note(6, began + QUIET + LOOK), LOOK);
    }
}
