//! A leader whose disk hangs gives leadership away.
//!
//! A disk that fails says so, and the node ends. One that hangs says nothing, and heartbeats need no disk: the others would go on following a
//! leader that decides nothing any more, and nobody would take over. So a task looks how long the log's writer has been waiting for its disk.
//!
//! 1. The process goes on: a disk that comes back finds it a follower that catches up.
//! 2. Only a leader acts. A follower without a disk is missed by nobody, as long as the others are a majority.
//! 3. It tries again at every look while it still leads as far as it knows, each time another successor. (Without its disk it cannot take note
//!    of the one that took over: that would be a vote to store.) From the first try on it sends no heartbeats, so the others elect in any case.

use crate::config::Config;
use crate::node::Node;
use conclave_storage::WriterStep;
use std::sync::Arc;
use std::time::Duration;

/// How often one looks.
const LOOK: Duration = Duration::from_secs(1);
/// A disk that is only slow gets at least this long.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct StallWatch {
    step: Arc<WriterStep>,
    limit: Duration,
    /// How often in a row leadership was to be handed over.
    tries: usize,
}

impl StallWatch {
    pub(crate) fn new(step: Arc<WriterStep>, config: &Config) -> StallWatch {
        let limit = PATIENCE.max(10 * Duration::from_millis(config.election_timeout_ms));
        StallWatch { step, limit, tries: 0 }
    }

    /// Looks until the node stops.
    pub(crate) async fn run(mut self, node: Arc<Node>) {
        loop {
            tokio::time::sleep(LOOK).await;
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
            // Not waited for beyond the next look: with the disk, consensus itself may hang.
            let _ = tokio::time::timeout(LOOK, node.ask_to_lead(to)).await;
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
        let mut watch = StallWatch { step: opened.log.writer_step(), limit: Duration::from_millis(50), tries: 0 };
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
            StallWatch::new(Arc::default(), &config).limit
        };
        assert_eq!((limit(150), limit(1_000)), (Duration::from_secs(5), Duration::from_secs(10)));
    }
}
