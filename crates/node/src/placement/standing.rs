//! A member in maintenance leaves elections to the others, for as long as they have a leader or
//! could elect one.

use crate::leadership::Leadership;
use conclave_state::read;
use conclave_storage::StateHandle;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// So many of the longest election timeouts the others have to elect a leader. Then this member
/// stands: it may be the only one that can lead.
const PATIENCE: u32 = 6;

pub(crate) struct Standing {
    pub(crate) leadership: Leadership,
    pub(crate) state: StateHandle,
    pub(crate) election_timeout: Duration,
}

impl Standing {
    pub(crate) async fn run(self) {
        let mut look = tokio::time::interval(self.election_timeout / 2);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut led_at, mut stands) = (Instant::now(), true);
        loop {
            look.tick().await;
            if self.leadership.is_led() {
                led_at = Instant::now();
            }
            let me = self.leadership.me();
            let maintenance = match read::in_maintenance(&self.state.view()) {
                Ok(members) => members.contains(&me),
                Err(fault) => {
                    tracing::error!(%fault, "the members in maintenance cannot be read");
                    false
                }
            };
            let alone = self.leadership.members().iter().filter(|(.., voter)| *voter).count() <= 1;
            let now = should_stand(maintenance, alone, led_at.elapsed(), self.election_timeout);
            if now != stands {
                tracing::info!(stands = now, maintenance, "whether this member stands for election");
                self.leadership.stand(now);
                stands = now;
            }
        }
    }
}

fn should_stand(maintenance: bool, alone: bool, without_leader: Duration, election_timeout: Duration) -> bool {
    !maintenance || alone || without_leader >= PATIENCE * election_timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_in_maintenance_stands_only_when_nobody_else_leads() {
        let timeout = Duration::from_millis(250);
        let (just, long) = (PATIENCE * timeout - Duration::from_millis(1), PATIENCE * timeout);
        assert!(should_stand(false, false, Duration::ZERO, timeout));
        assert!(!should_stand(true, false, Duration::ZERO, timeout));
        assert!(!should_stand(true, false, just, timeout));
        assert!(should_stand(true, false, long, timeout), "it may be the only one that can lead");
        assert!(should_stand(true, true, Duration::ZERO, timeout), "there is no other");
    }
}
