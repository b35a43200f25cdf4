//! Waiting in a line: a stream tells how many are before, until the place is the first. If a
//! connection is lost, the same request is sent to another member, which finds the same place.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use conclave_client::Channel;
use std::{cell::Cell, task::Poll, time::Duration};
use tokio::time::{sleep, timeout};
use tonic::{Response, Status, Streaming};

/// Between attempts after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);

/// What a message of the stream says.
pub(super) enum News<T> {
    Won(T),
    Before(u64),
    Other,
}

/// Waits no longer than `wait` while others are before; the first answer is awaited as long as any
/// call's is, `answer`. `late` is told whether a member has answered.
pub(super) async fn within<T>(
    (wait, answer): (Option<Duration>, Duration),
    in_line: &Cell<bool>,
    waiting: impl Future<Output = Result<T>>,
    late: impl FnOnce(bool) -> Failure,
) -> Result<T> {
    let Some(wait) = wait else { return waiting.await };
    let mut waiting = std::pin::pin!(waiting);
    if let Ok(outcome) = timeout(wait, &mut waiting).await {
        return outcome;
    }
    let answered = std::future::poll_fn(|cx| match waiting.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if in_line.get() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match timeout(answer.saturating_sub(wait), answered).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) | Err(_) => Err(late(in_line.get())),
    }
}

/// Waits for a place in the line of `name`, and prints how many are before. `in_line` is true while
/// a member answers that others are before. A failure that `failed` reads as [`Exit::NoConnection`]
/// is followed by another attempt.
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
                let news = news(message);
                in_line.set(in_line.get() || matches!(news, News::Before(_)));
                match news {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Duration = Duration::from_secs(5);

    fn late(in_line: bool) -> Failure {
        Failure::new(if in_line { Exit::Busy } else { Exit::NoConnection }, "late")
    }

    async fn of(wait: u64, told_after: Option<u64>, won_after: Option<u64>) -> Result<(), Exit> {
        let in_line = Cell::new(false);
        let after = async |millis: Option<u64>| match millis {
            Some(millis) => sleep(Duration::from_millis(millis)).await,
            None => std::future::pending().await,
        };
        let waiting = async {
            let told = async {
                after(told_after).await;
                in_line.set(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = told => {}
                () = after(won_after) => {}
            }
            Ok(())
        };
        within((Some(Duration::from_millis(wait)), ANSWER), &in_line, waiting, late)
            .await
            .map_err(|failure| failure.exit)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_awaited_however_short_the_wait() {
        for wait in [0, 1, 5] {
            assert_eq!(of(wait, None, Some(20)).await, Ok(()), "it is free");
            assert_eq!(of(wait, Some(20), None).await, Err(Exit::Busy), "another is before");
        }
        let start = tokio::time::Instant::now();
        assert_eq!(of(100, Some(20), Some(3000)).await, Err(Exit::Busy));
        assert_eq!(start.elapsed(), Duration::from_millis(100), "the wait is kept");
        assert_eq!(of(0, None, None).await, Err(Exit::NoConnection), "nobody answers");
        assert_eq!(start.elapsed(), Duration::from_millis(100) + ANSWER);
    }
}
