//! Throttles new append sessions to a peer.
//!
//! openraft begins a new session at once after one failed. Its own pause is in the request stream,
//! which is not polled before there is a connection. And while a snapshot is in transfer, it begins
//! a session for every commit.
//!
//! 1. After a session without a reply the next one waits.
//! 2. The next one also waits after several sessions that brought nothing. Several, because a
//!    leader begins by finding the end of the peer's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Consecutive sessions that may bring nothing.
const FEW: u32 = 4;

pub(super) struct Pace {
    pause: Duration,
    fruitless: Arc<AtomicU32>,
}

/// One session.
pub(super) struct Turn {
    fruitless: Arc<AtomicU32>,
    before: u32,
    brings: AtomicBool,
}

impl Pace {
    pub(super) fn new(pause: Duration) -> Pace {
        Pace { pause, fruitless: Arc::default() }
    }

    /// Waits until a session may begin.
    pub(super) async fn turn(&self) -> Turn {
        if self.fruitless.load(Ordering::Relaxed) >= FEW {
            tokio::time::sleep(self.pause).await;
        }
        let before = self.fruitless.swap(FEW, Ordering::Relaxed);
        Turn { fruitless: self.fruitless.clone(), before, brings: AtomicBool::new(false) }
    }
}

impl Turn {
    /// Entries are being sent.
    pub(super) fn brings(&self) {
        self.brings.store(true, Ordering::Relaxed);
    }

    /// The peer replied; `news` if the reply carries more than that it is alive.
    pub(super) fn replied(&self, news: bool) {
        let brought = news || self.brings.load(Ordering::Relaxed);
        self.fruitless.store(if brought { 0 } else { self.before.saturating_add(1) }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const PAUSE: Duration = Duration::from_millis(50);

    /// Number of sessions that begin within a second.
    async fn sessions(run: impl Fn(&Turn)) -> usize {
        let (pace, start) = (Pace::new(PAUSE), Instant::now());
        for n in 0..1000 {
            run(&pace.turn().await);
            if start.elapsed() > Duration::from_secs(1) {
                return n;
            }
        }
        1000
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_brings_something_may_go_on_at_once() {
        assert_eq!(sessions(|_| {}).await, 21, "no reply");
        assert_eq!(sessions(Turn::brings).await, 21, "no reply to entries");
        assert_eq!(sessions(|turn| turn.replied(false)).await, 24, "replies that say nothing");
        assert_eq!(sessions(|turn| turn.replied(true)).await, 1000, "a peer that says where its log ends");
        let entries = |turn: &Turn| {
            turn.brings();
            turn.replied(false);
        };
        assert_eq!(sessions(entries).await, 1000, "entries that arrive");
    }
}
