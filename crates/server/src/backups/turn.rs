//! Whose turn it is, and when the last backup was made: one claim of the cluster's own, `backup` in
//! the namespace `conclave-backups`.
//!
//! Its holder is always `backup`; the instance says what is going on. `working` is promised for a
//! minute and extended: without its member it ends by itself. `done` is promised for long, because
//! it holds the time of the last backup; if it ended nevertheless, or an operator revokes the
//! claim, a backup is due. Each step from one to the next names the fence of the one before, so
//! that one member takes it.

use anyhow::{Result, bail};
use conclave_gateway::gateway::Gateway;
use conclave_state::coord::read;
use conclave_state::{Caller, Claim, Command, Coord, CoordBody, Expect, Fault, Limits, Name, Revoke, SetLimits, Twin};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

const NAMESPACE: &str = "conclave-backups";
const HOLDER: &str = "backup";

/// A member that has not extended its turn for this long has lost it.
const WORK: Duration = Duration::from_secs(60);
/// For how long the time of a backup is kept at least.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// The namespace's own limits allow all of that.
const LIMITS: Limits = Limits { min_ms: 1_000, max_ms: 100 * 365 * 24 * 3600 * 1_000, max_waiting: 0 };

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No backup is recorded.
    Free,
    Working,
    /// At this time, in seconds since 1970.
    Done {
        at: u64,
        fence: i64,
    },
}

impl Standing {
    /// What an instance says.
    fn of(instance: &str, fence: i64) -> Standing {
        let mut words = instance.split(' ');
        match (words.next(), words.next().and_then(|at| at.parse().ok())) {
            (Some("done"), Some(at)) => Standing::Done { at, fence },
            // Also what no member wrote: it ends, or is taken away.
            _ => Standing::Working,
        }
    }
}

/// A turn that this member took.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    instance: String,
    fence: i64,
}

pub(super) struct Turns {
    gateway: Arc<Gateway>,
    keep: Duration,
}

impl Turns {
    pub(super) fn new(gateway: Arc<Gateway>, interval: Duration) -> Turns {
        Turns { gateway, keep: KEEP.max(interval.saturating_mul(4)) }
    }

    /// As this member has applied it.
    pub(super) fn standing(&self) -> Result<Standing, Fault> {
        let view = self.gateway.node.state.view();
        let holder = read::claim(&view, &name())?.and_then(|claim| claim.holder);
        Ok(holder.map_or(Standing::Free, |holder| Standing::of(&holder.instance, holder.fence)))
    }

    /// Takes the turn if things still stand so; `None` if another member has it.
    pub(super) async fn take(&self, standing: &Standing, now: u64) -> Result<Option<Turn>> {
        self.allow_long().await?;
        let instance = format!("working {now} {} {:016x}", self.gateway.node.identity.name, nonce());
        let fence = match standing {
            Standing::Free => 0,
            Standing::Done { fence, .. } => *fence,
            Standing::Working => return Ok(None),
        };
        self.claim(&instance, WORK, fence).await;
        self.mine(&instance).await
    }

    /// Extends the turn until it is lost.
    pub(super) async fn hold(&self, turn: &Turn, every: Duration) {
        let mut good_until = Instant::now() + WORK;
        loop {
            sleep(every).await;
            let asked = Instant::now();
            let extending = async {
                self.claim(&turn.instance, WORK, turn.fence).await;
                self.mine(&turn.instance).await
            };
            let extended = tokio::select! {
                extended = extending => extended,
                () = sleep_until(good_until) => return,
            };
            match extended {
                Ok(Some(_)) => good_until = asked + WORK,
                Ok(None) => return,
                // No leader: it may come before the turn is over.
                Err(error) => tracing::debug!(%error, "the turn for a backup could not be extended"),
            }
            if Instant::now() >= good_until {
                return;
            }
        }
    }

    /// Records that the backup was made.
    pub(super) async fn done(&self, turn: &Turn, now: u64) -> Result<()> {
        let instance = format!("done {now} {} {:016x}", self.gateway.node.identity.name, nonce());
        self.claim(&instance, self.keep, turn.fence).await;
        match self.mine(&instance).await? {
            Some(_) => Ok(()),
            None => bail!("another member has the turn"),
        }
    }

    /// Lets others try.
    pub(super) async fn give_back(&self, turn: &Turn) {
        let revoke = Revoke { claim: name(), holder: Some(HOLDER.to_owned()), instance: Some(turn.instance.clone()) };
        self.propose(Some(turn.fence), CoordBody::Revoke(revoke)).await;
    }

    /// Claims under an instance, if the fence is still that one. Whether it did is seen afterwards.
    async fn claim(&self, instance: &str, duration: Duration, fence: i64) {
        let claim = Claim {
            claim: name(),
            holder: HOLDER.to_owned(),
            instance: instance.to_owned(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(LIMITS.max_ms).min(LIMITS.max_ms),
            twin: Twin::TakeOver,
            ..Claim::default()
        };
        self.propose(Some(fence), CoordBody::Claim(vec![claim])).await;
    }

    /// The turn, if the claim is held under this instance, with everything applied that was
    /// committed before.
    async fn mine(&self, instance: &str) -> Result<Option<Turn>> {
        self.gateway.node.reader.barrier().await?;
        let view = self.gateway.node.state.view();
        let holder = read::claim(&view, &name())?.and_then(|claim| claim.holder);
        let holder = holder.filter(|holder| holder.instance == instance);
        Ok(holder.map(|holder| Turn { instance: holder.instance, fence: holder.fence }))
    }

    /// Sees to it that claims of the namespace may last.
    async fn allow_long(&self) -> Result<()> {
        if read::limits(&self.gateway.node.state.view(), NAMESPACE)? != LIMITS {
            let set = SetLimits { namespace: NAMESPACE.to_owned(), limits: Some(LIMITS) };
            self.propose(None, CoordBody::SetLimits(set)).await;
        }
        Ok(())
    }

    /// Proposes as the server. The caller reads the state afterwards, so an unknown outcome needs
    /// no handling.
    async fn propose(&self, fence: Option<i64>, body: CoordBody) {
        let expect = fence.map(|fence| Expect { fence: Some(fence), ..Expect::default() });
        let coord = Coord { session: 0, dedupe: None, expect, body };
        let command = Command::Coord(Box::new(coord)).by(Caller::Server);
        match self.gateway.node.proposer.propose(command).await {
            Ok(applied) => {
                if let Err(why) = applied.outcome.result {
                    tracing::debug!(?why, "a step towards a backup was refused");
                }
            }
            Err(error) => tracing::debug!(%error, "a step towards a backup has no outcome"),
        }
    }
}

fn name() -> Name {
    Name { namespace: NAMESPACE.to_owned(), name: "backup".to_owned() }
}

/// Tells attempts apart: also those of a member that was started again.
fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_says() {
        assert_eq!(Standing::of("done 1700000000 n1 00ff", 7), Standing::Done { at: 1_700_000_000, fence: 7 });
        for working in ["working 1700000000 n1 00ff", "", "done", "done soon", "somebody else"] {
            assert_eq!(Standing::of(working, 7), Standing::Working, "{working}");
        }
        assert_ne!(nonce(), nonce());
    }
}
