//! The keys of one cluster written into another, while they change: the engine of `make-mirror` and
//! of `migrate`.
//!
//! First both sides are compared key by key at one revision of the source, and what differs is
//! written. Then changes are followed from that revision on. Whenever the thread is lost (a
//! restart, history that was compacted, keys that ended with a lease at the destination) the
//! comparison is made again: nothing has to be remembered anywhere.
//!
//! 1. After each transaction the destination holds the source's keys of one revision, unless that
//!    revision alone has more changes than a transaction takes. Revisions that came together are
//!    written together: the destination's history has fewer steps.
//! 2. Every transaction happens once, and no late one undoes a later one (`mark`).
//! 3. In memory are a page of each side and the changes of a transaction, whatever the clusters
//!    hold.
//! 4. A cluster that does not answer is asked until it does. A refusal ends the mirror.

mod changes;
mod leases;
mod mapping;
mod mark;
mod progress;
mod scan;
mod side;
mod verify;

pub(crate) use leases::Leases;
pub(crate) use mapping::Mapping;
pub(crate) use progress::{Cutover, Progress};
pub(crate) use side::Side;
pub(crate) use verify::Verified;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use changes::{Change, Changes, Keyed};
use conclave_client::{Batch, Error, ErrorKind, Watch, WatchStream};
use futures::{FutureExt as _, StreamExt as _};
use mark::{Mark, Unwritten};
use scan::{At, Difference, Merge, Scan};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;
use verify::Cutting;

/// Between two attempts at what a lease was missing for.
const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of keys that only the destination has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// They stay.
    Keep,
    /// The mirror does not begin; what the source loses later goes.
    Refuse,
    /// They go.
    Remove,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mapping: Mapping,
    /// Operations in one transaction, the mirror's own among them.
    pub(crate) most: usize,
    /// Whether leases are carried.
    pub(crate) leases: bool,
    pub(crate) extra: Extra,
    /// Only what changed from this revision on; 0: everything.
    pub(crate) from: i64,
}

/// A mirror at work.
pub(crate) struct Mirror {
    source: Side,
    destination: Side,
    plan: Plan,
    mark: Mark,
    leases: Arc<Leases>,
    progress: Arc<Progress>,
    cutover: Arc<Cutover>,
    /// Comparisons before a cutover that found differences, in a row.
    unequal: u32,
    /// The mirror's own key is at the destination.
    began: bool,
}

/// Why the thread of changes is lost.
enum Stop {
    /// History that is needed is gone at one of the sides.
    Compacted(Failure),
    Failed(Failure),
}

impl Stop {
    fn of(side: &Side, error: Error) -> Self {
        let compacted = error.kind() == ErrorKind::OutOfRange;
        let failure = side.refused(error);
        if compacted { Self::Compacted(failure) } else { Self::Failed(failure) }
    }
}

impl From<(Side, Error)> for Stop {
    fn from((side, error): (Side, Error)) -> Self {
        Self::of(&side, error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How following ended.
enum Followed {
    /// Both sides have to be compared again.
    Lost,
    Done(Verified),
}

impl Mirror {
    pub(crate) fn new(source: Side, destination: Side, plan: Plan) -> Self {
        let mark = Mark::new(plan.mapping.mark());
        let leases = Arc::new(Leases::new(&source, &destination));
        Self {
            source,
            destination,
            plan,
            mark,
            leases,
            progress: Arc::default(),
            cutover: Arc::default(),
            unequal: 0,
            began: false,
        }
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    pub(crate) fn cutover(&self) -> Arc<Cutover> {
        self.cutover.clone()
    }

    pub(crate) fn leases(&self) -> Arc<Leases> {
        self.leases.clone()
    }

    /// Mirrors until the cutover, if there is one; and keeps the leases alive.
    pub(crate) async fn run(&mut self) -> Result<Verified> {
        let leases = self.leases.clone();
        tokio::select! {
            done = self.mirror() => done,
            () = leases.keep() => Err(Failure::new(Exit::Failed, "leases are not kept alive any more")),
        }
    }

    /// Takes the mirror's own key away, as well as that is possible.
    pub(crate) async fn leave(&self) {
        if self.began
            && let Err(error) = self.mark.remove(&self.destination).await
        {
            output::note(&format!("the mirror's own key stays for a minute: {error}"));
        }
    }

    async fn mirror(&mut self) -> Result<Verified> {
        if self.plan.extra == Extra::Refuse {
            self.refuse_extra().await?;
            self.plan.extra = Extra::Remove;
        }
        self.leases.own(self.mark.lease, mark::TTL).await.map_err(|error| self.destination.refused(error))?;
        self.began = true;
        let taken = self.mark.take(&self.destination, true).await;
        taken.map_err(|why| self.unwritten(why))?;
        let mut follow_from = self.plan.from;
        loop {
            if follow_from == 0 {
                follow_from = match self.sync().await {
                    Ok(revision) => revision + 1,
                    Err(Stop::Failed(failure)) => return Err(failure),
                    Err(Stop::Compacted(_)) => {
                        output::note("history was compacted during the comparison, which begins again");
                        continue;
                    }
                };
            }
            match self.follow(follow_from).await {
                Ok(Followed::Done(verified)) => return Ok(verified),
                Ok(Followed::Lost) => {}
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Compacted(failure)) if self.plan.extra == Extra::Keep => {
                    // In place of the advice that the refusal has.
                    return Err(Failure::new(failure.exit, failure.message()).hint(
                        "changes were lost, deletions perhaps among them. Mirror again; with --prune, what only the destination has is \
                         removed, and this cannot end a mirror",
                    ));
                }
                Err(Stop::Compacted(failure)) => {
                    output::note(&format!("{}; both sides are compared", failure.message()))
                }
            }
            follow_from = 0;
        }
    }

    /// Makes sure that nothing at the destination would be removed by the first comparison.
    async fn refuse_extra(&mut self) -> Result<()> {
        loop {
            match self.count_extra().await {
                Ok((0, _)) => return Ok(()),
                Ok((count, first)) => {
                    let text = format!(
                        "the destination has {count} keys that the source has not, first {first}; nothing was written"
                    );
                    return Err(Failure::new(Exit::Failed, text)
                        .hint("--prune removes them; are the two sides the right way round?"));
                }
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Compacted(_)) => {}
            }
        }
    }

    async fn count_extra(&self) -> Result<(u64, String), Stop> {
        let mut source = Scan::new(&self.source, self.plan.mapping.read(), At::First).keys_only();
        source.begin().await.map_err(|error| Stop::of(&self.source, error))?;
        let destination = Scan::new(&self.destination, self.plan.mapping.written(), At::First).keys_only();
        let mut merge = Merge::new(source, Some(destination), self.plan.mapping.clone(), None);
        let (mut count, mut first) = (0, String::new());
        while let Some(difference) = merge.next().await? {
            if let Difference::Extra(key) = difference {
                if count == 0 {
                    first = format!("{:?}", String::from_utf8_lossy(&key));
                }
                count += 1;
            }
        }
        Ok((count, first))
    }

    /// Makes the destination what the source is at one revision, which is returned.
    async fn sync(&mut self) -> Result<i64, Stop> {
        let mapping = self.plan.mapping.clone();
        let mut source = Scan::new(&self.source, mapping.read(), At::First);
        let revision = source.begin().await.map_err(|error| Stop::of(&self.source, error))?;
        // Nobody else writes there, and the mirror only behind the walk.
        let destination = Scan::new(&self.destination, mapping.written(), At::Each);
        let mut merge = Merge::new(source, Some(destination), mapping, self.carried());
        let mut changes = Changes::default();
        while let Some(difference) = merge.next().await? {
            match difference {
                Difference::Write(key, kv) => changes.add(key, Change::put(&kv)),
                Difference::Extra(key) if self.plan.extra != Extra::Keep => changes.add(key, Change::Delete),
                Difference::Extra(_) => {}
            }
            if changes.full(self.room()) {
                self.write(&mut changes, revision).await?;
            }
        }
        self.write(&mut changes, revision).await?;
        self.progress.skipped.store(merge.skipped, Ordering::Relaxed);
        self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        self.progress.revision.store(revision, Ordering::Relaxed);
        Ok(revision)
    }

    /// Writes what changes from this revision on.
    async fn follow(&mut self, from: i64) -> Result<Followed, Stop> {
        let watch = Watch::new(self.plan.mapping.read()).from_revision(from);
        let opened = self.source.patiently(async |client| client.watch(watch.clone()).await).await;
        let mut stream = opened.map_err(|error| Stop::of(&self.source, error))?;
        let (leases, cutover) = (self.leases.clone(), self.cutover.clone());
        let mut cutting: Option<Cutting> = None;
        loop {
            let look = cutting.as_ref().map(Cutting::pause);
            tokio::select! {
                batch = stream.next() => self.apply(batch, &mut stream).await?,
                () = leases.lost.notified() => {
                    output::note("a lease ran out at the destination while it could not be kept alive; both sides are compared");
                    return Ok(Followed::Lost);
                }
                () = cutover.asked(), if cutting.is_none() => cutting = Some(Cutting::default()),
                () = sleep(look.unwrap_or_default()), if look.is_some() => {
                    let Some(state) = &mut cutting else { continue };
                    match self.cut(state).await? {
                        verify::Cut::NotYet => {}
                        verify::Cut::Different => return Ok(Followed::Lost),
                        verify::Cut::Done(verified) => return Ok(Followed::Done(verified)),
                    }
                }
            }
        }
    }

    /// Writes a batch of changes, and what came with it.
    async fn apply(&mut self, batch: Option<Result<Batch, Error>>, stream: &mut WatchStream) -> Result<(), Stop> {
        let mut next = batch;
        let (mut pending, mut revision) = (Changes::default(), 0);
        loop {
            let events = match next {
                Some(Ok(batch)) => batch.events,
                Some(Err(error)) => {
                    self.write(&mut pending, revision).await?;
                    return Err(Stop::of(&self.source, error));
                }
                None => return Err(Failure::new(Exit::Failed, "the watch at the source ended").into()),
            };
            for of_one in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
                let mut more = Changes::default();
                for event in of_one {
                    revision = event.kv.mod_revision;
                    if let Some(rest) = self.plan.mapping.of_source(&event.kv.key) {
                        more.add_event(self.plan.mapping.at_destination(rest), event);
                    }
                }
                if !pending.takes(&more, self.room()) {
                    self.write(&mut pending, revision - 1).await?;
                }
                pending.append(more);
            }
            if pending.full(self.room()) {
                break;
            }
            // What has come meanwhile goes along.
            match stream.next().now_or_never() {
                Some(more) => next = more,
                None => break,
            }
        }
        self.write(&mut pending, revision).await?;
        self.progress.revision.fetch_max(revision, Ordering::Relaxed);
        Ok(())
    }

    /// The leases, if they are carried.
    fn carried(&self) -> Option<Arc<Leases>> {
        self.plan.leases.then(|| self.leases.clone())
    }

    /// Operations that a transaction has room for.
    fn room(&self) -> usize {
        self.plan.most.saturating_sub(1).max(1)
    }

    /// Writes all changes, and leaves none.
    async fn write(&mut self, changes: &mut Changes, revision: i64) -> Result<(), Stop> {
        let mut pieces = VecDeque::from(changes.take(self.room()));
        while let Some(piece) = pieces.pop_front() {
            if self.plan.leases {
                self.leases.ensure(&piece).await?;
            }
            let leases = &self.leases;
            let lease = |id: i64| if self.plan.leases { leases.of(id) } else { 0 };
            match self.mark.write(&self.destination, &piece, revision, lease).await {
                Ok(()) => self.count(&piece),
                Err(Unwritten::TooLarge(_)) if piece.len() > 1 => {
                    self.plan.most = (piece.len() / 2).max(1) + 1;
                    let (one, two) = piece.split_at(piece.len() / 2);
                    pieces.push_front(two.to_vec());
                    pieces.push_front(one.to_vec());
                }
                // The mirror's own lease or one of the piece: which, is not said.
                Err(Unwritten::Lease) => {
                    self.leases.forget(&piece);
                    self.renew_mark(false).await?;
                    sleep(PAUSE).await;
                    pieces.push_front(piece);
                }
                Err(Unwritten::Lost) => {
                    self.renew_mark(true).await?;
                    pieces.push_front(piece);
                }
                Err(why) => return Err(self.unwritten(why).into()),
            }
        }
        Ok(())
    }

    /// Makes sure of the mark's lease, and takes the mark again if it was lost.
    async fn renew_mark(&mut self, lost: bool) -> Result<()> {
        self.leases.own(self.mark.lease, mark::TTL).await.map_err(|error| self.destination.refused(error))?;
        if !lost {
            return Ok(());
        }
        let taken = self.mark.take(&self.destination, false).await;
        taken.map_err(|why| self.unwritten(why))
    }

    fn count(&self, piece: &[Keyed]) {
        let deleted = piece.iter().filter(|(_, change)| *change == Change::Delete).count() as u64;
        self.progress.written.fetch_add(piece.len() as u64 - deleted, Ordering::Relaxed);
        self.progress.deleted.fetch_add(deleted, Ordering::Relaxed);
    }

    fn unwritten(&self, why: Unwritten) -> Failure {
        match why {
            Unwritten::TakenOver(by) => Failure::new(Exit::Lost, format!("another mirror writes there now: {by}")),
            Unwritten::TooLarge(error) | Unwritten::Refused(error) => self.destination.refused(error),
            Unwritten::Lease | Unwritten::Lost => {
                Failure::new(Exit::Failed, "the mirror's own lease ended at once").about("the destination")
            }
        }
    }
}
