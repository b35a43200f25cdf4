//! RocksDB's work beside the requests: flushes and compactions, which must not make those wait who are answered meanwhile.
//!
//! Members hold the same, so what comes due in one comes due in all. Three things would be waited for:
//!
//! 1. **A core.** A flush or a compaction takes one for up to seconds. Its threads come after those that answer ([`yielding_threads`]).
//! 2. **The disk.** A sync of the log waits behind what else is on its way, and a file that is written at one go is tens of megabytes. Files go
//!    to the disk while they are written.
//! 3. **Each other.** Members that flush or compact at the same moment leave no majority that is free ([`apart`], [`files_to_compact`]).

use crate::files;
use rocksdb::{Env, Options};
use std::path::Path;
use std::sync::Once;

/// How much less than the others a thread in the background gets while there is not enough for all: at 5, a third. With a tenth (10), compaction
/// fell behind for good where all cores were taken for long: files piled up, and what was deleted kept its space. With the least there is
/// (19, a sixtieth), a thread could also hold a lock for long that others wait for.
const NICE: i32 = 5;

/// Written before the disk is asked to begin with it.
const PIECE: u64 = 1 << 20;

/// Makes RocksDB's threads, one of each kind for each of the two databases, before a database makes them: a thread begins with the niceness
/// of the one that makes it. Only Linux has one for each thread.
pub(crate) fn yielding_threads() {
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

/// For files that are read soon and often: they stay in memory, and go to the disk in pieces.
pub(crate) fn in_pieces(o: &mut Options) {
    o.set_bytes_per_sync(PIECE);
}

/// For files that are hardly read again: past the system's memory, where the file system can. That takes half the processor's time, too.
pub(crate) fn direct(o: &mut Options, dir: &Path) {
    if files::take_direct(dir) { o.set_use_direct_io_for_flush_and_compaction(true) } else { in_pieces(o) }
}

/// A number of bytes that differs from member to member and from time to time: three quarters of the bound and more.
pub(crate) fn apart(bound: u64) -> u64 {
    bound - rand::random_range(0..=bound / 4)
}

/// So many files of the first level are compacted together: RocksDB's four, or one or two more, so that not all members come to it after as many
/// flushes.
pub(crate) fn files_to_compact() -> i32 {
    rand::random_range(4..=6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_differ_and_are_never_passed() {
        let drawn: std::collections::HashSet<_> = (0..100).map(|_| apart(64 << 20)).collect();
        assert!(drawn.len() > 50);
        assert!(drawn.iter().all(|&b| (48 << 20..=64 << 20).contains(&b)), "{drawn:?}");
        assert_eq!((apart(0), apart(1)), (0, 1));
    }

    /// Whichever database comes first.
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
