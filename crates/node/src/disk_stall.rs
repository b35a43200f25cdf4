//! Detects a disk that hangs on the leader, and hands leadership over.
//!
//! A disk that fails returns errors, and the node ends. A disk that hangs returns nothing, and
//! heartbeats need no disk: the others would go on following a leader that can commit nothing. So a
//! task checks how long the log's writer has been waiting for the disk.
//!
//! 1. The process goes on. If the disk recovers, the member is a follower that catches up.
//! 2. Only a leader acts. A follower with a hanging disk does no harm while the others are a
//!    majority.
//! 3. The leader tries again at every check while it believes that it leads, each time with another
//!    successor. (Without its disk it cannot store the vote for its successor.) From the first
//!    attempt on it sends no heartbeats, so the others elect a leader in any case.

use crate::config::Config;
use crate::node::Node;
use conclave_storage::WriterStep;
use std::sync::Arc;
use std::time::Duration;

/// Interval of checks.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The least time that a slow disk gets.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct DiskStallDetector {
    step: Arc<WriterStep>,
    limit: Duration,
    /// Consecutive attempts to hand leadership over.
    tries: usize,
}

impl DiskStallDetector {
    pub(crate) fn new(step: Arc<WriterStep>, config: &Config) -> DiskStallDetector {
        let limit = TIMEOUT.max(10 * Duration::from_millis(config.election_timeout_ms));
        DiskStallDetector { step, limit, tries: 0 }
    }

    /// Checks until the node stops.
    pub(crate) async fn run(mut self, node: Arc<Node>) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let leads = node.leadership.current().leader == Some(node.leadership.me());
            let Some(stuck) = self.look(leads) else { continue };
            if self.tries == 1 {
                tracing::warn!(
                    seconds = stuck.as_secs(),
                    data_dir = %node.config.data_dir.display(),
                    "the disk hangs: a write or sync of the log does not return. Look at the disk of the data directory and at the kernel's \
                     log. Leadership goes to another member, if there is one; this one takes no part until its disk answers"
                );
            }
            let successors = node.successors();
            if successors.is_empty() {
                continue;
            }
            let to = successors[(self.tries - 1) % successors.len()];
            tracing::info!(to = %format_args!("{to:x}"), "handing leadership over, because the disk hangs");
            // Bounded by the check interval, because consensus itself may hang with the disk.
            let _ = tokio::time::timeout(CHECK_EVERY, node.ask_to_lead(to)).await;
        }
    }

    /// For how long the disk has hung, if that is too long for a leader.
    fn look(&mut self, leads: bool) -> Option<Duration> {
        let stuck = self.step.lasts().filter(|lasts| leads && *lasts >= self.limit);
        self.tries = stuck.map_or(0, |_| self.tries + 1);
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Nobody;
    use conclave_storage::{Identity, MemoryDisk, Options};

    async fn eventually(mut holds: impl FnMut() -> bool) {
        for _ in 0..1_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never");
    }

    #[tokio::test]
    async fn a_leader_notices_that_its_disk_hangs_and_that_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::new();
        let identity = Identity { cluster_id: 1, member_id: 2, name: "a".into(), incarnation: 3 };
        let (disk_of_log, options) = (Arc::new(disk.clone()), Options::new(dir.path()));
        let opened = conclave_storage::open_on(disk_of_log, options, &identity, 4, Arc::new(Nobody)).unwrap();
        let mut watch =
            DiskStallDetector { step: opened.log.writer_step(), limit: Duration::from_millis(50), tries: 0 };
        assert_eq!(watch.look(true), None);

        disk.slow_down(Duration::ZERO, Duration::from_secs(2));
        // Something that needs a sync.
        let written = std::thread::spawn(move || opened.registry.register(5, 6));
        eventually(|| watch.look(true).is_some()).await;
        assert!(watch.look(true).unwrap() >= watch.limit);
        assert_eq!(watch.tries, 2, "each look is another try");
        assert_eq!((watch.look(false), watch.tries), (None, 0), "somebody else leads");
        eventually(|| watch.look(true).is_none()).await;
        assert!(written.join().unwrap().unwrap());
    }

    #[test]
    fn a_slow_disk_has_time_in_any_case() {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::single("a", "/nowhere", any, any);
        let mut limit = |election| {
            config.election_timeout_ms = election;
            DiskStallDetector::new(Arc::default(), &config).limit
        };
        assert_eq!((limit(150), limit(1_000)), (Duration::from_secs(5), Duration::from_secs(10)));
    }
}
