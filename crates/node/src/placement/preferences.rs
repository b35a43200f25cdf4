//! What the state says of each member, and whom a leader that must go hands over to.

use super::decide::{MAX_LAG, Rank};
use crate::leadership::Leadership;
use conclave_state::placement::{Labels, PlacementPolicy};
use conclave_state::{Fault, View, read};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The policy, and what it is about.
#[derive(Debug, Default)]
pub(crate) struct Preferences {
    policy: PlacementPolicy,
    names: BTreeMap<u64, String>,
    labels: BTreeMap<u64, Labels>,
    maintenance: BTreeSet<u64>,
}

impl Preferences {
    pub(crate) fn read<V: View>(view: &V) -> Result<Preferences, Fault> {
        let policy = read::placement(view)?;
        let maintenance: BTreeSet<u64> = read::in_maintenance(view)?.into_iter().collect();
        if policy.rules.is_empty() {
            return Ok(Preferences { policy, maintenance, ..Preferences::default() });
        }
        let names = read::members(view)?.into_iter().map(|member| (member.id, member.name)).collect();
        let labels = read::labels(view)?.into_iter().collect();
        Ok(Preferences { policy, names, labels, maintenance })
    }

    pub(super) fn calm(&self) -> Duration {
        Duration::from_millis(self.policy.calm_ms)
    }

    pub(crate) fn rank(&self, member: u64) -> Rank {
        let name = self.names.get(&member).map_or("", String::as_str);
        let none = Labels::new();
        let preference = self.policy.of(name, self.labels.get(&member).unwrap_or(&none));
        Rank::new(preference, self.maintenance.contains(&member))
    }
}

/// Voters that could lead instead of this member, the best first; empty unless it leads. Who has
/// kept up goes before who has not, and among those the policy decides.
pub(crate) fn successors<V: View>(leadership: &Leadership, view: &V) -> Vec<u64> {
    let preferences = Preferences::read(view).unwrap_or_else(|fault| {
        tracing::error!(%fault, "the policy of placement cannot be read");
        Preferences::default()
    });
    let me = leadership.me();
    let voters: Vec<u64> = leadership.members().into_iter().filter(|m| m.2 && m.0 != me).map(|m| m.0).collect();
    let last = leadership.last_log_index();
    let followers = leadership.replicated().into_iter().filter(|(id, _)| voters.contains(id));
    ordered(followers.map(|(id, matched)| (id, preferences.rank(id), last.saturating_sub(matched))).collect())
}

/// Members with their ranks and what they lack.
fn ordered(mut members: Vec<(u64, Rank, u64)>) -> Vec<u64> {
    members.sort_by_key(|(id, rank, lag)| (*lag > MAX_LAG, Reverse(*rank), *lag, *id));
    members.into_iter().map(|(id, ..)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::MemoryView;

    #[test]
    fn a_leader_that_must_go_chooses_who_has_kept_up_and_then_by_the_policy() {
        let (weight, never, out) = (Rank::Weight, Rank::Never, Rank::Maintenance);
        assert_eq!(ordered(vec![(1, weight(0), 9), (2, weight(0), 3)]), [2, 1]);
        assert_eq!(ordered(vec![(1, weight(0), 3), (2, weight(5), 9)]), [2, 1]);
        assert_eq!(ordered(vec![(1, weight(0), 3), (2, weight(5), MAX_LAG + 1)]), [1, 2]);
        assert_eq!(ordered(vec![(1, out, 0), (2, never, 0), (3, weight(0), 50)]), [3, 2, 1]);
        assert_eq!(ordered(vec![(1, out, 0)]), [1], "better than nobody");
    }

    #[test]
    fn without_a_policy_all_are_equal() {
        let preferences = Preferences::read(&MemoryView::new()).unwrap();
        assert_eq!(preferences.rank(7), Rank::Weight(0));
    }
}
