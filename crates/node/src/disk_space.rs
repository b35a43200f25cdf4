//! Watches the free space on the disk of the data directory: warns early, and refuses writes before
//! it is full.
//!
//! A full disk ends the process at the next write, and it cannot start again before there is space.
//! To make room (compaction, deletion) needs some first. So:
//!
//! 1. The first warning comes while there is still much.
//! 2. With hardly any left, this member raises the no-space alarm: the cluster refuses what makes
//!    the store grow, and goes on to delete, compact and answer reads. It is raised again until
//!    there is room, and disarmed by an operator, as every alarm.
//! 3. With almost nothing left, a file that kept some is given up, which is enough for the entries
//!    that make room. It is made again when there is enough.

use crate::proposer::Proposer;
use conclave_state::{Alarm, AlarmChange, AlarmKind, Caller, Command, read};
use conclave_storage::{DiskRoom, Reserve, StateHandle, disk_room};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Between two looks. A disk does not lose [`LITTLE`] in this time.
const EVERY: Duration = Duration::from_secs(2);
/// When there is little: what a fast disk can lose in this time is less than [`HARDLY_ANY`].
const CLOSELY: Duration = Duration::from_millis(200);
/// A warning is repeated after so long.
const AGAIN: Duration = Duration::from_secs(600);

/// Below this the warning suggests compacting and deleting.
const LITTLE: u64 = 1 << 30;
/// Space that a compaction needs: merged files exist twice meanwhile.
const HARDLY_ANY: u64 = 256 << 20;
/// Less than a few files of the log.
const NOTHING: u64 = 64 << 20;
/// What the reserve holds.
const RESERVE: u64 = 32 << 20;
/// On a small disk each of these is so small a part of it at most.
const PARTS: [u64; 4] = [8, 16, 32, 64];

#[derive(Clone, Default)]
pub struct DiskSpace(Arc<AtomicU64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Enough,
    Little,
    HardlyAny,
    Nothing,
}

/// The bounds on a disk of this size, and the size of the reserve.
fn marks(total: u64) -> [u64; 4] {
    let [a, b, c, d] = PARTS.map(|part| total / part);
    [LITTLE.min(a), HARDLY_ANY.min(b), NOTHING.min(c), RESERVE.min(d)]
}

impl Room {
    fn of(DiskRoom { free, total }: DiskRoom) -> Room {
        let [little, hardly_any, nothing, _] = marks(total);
        match free {
            _ if free < nothing => Room::Nothing,
            _ if free < hardly_any => Room::HardlyAny,
            _ if free < little => Room::Little,
            _ => Room::Enough,
        }
    }
}

/// Decides when to log: at each change, and now and then while there is not enough.
struct Speaker {
    room: Room,
    silent: Duration,
}

impl Speaker {
    /// `after` the last look.
    fn speaks(&mut self, room: Room, after: Duration) -> bool {
        let changed = std::mem::replace(&mut self.room, room) != room;
        self.silent += after;
        let speaks = changed || (room != Room::Enough && self.silent >= AGAIN);
        if speaks {
            self.silent = Duration::ZERO;
        }
        speaks
    }
}

/// What is done about a lack of space.
pub(crate) struct Remedy {
    pub(crate) member: u64,
    pub(crate) state: StateHandle,
    pub(crate) proposer: Proposer,
}

impl Remedy {
    /// Has writes refused, unless they are.
    async fn raise(&self) {
        let alarm = Alarm { member: self.member, kind: AlarmKind::NoSpace };
        if read::alarms(&self.state.view()).is_ok_and(|raised| raised.contains(&alarm)) {
            return;
        }
        let raise = Command::Alarm(AlarmChange { raise: true, alarm }).by(Caller::Server);
        match self.proposer.propose_own(raise).await {
            Ok(_) => tracing::error!(
                "the disk is almost full: writes are refused until there is room and the alarm is disarmed"
            ),
            Err(error) => tracing::warn!(%error, "the disk is almost full, and the alarm could not be raised"),
        }
    }
}

/// What a look found, with the reserve as it ought to be then.
fn look(dir: &std::path::Path) -> std::io::Result<DiskRoom> {
    let found = disk_room(dir)?;
    let reserve = Reserve::of(dir);
    match Room::of(found) {
        Room::Enough => {
            if let Err(error) = reserve.take(marks(found.total)[3]) {
                tracing::debug!(%error, "no space can be reserved");
            }
        }
        Room::Little | Room::HardlyAny => {}
        Room::Nothing => {
            if reserve.release()? {
                tracing::error!("the space that was reserved on the disk is given up: make room");
            }
        }
    }
    Ok(found)
}

impl DiskSpace {
    /// As of the last check; 0 before the first.
    pub fn free(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Looks every few seconds until it is dropped, and more often when there is little.
    pub(crate) async fn watch(self, dir: PathBuf, remedy: Remedy) {
        let mut speaker = Speaker { room: Room::Enough, silent: Duration::ZERO };
        let mut pause = EVERY;
        loop {
            let path = dir.clone();
            // A disk that hangs must not block the event loop.
            match spawn_blocking(move || look(&path)).await {
                Ok(Ok(found)) => {
                    self.0.store(found.free, Ordering::Relaxed);
                    let room = Room::of(found);
                    if speaker.speaks(room, pause) {
                        say(room, found.free);
                    }
                    if room >= Room::HardlyAny {
                        remedy.raise().await;
                    }
                    pause = if room == Room::Enough { EVERY } else { CLOSELY };
                }
                Ok(Err(error)) => tracing::debug!(%error, "cannot tell how full the disk is"),
                Err(_) => return,
            }
            tokio::time::sleep(pause).await;
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
        Room::HardlyAny | Room::Nothing => tracing::error!(
            free,
            "hardly any room is left on the disk of the data directory: writes are refused; this member ends when it is full, and \
             cannot start before there is room"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = 1 << 40;

    fn of(free: u64) -> Room {
        Room::of(DiskRoom { free, total: LARGE })
    }

    #[test]
    fn each_change_is_told_once_and_trouble_again_later() {
        let mut speaker = Speaker { room: Room::Enough, silent: Duration::ZERO };
        let mut told = |free| speaker.speaks(of(free), AGAIN / 60);
        assert!(!told(u64::MAX), "enough is not worth a word");
        assert!(told(LITTLE - 1) && !told(LITTLE - 2));
        assert!(told(HARDLY_ANY - 1) && !told(HARDLY_ANY - 2));
        assert!(told(NOTHING - 1) && !told(0));
        assert_eq!((0..600).filter(|_| told(0)).count(), 10);
        assert!(told(LITTLE) && !told(LITTLE));
    }

    #[test]
    fn a_small_disk_has_smaller_bounds() {
        let room = |free| Room::of(DiskRoom { free, total: 64 << 20 });
        let found = [9 << 20, 7 << 20, 3 << 20, 1 << 20].map(room);
        assert_eq!(found, [Room::Enough, Room::Little, Room::HardlyAny, Room::Nothing]);
        for total in [0, 1 << 20, 64 << 20, LARGE] {
            let [little, hardly_any, nothing, reserve] = marks(total);
            assert!(little >= hardly_any && hardly_any >= nothing && nothing >= reserve, "{total}");
        }
    }
}
