//! Backups that the cluster makes by itself (`--backup-dir`).
//!
//! Each member looks when the last backup was made, which is in the replicated state (`turn`). When
//! one is due, members with little lag ask for the turn, the leader a little later than others; the
//! one that gets it makes the file, reads it again from the disk and checks all of it, gives it its
//! name, removes those that are too old, and records the time (`target`).
//!
//! 1. One member makes one at a time. A member that stops in the middle loses its turn within a
//!    minute, and another one begins anew.
//! 2. A file with its name is complete and verified. Nothing is removed before a new one is.
//! 3. A backup that fails stops nobody: it is logged and counted, and tried again, by any member.

mod target;
mod turn;

use anyhow::{Context, Result, bail};
use conclave_backup::{Hash, Snapshot, Step};
use conclave_gateway::gateway::Gateway;
use conclave_gateway::service::etcd::Making;
use conclave_node::config::Backups;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use target::{Part, Target};
use tokio::time::{sleep, timeout};
use turn::{Standing, Turns};

/// Between two looks at most.
const LOOK: Duration = Duration::from_secs(5);
/// How much later than the others the leader asks for the turn, at most.
const DEFER: Duration = Duration::from_secs(30);
/// A member that has not applied in this time what is committed leaves the turn to others.
const LITTLE_LAG: Duration = Duration::from_secs(2);
/// After a failure this member tries again so much later, at most.
const AGAIN: Duration = Duration::from_secs(60);
/// How often the turn is extended.
const EXTEND: Duration = Duration::from_secs(15);

/// Makes backups until the node stops.
pub(crate) async fn run(gateway: Arc<Gateway>, backups: Backups) {
    let stopping = gateway.node.stopping.clone();
    let scheduler = Scheduler::new(gateway, backups);
    tokio::select! {
        () = scheduler.run() => {}
        () = stopping.cancelled() => {}
    }
}

struct Scheduler {
    gateway: Arc<Gateway>,
    interval: Duration,
    target: Target,
    turns: Turns,
}

/// A backup that was made.
struct Made {
    name: String,
    size: u64,
    revision: i64,
}

impl Scheduler {
    fn new(gateway: Arc<Gateway>, backups: Backups) -> Scheduler {
        let Backups { dir, interval, retention } = backups;
        let identity = &gateway.node.identity;
        let target = Target::new(dir, identity.cluster_id, identity.member_id, retention);
        gateway.metrics.backups.interval_seconds.set(i64::try_from(interval.as_secs()).unwrap_or(i64::MAX));
        let turns = Turns::new(gateway.clone(), interval);
        Scheduler { gateway, interval, target, turns }
    }

    async fn run(&self) {
        let pause = (self.interval / 4).min(LOOK);
        let mut due_since: Option<Instant> = None;
        loop {
            sleep(pause).await;
            let Some(standing) = self.look() else { continue };
            if !self.is_due(&standing) {
                due_since = None;
                continue;
            }
            let since = due_since.get_or_insert_with(Instant::now).elapsed();
            if !self.may_begin(since) || !self.is_current().await {
                continue;
            }
            match self.attempt(&standing).await {
                // Another member has it.
                Ok(None) => {}
                Ok(Some(made)) => {
                    let Made { name, size, revision } = made;
                    tracing::info!(file = %name, size, revision, "made a backup");
                }
                Err(error) => {
                    self.gateway.metrics.backups.failed.inc();
                    tracing::error!(error = %format!("{error:#}"), "a backup could not be made");
                    sleep((self.interval / 4).min(AGAIN)).await;
                }
            }
            due_since = None;
        }
    }

    /// How things stand, as this member knows them.
    fn look(&self) -> Option<Standing> {
        let standing = match self.turns.standing() {
            Ok(standing) => standing,
            Err(error) => {
                tracing::warn!(%error, "the time of the last backup cannot be read");
                return None;
            }
        };
        if let Standing::Done { at, .. } = standing {
            self.gateway.metrics.backups.last_success.set(i64::try_from(at).unwrap_or(i64::MAX));
        }
        Some(standing)
    }

    fn is_due(&self, standing: &Standing) -> bool {
        match standing {
            Standing::Free => true,
            Standing::Working => false,
            // A time in the future: a clock was wrong.
            Standing::Done { at, .. } => {
                let now = now();
                *at > now + self.interval.as_secs() || now >= at + self.interval.as_secs()
            }
        }
    }

    /// The leader has enough to do: it gives the others time.
    fn may_begin(&self, due_for: Duration) -> bool {
        let leadership = &self.gateway.node.leadership;
        let leads = leadership.current().leader == Some(leadership.me());
        !leads || leadership.members().len() == 1 || due_for >= (self.interval / 4).min(DEFER)
    }

    async fn is_current(&self) -> bool {
        matches!(timeout(LITTLE_LAG, self.gateway.node.reader.barrier()).await, Ok(Ok(())))
    }

    /// Makes a backup if this member gets the turn.
    async fn attempt(&self, standing: &Standing) -> Result<Option<Made>> {
        let Some(turn) = self.turns.take(standing, now()).await? else { return Ok(None) };
        let began = Instant::now();
        let making = async {
            tokio::select! {
                made = self.make() => made,
                // Another member may have begun.
                () = self.turns.hold(&turn, EXTEND) => bail!("the turn was lost before the backup was complete"),
            }
        };
        let made = match making.await {
            Ok(made) => made,
            Err(error) => {
                self.turns.give_back(&turn).await;
                return Err(error);
            }
        };
        let metrics = &self.gateway.metrics.backups;
        metrics.made.inc();
        metrics.last_seconds.set(began.elapsed().as_secs_f64());
        metrics.last_bytes.set(i64::try_from(made.size).unwrap_or(i64::MAX));
        // Unrecorded it counts as not made: another one follows.
        self.turns.done(&turn, now()).await.context("the backup was made, and its time could not be recorded")?;
        let _ = self.look();
        Ok(Some(made))
    }

    /// Writes, verifies and names a backup, and removes old ones.
    async fn make(&self) -> Result<Made> {
        let target = self.target.clone();
        let part = self.long(move || target.begin()).await??;
        let (mut making, _place) =
            Making::begin(&self.gateway).await.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
        let revision = making.revision();
        loop {
            let file = part.file()?;
            let (next, step) = self.long(move || write_step(making, file)).await?;
            making = next;
            if step? {
                break;
            }
        }
        // The view keeps what is deleted meanwhile: it is not needed any more.
        drop(making);
        let target = self.target.clone();
        let made_at = now();
        self.long(move || {
            let size = verify(&part)?;
            let name = target.finish(part, made_at, revision)?;
            target.retain()?;
            Ok(Made { name, size, revision })
        })
        .await?
    }

    async fn long<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        Ok(self.gateway.node.reader.long(work).await?)
    }
}

/// Writes what the next step gives; true after the hash.
fn write_step(making: Making, mut file: File) -> (Making, Result<bool>) {
    let (making, step) = making.step();
    let written = step.map_err(anyhow::Error::from).and_then(|step| write(&step, &mut file));
    (making, written)
}

fn write(step: &Step, file: &mut File) -> Result<bool> {
    match step {
        Step::Working => return Ok(false),
        Step::Bytes(bytes) => {
            file.write_all(bytes)?;
            return Ok(false);
        }
        Step::Hash(hash) => file.write_all(hash)?,
    }
    file.sync_all()?;
    Ok(true)
}

/// Reads the file again, and checks its hash and all it says. Gives its size.
fn verify(part: &Part) -> Result<u64> {
    let file = File::open(part.path())?;
    let size = file.metadata()?.len();
    let snapshot = Snapshot::new(file);
    if snapshot.check_hash()? == Hash::Missing {
        bail!("the backup is not complete");
    }
    snapshot.verify()?;
    Ok(size)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
