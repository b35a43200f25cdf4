//! A large response on its way to the client.
//!
//! It is encoded piece by piece, each when the connection has room for it, so that no more is in
//! memory than what is not sent yet, and the event loop is held up by one piece at a time.
//!
//! 1. While anything of it is in memory, it has its share of the budget for large responses.
//! 2. A client that takes nothing for [`STALL`] loses it, and so does one whose deadline passes:
//!    others may wait for the share.

use super::pieces::{InPieces, Pieces};
use crate::outflow::{Beside, Share};
use crate::status::internal;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// How long a client may take nothing.
const STALL: Duration = Duration::from_secs(60);

pub(super) struct Large {
    rest: Arc<Mutex<Option<Rest>>>,
    watch: AbortHandle,
}

struct Rest {
    pieces: Beside<Pieces>,
    /// Since the last look.
    taken: bool,
    _share: Share,
}

impl std::fmt::Debug for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Large")
    }
}

impl Large {
    pub(super) async fn new(message: impl InPieces, share: Share) -> Result<Large, Status> {
        Large::of(move || message.pieces(), share).await
    }

    /// Of anything that is made in pieces.
    pub(super) async fn of(pieces: impl FnOnce() -> Pieces + Send + 'static, share: Share) -> Result<Large, Status> {
        let pieces = spawn_blocking(move || Beside::new(pieces())).await.map_err(internal)?;
        let rest = Arc::new(Mutex::new(Some(Rest { pieces, taken: false, _share: share })));
        let watch = tokio::spawn(watch(rest.clone())).abort_handle();
        Ok(Large { rest, watch })
    }

    /// Lets go of the rest at this moment at the latest.
    pub(super) fn end_at(&mut self, deadline: Instant) {
        let (rest, stalls) = (self.rest.clone(), watch(self.rest.clone()));
        let either = async move {
            if timeout_at(deadline, stalls).await.is_err() {
                drop(rest.lock().take());
            }
        };
        std::mem::replace(&mut self.watch, tokio::spawn(either).abort_handle()).abort();
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, Status>> {
        let mut rest = self.rest.lock();
        let Some(left) = &mut *rest else {
            let text = "conclave: the client took nothing of a large response for a minute";
            return Some(Err(Status::unavailable(text)));
        };
        left.taken = true;
        left.pieces.get().next().map(Ok)
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.watch.abort();
        self.rest.lock().take();
    }
}

/// Takes the rest away from a client that does not read.
async fn watch(rest: Arc<Mutex<Option<Rest>>>) {
    loop {
        tokio::time::sleep(STALL).await;
        let mut rest = rest.lock();
        let taken = rest.as_mut().is_some_and(|left| std::mem::take(&mut left.taken));
        if !taken {
            return drop(rest.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outflow::{Measured, Outflow};
    use conclave_api::etcdserverpb::RangeResponse;
    use conclave_api::mvccpb::KeyValue;
    use futures::FutureExt;

    async fn large(outflow: &Outflow) -> Large {
        let kv = KeyValue { value: vec![7; 1 << 20].into(), ..Default::default() };
        let made = Measured::new(RangeResponse { kvs: vec![kv; 4], ..Default::default() });
        let (_, message, mut extensions) = outflow.admit(made).await.expect("not refused").into_parts();
        Large::new(message, extensions.remove().expect("it is large")).await.expect("no panic")
    }

    fn has_room(outflow: &Outflow) -> bool {
        let kv = KeyValue { value: vec![7; 4 << 20].into(), ..Default::default() };
        let made = Measured::new(RangeResponse { kvs: vec![kv], ..Default::default() });
        outflow.admit(made).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_gets_everything() {
        let outflow = Outflow::with_budget(6 << 20);
        let mut large = large(&outflow).await;
        let mut bytes = 0;
        while let Some(piece) = large.next() {
            bytes += piece.expect("it reads").len();
            assert!(!has_room(&outflow));
            tokio::time::sleep(STALL - Duration::from_secs(1)).await;
        }
        assert!(bytes > 4 << 20);
        drop(large);
        tokio::time::timeout(STALL, self::large(&outflow)).await.expect("the share was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_loses_it() {
        let outflow = Outflow::with_budget(6 << 20);
        let mut large = large(&outflow).await;
        large.next().expect("the first piece").expect("nothing is wrong yet");
        tokio::time::timeout(STALL * 3, self::large(&outflow)).await.expect("its share is free");
        let status = large.next().expect("no end").expect_err("it was taken away");
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_leaves_nothing() {
        let outflow = Outflow::with_budget(6 << 20);
        let mut large = large(&outflow).await;
        large.next().expect("the first piece").expect("nothing is wrong");
        drop(large);
        assert!(has_room(&outflow));
    }
}
