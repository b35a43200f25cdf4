//! The session that something is to be held by.

use super::signals::Signals;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    link::Link,
};
use conclave_client::{Client, Session};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// Opens the session that something is to be held by, unless a signal comes first. With a `patience`
/// it is tried again for so long, without one until the client gives up.
///
/// # Errors
/// It is interrupted, or no member opens one.
pub(crate) async fn open(
    link: &Link,
    client: &Client,
    (ttl, patience): (Duration, Option<Duration>),
    signals: &mut Signals,
) -> Result<Session> {
    let started = Instant::now();
    let opening = async {
        loop {
            let failure = match Session::open(client, ttl).await {
                Ok(session) => return Ok(session),
                Err(error) => Failure::of_client(error),
            };
            let over = patience.is_none_or(|patience| started.elapsed() + PAUSE >= patience);
            if failure.exit != Exit::NoConnection || over {
                return Err(failure);
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        interrupted = signals.interrupt() => Err(interrupted),
        opened = link.while_led(patience, opening) => opened,
    }
}
