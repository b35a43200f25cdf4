//! A member whose directory is an older copy of itself, or whose disk lost what was synced, must not take part: it has forgotten votes and
//! writes that it acknowledged, and with another member that lacks them it could elect a leader without them.
//!
//! Its own disk does not show that. The others know: each keeps what the members acknowledged to it ([`Witness`]). A member asks them
//!
//! * at every start, before it takes part. Who cannot be reached then is asked later, until each has answered once;
//! * when it refuses its leader's log because it lacks what comes before, which is what happens if it forgot something.
//!
//! If the directory was copied since it was used last ([`place`]), it waits for all of them before it takes part: whoever is missing could be
//! the only one who knows.
//!
//! 1. A member stops only for an answer to a question of its own. A message that a peer sends unasked stops nobody.
//! 2. A claim is compared with where the member stands *after* it was made, so a claim can never be ahead of a member that forgot nothing.

use crate::bootstrap::{self, BootstrapError, Plan};
use crate::config::Config;
use crate::fatal::Fatal;
use crate::leadership::Leadership;
use crate::peer::Peers;
use conclave_storage::{Acknowledged, LogStanding, Witness, place};
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

/// For the peers' answers at a start. One that does not answer, and does not refuse the connection either, holds up the start by this.
const ANSWERS: Duration = Duration::from_secs(1);
/// Between two questions that this member asks because it refused its leader's log.
const BETWEEN: Duration = Duration::from_secs(1);
/// How far the knowledge on the disk lags behind what was acknowledged.
const STORED_EVERY: Duration = Duration::from_secs(1);
/// Between two questions to those who did not answer at the start.
const LATER: Duration = Duration::from_secs(2);
const WORD_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Rollback(Arc<Inner>);

struct Inner {
    plan: Plan,
    peers: Peers,
    witness: Witness,
    fatal: Fatal,
    asked: Mutex<Option<Instant>>,
}

impl Rollback {
    pub fn new(plan: Plan, peers: Peers, witness: Witness, fatal: Fatal) -> Rollback {
        Rollback(Arc::new(Inner { plan, peers, witness, fatal, asked: Mutex::default() }))
    }

    pub fn witness(&self) -> &Witness {
        &self.0.witness
    }

    /// Whether the peer has answered, and knows nothing against this member.
    async fn ask(&self, peer: u64) -> Result<bool, BootstrapError> {
        let Inner { plan, peers, witness, .. } = &*self.0;
        let Some(known) = bootstrap::ask(plan, peers, peer).await? else { return Ok(false) };
        judge(plan, peer, known, witness.standing()).map(|()| true)
    }

    /// Asks some peers at once; returns those that need not be asked again.
    async fn ask_all(&self, peers: BTreeSet<u64>, copied: bool) -> Result<BTreeSet<u64>, BootstrapError> {
        let asked = peers.into_iter().map(|id| async move { (id, timeout(ANSWERS, self.ask(id)).await) });
        let mut answered = BTreeSet::new();
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(Ok(true)) => {
                    answered.insert(id);
                }
                Ok(Err(error)) if error.is_rollback() => return Err(error),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a peer does not accept this member");
                    if !copied {
                        answered.insert(id);
                    }
                }
                Ok(Ok(false)) | Err(_) => {}
            }
        }
        Ok(answered)
    }

    /// Before this member takes part. Returns those that did not answer.
    pub async fn confirm(&self, config: &Config) -> Result<BTreeSet<u64>, BootstrapError> {
        let mut left: BTreeSet<u64> = self.0.peers.ids().collect();
        let copied = place::is_copy(&config.data_dir)?;
        let mut next_word = Instant::now();
        loop {
            let answered = self.ask_all(left.clone(), copied).await?;
            left.retain(|id| !answered.contains(id));
            if left.is_empty() || !copied {
                break;
            }
            if Instant::now() >= next_word {
                next_word = Instant::now() + WORD_EVERY;
                self.say_copied(config, &left);
            }
            sleep(Duration::from_millis(200)).await;
        }
        if copied {
            tracing::warn!(
                "the data directory was copied or restored; no other member knows of anything that it lacks"
            );
        }
        if copied || !place::is_settled(&config.data_dir)? {
            place::settle(&config.data_dir)?;
        }
        Ok(left)
    }

    fn say_copied(&self, config: &Config, left: &BTreeSet<u64>) {
        let names: Vec<_> = left.iter().map(|id| self.0.plan.name_of(*id)).collect();
        tracing::warn!(
            "the data directory {dir} was copied or restored since it was used last, and an older copy must not take part: this member waits \
             until every other member has confirmed that nothing acknowledged is missing in it. Not reached yet: {}. Only if you know that it \
             is the directory as it was last, and they cannot be reached: remove {dir}/PLACE and start it again",
            names.join(", "),
            dir = config.data_dir.display(),
        );
    }

    /// Asks those that did not answer at the start, until each of them has.
    pub async fn confirm_late(self, mut left: BTreeSet<u64>) {
        while !left.is_empty() {
            sleep(LATER).await;
            match self.ask_all(left.clone(), false).await {
                Ok(answered) => left.retain(|id| !answered.contains(id)),
                Err(error) => return self.0.fatal.report(error),
            }
        }
    }

    /// This member has refused what its leader sent, since it lacks what comes before. That is usual for one that was away, or that follows
    /// a new leader, and a sign of loss for one that had it.
    pub(crate) fn refused(&self, leader: u64) {
        let mut asked = self.0.asked.lock();
        if asked.is_some_and(|at| at.elapsed() < BETWEEN) {
            return;
        }
        *asked = Some(Instant::now());
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.ask(leader).await
                && error.is_rollback()
            {
                this.0.fatal.report(error);
            }
        });
    }

    /// Keeps on the disk what this member knows of the others.
    pub async fn keep(self, leadership: Leadership) {
        loop {
            sleep(STORED_EVERY).await;
            let now = leadership.current();
            if let Some(leader) = now.leader.filter(|leader| *leader != leadership.me()) {
                // Who leads has voted for itself.
                self.0.witness.note(leader, Acknowledged { term: now.term, index: 0 });
            }
            let witness = self.0.witness.clone();
            if let Ok(Err(error)) = spawn_blocking(move || witness.store()).await {
                // The log's own writer reports what is wrong with the disk.
                tracing::debug!(%error, "what the others acknowledged is not stored");
            }
        }
    }
}

fn judge(plan: &Plan, peer: u64, known: Acknowledged, stands: LogStanding) -> Result<(), BootstrapError> {
    if !stands.is_behind(known) {
        return Ok(());
    }
    Err(BootstrapError::RolledBack {
        name: plan.identity.name.clone(),
        member: plan.identity.member_id,
        peer: plan.name_of(peer),
        known,
        stands,
    })
}
