//! Addresses of peers by name, asked for anew for each connection: a name may lead elsewhere after
//! a member has moved.
//!
//! The system's resolver blocks a thread, and for seconds if its servers do not answer. Connections
//! are tried much more often than that, so there is one question at a time for each name, and all
//! who need its answer meanwhile share it. An answer that came too late for those who asked is for
//! the next one who does: a slow resolver delays a connection and does not prevent it.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::Instant;

/// An answer that nobody took is good for so long.
const FRESH: Duration = Duration::from_secs(5);

/// What the resolver found, and when.
type Found = Option<(Vec<SocketAddr>, Instant)>;

#[derive(Clone)]
struct Question {
    answer: watch::Receiver<Found>,
    /// Somebody has the answer.
    taken: Arc<AtomicBool>,
}

impl Question {
    /// Whether another connection may go by its answer.
    fn is_open(&self) -> bool {
        match &*self.answer.borrow() {
            None => self.answer.has_changed().is_ok(),
            Some((_, at)) => !self.taken.load(Ordering::Relaxed) && at.elapsed() < FRESH,
        }
    }
}

/// One `host:port`.
pub(super) struct Name {
    authority: String,
    /// The last question.
    asked: Mutex<Option<Question>>,
}

impl Name {
    pub(super) fn new(authority: String) -> Name {
        Name { authority, asked: Mutex::default() }
    }

    /// All addresses, in the resolver's order; none if it knows none.
    pub(super) async fn addresses(&self) -> Vec<SocketAddr> {
        if let Ok(address) = self.authority.parse() {
            return vec![address];
        }
        let mut question = self.question();
        let found = question.answer.wait_for(Option::is_some).await;
        let found = found.map(|found| found.clone());
        question.taken.store(true, Ordering::Relaxed);
        // Without a sender this member stops.
        found.ok().flatten().map(|(addresses, _)| addresses).unwrap_or_default()
    }

    /// The question whose answer this connection may go by, or a new one.
    fn question(&self) -> Question {
        let mut asked = self.asked.lock();
        if let Some(question) = asked.as_ref().filter(|question| question.is_open()) {
            return question.clone();
        }
        let (told, answer) = watch::channel(None);
        let authority = self.authority.clone();
        tokio::spawn(async move {
            let found = lookup_host(&authority).await.map(Iterator::collect::<Vec<_>>);
            let found = found.inspect_err(|error| tracing::debug!(authority, %error, "a peer's name leads nowhere"));
            told.send_replace(Some((found.unwrap_or_default(), Instant::now())));
        });
        let question = Question { answer, taken: Arc::default() };
        *asked = Some(question.clone());
        question
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literal_addresses_are_no_question() {
        for text in ["127.0.0.1:2380", "[::1]:2380"] {
            let name = Name::new(text.to_owned());
            assert_eq!(name.addresses().await, [text.parse().unwrap()]);
            assert!(name.asked.lock().is_none());
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_again_each_time() {
        let name = Name::new("localhost:2380".to_owned());
        let (one, other) = tokio::join!(name.addresses(), name.addresses());
        assert!(one == other && one.iter().all(|address| address.ip().is_loopback() && address.port() == 2380));
        let first = name.asked.lock().clone().unwrap();
        assert!(!name.addresses().await.is_empty());
        let second = name.asked.lock().clone().unwrap();
        assert!(!second.answer.same_channel(&first.answer), "an answer that was taken is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_took_is_for_the_next_connection() {
        let name = Name::new("localhost:2380".to_owned());
        let mut slow = name.question();
        let first = slow.answer.clone();
        slow.answer.wait_for(Option::is_some).await.unwrap();
        assert!(name.question().answer.same_channel(&first) && !name.addresses().await.is_empty());
        assert!(!name.question().answer.same_channel(&first), "it is taken now");
        let mut late = name.question();
        late.answer.wait_for(Option::is_some).await.unwrap();
        tokio::time::advance(FRESH).await;
        assert!(!name.question().answer.same_channel(&late.answer), "it is too old");
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_no_error() {
        assert!(Name::new("no-such-host.invalid:1".to_owned()).addresses().await.is_empty());
    }
}
