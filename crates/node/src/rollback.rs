//! Keeps a member out of the cluster if its data directory was rolled back.
//!
//! If the directory is an older copy of itself, or the disk lost synced writes, the member has
//! forgotten votes and writes that it acknowledged. Together with another member that lacks them it
//! could elect a leader without them.
//!
//! The member's own disk does not show that, but the other members know: each keeps what the
//! members acknowledged to it ([`Witness`]). A member asks them
//!
//! * at every start, before it takes part. Members that cannot be reached then are asked later,
//!   until each has answered once;
//! * when it refuses its leader's log because it lacks the entries before, which also happens if it
//!   lost them.
//!
//! If the directory was copied since its last use ([`location`]), the member waits for all other
//! members, because a missing one could be the only one that knows.
//!
//! 1. A member stops only because of an answer to its own question. A message that a peer sends
//!    unasked stops no member.
//! 2. A claim is compared with the member's position *after* the claim was made, so a claim can
//!    never be ahead of a member that lost nothing.

use crate::bootstrap::{self, BootstrapError, Plan};
use crate::config::Config;
use crate::fatal::Fatal;
use crate::leadership::Leadership;
use crate::peer::Peers;
use conclave_storage::{Acknowledged, LogPosition, StateHandle, Witness, location};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

/// Timeout for the peers' answers at a start. A peer that neither answers nor refuses the
/// connection delays the start by this.
const ANSWERS: Duration = Duration::from_secs(1);
/// Interval between questions after this member refused its leader's log.
const BETWEEN: Duration = Duration::from_secs(1);
/// How often a leader is asked that does not answer, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// Interval at which acknowledgements are stored.
const STORED_EVERY: Duration = Duration::from_secs(1);
/// Interval between questions to peers that did not answer at the start.
const LATER: Duration = Duration::from_secs(2);
const WORD_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Rollback(Arc<Inner>);

struct Inner {
    plan: Plan,
    peers: Peers,
    witness: Witness,
    fatal: Fatal,
    /// When a leader was asked last; locked while it is being asked.
    asked: Mutex<Option<Instant>>,
}

impl Rollback {
    pub fn new(plan: Plan, peers: Peers, witness: Witness, fatal: Fatal) -> Rollback {
        Rollback(Arc::new(Inner { plan, peers, witness, fatal, asked: Mutex::default() }))
    }

    pub fn witness(&self) -> &Witness {
        &self.0.witness
    }

    /// Whether the peer has answered and knows nothing against this member.
    async fn ask(&self, peer: u64) -> Result<bool, BootstrapError> {
        let Inner { plan, peers, witness, .. } = &*self.0;
        let Some(known) = bootstrap::ask(plan, peers, peer).await? else { return Ok(false) };
        judge(plan, peers.name_of(peer), known, witness.position()).map(|()| true)
    }

    /// Asks several peers at once; returns those that need not be asked again.
    async fn ask_all(&self, peers: BTreeSet<u64>, copied: bool) -> Result<BTreeSet<u64>, BootstrapError> {
        let asked = peers.into_iter().map(|id| async move { (id, timeout(ANSWERS, self.ask(id)).await) });
        let mut answered = BTreeSet::new();
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(Ok(true)) => {
                    answered.insert(id);
                }
                Ok(Err(error)) if error.is_final() => return Err(error),
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

    /// Asks before this member takes part. Returns the peers that did not answer.
    pub async fn confirm(&self, config: &Config) -> Result<BTreeSet<u64>, BootstrapError> {
        let mut left: BTreeSet<u64> = self.0.peers.ids().into_iter().collect();
        let copied = location::is_copy(&config.data_dir)?;
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
        if copied || !location::is_recorded(&config.data_dir)? {
            location::record(&config.data_dir)?;
        }
        Ok(left)
    }

    fn say_copied(&self, config: &Config, left: &BTreeSet<u64>) {
        let names: Vec<_> = left.iter().map(|id| self.0.peers.name_of(*id)).collect();
        tracing::warn!(
            "the data directory {dir} was copied or restored since it was used last, and an older copy must not take part: this member waits \
             until every other member has confirmed that nothing acknowledged is missing in it. Not reached yet: {}. Only if you know that it \
             is the directory as it was last, and they cannot be reached: remove {dir}/PLACE and start it again",
            names.join(", "),
            dir = config.data_dir.display(),
        );
    }

    /// Asks the peers that did not answer at the start, until each has answered.
    pub async fn confirm_late(self, mut left: BTreeSet<u64>) {
        while !left.is_empty() {
            sleep(LATER).await;
            match self.ask_all(left.clone(), false).await {
                Ok(answered) => left.retain(|id| !answered.contains(id)),
                Err(error) => return self.0.fatal.report(error),
            }
            let known = self.0.peers.ids();
            left.retain(|id| known.contains(id));
        }
    }

    /// Awaited before this member tells its leader that it lacks the entries before those it was
    /// sent. That is normal after an absence or under a new leader, and a sign of loss if it had
    /// them. Once the leader knows, it sends what is missing, and the loss cannot be seen any more:
    /// so the leader is asked first, and whatever else would tell it waits for the answer, too.
    pub(crate) async fn refuses(&self, leader: u64) {
        let mut asked = self.0.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < BETWEEN) {
            return;
        }
        for _ in 0..ATTEMPTS {
            match timeout(ANSWERS, self.ask(leader)).await {
                Ok(Ok(false)) | Err(_) => sleep(PAUSE).await,
                Ok(Ok(true)) => break,
                Ok(Err(error)) => {
                    if error.is_final() {
                        self.0.fatal.report(error);
                    }
                    break;
                }
            }
        }
        *asked = Some(Instant::now());
    }

    /// Stops this member when it was removed: its own state says so, or a peer when this member has
    /// lost contact with the leader, who does not send to it any more.
    pub async fn watch_removal(self, leadership: Leadership, state: StateHandle) {
        loop {
            sleep(BETWEEN).await;
            if let Err(error) = self.0.plan.still_a_member(&state) {
                return self.0.fatal.report(error);
            }
            if leadership.is_led() {
                continue;
            }
            let peers = self.0.peers.ids().into_iter().collect();
            // Another refusal is no reason to stop: it is logged where this member starts.
            let asked = self.ask_each(peers).await;
            if let Some(error) = asked.into_iter().find(BootstrapError::is_final) {
                return self.0.fatal.report(error);
            }
        }
    }

    /// The errors of asking several peers at once.
    async fn ask_each(&self, peers: BTreeSet<u64>) -> Vec<BootstrapError> {
        let asked = peers.into_iter().map(|id| async move { timeout(ANSWERS, self.ask(id)).await });
        join_all(asked).await.into_iter().filter_map(|answer| answer.ok()?.err()).collect()
    }

    /// Stores the other members' acknowledgements periodically.
    pub async fn keep(self, leadership: Leadership) {
        loop {
            sleep(STORED_EVERY).await;
            let now = leadership.current();
            if let Some(leader) = now.leader.filter(|leader| *leader != leadership.me()) {
                // A leader has voted for itself.
                self.0.witness.note(leader, Acknowledged { term: now.term, index: 0 });
            }
            let witness = self.0.witness.clone();
            if let Ok(Err(error)) = spawn_blocking(move || witness.store()).await {
                // The log's writer reports the disk error.
                tracing::debug!(%error, "what the others acknowledged is not stored");
            }
        }
    }
}

fn judge(plan: &Plan, peer: String, known: Acknowledged, stands: LogPosition) -> Result<(), BootstrapError> {
    if !stands.is_behind(known) {
        return Ok(());
    }
    Err(BootstrapError::RolledBack {
        name: plan.identity.name.clone(),
        member: plan.identity.member_id,
        peer,
        known,
        stands,
    })
}
