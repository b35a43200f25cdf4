//! The one way a node dies of itself: something reported that it cannot go on.
//!
//! A disk that cannot be read or written, a state that contradicts itself, a consensus core that stopped: none of these is an answer
//! to a request. Whoever meets one reports it here; the process logs it and exits with an error, so that a supervisor and the other
//! members take over. Only the first report counts.

use tokio::sync::watch;

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
