//! The one way a node dies of itself: something reported that it cannot go on.
//!
//! A disk that cannot be read or written, a state that contradicts itself, a consensus core that stopped: none of these is an answer
//! to a request. Whoever meets one reports it here; the process logs it and exits with an error, so that a supervisor and the other
//! members take over. Only the first report counts.
//!
//! A disk that hangs reports nothing, and whoever ends in order waits for it: a node that was asked to stop leaves by [`within`].

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

    /// Returns once something was reported.
    pub async fn wait(&self) -> String {
        let mut reported = self.0.subscribe();
        let first = reported.wait_for(Option::is_some).await.map(|r| r.clone());
        first.ok().flatten().expect("self keeps the channel open, and what was waited for is there")
    }
}

/// Blocking work that the process does not wait for any longer than `limit`: then it leaves as it is, with the exit code of a failure. Ending
/// in order would mean to wait for the threads that hang.
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
    // Exiting runs the destructors of RocksDB, which wait for its own threads: if they hang too, it is an abort.
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

    /// In another process: this one, told by its environment.
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
