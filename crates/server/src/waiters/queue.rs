//! One queue as this node watches it: who waits in it here, who observes its leader, and who is first.

use super::source::Look;
use super::{Granted, Leading, Lost};
use bytes::Bytes;
use conclave_state::view::Fault;
use conclave_state::{Event, EventKind, QueueIndex, mutant};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::{mpsc, oneshot};

/// Changes of leader that an observer may be behind before it is made to jump to the present.
pub(super) const OBSERVER_BACKLOG: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    prefix: Bytes,
    waiting: HashMap<Bytes, Vec<Waiting>>,
    observers: BTreeMap<u64, mpsc::Sender<Leading>>,
    head: Option<Head>,
    /// The revision up to which this queue knows events; older ones are not news.
    as_of: i64,
    /// Keys of waiters that were deleted or created anew in the batch being observed.
    disturbed: Vec<Bytes>,
    /// Stands in the list of queues that nobody uses.
    pub(super) listed_idle: bool,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    create_revision: i64,
    done: oneshot::Sender<Result<Granted, Lost>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    key: Bytes,
    create_revision: i64,
    /// When it became the first.
    since: i64,
    /// Its newest version that observers know.
    mod_revision: i64,
}

impl Queue {
    /// A queue that the index holds already, as `look` shows it.
    pub(super) fn open(prefix: Bytes, index: &QueueIndex, look: &dyn Look) -> Result<Queue, Fault> {
        let mut queue = Queue { prefix, as_of: look.revision(), ..Queue::default() };
        queue.head = queue.read_head(index, look)?.map(|(head, _)| head);
        Ok(queue)
    }

    pub(super) fn as_of(&self) -> i64 {
        self.as_of
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.observers.is_empty()
    }

    pub(super) fn wait(
        &mut self,
        id: u64,
        key: &Bytes,
        create_revision: i64,
        done: oneshot::Sender<Result<Granted, Lost>>,
    ) {
        self.waiting.entry(key.clone()).or_default().push(Waiting { id, create_revision, done });
    }

    pub(super) fn leave(&mut self, id: u64, key: &Bytes) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.retain(|waiting| waiting.id != id);
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
    }

    /// Where a place stands now, if that is the end of waiting.
    pub(super) fn verdict(
        &self,
        index: &QueueIndex,
        key: &Bytes,
        create_revision: i64,
    ) -> Option<Result<Granted, Lost>> {
        if index.place(&self.prefix, key) != Some(create_revision) {
            return Some(Err(Lost::Gone));
        }
        let head = self.head.as_ref().filter(|head| head.key == *key)?;
        Some(Ok(Granted { revision: head.since }))
    }

    /// Adds an observer and returns what it must be told first. `seen` is what it knew before.
    pub(super) fn observe(
        &mut self,
        id: u64,
        sender: mpsc::Sender<Leading>,
        seen: Option<(Bytes, i64)>,
        look: &dyn Look,
    ) -> Result<Option<Leading>, Fault> {
        let first = match &self.head {
            Some(head)
                if seen.as_ref().is_some_and(|(key, revision)| *key == head.key && *revision == head.mod_revision) =>
            {
                None
            }
            Some(head) => leading(&head.key, head.create_revision, head.since.max(head.mod_revision), look)?,
            None => None,
        };
        if let (Some(head), Some(first)) = (&mut self.head, &first) {
            head.mod_revision = first.kv.mod_revision;
        }
        self.observers.insert(id, sender);
        Ok(first)
    }

    pub(super) fn stop_observing(&mut self, id: u64) {
        self.observers.remove(&id);
    }

    pub(super) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Takes in one event of a key below the prefix, which the index has taken in already. `look` is for the value of a new leader; it
    /// may be missing if nobody observes.
    pub(super) fn step(&mut self, index: &QueueIndex, event: &Event, look: Option<&dyn Look>) -> Result<(), Fault> {
        let revision = event.kv.mod_revision;
        if revision <= self.as_of {
            return Ok(());
        }
        let put = event.kind == EventKind::Put;
        if (!put || event.kv.create_revision == revision) && self.waiting.contains_key(&event.kv.key) {
            self.disturbed.push(event.kv.key.clone());
        }
        let (create_revision, key) = match index.head(&self.prefix) {
            Some((create_revision, key)) => (create_revision, key.clone()),
            None => {
                self.head = None;
                return Ok(());
            }
        };
        let same = self.head.as_ref().is_some_and(|head| head.key == key && head.create_revision == create_revision);
        let touched = put && event.kv.key == key;
        if same && !touched {
            return Ok(());
        }
        let news = match look {
            _ if touched => Some(Leading { kv: event.kv.clone(), revision }),
            // Whoever goes in this same revision (an expiry takes many) never led: another event of it says who does.
            Some(look) => leading(&key, create_revision, revision, look)?,
            None => None,
        };
        let since = self.head.as_ref().filter(|_| same).map_or(revision, |head| head.since);
        let mod_revision = news.as_ref().map_or(0, |news| news.kv.mod_revision);
        self.head = Some(Head { key, create_revision, since, mod_revision });
        if let Some(news) = news {
            self.tell(&news);
        }
        Ok(())
    }

    /// After the last event of a batch: whose waiting is over.
    pub(super) fn settle(&mut self, index: &QueueIndex, revision: i64) {
        self.as_of = self.as_of.max(revision);
        for key in std::mem::take(&mut self.disturbed) {
            self.settle_key(index, &key);
        }
        let told = |head: &&Head| !(mutant!("no-wakeup") && head.since % 4 == 0);
        if let Some(key) = self.head.as_ref().filter(told).map(|head| head.key.clone()) {
            self.settle_key(index, &key);
        }
    }

    /// The whole state was replaced: finds out what is different, for everybody.
    pub(super) fn reopen(&mut self, index: &QueueIndex, look: &dyn Look) -> Result<(), Fault> {
        self.as_of = look.revision();
        self.disturbed.clear();
        let before = self.head.take();
        if let Some((mut head, news)) = self.read_head(index, look)? {
            let same = before.as_ref().filter(|old| old.key == head.key && old.create_revision == head.create_revision);
            head.since = same.map_or(head.since, |old| old.since);
            let told = same.is_some_and(|old| old.mod_revision == head.mod_revision);
            self.head = Some(head);
            if let Some(news) = news.filter(|_| !told) {
                self.tell(&news);
            }
        }
        let keys: Vec<Bytes> = self.waiting.keys().cloned().collect();
        for key in keys {
            self.settle_key(index, &key);
        }
        Ok(())
    }

    /// The state cannot be read: nobody can be told anything any more.
    pub(super) fn fail(&mut self, fault: &Fault) {
        self.observers.clear();
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiting.done.send(Err(Lost::Fault(fault.to_string())));
        }
    }

    fn settle_key(&mut self, index: &QueueIndex, key: &Bytes) {
        let Some(waiting) = self.waiting.remove(key) else { return };
        let mut left = Vec::new();
        for waiting in waiting {
            match self.verdict(index, key, waiting.create_revision) {
                // Whoever no longer listens has been taken care of by its guard.
                Some(verdict) => drop(waiting.done.send(verdict)),
                None => left.push(waiting),
            }
        }
        if !left.is_empty() {
            self.waiting.insert(key.clone(), left);
        }
    }

    /// An observer that reads too slowly loses its feed, and asks anew once it has read what it was sent.
    fn tell(&mut self, news: &Leading) {
        self.observers.retain(|_, sender| sender.try_send(news.clone()).is_ok());
    }

    fn read_head(&self, index: &QueueIndex, look: &dyn Look) -> Result<Option<(Head, Option<Leading>)>, Fault> {
        let Some((create_revision, key)) = index.head(&self.prefix) else { return Ok(None) };
        let news = leading(key, create_revision, self.as_of, look)?;
        let mod_revision = news.as_ref().map_or(0, |news| news.kv.mod_revision);
        let head = Head { key: key.clone(), create_revision, since: self.as_of, mod_revision };
        Ok(Some((head, news)))
    }
}

/// What an observer is told of a leader: nothing if this life of its key did not last until that revision, and does not last now.
fn leading(key: &Bytes, created: i64, revision: i64, look: &dyn Look) -> Result<Option<Leading>, Fault> {
    // A version that was compacted away since is replaced by the oldest that is left, which is newer.
    let kv = match look.version_at(key, revision)? {
        Some(kv) => Some(kv),
        None => look.version_at(key, i64::MAX)?,
    };
    Ok(kv.filter(|kv| kv.create_revision == created).map(|kv| Leading { kv, revision }))
}
