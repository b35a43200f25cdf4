//! The two tasks of a session: one renews its lease, one follows the clock. Both end when the
//! session does.
//!
//! 1. The clock's task needs no network, and no answer of the other: it tells of jeopardy and loss
//!    when they come.
//! 2. One keep-alive is under way at a time, so each answer is counted from when its own request
//!    was made.
//! 3. A member that does not answer within a quarter of the TTL is left for the next one.

use super::{LostReason, Shared, wire::KeepAlives};
use crate::{Error, ErrorKind};
use std::{sync::Arc, time::Duration};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn start(shared: &Arc<Shared>) {
    shared.runtime.spawn(follow_clock(Arc::clone(shared)));
    let keeper = Arc::clone(shared);
    shared.runtime.spawn(async move {
        tokio::select! {
            _ = keeper.lost() => {}
            () = renew(&keeper) => {}
        }
    });
}

/// Tells of every change that time brings.
pub(super) async fn follow_clock(shared: Arc<Shared>) {
    while let Some(next) = shared.next_change() {
        tokio::select! {
            _ = shared.lost() => return,
            () = shared.clock.sleep_until(next) => {}
        }
    }
}

async fn renew(shared: &Shared) {
    let mut stream = None;
    let mut pause = FIRST_PAUSE;
    loop {
        shared.clock.sleep_until(shared.renewal()).await;
        let sent = shared.clock.now();
        match exchange(shared, &mut stream).await {
            Ok(ttl) => {
                shared.renewed(sent, ttl);
                pause = FIRST_PAUSE;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => return shared.end(LostReason::LeaseGone),
            Err(error) => tracing::debug!(lease = shared.lease, %error, "keep-alive failed"),
        }
        stream = None;
        // By the runtime's clock: while the machine is suspended there is nothing to try.
        tokio::time::sleep(pause.min(shared.ttl() / 10)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn exchange(shared: &Shared, stream: &mut Option<KeepAlives>) -> Result<Duration, Error> {
    let patience = (shared.ttl() / 4).min(shared.client.attempt_timeout());
    let open = match stream {
        Some(open) => open,
        None => stream.insert(KeepAlives::open(shared.wire, &shared.client, shared.lease, patience).await?),
    };
    open.keep_alive(patience).await
}
