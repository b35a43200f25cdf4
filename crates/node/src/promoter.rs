//! The leader promotes learners that were added with that wish, once they have kept up for a while.
//!
//! The wish is in the state, so it outlives the leader. Whether a learner is in sync, and whether
//! the cluster may have one more voter, is judged as for a promotion that a client asks for.

use crate::leadership::Leadership;
use crate::membership::{Change, ChangeError, MembershipChanges};
use crate::proposer::Proposer;
use conclave_state::{Caller, Command, PromoteWhenReady, read};
use conclave_storage::StateHandle;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const LOOK: Duration = Duration::from_millis(500);
/// Looks in a row at which a learner must be in sync: one that falls behind at once would cost the
/// cluster its calm.
const CALM: u32 = 4;

/// What the promoter works with.
pub(crate) struct Promoter {
    pub(crate) state: StateHandle,
    pub(crate) leadership: Leadership,
    pub(crate) membership: MembershipChanges,
    pub(crate) proposer: Proposer,
}

impl Promoter {
    pub(crate) async fn run(self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut calm = BTreeMap::new();
        loop {
            look.tick().await;
            match self.leadership.current().is_me {
                true => self.look(&mut calm).await,
                false => calm.clear(),
            }
        }
    }

    async fn look(&self, calm: &mut BTreeMap<u64, u32>) {
        let wanted = match read::to_promote(&self.state.view()) {
            Ok(wanted) if wanted.is_empty() => return calm.clear(),
            Ok(wanted) => wanted,
            Err(fault) => return tracing::error!(%fault, "the members to promote cannot be read"),
        };
        let members = self.membership.members();
        calm.retain(|id, _| wanted.contains(id));
        for id in wanted {
            match members.iter().find(|(member, ..)| *member == id) {
                // It is being added, or was removed.
                None => {}
                Some((.., true)) => self.done(id).await,
                Some(_) => {
                    let seen = count(calm, id, self.membership.may_promote(id));
                    if seen >= CALM {
                        self.promote(id).await;
                    }
                }
            }
        }
    }

    async fn promote(&self, id: u64) {
        tracing::info!(member = %format_args!("{id:x}"), "promoting a learner, which is in sync");
        match self.membership.change_as_leader(Change::Promote { id }).await {
            Ok(_) => self.done(id).await,
            Err(ChangeError::NotLearner) => {}
            Err(error) => tracing::info!(member = %format_args!("{id:x}"), %error, "it is not promoted now"),
        }
    }

    /// The wish is fulfilled. If that is not recorded now, the next look does it.
    async fn done(&self, member: u64) {
        let command = Command::PromoteWhenReady(PromoteWhenReady { member, wanted: false });
        if let Err(error) = self.proposer.propose_own(command.by(Caller::Server)).await {
            tracing::debug!(%error, "a learner was promoted: again");
        }
    }
}

/// How often in a row it was ready.
fn count(calm: &mut BTreeMap<u64, u32>, id: u64, ready: bool) -> u32 {
    let seen = calm.entry(id).or_default();
    *seen = if ready { *seen + 1 } else { 0 };
    *seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_that_falls_behind_begins_again() {
        let mut calm = BTreeMap::new();
        let seen: Vec<u32> = [true, true, false, true].map(|ready| count(&mut calm, 7, ready)).into();
        assert_eq!(seen, [1, 2, 0, 1]);
        assert_eq!(count(&mut calm, 8, true), 1, "each by itself");
    }
}
