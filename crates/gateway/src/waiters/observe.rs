//! Observing the leader of a queue.

use super::{At, Registered, Waiters, present};
use crate::follow::{Batch, Span, Subscription};
use bytes::Bytes;
use conclave_state::queue::name_of;
use conclave_state::view::Fault;
use conclave_state::{EventKind, KeyValue};

/// A queue's leader, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    pub kv: KeyValue,
    pub revision: i64,
}

/// The leaders of one queue, one after the other.
pub struct LeaderFeed {
    waiters: Waiters,
    name: Bytes,
    /// Key and mod revision of what was reported last.
    seen: Option<(Bytes, i64)>,
    following: Option<Following>,
    _observing: Registered,
}

/// What an observer follows: the leader's key, or all keys below the name while nobody leads.
struct Following {
    leader: Option<At>,
    changes: Subscription,
}

/// What a change means to an observer.
enum Change {
    Leads(Leading),
    /// Somebody else may lead now.
    Look,
    Nothing,
}

impl LeaderFeed {
    pub(super) fn new(waiters: Waiters, name: &[u8]) -> LeaderFeed {
        let observing = waiters.enter(name, None);
        let name = Bytes::copy_from_slice(name);
        LeaderFeed { waiters, name, seen: None, following: None, _observing: observing }
    }

    /// The next change. Never ends by itself. May be dropped at any point.
    pub async fn next(&mut self) -> Result<Leading, Fault> {
        loop {
            let Some(following) = &mut self.following else {
                if let Some(news) = self.look()? {
                    return Ok(news);
                }
                continue;
            };
            let change = match following.changes.recent().await {
                Some(batch) => following.take_in(&batch, &self.name),
                // Too far behind.
                None => Change::Look,
            };
            match change {
                Change::Leads(news) => {
                    self.seen = Some((news.kv.key.clone(), news.kv.mod_revision));
                    return Ok(news);
                }
                Change::Look => self.following = None,
                Change::Nothing => {}
            }
        }
    }

    /// Finds the present leader, and follows it from there. Returns it if it was not reported yet.
    fn look(&mut self) -> Result<Option<Leading>, Fault> {
        let shared = &self.waiters.shared;
        let mut local = shared.local.lock();
        let state = shared.feed.now()?;
        let leader = local.first(&*state, &self.name)?;
        drop(local);
        let revision = state.bounds().current;
        let kv = match &leader {
            Some((_, key)) => present(&*state, key)?,
            None => None,
        };
        let span = match &leader {
            Some((_, key)) => Span::Key(key.clone()),
            None => Span::prefix([&self.name[..], b"/"].concat()),
        };
        let changes = shared.feed.subscribe(span, Some(revision + 1));
        self.following = Some(Following { leader, changes });
        let Some(kv) = kv else { return Ok(None) };
        let now = Some((kv.key.clone(), kv.mod_revision));
        if self.seen == now {
            return Ok(None);
        }
        self.seen = now;
        Ok(Some(Leading { kv, revision }))
    }
}

impl Following {
    fn take_in(&self, batch: &Batch, name: &[u8]) -> Change {
        let Some((created, _)) = &self.leader else {
            let places = batch.events.iter().any(|event| name_of(&event.kv.key) == Some(name));
            return if places { Change::Look } else { Change::Nothing };
        };
        // It is one key, which changes once in a revision.
        match batch.events.last() {
            Some(event) if event.kind == EventKind::Put && event.kv.create_revision == *created => {
                Change::Leads(Leading { kv: event.kv.clone(), revision: batch.revision })
            }
            Some(_) => Change::Look,
            None => Change::Nothing,
        }
    }
}
