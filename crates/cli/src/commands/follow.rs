//! Streams of changes that go on when a connection is lost.
//!
//! 1. After a failure of a member the stream is opened again with another one, from the revision
//!    after the last that was shown: nothing is left out or repeated.
//! 2. What the cluster refuses ends it.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::signals::Signals,
    output,
};
use conclave_client::Channel;
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Response, Status, Streaming};

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// Follows a stream until a signal comes. `open` gets the revision to begin with (0: from now, with
/// how things stand); `each` shows a message and returns its revision.
pub(super) async fn follow<A, F>(
    context: &Context,
    from: i64,
    open: impl Fn(Channel, i64) -> F,
    mut each: impl FnMut(&A) -> Result<i64>,
) -> Result<Exit>
where
    F: Future<Output = Result<Response<Streaming<A>>, Status>>,
{
    let mut signals = Signals::new()?;
    let mut next = from;
    let mut told = false;
    let mut seen = from > 0;
    let mut telling = std::pin::pin!(context.link.tell_of_leader());
    loop {
        let begun = seen;
        let once = async {
            let node = context.link.node().await?;
            let opened = open(node.channel, next).await;
            let mut stream = opened.map_err(|status| Failure::of(&status, Effect::Reads))?.into_inner();
            told = false;
            while let Some(message) = stream.message().await.map_err(|status| Failure::of(&status, Effect::Reads))? {
                (next, seen) = (each(&message)? + 1, true);
            }
            Err::<(), Failure>(Failure::new(Exit::NoConnection, "the member ended the stream"))
        };
        let failure = tokio::select! {
            biased;
            exit = signals.end() => return Ok(exit),
            never = &mut telling, if begun => match never {},
            outcome = once => match outcome {
                Ok(()) => continue,
                Err(failure) => failure,
            },
        };
        // Before anything was seen, there may be nobody at all.
        if failure.exit != Exit::NoConnection || !seen {
            return Err(context.link.explained(failure).await);
        }
        if !std::mem::replace(&mut told, true) {
            output::note(&format!("{}; going on with another member", failure.message()));
        }
        context.link.forget();
        tokio::select! {
            biased;
            exit = signals.end() => return Ok(exit),
            () = sleep(PAUSE) => {}
        }
    }
}
