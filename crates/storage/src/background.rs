//! Keeps RocksDB's flushes and compactions from delaying requests.
//!
//! All members hold the same data, so background work becomes due on all of them at the same time.
//! It can delay requests in three ways:
//!
//! 1. **CPU.** A flush or a compaction takes a core for up to seconds. Its threads run at a lower
//!    priority ([`low_priority_threads`]).
//! 2. **Disk.** A sync of the log waits for other writes to the disk, and a file written at once is
//!    tens of megabytes. So files go to the disk while they are written.
//! 3. **All members at once.** If they all flush or compact at the same moment, no majority is
//!    free. So the bounds differ from member to member ([`jittered`], [`files_to_compact`]).

use crate::files;
use rocksdb::{Env, Options};
use std::path::Path;
use std::sync::Once;

/// The niceness of background threads. At 5 a thread gets a third of the CPU time of others while
/// cores are short. At 10 (a tenth), compaction fell behind for good on a busy machine: files piled
/// up and deleted data kept its space. At 19 (a sixtieth), a thread could also hold a lock for
/// long.
const NICE: i32 = 5;

/// Bytes written before the disk is asked to start writing them back.
const PIECE: u64 = 1 << 20;

/// Creates RocksDB's threads, one of each kind for each of the two databases, before a database
/// does: a thread inherits the niceness of its creator. Only Linux has niceness per thread.
pub(crate) fn low_priority_threads() {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        let make = || -> Result<(), String> {
            #[cfg(target_os = "linux")]
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE).map_err(|e| e.to_string())?;
            let mut env = Env::new().map_err(|e| e.to_string())?;
            env.set_high_priority_background_threads(2);
            env.set_low_priority_background_threads(2);
            Ok(())
        };
        let made = std::thread::scope(|s| s.spawn(make).join());
        if !matches!(made, Ok(Ok(()))) {
            tracing::warn!(?made, "flushes and compactions take as much of the processors as requests do");
        }
    });
}

/// For files that are read soon and often: they stay in the page cache and are written back in
/// pieces.
pub(crate) fn write_back_in_pieces(o: &mut Options) {
    o.set_bytes_per_sync(PIECE);
}

/// For files that are hardly read again: bypasses the page cache if the file system can, which also
/// takes half the CPU time.
pub(crate) fn direct(o: &mut Options, dir: &Path) {
    if files::take_direct(dir) { o.set_use_direct_io_for_flush_and_compaction(true) } else { write_back_in_pieces(o) }
}

/// A random number between three quarters of the bound and the bound, so that members differ.
pub(crate) fn jittered(bound: u64) -> u64 {
    bound - rand::random_range(0..=bound / 4)
}

/// The number of first-level files that starts a compaction: RocksDB's four, or one or two more, so
/// that members compact at different times.
pub(crate) fn files_to_compact() -> i32 {
    rand::random_range(4..=6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_differ_and_are_never_passed() {
        let drawn: std::collections::HashSet<_> = (0..100).map(|_| jittered(64 << 20)).collect();
        assert!(drawn.len() > 50);
        assert!(drawn.iter().all(|&b| (48 << 20..=64 << 20).contains(&b)), "{drawn:?}");
        assert_eq!((jittered(0), jittered(1)), (0, 1));
    }

    /// In whatever order the databases are opened.
    #[test]
    #[cfg(target_os = "linux")]
    fn threads_in_the_background_come_after_others() {
        let dir = tempfile::tempdir().unwrap();
        let log = crate::log::RocksLog::open(&dir.path().join("log")).unwrap();
        let state =
            crate::state::StateDb::open(&dir.path().join("state"), &crate::state::StateLimits::default()).unwrap();
        let mut found = Vec::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            let Ok(stat) = std::fs::read_to_string(task.join("stat")) else { continue };
            let (head, rest) = stat.rsplit_once(')').unwrap();
            if head.contains("(rocksdb:") {
                found.push(rest.split_whitespace().nth(16).unwrap().to_owned());
            }
        }
        assert!(found.len() >= 4 && found.iter().all(|nice| *nice == NICE.to_string()), "{found:?}");
        drop((log, state));
    }
}
