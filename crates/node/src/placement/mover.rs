//! Looks at the members while this one leads, and hands leadership over when [`super::decide`] says
//! so.

use super::decide::{Candidate, MAX_LAG, Rank, Situation};
use super::preferences::Preferences;
use super::tenures::Tenures;
use crate::leadership::{Follower, Leadership, LeadershipNow};
use crate::node::Node;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

const LOOK: Duration = Duration::from_millis(250);
/// Leadership that was held for so many times the calm of the policy has held.
const HOLDS: u32 = 2;

pub(crate) struct Mover {
    node: Arc<Node>,
    /// A member that has not answered for longer is not reached.
    patience: Duration,
    tenures: Tenures,
    /// Since when the cluster has been calm under this leader.
    calm_since: Option<Instant>,
    /// Since when each member has been reached and has kept up.
    fit_since: BTreeMap<u64, Instant>,
}

impl Mover {
    pub(crate) fn new(node: Arc<Node>) -> Mover {
        let patience = Duration::from_millis(2 * node.config.election_timeout_max_ms()).max(Duration::from_secs(1));
        Mover { node, patience, tenures: Tenures::default(), calm_since: None, fit_since: BTreeMap::new() }
    }

    /// Looks until the node stops.
    pub(crate) async fn run(mut self) {
        let mut leadership = self.node.leadership.subscribe();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = leadership.changed() => if changed.is_err() { return },
            }
            let now = *leadership.borrow_and_update();
            let preferences = match Preferences::read(&self.node.state.view()) {
                Ok(preferences) => preferences,
                Err(fault) => {
                    tracing::error!(%fault, "the policy of placement cannot be read");
                    continue;
                }
            };
            if let Some(to) = self.look(now, &preferences) {
                self.hand_over(to).await;
            }
        }
    }

    /// Whom to hand over to.
    fn look(&mut self, now: LeadershipNow, preferences: &Preferences) -> Option<Candidate> {
        let at = Instant::now();
        if let Some(leader) = now.leader {
            let meant_to_lead = |leader: u64| matches!(preferences.rank(leader), Rank::Weight(_));
            let held = self.tenures.leader().is_some_and(meant_to_lead).then(|| HOLDS * preferences.calm());
            self.tenures.leads(leader, at, held);
        }
        let leadership = self.node.leadership.clone();
        if !(now.is_me && leadership.is_led() && leadership.is_settled()) {
            self.calm_since = None;
            self.fit_since.clear();
            return None;
        }
        let calm_since = *self.calm_since.get_or_insert(at);
        let candidates = self.candidates(&leadership, preferences, at);
        let rank = preferences.rank(leadership.me());
        Situation { rank, calm_for: at.duration_since(calm_since), calm: preferences.calm(), candidates }.decide()
    }

    fn candidates(&mut self, leadership: &Leadership, preferences: &Preferences, at: Instant) -> Vec<Candidate> {
        let followers = leadership.followers();
        let (patience, fit_since) = (self.patience, &mut self.fit_since);
        let is_fit = |follower: &Follower| {
            let reached = follower.heard_ago.is_some_and(|ago| ago < patience);
            reached && follower.lag.is_some_and(|lag| lag <= MAX_LAG)
        };
        fit_since.retain(|id, _| followers.iter().any(|follower| follower.id == *id && is_fit(follower)));
        let mut candidates = Vec::new();
        for follower in followers.iter().filter(|follower| is_fit(follower)) {
            let since = *fit_since.entry(follower.id).or_insert(at);
            let failures = self.tenures.failures(follower.id);
            candidates.push(Candidate {
                id: follower.id,
                rank: preferences.rank(follower.id),
                lag: follower.lag,
                fit_for: at.duration_since(since),
                failures: failures.map_or(0, |failures| failures.count),
                failed_ago: failures.map_or(Duration::MAX, |failures| at.duration_since(failures.last)),
            });
        }
        candidates
    }

    async fn hand_over(&mut self, to: Candidate) {
        let id = format!("{:x}", to.id);
        tracing::info!(to = id, rank = ?to.rank, "handing leadership over to a member that is to lead rather than this one");
        match self.node.transfer_leader(to.id).await {
            Ok(()) => self.node.moves.one_more(),
            Err(error) => {
                tracing::warn!(to = id, %error, "leadership did not move; it rests for a while");
                self.tenures.failed(to.id, Instant::now());
            }
        }
        self.calm_since = None;
    }
}
