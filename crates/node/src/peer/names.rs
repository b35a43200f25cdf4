//! Addresses of peers by name, asked for anew for each connection: a name may lead elsewhere after a member has moved.
//!
//! The system's resolver blocks a thread, and for seconds if its servers do not answer. Connections are tried much more often
//! than that, so there is one question at a time for each name, and whoever needs its answer meanwhile shares it.

use parking_lot::Mutex;
use std::net::SocketAddr;
use tokio::net::lookup_host;
use tokio::sync::watch;

type Answer = watch::Receiver<Option<Vec<SocketAddr>>>;

/// One `host:port`.
pub(super) struct Name {
    authority: String,
    /// The last question; its value is there once it is answered.
    asked: Mutex<Option<Answer>>,
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
        let mut answer = self.question();
        let known = answer.wait_for(Option::is_some).await;
        known.map(|addresses| addresses.clone().unwrap_or_default()).unwrap_or_default()
    }

    /// The question that is under way, or a new one.
    fn question(&self) -> Answer {
        let mut asked = self.asked.lock();
        if let Some(answer) = asked.as_ref().filter(|answer| answer.borrow().is_none() && answer.has_changed().is_ok())
        {
            return answer.clone();
        }
        let (told, answer) = watch::channel(None);
        let authority = self.authority.clone();
        tokio::spawn(async move {
            let found = lookup_host(&authority).await.map(Iterator::collect::<Vec<_>>);
            let found = found.inspect_err(|error| tracing::debug!(authority, %error, "a peer's name leads nowhere"));
            told.send_replace(Some(found.unwrap_or_default()));
        });
        *asked = Some(answer.clone());
        answer
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
        assert!(!name.asked.lock().as_ref().unwrap().same_channel(&first), "the answer is not kept");
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_no_error() {
        assert!(Name::new("no-such-host.invalid:1".to_owned()).addresses().await.is_empty());
    }
}
