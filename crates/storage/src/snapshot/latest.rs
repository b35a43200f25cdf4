//! The newest checkpoint, kept for followers.
//!
//! 1. It never gets older: the log behind it may be purged already.

use super::checkpoint::Snapshot;
use crate::files;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};

/// Keeps the newest checkpoint.
pub(crate) struct LatestSnapshot {
    dir: PathBuf,
    current: Mutex<Option<Snapshot>>,
}

impl LatestSnapshot {
    /// Removes the contents of `dir`, which an earlier run left.
    pub(crate) fn start(dir: PathBuf) -> io::Result<LatestSnapshot> {
        files::remove_dir(&dir)?;
        files::create_dir(&dir)?;
        Ok(LatestSnapshot { dir, current: Mutex::new(None) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn current(&self) -> Option<Snapshot> {
        self.current.lock().clone()
    }

    /// Keeps the snapshot unless a newer one was installed while this one was being built.
    pub(super) fn keep(&self, snapshot: Snapshot) {
        let mut current = self.current.lock();
        let newer = current.as_ref().is_some_and(|kept| kept.meta.last_log_id > snapshot.meta.last_log_id);
        let gone = if newer { Some(snapshot) } else { current.replace(snapshot) };
        drop(current);
        // Dropped outside the lock: this may remove a directory.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Checkpoint, fresh_dir};
    use super::*;
    use crate::types::{SnapshotMeta, StoredMembership, log_id};
    use std::fs;

    /// A newer snapshot is installed while one is being built. The log is purged up to the newer
    /// one, so no follower could continue from the older one.
    #[test]
    fn an_older_checkpoint_does_not_replace_a_newer_one() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let keeper = LatestSnapshot::start(dir.path().join("snapshots")).expect("it can be created");
        let checkpoint = |index| {
            let path = fresh_dir(keeper.dir(), "test").expect("it has a name");
            fs::create_dir(&path).expect("it can be created");
            let meta =
                SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: StoredMembership::default() };
            Snapshot { meta, snapshot: Checkpoint::own(path) }
        };
        let kept = || keeper.current().and_then(|snapshot| snapshot.meta.last_log_id);
        keeper.keep(checkpoint(5));
        keeper.keep(checkpoint(9));
        keeper.keep(checkpoint(7));
        assert_eq!(kept(), Some(log_id(1, 9)));
        keeper.keep(checkpoint(10));
        assert_eq!(kept(), Some(log_id(1, 10)));
        assert_eq!(fs::read_dir(keeper.dir()).expect("it can be read").count(), 1);
    }
}
