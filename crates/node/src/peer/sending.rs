//! Tracks outgoing snapshots. A peer continues with the entry after its snapshot, so the log must
//! still have that entry then.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Number of transfers by last index of the snapshot.
#[derive(Clone, Default)]
pub struct Sending(Arc<Mutex<BTreeMap<u64, usize>>>);

/// Time for openraft to start sending entries after a peer has installed a snapshot.
const LINGER: Duration = Duration::from_secs(3);

/// A transfer. It counts until dropped, and for [`LINGER`] longer if it succeeded.
pub(super) struct OnItsWay {
    sending: Sending,
    last: u64,
}

impl Sending {
    pub(super) fn begin(&self, last: u64) -> OnItsWay {
        *self.0.lock().entry(last).or_default() += 1;
        OnItsWay { sending: self.clone(), last }
    }

    /// The last index of the oldest snapshot in transfer.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.0.lock().keys().next().copied()
    }
}

impl OnItsWay {
    pub(super) fn arrived(self) {
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            drop(self);
        });
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut sent = self.sending.0.lock();
        if let Some(count) = sent.get_mut(&self.last) {
            *count -= 1;
            if *count == 0 {
                sent.remove(&self.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_known_until_its_last_transfer_ends() {
        let sending = Sending::default();
        let (a, b, c) = (sending.begin(9), sending.begin(5), sending.begin(5));
        drop(b);
        assert_eq!(sending.oldest(), Some(5));
        drop(c);
        assert_eq!(sending.oldest(), Some(9));
        drop(a);
        assert_eq!(sending.oldest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrived_is_remembered_for_a_while() {
        let sending = Sending::default();
        sending.begin(7).arrived();
        tokio::time::sleep(LINGER - Duration::from_millis(1)).await;
        assert_eq!(sending.oldest(), Some(7));
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(sending.oldest(), None);
    }
}
