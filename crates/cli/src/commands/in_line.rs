//! Waiting in a line: a stream tells how many are before, until the place is the first. If a connection is lost, the same request is sent to
//! another member, which finds the same place.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use conclave_client::Channel;
use std::{cell::Cell, time::Duration};
use tokio::time::sleep;
use tonic::{Response, Status, Streaming};

/// Between attempts after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);

/// What a message of the stream says.
pub(super) enum News<T> {
    Won(T),
    Before(u64),
    Other,
}

/// Waits for a place in the line of `name`, and prints how many are before. `in_line` is true while a member answers that others are
/// before. A failure that `failed` reads as [`Exit::NoConnection`] is followed by another attempt.
pub(super) async fn wait<M, T>(
    context: &Context,
    name: &str,
    in_line: &Cell<bool>,
    ask: impl AsyncFn(Channel) -> Result<Response<Streaming<M>>, Status>,
    failed: impl Fn(Status) -> Failure,
    news: impl Fn(M) -> News<T>,
) -> Result<T> {
    let mut told = None;
    loop {
        let once = async {
            let channel = context.link.node().await?.channel;
            let mut stream = ask(channel).await.map_err(&failed)?.into_inner();
            while let Some(message) = stream.message().await.map_err(&failed)? {
                in_line.set(true);
                match news(message) {
                    News::Won(won) => return Ok(won),
                    News::Before(before) if told.replace(before) != Some(before) => match before {
                        0 => output::note(&format!("waiting for {name:?}: next in line")),
                        before => output::note(&format!("waiting for {name:?}: {before} before")),
                    },
                    _ => {}
                }
            }
            Err(Failure::new(Exit::NoConnection, "the member ended the stream"))
        };
        let outcome = once.await;
        in_line.set(false);
        match outcome {
            Err(failure) if failure.exit == Exit::NoConnection => {
                context.link.settings().debug(|| format!("{}; asking again", failure.message()));
                context.link.forget();
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
