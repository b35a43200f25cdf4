//! Waiting for something to become true.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Long enough for anything that should take a moment, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);
/// Long enough for a start or a recovery on a busy machine.
pub const LONG: Duration = Duration::from_secs(40);

const STEP: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`, and returns it; after `bound` fails with the last answer.
///
/// # Errors
/// `what` did not come about in time.
pub async fn eventually<T, F>(what: &str, bound: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + bound;
    loop {
        // An attempt that hangs must not outlive the bound.
        let left = end.saturating_duration_since(Instant::now()).max(STEP);
        let last = match tokio::time::timeout(left, ask()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".into(),
        };
        if Instant::now() >= end {
            bail!("{what} did not happen within {bound:?}: {last}");
        }
        tokio::time::sleep(STEP).await;
    }
}

/// The future's value, or an error that says what took too long.
///
/// # Errors
/// `bound` passed.
pub async fn within<T>(what: &str, bound: Duration, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(bound, future).await.map_err(|_| anyhow::anyhow!("{what} took longer than {bound:?}"))
}
