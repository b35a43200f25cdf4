//! Fatal errors: the only way in which a node ends by itself.
//!
//! A disk that cannot be read or written, a state that contradicts itself, a consensus core that
//! stopped: none of these can be an answer to a request. The code that finds one reports it here.
//! The process logs it and exits with an error, so that the supervisor and the other members take
//! over. Only the first report counts.
//!
//! A disk that hangs reports nothing, and an orderly shutdown would wait for it. So a node that was
//! asked to stop exits through [`within`].

use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};

#[derive(Clone)]
pub struct Fatal(watch::Sender<Option<String>>);

impl Default for Fatal {
    fn default() -> Fatal {
        Fatal(watch::Sender::new(None))
    }
}

impl Fatal {
    pub fn report(&self, what: impl std::fmt::Display) {
        self.0.send_if_modified(|reported| {
            if reported.is_some() {
                return false;
            }
            tracing::error!("fatal: {what}");
            *reported = Some(what.to_string());
            true
        });
    }

    /// Returns once an error was reported.
    pub async fn wait(&self) -> String {
        let mut reported = self.0.subscribe();
        let first = reported.wait_for(Option::is_some).await.map(|r| r.clone());
        first.ok().flatten().expect("self keeps the channel open, and what was waited for is there")
    }
}

/// Runs blocking work. If it takes longer than `limit`, the process exits with a failure code
/// without cleaning up, because cleaning up would wait for the hanging threads.
pub async fn within<T: Send + 'static>(
    limit: Duration,
    otherwise: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match tokio::time::timeout(limit, spawn_blocking(work)).await {
        Ok(done) => done,
        Err(_) => leave(otherwise),
    }
}

fn leave(why: &str) -> ! {
    tracing::error!("fatal: {why}; leaving without waiting for it");
    // Exiting runs the destructors of RocksDB, which wait for its threads. If they hang too, abort.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(Duration::from_secs(2));
        std::process::abort();
    });
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    const HANG: &str = "CONCLAVE_TEST_HANG";

    /// The test binary itself, started again with an environment variable.
    #[test]
    fn a_process_does_not_wait_for_what_hangs() {
        if std::env::var_os(HANG).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let forever = || std::thread::sleep(Duration::from_secs(600));
            runtime.block_on(within(Duration::from_millis(50), "it hangs", forever)).unwrap();
        }
        let begin = Instant::now();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "fatal::tests::a_process_does_not_wait_for_what_hangs"]).env(HANG, "1");
        let left = again.output().unwrap().status;
        assert_eq!(left.code(), Some(1));
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn what_ends_in_time_is_returned() {
        assert_eq!(within(Duration::from_secs(60), "it hangs", || 5).await.unwrap(), 5);
    }
}
