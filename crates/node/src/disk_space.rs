//! Watches the free space on the disk of the data directory, for metrics and early warnings.
//!
//! A full disk ends the process at the next write, and it cannot start again before there is space.
//! Compaction of store and log frees space but first needs some. So the warnings come while
//! compaction is still possible.

use conclave_storage::free_bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;

const EVERY: Duration = Duration::from_secs(10);
/// A warning is repeated after this number of checks.
const AGAIN: u32 = 60;

/// Below this the warning suggests compacting and deleting.
const LITTLE: u64 = 1 << 30;
/// Space that a compaction needs: merged files exist twice meanwhile.
const HARDLY_ANY: u64 = 256 << 20;

#[derive(Clone, Default)]
pub struct DiskSpace(Arc<AtomicU64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Enough,
    Little,
    HardlyAny,
}

impl Room {
    fn of(free: u64) -> Room {
        match free {
            _ if free < HARDLY_ANY => Room::HardlyAny,
            _ if free < LITTLE => Room::Little,
            _ => Room::Enough,
        }
    }
}

/// Decides when to log: at each change, and periodically while the state lasts.
struct Speaker {
    room: Room,
    silent: u32,
}

impl Speaker {
    fn speaks(&mut self, room: Room) -> bool {
        let changed = std::mem::replace(&mut self.room, room) != room;
        self.silent += 1;
        let speaks = changed || (room != Room::Enough && self.silent >= AGAIN);
        if speaks {
            self.silent = 0;
        }
        speaks
    }
}

impl DiskSpace {
    /// As of the last check; 0 before the first.
    pub fn free(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Checks every few seconds until it is dropped.
    pub(crate) async fn watch(self, dir: PathBuf) {
        let mut speaker = Speaker { room: Room::Enough, silent: 0 };
        loop {
            let path = dir.clone();
            // A disk that hangs must not block the event loop.
            match spawn_blocking(move || free_bytes(&path)).await {
                Ok(Ok(free)) => {
                    self.0.store(free, Ordering::Relaxed);
                    let room = Room::of(free);
                    if speaker.speaks(room) {
                        say(room, free);
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "cannot tell how full the disk is"),
                Err(_) => return,
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn say(room: Room, free: u64) {
    match room {
        Room::Enough => tracing::info!(free, "the disk of the data directory has room again"),
        Room::Little => tracing::warn!(
            free,
            "little room is left on the disk of the data directory: make room, or delete keys and compact"
        ),
        Room::HardlyAny => tracing::error!(
            free,
            "hardly any room is left on the disk of the data directory: this member ends when it is full, and cannot start \
             before there is room"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once_and_trouble_again_later() {
        let mut speaker = Speaker { room: Room::Enough, silent: 0 };
        let mut told = |free| speaker.speaks(Room::of(free));
        assert!(!told(u64::MAX), "enough is not worth a word");
        assert!(told(LITTLE - 1) && !told(LITTLE - 2));
        assert!(told(HARDLY_ANY - 1) && !told(0));
        assert_eq!((0..10 * AGAIN).filter(|_| told(0)).count(), 10);
        assert!(told(LITTLE) && !told(LITTLE));
    }
}
